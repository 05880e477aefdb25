"""The service as an ASGI application: how its parts come together, and how it starts and ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, nullcontext
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
from persam.server.holding import held
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
_LOOKS, _LAST_SECONDS = 0.02, 1.0  # between two looks whether a part has ended; for what does not end by itself
_SAFE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
_FOR_PAGES = ("Retry-After", "Location", "X-Request-ID", "X-Persam-Present", "X-Persam-Score")  # that they may read
_WORDS = {
    400: "The body is no JSON that can be read; see /docs for what this takes.",  # all that the framework says it of
    404: "There is nothing at this address; see /docs for what there is.",
    405: "This address takes other methods.",
}


def create_app(settings: ServerSettings, model: PerSAM | None = None, *, is_held: bool = False) -> FastAPI:
    """Make the service.

    Args:
        settings: where it keeps its things, and its limits.
        model: that it runs; by default the bundled one, loaded when the service starts.
        is_held: the caller holds the folder (`persam.server.holding.held`); else that is done when the service starts.

    Returns:
        The application; while it runs, ``app.state.service`` is its `Service`.
    """
    telemetry = Telemetry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with nullcontext() if is_held else held(settings.folder):
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
    with ExitStack() as made:  # what is there is let go of, where something after it cannot be made
        engine = Engine(model, waiting=limits.waiting, batch=limits.batch, on_turn=telemetry.on_turn)
        made.callback(engine.close, finish=False, timeout=0.0)
        runner = JobRunner(settings, engine)
        made.callback(runner.close, 0.0)
        uploads = UploadFolder(settings.folder, settings.uploads_folder, limits)
        made.callback(uploads.close)
        concepts = ConceptStore(settings.concepts_folder, limits.concepts)
        fetcher = PhotoFetcher(
            settings.label_studio_url,
            settings.label_studio_key,
            hosts=settings.photo_hosts,
            most_bytes=limits.photo_bytes,
        )
        made.callback(fetcher.close)
        changes = ConceptChanges(concepts)
        bridge = Bridge(engine, concepts, uploads, fetcher, changes)
        made.callback(bridge.close, 0.0)
        service = Service(settings, engine, concepts, uploads, telemetry, bridge, changes, runner)
        telemetry.watch(engine, lambda: runner.counts)
        runner.start(uploads)
        try:
            yield service
        finally:
            service.stop(limits.stop_seconds)
            await _end(service)


async def _end(service: Service) -> None:
    """Let all parts end in the time that a stop may take: jobs and learning first, for they ask the engine.

    What does not end in time hears it from the engine, which drops what waits, so that jobs are put back in order.
    """
    last = min(_LAST_SECONDS, service.left / 2)
    asking = [_beside(service.jobs.close, service.left), _beside(service.label_studio.close, service.left)]
    while _are_alive(asking) and service.left > last and not service.is_hurried:
        await asyncio.sleep(_LOOKS)
    finish = not _are_alive(asking) and not service.is_hurried
    threads = [*asking, _beside(lambda: service.engine.close(finish, service.left))]
    while _are_alive(threads) and service.left:
        await asyncio.sleep(_LOOKS)


def _beside(work: Callable[..., object], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, name="persam-end", daemon=True)
    thread.start()
    return thread


def _are_alive(threads: Sequence[threading.Thread]) -> bool:
    return any(thread.is_alive() for thread in threads)


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
