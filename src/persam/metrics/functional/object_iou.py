"""The published PerSeg protocol: intersections and unions are pooled over an object's photos, then objects averaged.

In each object, large masks weigh more than small ones; over objects, all weigh the same. Source: the published
evaluation of PerSAM (arXiv 2305.03048), tables 1 and 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from persam.metrics.functional.overlap import Counts, Measured, pooled_groups

_TINY = 1e-10  # the published code's guard against 0/0: an object without a pixel in either mask has IoU 0


def pooled_iou(counts: Counts) -> float:
    """ΣI / (ΣU + 1e-10) of one object's counts, summed over its images; 0 if both masks are empty in all of them.

    >>> round(pooled_iou(Counts(1, 2, 1, 9) + Counts(0, 0, 2, 9)), 6)
    0.25
    """
    return counts.intersection / (counts.union + _TINY)


def pooled_accuracy(counts: Counts) -> float:
    """ΣI / (Σtarget + 1e-10) of one object's counts: the share of the true pixels that were found.

    >>> round(pooled_accuracy(Counts(1, 9, 2, 9)), 6)
    0.5
    """
    return counts.intersection / (counts.target + _TINY)


def object_iou(groups: Mapping[str, Iterable[Measured]]) -> dict[str, float]:
    """IoU of every object, pooled over its images: ΣI / (ΣU + 1e-10), in [0, 1].

    Args:
        groups: images by object: `Counts`, or (prediction, target[, ignore]) as `count` takes them. A missing
            prediction belongs in, as None: an object that was never predicted has IoU 0 and is counted.

    Raises:
        ValueError: There is no object, or `count` refuses a mask.

    >>> ious = object_iou({"mug": [Counts(1, 2, 1, 9), Counts(2, 2, 3, 9)], "cat": [Counts(0, 0, 4, 9)]})
    >>> {name: round(value, 6) for name, value in ious.items()}
    {'mug': 0.6, 'cat': 0.0}
    """
    return {name: pooled_iou(counts) for name, counts in pooled_groups(groups).items()}


def object_accuracy(groups: Mapping[str, Iterable[Measured]]) -> dict[str, float]:
    """Share of every object's true pixels that were found: ΣI / (Σtarget + 1e-10), in [0, 1].

    Takes and raises what `object_iou` does.

    >>> accuracies = object_accuracy({"mug": [Counts(1, 2, 1, 9), Counts(2, 2, 3, 9)]})
    >>> round(accuracies["mug"], 6)
    0.75
    """
    return {name: pooled_accuracy(counts) for name, counts in pooled_groups(groups).items()}


def mean_object_iou(groups: Mapping[str, Iterable[Measured]]) -> float:
    """PerSeg's mIoU: the mean over objects of `object_iou`, whose arguments and errors these are.

    >>> round(mean_object_iou({"mug": [Counts(3, 4, 4, 9)], "cat": [Counts(0, 0, 4, 9)]}), 6)
    0.3
    """
    values = object_iou(groups).values()
    return sum(values) / len(values)


def mean_object_accuracy(groups: Mapping[str, Iterable[Measured]]) -> float:
    """PerSeg's mAcc: the mean over objects of `object_accuracy`, whose arguments and errors these are.

    >>> round(mean_object_accuracy({"mug": [Counts(3, 4, 4, 9)], "cat": [Counts(0, 0, 4, 9)]}), 6)
    0.375
    """
    values = object_accuracy(groups).values()
    return sum(values) / len(values)
