"""Boundary IoU, as classes: the mean over images, and pooled by object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from persam.metrics.base import ImageMean
from persam.metrics.functional.boundary_iou import DILATION, boundary_counts, boundary_iou
from persam.metrics.functional.masks import ArrayLike
from persam.metrics.functional.overlap import Counts
from persam.metrics.object_iou import ObjectIoU


class BoundaryIoU(ImageMean):
    """Mean over images of `boundary_iou`.

    `update` takes one image as `ImageIoU` does; masks must have their own size.

    Args:
        dilation: width of the boundary, as a share of the diagonal.
        options: of `torchmetrics.Metric`.

    >>> import torch
    >>> metric = BoundaryIoU()
    >>> metric.update(torch.ones(4, 2), torch.ones(4, 2))
    >>> metric.update(torch.ones(4, 2), torch.zeros(4, 2))
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    def __init__(self, dilation: float = DILATION, **options: Any) -> None:
        super().__init__(dilation, **options)
        self.dilation = dilation

    def _figure(self, prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None) -> float:
        return boundary_iou(prediction, target, ignore, self.dilation)


class ObjectBoundaryIoU(ObjectIoU):
    """Boundary IoU as PerSeg pools IoU: boundaries are counted over each object's images, then objects averaged.

    Made and updated as `ObjectIoU`; `dilation` is that of `BoundaryIoU`.

    >>> import torch
    >>> metric = ObjectBoundaryIoU(["mug", "cat"])
    >>> metric.update(torch.ones(4, 2), torch.ones(4, 2), "mug")
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    def __init__(self, names: Sequence[str], dilation: float = DILATION, **options: Any) -> None:
        super().__init__(names, f"boundaries {dilation}", **options)
        self.dilation = dilation

    def _count(self, prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None) -> Counts:
        return boundary_counts(prediction, target, ignore, self.dilation)
