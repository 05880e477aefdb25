"""What routes share."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from persam.server.schemas import Refusal
from persam.server.service import Service

_MEANINGS = {
    400: "What was sent cannot be used.",
    401: "The token is missing or wrong.",
    403: "Not to whoever asks, or not from that page.",
    404: "There is nothing of that name.",
    406: "There is no answer in the form that is accepted.",
    408: "The body came too slowly.",
    409: "The name is taken, or the concept is of another model.",
    410: "It is here no more.",
    413: "More bytes, pixels or things than are taken at once.",
    415: "A file, or the body, is of another kind.",
    416: "There is no such part of it.",
    422: "A field is missing, unknown or out of range.",
    429: "As many wait as may; come again after `Retry-After` seconds.",
    503: "The service stops, or the request took too long.",
    507: "The service's folder is full.",
}


def service_of(request: Request) -> Service:
    """The service that a request is made to."""
    service: Service = request.app.state.service
    return service


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a route may refuse, for its documentation."""
    return {status: {"model": Refusal, "description": _MEANINGS[status]} for status in statuses}
