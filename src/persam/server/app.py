"""The service as an ASGI application: how its parts come together, and how it starts and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from persam import __version__
from persam.errors import PersamError
from persam.persam import PerSAM
from persam.server.docs_page import docs_page
from persam.server.engine import Engine
from persam.server.forms import sentence_of
from persam.server.gate import Gate
from persam.server.routes import concepts, health, segment
from persam.server.service import Service
from persam.server.settings import ServerSettings
from persam.server.store import ConceptStore
from persam.server.telemetry import Telemetry
from persam.server.uploads import UploadFolder

_ABOUT = """One photo and one rough mask of your thing, and every other photo of it is segmented.

Learn a concept (`POST /v1/concepts`), look for it in photos (`POST /v1/segment`), and leave albums and clips to jobs.
Every refusal is JSON, `{"detail": "One sentence."}`. With a token, send it as `Authorization: Bearer TOKEN`.
"""
_WORDS = {
    404: "There is nothing at this address; see /docs for what there is.",
    405: "This address takes other methods.",
}


def create_app(settings: ServerSettings, model: PerSAM | None = None) -> FastAPI:
    """Make the service.

    Args:
        settings: where it keeps its things, and its limits.
        model: that it runs; by default the bundled one, loaded when the service starts.

    Returns:
        The application; while it runs, ``app.state.service`` is its `Service`.
    """
    telemetry = Telemetry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loaded = model or await asyncio.to_thread(PerSAM.from_pretrained)
        async with _running(settings, loaded, telemetry) as service:
            app.state.service = service
            yield

    app = FastAPI(
        title="persam", version=__version__, description=_ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    for part in (health, concepts, segment):
        app.include_router(part.router)
    app.add_api_route("/docs", _show_docs, include_in_schema=False, response_class=HTMLResponse)
    app.add_exception_handler(PersamError, _tell_refusal)
    app.add_exception_handler(RequestValidationError, _tell_malformed)
    app.add_exception_handler(HTTPException, _tell_http)
    app.add_middleware(Gate, settings=settings, telemetry=telemetry)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Last-Event-ID"],
        )
    return app


@asynccontextmanager
async def _running(settings: ServerSettings, model: PerSAM, telemetry: Telemetry) -> AsyncIterator[Service]:
    limits = settings.limits
    uploads = UploadFolder(settings.folder, settings.uploads_folder, limits)
    engine = Engine(model, waiting=limits.waiting, batch=limits.batch, on_turn=telemetry.on_turn)
    service = Service(settings, engine, ConceptStore(settings.concepts_folder, limits.concepts), uploads, telemetry)
    telemetry.watch(engine)
    try:
        yield service
    finally:
        service.stopping = True
        await asyncio.to_thread(engine.close, timeout=limits.stop_seconds)


async def _show_docs(request: Request) -> HTMLResponse:
    return HTMLResponse(docs_page(request.app.openapi()))


async def _tell_refusal(request: Request, error: Exception) -> JSONResponse:
    wait = getattr(error, "retry_after", None)
    headers = None if wait is None else {"Retry-After": str(max(1, round(wait)))}
    return JSONResponse({"detail": str(error)}, getattr(error, "status", 400), headers)


async def _tell_malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems: Any = error.errors()
    return JSONResponse({"detail": sentence_of(problems)}, 422)


async def _tell_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    words = _WORDS.get(error.status_code, error.detail)
    return JSONResponse({"detail": words}, error.status_code, error.headers)
