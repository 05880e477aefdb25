"""Drawn photos and masks that several tests share."""

from __future__ import annotations

import functools
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything imports huggingface_hub

import numpy as np
import pytest
import typer.main
import typer.testing
from hypothesis import settings
from PIL import Image
from tests.stores import bucket, plain, s3_server, s3_variables, store

__all__ = ["bucket", "plain", "s3_server", "s3_variables", "store"]

settings.register_profile("persam", deadline=None, max_examples=50)
settings.load_profile("persam")

# Tests call `persam` some thousand times, and every call would make all of its commands anew, for 60 ms. The name is
# typer's own, so it may go; and no test may change a command, which all others have, too.
assert hasattr(typer.testing, "_get_command"), "typer makes its commands elsewhere now: see what that costs each call"
typer.testing._get_command = functools.cache(typer.main.get_command)

# A shell without a person starts what runs in its background deaf to Ctrl-C, which tests send themselves and their own.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _own_notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where models lie that tests made is noted for tests alone."""
    notes = tmp_path_factory.mktemp("notes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("persam.models.whereabouts.cache_folder", lambda: notes)
        yield notes


@pytest.fixture(autouse=True)
def _notes_of_one_test(_own_notes: Path) -> None:
    """What one test noted of the bundled model's copies is nothing to the next one."""
    shutil.rmtree(_own_notes / "models", ignore_errors=True)


def draw_photos(folder: Path, sizes: Sequence[tuple[int, int]]) -> Path:
    """Make a folder with a scene of every size, (H, W), the disc in its middle: `0.png`, `1.png`, or `00.png` ..."""
    folder.mkdir()
    digits = len(str(len(sizes) - 1))
    for number, (height, width) in enumerate(sizes):
        image, _ = draw_scene(height, width, center=(width // 2, height // 2), radius=25, seed=number)
        Image.fromarray(image).save(folder / f"{number:0{digits}}.png")
    return folder


def draw_scene(
    height: int = 120, width: int = 160, *, center: tuple[int, int] = (60, 70), radius: int = 28, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a red disc with a yellow stripe on a grey-blue, noisy ground; return photo (H, W, 3) and truth (H, W)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    mask = (x - center[0]) ** 2 + (y - center[1]) ** 2 <= radius**2
    image = np.stack([90 + 20 * np.sin(x / 9), 110 + 15 * np.cos(y / 7), 140 + 0 * x], axis=2)
    image[mask] = (200, 30, 40)
    image[mask & (np.abs(y - center[1]) < radius // 4)] = (240, 200, 40)
    image += rng.normal(0, 4, image.shape)
    return image.clip(0, 255).astype(np.uint8), mask


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A drawn photo (120, 160, 3) and its truth."""
    return draw_scene()


@pytest.fixture
def photo_file(tmp_path: Path, scene: tuple[np.ndarray, np.ndarray]) -> Path:
    """The drawn photo as a PNG."""
    path = tmp_path / "photo.png"
    Image.fromarray(scene[0]).save(path)
    return path


@pytest.fixture
def mask_file(tmp_path: Path, scene: tuple[np.ndarray, np.ndarray]) -> Path:
    """The truth of the drawn photo as a 0/255 PNG."""
    path = tmp_path / "photo_mask.png"
    Image.fromarray(scene[1]).save(path)
    return path
