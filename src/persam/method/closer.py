"""A closer look: what is small in the photo has few cells of the encoder; a window of the photo has all of them.

What was found small is looked for again in a window around the peak of the confidence map: the whole method once more.
Of the two answers the one with the higher score counts, for the score compares what was found with the reference, which
the decoder's predicted IoU does not.  So a model for which nothing was fitted has no closer look.

The window's size goes by the photo, not by what was found: cut tightly around a thing it has no surroundings left, and
what was found may be no more than a part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from persam.geometry import Size
from persam.instance import CloserLook, Instance, PixelBox
from persam.method import refine
from persam.method.segment import find
from persam.models.base import EncodedImage, PromptableModel

if TYPE_CHECKING:
    from persam.concept import Concept

WINDOW = 1 / 3  # side of the window, as a share of the photo's longest side
WORTHWHILE = 2 / 3  # a window with a larger share shows hardly more than the photo did
SMALL = 0.02  # share of the photo that a small thing covers at most, at both looks
ALREADY = 0.5  # share of the smaller of two masks that lies in the other, from which on they are one object


def detail_side(canvas: Size) -> int:
    """Pixels of a photo's longest side of which a window has as many as the model or the last refinement can use."""
    return math.ceil(max(*canvas, refine.SIDE) / WINDOW)


def closer_look(
    model: PromptableModel, encode: Callable[[np.ndarray], EncodedImage], image: EncodedImage, concept: Concept
) -> Callable[[Instance, Sequence[Instance]], Instance]:
    """What looks at an object again that `find` has found, and returns the better of the two answers.

    Args:
        model: the promptable model.
        encode: encodes a part of the photo, (h, w, 3) uint8 RGB, as the photo was.
        image: the photo, with its `detail`; without, everything stays as it is.
        concept: what is looked for.
    """

    def again(one: Instance, earlier: Sequence[Instance]) -> Instance:
        wanted = {"off": False, "small": one.area <= SMALL, "always": True}[concept.settings.closer_look]
        if image.detail is None or concept.fitted is None or not wanted:
            return one
        window = window_around(one.points()[0], image.detail.shape[:2], image.frame.photo, max(image.frame.canvas))
        if window is None:
            return one
        seen = encode(_cut(image.detail, window, image.frame.photo))
        found = find(model, seen.of_photo((window[3] - window[1], window[2] - window[0])), concept)[0]
        if found.score <= one.score or not 0 < found.mask.sum() <= SMALL * one.mask.size:
            return one
        mask = np.zeros(image.frame.photo, bool)
        mask[window[1] : window[3], window[0] : window[2]] = found.mask
        if any(_share_in_common(mask, other.mask) >= ALREADY for other in earlier):  # the peak of what is beside it
            return one
        better = found.score, found.similarity, found.predicted_iou
        return Instance(mask, *better, one.prior, one.steps, CloserLook(window, found))

    return again


def window_around(place: np.ndarray, detail: Size, photo: Size, canvas: int) -> PixelBox | None:
    """The window around a place (x, y) of the photo, as (x0, y0, x1, y1) in its pixels, moved to lie within it.

    Args:
        place: in pixels of the photo.
        detail: size (h, w) of the copy of the photo that there is.
        photo: size (H, W) of the photo.
        canvas: side of the model's input; a window has no fewer pixels of the copy, lest it be enlarged.

    Returns:
        None where the copy has so few pixels that a window would show hardly more than the photo did.
    """
    longest = max(detail)
    side = max(WINDOW * longest, canvas)
    if side > WORTHWHILE * longest:
        return None
    side = side * max(photo) / longest
    corners = []
    for middle, length in zip(place, photo[::-1], strict=True):
        size = min(length, round(side))
        start = min(max(0, round(float(middle) - size / 2)), length - size)
        corners.append((start, start + size))
    (x0, x1), (y0, y1) = corners
    return x0, y0, x1, y1


def _cut(detail: np.ndarray, window: PixelBox, photo: Size) -> np.ndarray:
    """The pixels of a window of the photo in its copy."""
    down, right = detail.shape[0] / photo[0], detail.shape[1] / photo[1]
    x0, x1 = (round(x * right) for x in window[::2])
    y0, y1 = (round(y * down) for y in window[1::2])
    return np.ascontiguousarray(detail[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)])


def _share_in_common(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum()) / max(1, min(int(one.sum()), int(other.sum())))
