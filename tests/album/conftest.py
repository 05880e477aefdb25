"""A small album with all that is awkward: holes, parts, a single pixel, the border, a photo on its side, absence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from persam.album.outputs import OutputFolder
from persam.instance import Instance
from persam.segmentation import Segmentation

SIZE = (120, 160)


@dataclass
class SmallAlbum:
    """Photos, lines as `persam segment` writes them, and the masks of all found things by photo and concept."""

    home: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    truth: dict[tuple[str, str], list[np.ndarray]] = field(default_factory=dict)

    @property
    def photos(self) -> list[str]:
        return list(dict.fromkeys(line["image"] for line in self.lines))

    def masks(self, photo: str) -> list[tuple[str, np.ndarray]]:
        return [(concept, mask) for (image, concept), masks in self.truth.items() for mask in masks if image == photo]


def disc(x: int, y: int, radius: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return cv2.circle(np.zeros(size, np.uint8), (x, y), radius, 1, -1).astype(bool)


def things() -> dict[str, dict[str, list[np.ndarray]]]:
    ring = disc(80, 60, 40) & ~disc(80, 60, 18)
    parts = disc(30, 30, 22) | disc(120, 80, 25)
    pixel = np.zeros(SIZE, bool)
    pixel[50, 70] = True
    border = np.zeros(SIZE, bool)
    border[100:, :40] = True
    upright = disc(70, 110, 30, SIZE[::-1])
    return {
        "day1/ring.jpg": {"mug": [ring], "cat & <dog>": []},
        "day1/two.PNG": {"mug": [parts, disc(120, 20, 12)], "cat & <dog>": [border]},
        "day1/none.jpg": {"mug": [], "cat & <dog>": []},
        "day2/ring.jpg": {"mug": [pixel], "cat & <dog>": [disc(30, 60, 20)]},
        "day2/side.jpg": {"mug": [upright], "cat & <dog>": []},
    }


@pytest.fixture(scope="session")
def made_album(tmp_path_factory: pytest.TempPathFactory) -> SmallAlbum:
    folder = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(0)
    album = SmallAlbum(folder / "album")
    with OutputFolder(folder / "found") as output:
        for name, concepts in things().items():
            photo = album.home / name
            photo.parent.mkdir(parents=True, exist_ok=True)
            exif = Image.Exif()
            exif[0x0112] = 6 if "side" in name else 1
            # Noise, for COLMAP to see something in.
            Image.fromarray(rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)).save(photo, exif=exif)
            for concept, masks in concepts.items():
                size = SIZE[::-1] if "side" in name else SIZE
                whole = np.logical_or.reduce(masks) if masks else np.zeros(size, bool)
                found = Segmentation(
                    concept,
                    str(photo),
                    whole,
                    0.9 if masks else 0.1,
                    present=bool(masks),
                    threshold=0.5,
                    instances=tuple(Instance(mask, 0.9 - 0.1 * n) for n, mask in enumerate(masks)),
                )
                album.lines.append(output.write(found))
                album.truth[str(photo), concept] = masks
    return album


@pytest.fixture
def album(made_album: SmallAlbum) -> SmallAlbum:
    """Not to be changed: all tests share it."""
    return made_album
