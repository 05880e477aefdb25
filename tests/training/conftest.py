"""Drawn photos: coloured shapes on noise, in the layout of the training data."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from training.photos import Photos, read_photos


def draw_photo(path: Path, seed: int) -> None:
    """A photo with a disc (1) and a square (2) and a strip to ignore, as PATH.webp and PATH.png."""
    rng = np.random.default_rng(seed)
    height, width = (96, 128) if seed % 2 else (128, 96)
    image = rng.integers(60, 120, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for number, corner in ((1, (20, 20)), (2, (56, 50))):
        shape = np.zeros_like(mask)
        x, y = corner[0] + int(rng.integers(0, 8)), corner[1] + int(rng.integers(0, 8))
        if number == 1:
            cv2.circle(shape, (x + 12, y + 12), 14, 1, -1)
        else:
            cv2.rectangle(shape, (x, y), (x + 28, y + 24), 1, -1)
        image[shape == 1] = rng.integers(0, 256, 3)
        mask[shape == 1] = number
    mask[:6] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(f"{path}.webp", image)
    cv2.imwrite(f"{path}.png", mask)


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photos: two sets, one of which tells the kind of thing."""
    folder = tmp_path_factory.mktemp("drawn")
    for index in range(3):
        draw_photo(folder / "pets" / f"spotted__{index}", index)
        draw_photo(folder / "street" / f"{index:03}", 10 + index)
    return folder


@pytest.fixture(scope="session")
def photos(drawn_folder: Path) -> Photos:
    return read_photos(drawn_folder)
