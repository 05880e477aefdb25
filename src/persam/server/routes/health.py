"""How the service is, and what it is."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request, Response

from persam import __version__
from persam.server.routes.common import refusals, service_of
from persam.server.schemas import ModelInfo, State

router = APIRouter(tags=["service"])


@router.get("/health")
async def health() -> State:
    """The process is alive."""
    return State(status="alive")


@router.get("/ready", responses={503: {"model": State, "description": "It stops."}})
async def ready(request: Request, response: Response) -> State:
    """The model is loaded and work is taken; 503 while the service stops. Before it is loaded nothing answers."""
    if service_of(request).stopping:
        response.status_code = 503
        return State(status="stopping")
    return State(status="ready")


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "As Prometheus reads them.", "content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> Response:
    """Requests, latency, queue, batches, seconds of the model, jobs."""
    return Response(service_of(request).telemetry.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/model", responses=refusals(503))
async def model(request: Request) -> ModelInfo:
    """The model that runs here, and how much the service takes."""
    service = service_of(request)
    runs = service.engine.model
    limits = asdict(service.settings.limits) | {"photos_per_request": service.photos_at_once}
    return ModelInfo(
        name=runs.model.name,
        mode=runs.settings.mode,
        device=str(runs.model.device),
        encoder=None if runs.encoder is None else runs.encoder.name,
        version=__version__,
        limits=limits,
    )
