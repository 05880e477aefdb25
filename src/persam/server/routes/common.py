"""What routes share."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import Request

from persam.server.schemas import Refusal
from persam.server.service import Service


def service_of(request: Request) -> Service:
    """The service that a request is made to."""
    service: Service = request.app.state.service
    return service


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a route may refuse, for its documentation."""
    return {status: {"model": Refusal, "description": HTTPStatus(status).phrase} for status in statuses}
