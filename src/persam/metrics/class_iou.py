"""The few-shot protocol of HSNet, as classes."""

from __future__ import annotations

from torch import Tensor

from persam.metrics.base import GroupedCounts
from persam.metrics.functional.class_iou import fb_iou, mean_class_iou


class ClassIoU(GroupedCounts):
    """HSNet's mIoU: IoU pooled over each class's episodes, then the mean over classes, as `mean_class_iou`.

    Made with the names of all classes. `update` takes one image as `ImageIoU` does, with the class behind the target.

    >>> import torch
    >>> metric = ClassIoU(["dog", "owl"])
    >>> metric.update(torch.tensor([[1, 1]]), torch.tensor([[1, 0]]), "dog")
    >>> metric.update(torch.tensor([[1, 0]]), torch.tensor([[1, 0]]), "owl")
    >>> metric.compute()
    tensor(0.7500, dtype=torch.float64)
    """

    def compute(self) -> Tensor:
        """Give the mean over classes, () float64."""
        return self._number(mean_class_iou(self._groups()))


class ForegroundBackgroundIoU(GroupedCounts):
    """FB-IoU: mean of the foreground's and the background's IoU, each pooled over all episodes, as `fb_iou`.

    Made and updated as `ClassIoU`.

    >>> import torch
    >>> metric = ForegroundBackgroundIoU(["dog"])
    >>> metric.update(torch.tensor([[1, 1, 0, 0]]), torch.tensor([[1, 0, 0, 0]]), "dog")
    >>> metric.compute()
    tensor(0.5833, dtype=torch.float64)
    """

    def compute(self) -> Tensor:
        """Give FB-IoU, () float64."""
        return self._number(fb_iou(self._groups()))
