"""A window of a frame: a part that is looked at as a photo of its own, given as shares so that it fits any copy."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from persam.instance import mask_box

WIDER = 2.2  # a window's sides over those of the object's box
CLOSER = 1.25  # the same of a second, closer look
AROUND = 0.35  # what is added to a short side, as a share of what is added to the long one
SMALLEST = 0.25  # of a window's longest side, as a share of the frame's
LARGEST = 0.8  # share of both sides from which on a window is all of the frame


@dataclass(frozen=True)
class Window:
    """A part of a frame, in shares of its width and height: (x0, y0) inclusive, (x1, y1) exclusive."""

    x0: float
    y0: float
    x1: float
    y1: float

    def of(self, values: np.ndarray) -> np.ndarray:
        """The part of an array (H, W, ...) of the frame, or of a copy of another size: a view."""
        rows, columns = self._slices((values.shape[0], values.shape[1]))
        return values[rows, columns]

    def into(self, values: np.ndarray, size: tuple[int, int], beside: float) -> np.ndarray:
        """Values (h, w) float32 of the window where they belong in all of the frame (H, W); `beside` elsewhere."""
        whole = np.full(size, beside, np.float32)
        rows, columns = self._slices(size)
        part = whole[rows, columns]
        shrinks = part.shape[0] < values.shape[0]
        part[:] = cv2.resize(values, part.shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        return whole

    def points_in(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Of points (N, 2), (x, y) in pixels of a frame (H, W), those that the window shows, in pixels of `of` it."""
        rows, columns = self._slices(size)
        start, stop = np.array([columns.start, rows.start]), np.array([columns.stop, rows.stop])
        return points[((points > start - 0.5) & (points < stop - 0.5)).all(1)] - start

    def _slices(self, size: tuple[int, int]) -> tuple[slice, slice]:
        height, width = size
        return (
            slice(round(self.y0 * height), max(round(self.y1 * height), round(self.y0 * height) + 1)),
            slice(round(self.x0 * width), max(round(self.x1 * width), round(self.x0 * width) + 1)),
        )


WHOLE = Window(0.0, 0.0, 1.0, 1.0)


def window_around(mask: np.ndarray, frame: np.ndarray, wider: float = WIDER) -> Window:
    """The window in which an object is looked at: (h, w) bool, at least one pixel of it; `frame` is (H, W, 3).

    It is wider than the object, so that it holds it after it moved, and has something around it; and within the frame.
    """
    box = mask_box(mask)
    assert box is not None
    height, width = frame.shape[:2]
    scale = np.array([width / mask.shape[1], height / mask.shape[0]])
    low, high = np.array(box[:2]) * scale, np.array(box[2:]) * scale
    least = SMALLEST * max(height, width)
    around = AROUND * (wider - 1) * (high - low).max()  # also beside what is long and thin
    sides = np.maximum((high - low) * wider, (high - low) + around)
    sides = np.minimum(np.maximum(sides, np.minimum(least, (width, height))), (width, height))
    if (sides >= LARGEST * np.array([width, height])).all():
        return WHOLE
    start = np.clip((low + high - sides) / 2, 0, (width, height) - sides)
    x0, y0 = (float(value) for value in start / (width, height))
    x1, y1 = (float(value) for value in (start + sides) / (width, height))
    return Window(x0, y0, x1, y1)
