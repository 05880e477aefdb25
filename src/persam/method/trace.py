"""What happened on the way to one mask, for those who want to look."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from persam.geometry import Frame


@dataclass(frozen=True)
class Step:
    """One decoder pass.

    Attributes:
        name: what the pass was for.
        logits: of the masks that it gave, (M, h, w) over the canvas.
        scores: their predicted IoU, (M,).
        best: index of the one taken; -1 for the weighted sum of a tuned concept.
        taken: logits of the mask that goes on, (h, w).
        box: box prompt of the pass, canvas pixels (x0, y0, x1, y1), or None.
        dropped: the pass came out empty or ran away, and the one before it counts.
    """

    name: str
    logits: Tensor
    scores: Tensor
    best: int
    taken: Tensor
    box: np.ndarray | None = None
    dropped: bool = False


@dataclass(frozen=True)
class Trace:
    """The way from the confidence map to the mask.

    Attributes:
        frame: geometry of the photo.
        confidence: the map on the canvas, (h, w).
        points, labels: the location prior on the canvas, (N, 2) and (N,).
        steps: the decoder's passes.
        guidance: target-guided attention on the feature grid, (rows, columns), or None.
    """

    frame: Frame
    confidence: Tensor
    points: np.ndarray
    labels: np.ndarray
    steps: tuple[Step, ...] = field(default_factory=tuple)
    guidance: Tensor | None = None

    def confidence_map(self) -> np.ndarray:
        """The confidence map at the photo's size, (H, W) float32."""
        return self.frame.to_photo_size(self.confidence[None, None])[0, 0].cpu().numpy()

    def masks(self) -> list[np.ndarray]:
        """The mask after each step, (H, W) bool."""
        return [(self.frame.to_photo_size(s.taken[None, None])[0, 0] > 0).cpu().numpy() for s in self.steps]
