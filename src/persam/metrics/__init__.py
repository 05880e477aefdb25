"""Metrics, one truth for the whole project.

Each is a pure function of NumPy arrays and torch tensors, and beside it a class, a `torchmetrics.Metric` with update,
compute and reset, whose state may be merged over processes:

>>> import numpy as np
>>> from persam.metrics import ImageIoU, iou
>>> prediction, target = np.array([[1, 1]]), np.array([[1, 0]])
>>> iou(prediction, target)
0.5
>>> metric = ImageIoU()
>>> metric.update(prediction, target)
>>> metric.compute()
tensor(0.5000, dtype=torch.float64)

Intervals, paired tests and the pairing of names are no metrics and are functions only. Functions need neither
torchmetrics nor PyTorch; a class loads both when one is made.
"""

# ruff: noqa: F403, F405 (the names are listed once, below; who they come from is no concern of the caller)

from persam.metrics.boundaries import *
from persam.metrics.counts import *
from persam.metrics.davis import *
from persam.metrics.masks import *
from persam.metrics.overlap import *
from persam.metrics.presence import *
from persam.metrics.ranking import *
from persam.metrics.statistics import *

__all__ = [
    "RESAMPLES",
    "ArrayLike",
    "BoundaryF",
    "BoundaryIoU",
    "ClassIoU",
    "Counts",
    "DavisJF",
    "DavisScore",
    "ForegroundBackgroundIoU",
    "ImageIoU",
    "Interval",
    "Measured",
    "ObjectAccuracy",
    "ObjectBoundaryIoU",
    "ObjectIoU",
    "PairedTest",
    "Pairing",
    "PixelAccuracy",
    "PresenceAUROC",
    "PresenceBrier",
    "PresenceCalibrationError",
    "PresenceFPR",
    "PresenceThreshold",
    "ReliabilityBin",
    "Roc",
    "SequenceStatistics",
    "Threshold",
    "as_mask",
    "as_masks",
    "auroc",
    "average_precision",
    "best_threshold",
    "bootstrap_figure",
    "bootstrap_mean",
    "bootstrap_objects",
    "boundary",
    "boundary_counts",
    "boundary_f",
    "boundary_iou",
    "boundary_width",
    "brier_score",
    "calibration_error",
    "class_iou",
    "contour",
    "count",
    "counted",
    "davis_score",
    "fb_iou",
    "fpr_at_tpr",
    "iou",
    "mean_class_iou",
    "mean_image_iou",
    "mean_object_accuracy",
    "mean_object_iou",
    "object_accuracy",
    "object_iou",
    "pair_names",
    "paired_test",
    "pixel_accuracy",
    "pooled",
    "pooled_accuracy",
    "pooled_groups",
    "pooled_iou",
    "precision_at",
    "r_precision",
    "reliability",
    "roc",
    "sequence_statistics",
]
