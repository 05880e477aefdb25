"""Drawn photos of a disc with their true masks, and a folder that is prepared from them, which needs no model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tests.conftest import draw_scene

from persam.dreambooth import Framing, Prepared, prepare_masked

SMALL = Framing(resolution=64)


def write_photos(home: Path, count: int = 3, suffix: str = ".jpg") -> Path:
    """``home/photos/N.jpg`` and ``home/masks/N.png``."""
    for number in range(count):
        photo, mask = draw_scene(120, 160, center=(60 + 10 * number, 60), radius=24 + 4 * number, seed=number)
        for folder, name, pixels in (("photos", f"{number}{suffix}", photo), ("masks", f"{number}.png", mask)):
            (home / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(home / folder / name)
    return home


def prepared(home: Path, name: str = "disc", *, output: str = "ready", **options: object) -> Prepared:
    """Photos of a subject, prepared with their true masks into ``home/ready``."""
    write_photos(home / name)
    chosen = {"framing": SMALL, **options}
    return prepare_masked([home / name / "photos"], home / name / "masks", home / output, name=name, **chosen)


def pixels_of(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture)
