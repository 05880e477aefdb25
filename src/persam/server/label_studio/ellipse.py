"""Ellipses as Label Studio's regions hold them, filled, and the ellipse that is most like a mask.

The middle is ``x`` and ``y`` (the editor draws it so; its reference says a corner), in percent of the photo's width and
height, as ``radiusX`` and ``radiusY`` are. Then it is turned about its middle, clockwise, in degrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from persam.errors import PersamError
from persam.geometry import Size

_SHIFT = 4  # bits of a pixel's fraction, with which it is drawn
_FARTHEST = 1_000  # percent; nobody draws so far outside a photo


def ellipse_mask(value: Mapping[str, Any], size: Size) -> np.ndarray:
    """What an ellipse covers of a photo: (H, W) bool.

    Raises:
        PersamError: nothing of the photo.
        ValueError, TypeError, LookupError: a number is missing, or is none.
    """
    height, width = size
    percent = np.array([float(value[each]) for each in ("x", "y", "radiusX", "radiusY")])
    angle = float(value.get("rotation") or 0)
    if not (np.isfinite(angle) and (np.abs(percent) <= _FARTHEST).all() and (percent[2:] > 0).all()):
        raise ValueError(value)
    # Half a pixel less: from edges to the middles of pixels, and OpenCV fills those that the outline touches, too.
    pixels = percent / 100 * (width, height, width, height) - 0.5
    pixels[2:] = pixels[2:].clip(0)
    x, y, across, down = np.round(pixels * (1 << _SHIFT)).astype(int).tolist()
    mask = np.zeros(size, np.uint8)
    cv2.ellipse(mask, (x, y), (across, down), angle % 360, 0, 360, 1, cv2.FILLED, cv2.LINE_8, _SHIFT)
    if not mask.any():
        raise PersamError("An ellipse has no pixels of the photo in it; draw it again.")
    return mask.astype(bool)


def ellipse_around(mask: np.ndarray) -> dict[str, float]:
    """The ellipse with a mask's middle and spread, of which that of an ellipse is the same; the mask has a pixel."""
    height, width = mask.shape
    about = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    area = about["m00"]
    spread = np.array([[about["mu20"], about["mu11"]], [about["mu11"], about["mu02"]]]) / area
    spread += np.eye(2) / 12  # a pixel is a square, not a point
    (smaller, larger), axes = np.linalg.eigh(spread)
    along, across = 2 * np.sqrt(larger), 2 * np.sqrt(smaller)
    return {
        "x": (about["m10"] / area + 0.5) / width * 100,
        "y": (about["m01"] / area + 0.5) / height * 100,
        "radiusX": float(along) / width * 100,
        "radiusY": float(across) / height * 100,
        "rotation": float(np.degrees(np.arctan2(axes[1, 1], axes[0, 1])) % 180),
    }
