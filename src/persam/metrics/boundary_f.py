"""DAVIS' F over images, as a class."""

from __future__ import annotations

from typing import Any

from persam.metrics.base import ImageMean
from persam.metrics.functional.boundary_f import BOUND, boundary_f
from persam.metrics.functional.masks import ArrayLike


class BoundaryF(ImageMean):
    """Mean over images of DAVIS' F, `boundary_f`; for clips, with recall and decay, see `DavisJF`.

    `update` takes one image as `ImageIoU` does.

    Args:
        bound: how far off a contour may be: below 1 as a share of the diagonal, else in pixels.
        options: of `torchmetrics.Metric`.

    >>> import torch
    >>> metric = BoundaryF()
    >>> mask = torch.zeros(9, 9)
    >>> mask[3:6, 3:6] = 1
    >>> metric.update(mask, mask)
    >>> metric.update(mask, torch.zeros(9, 9))
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    def __init__(self, bound: float = BOUND, **options: Any) -> None:
        super().__init__(bound, **options)
        self.bound = bound

    def _figure(self, prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None) -> float:
        return boundary_f(prediction, target, ignore, self.bound)
