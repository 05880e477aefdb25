"""The real photographs that the demo is made of, those in scikit-image's wheel, and where the things are in them."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from persam.errors import PersamError
from persam.geometry import fit
from persam.images import read_image

LONGEST_SIDE = 640
#: What is looked for, and the photo that it comes from.
THINGS = {"cup": "coffee.png", "cat": "chelsea.png", "motorcycle": "motorcycle_left.png"}

_TINTS = {  # scikit-image has these in grey; (dark, light) RGB
    "brick.png": ((48, 20, 14), (226, 160, 128)),
    "grass.png": ((14, 30, 8), (196, 214, 134)),
    "gravel.png": ((38, 34, 30), (222, 212, 196)),
}
_CROPS = {  # (x0, y0, x1, y1) as shares of the photo
    "astronaut.png": (0.0, 0.0, 1.0, 0.78),
    "brick.png": (0.0, 0.0, 1.0, 0.75),
    "grass.png": (0.0, 0.1, 1.0, 0.85),
    "gravel.png": (0.0, 0.2, 1.0, 0.95),
}


def photo_folder() -> Path:
    """Return the folder of scikit-image's photographs.

    Raises:
        PersamError: scikit-image is not installed.
    """
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise PersamError(
            "The demo makes its album from the photographs in scikit-image, which is not installed; "
            "run `pip install 'persam[demo]'`."
        )
    return Path(spec.origin).parent / "data"


@cache
def original(name: str) -> np.ndarray:
    """Read a photograph of scikit-image by its file name, (H, W, 3) uint8; do not write into it.

    Raises:
        PersamError: scikit-image is not installed, or its version does not ship this photo.
    """
    path = photo_folder() / name
    if not path.is_file():
        raise PersamError(
            f"The installed scikit-image does not ship {name}, which the demo needs; "
            "run `pip install --upgrade 'persam[demo]'`."
        )
    pixels = read_image(path)
    pixels.setflags(write=False)
    return pixels


@cache
def scene(name: str) -> np.ndarray:
    """Return a photograph as a place to put things: cropped, tinted if it is grey, longest side 640 pixels."""
    pixels = original(name)
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = _CROPS.get(name, (0.0, 0.0, 1.0, 1.0))
    pixels = pixels[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)]
    if name in _TINTS:
        dark, light = (np.array(colour, np.float32) for colour in _TINTS[name])
        grey = pixels[:, :, :1].astype(np.float32) / 255
        pixels = (dark + (light - dark) * grey).astype(np.uint8)
    shown = fit(pixels, LONGEST_SIDE)
    shown.setflags(write=False)
    return shown


def other_view(mask: np.ndarray) -> np.ndarray:
    """Carry a mask of the left photo of the stereo motorcycle over to the right one, by the measured disparity.

    Args:
        mask: (500, 741) bool in motorcycle_left.png.

    Returns:
        (500, 741) bool in motorcycle_right.png.
    """
    path = photo_folder() / "motorcycle_disp.npz"
    original("motorcycle_right.png")  # says what is missing
    with np.load(path) as file:
        disparity = file["arr_0"]
    # The disparity is unknown or wrong on chrome, in gaps and at edges, so a smooth surface is led through it.
    known = mask & np.isfinite(disparity)
    known[np.add.outer(np.arange(mask.shape[0]), 2 * np.arange(mask.shape[1])) % 7 > 0] = False  # a seventh is enough
    values, powers = disparity[known].astype(np.float64), _powers(known)
    weights = np.ones_like(values)
    for _ in range(12):
        surface = np.linalg.lstsq(powers * weights[:, None], values * weights, rcond=None)[0]
        weights = 1 / (1 + (powers @ surface - values) ** 2)
    height, width = mask.shape
    shift = (_powers(np.ones(mask.shape, bool)) @ surface).reshape(mask.shape).astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    source = x + shift  # the surface is so smooth that two steps find its value at the other end
    for _ in range(2):
        source = x + cv2.remap(shift, source, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.remap(mask.astype(np.float32), source, y, cv2.INTER_LINEAR) > 0.5


def _powers(where: np.ndarray) -> np.ndarray:
    """Powers of x and y up to the third at the True pixels of (H, W), (N, 10)."""
    y, x = (axis / 400 for axis in np.nonzero(where))
    return np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=1)


def thing_mask(thing: str) -> np.ndarray:
    """Where one of `THINGS` is in its photo, (H, W) bool.

    The photo cuts the cat's ears off, so they stay out and this is its face; one sees through the motorcycle's forks.
    """
    height, width = original(THINGS[thing]).shape[:2]
    if thing == "motorcycle":
        gap = _filled(_outline("between the forks"), (height, width))
        return _filled(_outline(thing), (height, width)) & ~gap
    return _filled(_rounded(_outline(thing)), (height, width))


def _outline(name: str) -> np.ndarray:
    """One of the outlines that were drawn by hand, (N, 2) as (x, y) in photo pixels."""
    outlines = resources.files("persam.demo").joinpath("outlines.json").read_text(encoding="utf-8")
    return np.array(json.loads(outlines)[name], dtype=np.float64)


def _filled(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fill a ring (N, 2), drawn at a sixteenth of a pixel."""
    canvas = np.zeros(size, np.uint8)
    cv2.fillPoly(canvas, [np.round(ring * 16).astype(np.int32)], 1, shift=4)
    return canvas.astype(bool)


def _rounded(p1: np.ndarray, steps: int = 8) -> np.ndarray:
    """Lead a smooth closed line (Catmull-Rom) through the corners."""
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = (np.arange(steps) / steps)[None, :, None]
    p0, p1, p2, p3 = (p[:, None] for p in (p0, p1, p2, p3))
    line = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * (p1 - p2) + p3 - p0) * t**3
    return (line / 2).reshape(-1, 2)
