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
from persam.server.changes import ConceptChanges
from persam.server.docs_page import docs_page
from persam.server.engine import Engine
from persam.server.forms import sentence_of
from persam.server.gate import Gate
from persam.server.jobs.runner import JobRunner
from persam.server.label_studio.bridge import Bridge
from persam.server.label_studio.fetch import PhotoFetcher
from persam.server.refusals import MalformedError, headers_of, told
from persam.server.routes import concepts, cvat, health, jobs, label_studio, segment
from persam.server.routes.common import refusals
from persam.server.service import Service
from persam.server.settings import ServerSettings
from persam.server.store import ConceptStore
from persam.server.telemetry import Telemetry
from persam.server.uploads import UploadFolder

_ABOUT = """One photo and one rough mask of your thing, and every other photo of it is segmented.

Learn a concept (`POST /v1/concepts`), look for it in photos (`POST /v1/segment`), and leave albums and clips to jobs.
Every refusal is JSON, `{"detail": "One sentence."}`. With a token, send it as `Authorization: Bearer TOKEN`.
"""
_SAFE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
_FOR_PAGES = ("Retry-After", "Location", "X-Request-ID", "X-Persam-Present", "X-Persam-Score")  # that they may read
_WORDS = {
    400: "The body is no JSON that can be read; see /docs for what this takes.",  # all that the framework says it of
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
        loaded = await asyncio.to_thread(PerSAM.from_pretrained) if model is None else model
        async with _running(settings, loaded, telemetry) as service:
            app.state.service = service
            yield

    app = FastAPI(
        title="persam", version=__version__, description=_ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.include_router(health.router)
    for part in (concepts, segment, jobs, label_studio, cvat):
        app.include_router(part.router, responses=refusals(401, 403, 422, 503))
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
            expose_headers=_FOR_PAGES,
        )
    return app


@asynccontextmanager
async def _running(settings: ServerSettings, model: PerSAM, telemetry: Telemetry) -> AsyncIterator[Service]:
    limits = settings.limits
    engine = Engine(model, waiting=limits.waiting, batch=limits.batch, on_turn=telemetry.on_turn)
    try:
        runner = JobRunner(settings, engine)  # before anything in the folder is touched: it may be another server's
    except BaseException:
        engine.close(finish=False)
        raise
    uploads = UploadFolder(settings.folder, settings.uploads_folder, limits)
    concepts = ConceptStore(settings.concepts_folder, limits.concepts)
    fetcher = PhotoFetcher(
        settings.label_studio_url,
        settings.label_studio_key,
        hosts=settings.photo_hosts,
        most_bytes=limits.photo_bytes,
    )
    changes = ConceptChanges(concepts)
    bridge = Bridge(engine, concepts, uploads, fetcher, changes)
    service = Service(settings, engine, concepts, uploads, telemetry, bridge, changes, runner)
    telemetry.watch(engine, lambda: runner.counts)
    runner.start(uploads)
    try:
        yield service
    finally:
        service.stopping = True
        await asyncio.to_thread(runner.close, limits.stop_seconds)  # first, for they ask the engine
        await asyncio.to_thread(bridge.close, limits.stop_seconds)
        await asyncio.to_thread(engine.close, timeout=limits.stop_seconds)
        fetcher.close()


async def _show_docs(request: Request) -> HTMLResponse:
    return HTMLResponse(docs_page(request.app.openapi(), str(request.base_url).rstrip("/")), headers=_SAFE)


async def _tell_refusal(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": told(error)}, getattr(error, "status", 400), headers_of(error))


async def _tell_malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems: Any = error.errors()
    return JSONResponse({"detail": told(MalformedError(sentence_of(problems)))}, 422)


async def _tell_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    words = _WORDS.get(error.status_code, error.detail)
    return JSONResponse({"detail": words}, error.status_code, error.headers)
