"""Tiny look-alikes of the data sets, and the real ones where they lie beside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene

REAL = Path(__file__).parents[3] / "shared" / "data"


def write_pair(photo: Path, mask: Path, seed: int, value: int = 128) -> None:
    image, truth = draw_scene(60, 80, center=(30 + 5 * seed, 30), radius=16, seed=seed)
    for path in (photo, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(photo)
    red = np.zeros((60, 80, 3), np.uint8)
    red[truth, 0] = value
    Image.fromarray(red).save(mask)


def write_data_sets(root: Path) -> Path:
    """Fill a folder: perseg/ (2 objects, 2 tests each), fss/ (1 class, 2 tests), davis/ (1 sequence, 10 frames)."""
    for thing in ("mug", "dog toy"):
        for number in range(3):
            write_pair(
                root / "perseg" / "Images" / thing / f"{number:02}.jpg",
                root / "perseg" / "Annotations" / thing / f"{number:02}.png",
                number,
            )
    for number in range(3):
        write_pair(root / f"fss/abacus/images/{number}.jpg", root / f"fss/abacus/masks/{number}.png", number, 255)
    for number in range(10):
        write_pair(
            root / f"davis/JPEGImages/480p/bear/{number:05}.jpg",
            root / f"davis/Annotations/480p/bear/{number:05}.png",
            number % 4,
        )
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The three data sets of `write_data_sets`, which a test may change."""
    return write_data_sets(tmp_path / "data")


@pytest.fixture
def real_data() -> Path:
    if not REAL.is_dir():
        pytest.skip("the data sets are not here (shared/data beside the repository)")
    return REAL
