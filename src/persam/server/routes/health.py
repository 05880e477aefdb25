"""Whether the service is alive, and whether it takes work."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> dict[str, str]:
    """The process is alive."""
    return {"status": "alive"}


@router.get("/ready")
async def ready(request: Request, response: Response) -> dict[str, str]:
    """The model is loaded and work is taken; 503 while the service starts or stops."""
    service = getattr(request.app.state, "service", None)
    if service is None or service.stopping:
        response.status_code = 503
        return {"status": "starting" if service is None else "stopping"}
    return {"status": "ready"}
