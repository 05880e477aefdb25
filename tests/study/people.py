"""Simulated annotators: a true mask, drawn again by somebody with a hand and habits of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tests.conftest import draw_scene


@dataclass(frozen=True)
class Habit:
    """How somebody draws, in pixels of a photo 100 pixels long; larger photos scale it.

    Attributes:
        outward: how far the outline lies outside the object; below 0 inside (erosion).
        roughness: how far it wanders, at random but smoothly.
        shift: how far the whole mask is off, in a random direction.
    """

    outward: float = 0.0
    roughness: float = 0.0
    shift: float = 0.0


CAREFUL = Habit(roughness=0.6)
ERODER = Habit(outward=-1.0, roughness=0.5)
DILATOR = Habit(outward=1.5, roughness=0.5, shift=0.3)
CARELESS = Habit(outward=-2.0, roughness=2.0, shift=2.0)


def drawn(mask: np.ndarray, habit: Habit, rng: np.random.Generator) -> np.ndarray:
    """The (H, W) bool mask as somebody of this habit draws it: neither empty nor everything."""
    scale = max(mask.shape) / 100
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    depth = inside - cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    angle = rng.uniform(0, 2 * np.pi)
    move = np.array([np.cos(angle), np.sin(angle)]) * habit.shift * scale
    matrix = np.array([[1, 0, move[0]], [0, 1, move[1]]], np.float64)
    depth = cv2.warpAffine(depth, matrix, mask.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    noise = rng.normal(size=(max(2, mask.shape[0] // max(1, round(6 * scale))), 16)).astype(np.float32)
    wander = cv2.resize(noise, mask.shape[::-1], interpolation=cv2.INTER_CUBIC) * habit.roughness * scale
    wanted = depth + wander + habit.outward * scale > 0
    if not wanted.any():
        wanted = depth >= depth.max()  # a small object that is eroded away keeps its heart
    if wanted.all():
        wanted.flat[0] = False
    return wanted


def mask_photos(category: Path, masks: dict[str, np.ndarray], people: dict[str, Habit], seed: int) -> None:
    """Let people mask a category's photos; `masks` are the true ones by the photo's stem."""
    for number, (name, habit) in enumerate(people.items()):
        rng = np.random.default_rng([seed, number])
        for photo, mask in masks.items():
            save(category / "annotators" / name / f"{photo}.png", drawn(mask, habit, rng))


def save(file: Path, mask: np.ndarray) -> None:
    """Write a mask as 0 and 255."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(file)


def write_photos(folder: Path, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw photos of one disc each, elsewhere in each; return the true masks by the photo's stem."""
    folder.mkdir(parents=True)
    truth = {}
    for number in range(count):
        center = (24 + 6 * number, 32 - 2 * (number % 3))
        image, truth[f"{number:02}"] = draw_scene(60, 80, center=center, radius=15, seed=seed + number)
        Image.fromarray(image).save(folder / f"{number:02}.png")
    return truth
