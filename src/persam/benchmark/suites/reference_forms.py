"""References as people give them, made from a true mask: drawn too small or too large, a box, a scribble, clicks."""

from __future__ import annotations

import zlib
from typing import Any

import cv2
import numpy as np

from persam.errors import PersamError
from persam.segmentation import mask_box

FORMS = ("mask", "box", "scribble", "3 points", "1 point")
SEED = 0
_STROKE = 0.06  # width of a scribble, as a share of the object's size (square root of its area)


def resized_mask(mask: np.ndarray, area: float) -> np.ndarray:
    """Shrink or enlarge a mask evenly from its edge until it has a given area.

    Pixels are taken in the order of their distance to the edge, the innermost first, so that the masks of rising areas
    contain one another; among equal distances the upper left ones come first. The photo's border is no edge: a mask
    that is cut by it shrinks from its other sides alone.

    Args:
        mask: (H, W) bool, neither empty nor everything.
        area: of the result as a share of the mask's own area, above 0; 1 gives the mask itself.

    Returns:
        (H, W) bool with round(area * pixels) pixels, at least one, and at most all but one.

    Raises:
        ValueError: the mask is empty or everything, or the area is not above 0.
        PersamError: SciPy is not installed.

    >>> resized_mask(np.array([[0, 1, 1, 1, 1, 0]], bool), 0.5).astype(int)
    array([[0, 0, 1, 1, 0, 0]])
    """
    if not mask.any() or mask.all():
        raise ValueError("a mask of nothing or of everything has no edge to be moved")
    if not area > 0:
        raise ValueError(f"the area must be above 0, not {area}")
    count = min(max(1, round(area * int(mask.sum()))), mask.size - 1)
    order = np.argsort(-_depth(mask), axis=None, kind="stable")
    result = np.zeros(mask.size, bool)
    result[order[:count]] = True
    return result.reshape(mask.shape)


def shown_as(form: str, mask: np.ndarray, seed: int = SEED) -> dict[str, Any]:
    """Show the object of a true mask in another form: arguments for `Reference.read` beside the photo.

    ``box`` is tight. Clicks are drawn at random from the deeper half of the object, where people click; a scribble is
    one stroke between two such places, cut where it leaves the object. The same mask and seed give the same form.

    Args:
        form: one of `FORMS`.
        mask: (H, W) bool, not empty.
        seed: of the random places.

    Raises:
        ValueError: no such form.
        PersamError: SciPy is not installed.
    """
    if form == "mask":
        return {"mask": mask}
    if form == "box":
        return {"box": mask_box(mask)}
    rng = np.random.default_rng([seed, zlib.crc32(np.packbits(mask).tobytes())])
    if form == "scribble":
        return {"scribble": _scribble(mask, _clicks(mask, 2, rng))}
    if form in {"3 points", "1 point"}:
        return {"points": _clicks(mask, int(form[0]), rng)}
    raise ValueError(f"no form {form}; there are {', '.join(FORMS)}")


def _clicks(mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `count` different places (n, 2) as (x, y), from the half of the object that is farthest from its edge."""
    inside = _depth(mask)[mask]
    y, x = np.nonzero(mask)
    deep = np.flatnonzero(inside >= np.median(inside))
    chosen = rng.choice(deep, min(count, len(deep)), replace=False)
    return np.stack([x[chosen], y[chosen]], axis=1)


def _scribble(mask: np.ndarray, ends: np.ndarray) -> np.ndarray:
    width = max(1, round(_STROKE * float(mask.sum()) ** 0.5))
    stroke = np.zeros(mask.shape, np.uint8)
    first, last = (tuple(int(value) for value in end) for end in (ends[0], ends[-1]))
    cv2.line(stroke, first, last, color=1, thickness=width)
    return stroke.astype(bool) & mask


def _depth(mask: np.ndarray) -> np.ndarray:
    """Distance to the edge in pixels, (H, W) float64: positive on the object, negative beside it.

    Equal distances must be equal to the last bit, or ties fall otherwise in every run; OpenCV's are not: they depend
    on where the array lies in memory.
    """
    try:
        from scipy.ndimage import distance_transform_edt
    except ImportError:
        raise PersamError("Rough references need SciPy; install it with pip install 'persam[bench]'.") from None
    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    return np.where(mask, inside, -outside)
