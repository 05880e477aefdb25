"""What tests of the service share: a client of one in this process, and pictures as files."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from persam.geometry import Size
from persam.persam import PerSAM
from persam.server.app import create_app
from persam.server.settings import ServerSettings
from persam.server.uploads import Upload

HERE = "http://127.0.0.1"


def png(picture: np.ndarray) -> bytes:
    """A picture or a mask as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8) * 255 if picture.dtype == bool else picture).save(file, "PNG")
    return file.getvalue()


@contextmanager
def client_of(folder: Path, model: PerSAM, **settings: Any) -> Iterator[TestClient]:
    """A client of a service in this process; `client.app.state.service` is the service."""
    with TestClient(create_app(ServerSettings(folder, **settings), model), base_url=HERE) as client:
        yield client


def decoding_threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the threads in which photos are decoded from now on, for prompts and not for the engine."""
    names: list[str] = []
    read = Upload.read

    def noted(self: Upload, longest: int | None) -> tuple[np.ndarray, Size]:
        names.append(threading.current_thread().name)
        return read(self, longest)

    monkeypatch.setattr(Upload, "read", noted)
    return names


def shot(photo: np.ndarray, mask: np.ndarray, name: str = "mug.png") -> list[tuple[str, tuple[str, bytes]]]:
    """A photo and its mask, as files of a form."""
    return [("photo", (name, png(photo))), ("mask", (f"{name}_mask.png", png(mask)))]
