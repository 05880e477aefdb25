"""Metrics as pure functions of NumPy arrays and torch tensors; one file an idea, none of them needs torchmetrics."""

from persam.metrics.functional.boundary_f import boundary_f, contour
from persam.metrics.functional.boundary_iou import boundary, boundary_counts, boundary_iou, boundary_width
from persam.metrics.functional.class_iou import class_iou, fb_iou, mean_class_iou
from persam.metrics.functional.davis import DavisScore, SequenceStatistics, davis_score, sequence_statistics
from persam.metrics.functional.image_iou import mean_image_iou
from persam.metrics.functional.masks import as_mask, as_masks
from persam.metrics.functional.object_iou import (
    mean_object_accuracy,
    mean_object_iou,
    object_accuracy,
    object_iou,
    pooled_accuracy,
    pooled_iou,
)
from persam.metrics.functional.overlap import Counts, count, counted, iou, pixel_accuracy, pooled, pooled_groups
from persam.metrics.functional.pairing import Pairing, pair_names
from persam.metrics.functional.presence import Roc, Threshold, auroc, best_threshold, fpr_at_tpr, roc
from persam.metrics.functional.statistics import Interval, PairedTest, bootstrap_mean, bootstrap_objects, paired_test

__all__ = [
    "Counts",
    "DavisScore",
    "Interval",
    "PairedTest",
    "Pairing",
    "Roc",
    "SequenceStatistics",
    "Threshold",
    "as_mask",
    "as_masks",
    "auroc",
    "best_threshold",
    "bootstrap_mean",
    "bootstrap_objects",
    "boundary",
    "boundary_counts",
    "boundary_f",
    "boundary_iou",
    "boundary_width",
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
    "roc",
    "sequence_statistics",
]
