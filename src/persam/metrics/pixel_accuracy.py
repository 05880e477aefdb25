"""Pixel accuracy over images, as a class."""

from __future__ import annotations

from persam.metrics.base import ImageMean
from persam.metrics.functional.masks import ArrayLike
from persam.metrics.functional.overlap import pixel_accuracy


class PixelAccuracy(ImageMean):
    """Mean over images of the share of pixels on which the masks agree, `pixel_accuracy`.

    `update` takes one image as `ImageIoU` does.

    >>> import torch
    >>> metric = PixelAccuracy()
    >>> metric.update(torch.tensor([[1, 1, 0, 0]]), torch.tensor([[1, 0, 0, 0]]))
    >>> metric.compute()
    tensor(0.7500, dtype=torch.float64)
    """

    def _figure(self, prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None) -> float:
        return pixel_accuracy(prediction, target, ignore)
