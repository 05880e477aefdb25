"""The service as an ASGI application: what its parts share, and how it starts and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from persam.persam import PerSAM
from persam.server.engine import Engine
from persam.server.routes import health
from persam.server.settings import ServerSettings
from persam.server.store import ConceptStore


@dataclass(eq=False)
class Service:
    """What the routes share, as ``request.app.state.service``.

    Attributes:
        settings: how it is set up.
        engine: runs the model.
        concepts: what was learned.
        jobs: long work, a `persam.server.jobs.runner.JobRunner`.
        stopping: no new requests are taken.
    """

    settings: ServerSettings
    engine: Engine
    concepts: ConceptStore
    jobs: Any = None
    stopping: bool = False


def create_app(settings: ServerSettings, model: PerSAM | None = None) -> FastAPI:
    """Make the service.

    Args:
        settings: where it keeps its things, and its limits.
        model: that it runs; by default the bundled one, loaded when the service starts.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loaded = model or await asyncio.to_thread(PerSAM.from_pretrained)
        limits = settings.limits
        engine = Engine(loaded, waiting=limits.waiting, batch=limits.batch)
        service = Service(settings, engine, ConceptStore(settings.concepts_folder, limits.concepts))
        app.state.service = service
        try:
            yield
        finally:
            service.stopping = True
            await asyncio.to_thread(engine.close, timeout=limits.stop_seconds)

    app = FastAPI(title="persam", lifespan=lifespan)
    app.include_router(health.router)
    return app
