"""Metrics, one truth for the whole project.

Pure functions are in `persam.metrics.functional`. Here is a class for each of them, a `torchmetrics.Metric` with
update, compute and reset, whose state may be merged over processes:

>>> import numpy as np
>>> from persam.metrics import ImageIoU
>>> metric = ImageIoU()
>>> metric.update(np.array([[1, 1]]), np.array([[1, 0]]))
>>> metric.compute()
tensor(0.5000, dtype=torch.float64)

Intervals, paired tests and the pairing of names are no metrics and are functions only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from persam.errors import PersamError

if TYPE_CHECKING:
    from persam.metrics.boundary_f import BoundaryF
    from persam.metrics.boundary_iou import BoundaryIoU, ObjectBoundaryIoU
    from persam.metrics.class_iou import ClassIoU, ForegroundBackgroundIoU
    from persam.metrics.davis import DavisJF
    from persam.metrics.image_iou import ImageIoU
    from persam.metrics.object_iou import ObjectAccuracy, ObjectIoU
    from persam.metrics.pixel_accuracy import PixelAccuracy
    from persam.metrics.presence import PresenceAUROC, PresenceFPR, PresenceThreshold

__all__ = [
    "BoundaryF",
    "BoundaryIoU",
    "ClassIoU",
    "DavisJF",
    "ForegroundBackgroundIoU",
    "ImageIoU",
    "ObjectAccuracy",
    "ObjectBoundaryIoU",
    "ObjectIoU",
    "PixelAccuracy",
    "PresenceAUROC",
    "PresenceFPR",
    "PresenceThreshold",
]

# Loaded on first use: the functions need neither torchmetrics nor PyTorch.
_HOME = {
    "BoundaryF": "boundary_f",
    "BoundaryIoU": "boundary_iou",
    "ClassIoU": "class_iou",
    "DavisJF": "davis",
    "ForegroundBackgroundIoU": "class_iou",
    "ImageIoU": "image_iou",
    "ObjectAccuracy": "object_iou",
    "ObjectBoundaryIoU": "boundary_iou",
    "ObjectIoU": "object_iou",
    "PixelAccuracy": "pixel_accuracy",
    "PresenceAUROC": "presence",
    "PresenceFPR": "presence",
    "PresenceThreshold": "presence",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "torchmetrics":
            raise
        raise PersamError(
            f"The metric class {name} needs torchmetrics; install it with pip install persam[bench]."
        ) from None


def __dir__() -> list[str]:
    return sorted(__all__)
