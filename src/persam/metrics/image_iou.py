"""Mean IoU over images, as a class."""

from __future__ import annotations

from persam.metrics.base import ImageMean
from persam.metrics.functional.masks import ArrayLike
from persam.metrics.functional.overlap import iou


class ImageIoU(ImageMean):
    """Mean over images of their IoU, as `mean_image_iou`: each photo counts the same.

    `update` takes one image: prediction (None if missing), target and, if some pixels do not count, ignore. Each is
    (H, W), NumPy or torch; bool, or all 0 and 1, or all 0 and 255. It raises ValueError if sizes differ or one is no
    mask.

    >>> import torch
    >>> metric = ImageIoU()
    >>> metric.update(torch.tensor([[1, 1]]), torch.tensor([[1, 0]]))
    >>> metric.update(torch.tensor([[0, 0]]), torch.tensor([[0, 0]]))
    >>> metric.compute()
    tensor(0.7500, dtype=torch.float64)
    """

    def _figure(self, prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None) -> float:
        return iou(prediction, target, ignore)
