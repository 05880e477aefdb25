"""The published PerSeg protocol, as classes."""

from __future__ import annotations

from torch import Tensor

from persam.metrics.base import GroupedCounts
from persam.metrics.functional.object_iou import mean_object_accuracy, mean_object_iou


class ObjectIoU(GroupedCounts):
    """PerSeg's mIoU: IoU pooled over each object's images, then the mean over objects, as `mean_object_iou`.

    Made with the names of all objects: one of which no image came has IoU 0 and counts. `update` takes one image as
    `ImageIoU` does, with the object's name behind the target.

    >>> import torch
    >>> metric = ObjectIoU(["mug", "cat"])
    >>> metric.update(torch.tensor([[1, 1]]), torch.tensor([[1, 0]]), "mug")
    >>> metric.update(None, torch.tensor([[1, 0]]), "cat")
    >>> metric.compute()
    tensor(0.2500, dtype=torch.float64)
    """

    def compute(self) -> Tensor:
        """Give the mean over objects, () float64."""
        return self._number(mean_object_iou(self._groups()))


class ObjectAccuracy(GroupedCounts):
    """PerSeg's mAcc: the share of each object's true pixels that was found, then the mean, as `mean_object_accuracy`.

    Made and updated as `ObjectIoU`.

    >>> import torch
    >>> metric = ObjectAccuracy(["mug"])
    >>> metric.update(torch.tensor([[1, 0]]), torch.tensor([[1, 1]]), "mug")
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    def compute(self) -> Tensor:
        """Give the mean over objects, () float64."""
        return self._number(mean_object_accuracy(self._groups()))
