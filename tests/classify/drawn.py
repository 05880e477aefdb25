"""Drawn classes: a shape's colour is the class, and the ground is of any colour, so that whole photos mislead."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

CLASSES = {"red": (210, 40, 40), "green": (40, 190, 60), "blue": (40, 60, 220)}
GROUNDS = [(120, 120, 120), (200, 190, 60), (60, 180, 190), (180, 70, 190), (20, 20, 20), (235, 235, 235)]


def draw(colour: tuple[int, int, int], number: int, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A disc on a ground of its own: photo (S, S, 3) uint8 and mask (S, S) bool."""
    rng = np.random.default_rng([number, *colour])
    photo = np.empty((side, side, 3), np.uint8)
    photo[:] = GROUNDS[int(rng.integers(len(GROUNDS)))]
    drawn = np.zeros((side, side), np.uint8)
    centre = tuple(int(each) for each in rng.integers(side // 3, side - side // 3, 2))
    cv2.circle(drawn, centre, side // 5, 1, -1)
    photo[drawn > 0] = colour
    return photo, drawn > 0


def write_classes(folder: Path, photos: int = 5, masks: int = 1, side: int = 64) -> Path:
    """A folder of the classes, so many photos each, the first ones with a mask."""
    for name, colour in CLASSES.items():
        (folder / name / "masks").mkdir(parents=True)
        for number in range(photos):
            photo, mask = draw(colour, number, side)
            Image.fromarray(photo).save(folder / name / f"{number}.png")
            if number < masks:
                Image.fromarray(mask).save(folder / name / "masks" / f"{number}.png")
    return folder
