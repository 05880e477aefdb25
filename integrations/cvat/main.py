"""A serverless function of CVAT that asks a persam service: a detector whose labels are the service's concepts.

It holds no model. CVAT's request goes on to ``POST /cvat`` of the service, and the answer comes back as it is.
"""

from __future__ import annotations

import json
import os
from typing import Any

from persam.client import Client, RefusedError
from persam.errors import PersamError

_BUSY = 503


def init_context(context: Any) -> None:
    """Called once by nuclio: where the service is, and what is looked for, stand in the function's environment."""
    context.user_data.client = Client(os.environ["PERSAM_URL"], os.environ.get("PERSAM_TOKEN"), patience=20)
    names = [name.strip() for name in os.environ.get("PERSAM_CONCEPTS", "").split(",")]
    context.user_data.concepts = [name for name in names if name] or None
    context.user_data.max_instances = int(os.environ.get("PERSAM_MAX_INSTANCES", "1"))


def handler(context: Any, event: Any) -> Any:
    """Called by nuclio for every frame."""
    asked = json.loads(event.body) if isinstance(event.body, (str, bytes)) else dict(event.body)
    asked |= {"concepts": context.user_data.concepts, "max_instances": context.user_data.max_instances}
    try:
        body, status = context.user_data.client.read("POST", "/cvat", json=asked).text, 200
    except PersamError as error:
        context.logger.error(str(error))  # noqa: TRY400 - the sentence says it all
        status = error.status if isinstance(error, RefusedError) else _BUSY
        body = json.dumps({"detail": str(error)})
    return context.Response(body=body, headers={}, content_type="application/json", status_code=status)
