"""Mean IoU over images: each photo counts the same, however large its object."""

from __future__ import annotations

from collections.abc import Iterable

from persam.metrics.functional.overlap import Measured, counted


def mean_image_iou(images: Iterable[Measured]) -> float:
    """Mean over images of their IoU, in [0, 1]; an image with nothing to find and nothing found has IoU 1.

    Args:
        images: `Counts`, or (prediction, target) or (prediction, target, ignore) as `count` takes them.

    Raises:
        ValueError: There is no image, or `count` refuses one.

    >>> from persam.metrics.functional.overlap import Counts
    >>> mean_image_iou([Counts(1, 2, 1, 9), Counts(0, 0, 0, 9)])
    0.75
    """
    ious = [counted(image).iou for image in images]
    if not ious:
        raise ValueError("There is no image to take a mean over; give at least one.")
    return sum(ious) / len(ious)
