"""Motion from one frame to the next: dense optical flow of small pictures, and what it carries along.

OpenCV's DIS (Kroeger et al., 2016): a few milliseconds a frame.
"""

from __future__ import annotations

import cv2
import numpy as np

SMALLEST = 32  # pixels of a side, below which DIS stops, or takes the whole process with it


class Motion:
    """The motion between two frames.

    Args:
        before: the frame before, small, (h, w, 3) uint8 RGB.
        now: this frame, likewise.
    """

    def __init__(self, before: np.ndarray, now: np.ndarray) -> None:
        height, width = now.shape[:2]
        grey_before, grey_now = (_large_enough(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY)) for each in (before, now))
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        # From now to before: where every pixel of this frame was.
        back = flow.calc(grey_now, grey_before, None)  # type: ignore[call-overload]  # as its page has it
        self.back = back[:height, :width]
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        self._x, self._y = columns + self.back[..., 0], rows + self.back[..., 1]

    def carry(self, values: np.ndarray, beside: float) -> np.ndarray:
        """Values of every pixel of the frame before, (h, w) float32, where they are now; `beside` is outside of it."""
        return cv2.remap(values, self._x, self._y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=beside)


def _large_enough(grey: np.ndarray) -> np.ndarray:
    """A picture (h, w) whose last row and column are repeated until it has `SMALLEST` of them."""
    below, right = (max(0, SMALLEST - side) for side in grey.shape)
    return cv2.copyMakeBorder(grey, 0, below, 0, right, cv2.BORDER_REPLICATE) if below or right else grey
