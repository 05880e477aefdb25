"""The few-shot protocol of HSNet (arXiv 2104.01538), used on COCO-20i, FSS-1000, LVIS-92i and the part sets.

Intersections and unions of foreground and of background are summed per class over all episodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from persam.metrics.functional.overlap import Measured, pooled, pooled_groups


def class_iou(groups: Mapping[str, Iterable[Measured]]) -> dict[str, float]:
    """IoU of every class, ΣI / max(ΣU, 1) over all its episodes, in [0, 1].

    Args:
        groups: images by class: `Counts`, or (prediction, target[, ignore]) as `count` takes them.

    Raises:
        ValueError: There is no class, or `count` refuses a mask.

    >>> from persam.metrics.functional.overlap import Counts
    >>> class_iou({"dog": [Counts(1, 2, 1, 9), Counts(2, 2, 3, 9)], "owl": [Counts(0, 0, 4, 9)]})
    {'dog': 0.6, 'owl': 0.0}
    """
    return {name: counts.intersection / max(counts.union, 1) for name, counts in pooled_groups(groups).items()}


def mean_class_iou(groups: Mapping[str, Iterable[Measured]]) -> float:
    """The mIoU of HSNet's protocol: the mean over classes of `class_iou`, whose arguments and errors these are.

    It differs from PerSeg's `mean_object_iou` in the guard against 0/0 only, and in what a group is.

    >>> from persam.metrics.functional.overlap import Counts
    >>> mean_class_iou({"dog": [Counts(3, 4, 4, 9)], "owl": [Counts(0, 0, 4, 9)]})
    0.3
    """
    values = class_iou(groups).values()
    return sum(values) / len(values)


def fb_iou(groups: Mapping[str, Iterable[Measured]]) -> float:
    """FB-IoU: the mean of the foreground's and the background's IoU, each pooled over all episodes of all classes.

    (Σ I_fg / Σ U_fg + Σ I_bg / Σ U_bg) / 2, as HSNet's logger has it: classes are summed, not averaged. A side that
    has no pixel in any mask, 0/0 there, counts 1: there was nothing to find and nothing found.

    Takes and raises what `class_iou` does.

    >>> from persam.metrics.functional.overlap import Counts
    >>> fb_iou({"dog": [Counts(1, 2, 1, 4)], "owl": [Counts(1, 1, 2, 4)]})
    0.5833333333333333
    """
    counts = pooled(pooled_groups(groups).values())
    return (counts.iou + counts.background.iou) / 2
