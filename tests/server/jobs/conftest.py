"""A service with a model that finds things by colour, and jobs to give it."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.conftest import draw_scene
from tests.fakes import ColourModel
from tests.server.serving import HERE, png

from persam.concept import Concept
from persam.persam import PerSAM
from persam.server.app import create_app
from persam.server.settings import Limits, ServerSettings

PLACES = [(40 + 8 * n, 40 + 6 * n) for n in range(6)]


def zip_of(entries: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        for name, data in entries.items():
            zipped.writestr(name, data)
    return stream.getvalue()


@pytest.fixture(scope="session")
def photos() -> dict[str, bytes]:
    """Photos with a disc somewhere, by their names."""
    return {f"photo{n}.png": png(draw_scene(center=place, seed=n)[0]) for n, place in enumerate(PLACES)}


@pytest.fixture(scope="session")
def disc() -> Concept:
    """What is looked for."""
    photo, mask = draw_scene()
    return PerSAM(ColourModel()).learn(photo, mask, name="disc")


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    return ServerSettings(tmp_path / "service", limits=Limits(job_files=20, jobs_waiting=3))


@pytest.fixture
def client(settings: ServerSettings, disc: Concept) -> Iterator[TestClient]:
    """A running service that knows the disc."""
    app = create_app(settings, PerSAM(ColourModel()))
    with TestClient(app, base_url=HERE) as started:
        app.state.service.concepts.save(disc)
        yield started


def files_of(photos: dict[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", pair) for pair in photos.items()]


def start(client: TestClient, files: list[Any], **fields: Any) -> dict[str, Any]:
    """Start a job; what is answered."""
    answer = client.post("/v1/jobs", data={"kind": "album", "concept": "disc", **fields}, files=files)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    return answer.json()


def ended(client: TestClient, job: str, seconds: float = 60) -> dict[str, Any]:
    """A job when it has ended."""
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        found = client.get(f"/v1/jobs/{job}").json()
        if found["state"] in ("done", "failed", "cancelled"):
            return found
        time.sleep(0.02)
    raise AssertionError(found)
