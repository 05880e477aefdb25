"""Counts of the pixels of two masks, from which every overlap follows, and their sums over images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from persam.metrics.masks import ArrayLike, as_masks


@dataclass(frozen=True)
class Counts:
    """Pixels of a predicted and a true mask; they add up over images.

    Attributes:
        intersection: in both.
        predicted: in the prediction.
        target: in the truth.
        total: that count at all (the image without ignored pixels).

    >>> one = Counts(intersection=2, predicted=3, target=4, total=10)
    >>> one.union, one.iou, one.accuracy
    (5, 0.4, 0.7)
    >>> one + one
    Counts(intersection=4, predicted=6, target=8, total=20)
    >>> one.background
    Counts(intersection=5, predicted=7, target=6, total=10)
    """

    intersection: int
    predicted: int
    target: int
    total: int

    @property
    def union(self) -> int:
        """In either."""
        return self.predicted + self.target - self.intersection

    @property
    def iou(self) -> float:
        """|A and B| / |A or B|, in [0, 1]; 1 if both are empty."""
        return self.intersection / self.union if self.union else 1.0

    @property
    def accuracy(self) -> float:
        """Share of pixels on which the masks agree, in [0, 1]; 1 if no pixel counts."""
        return (self.total - self.union + self.intersection) / self.total if self.total else 1.0

    @property
    def background(self) -> Counts:
        """The same two masks turned round: what is not the object."""
        total = self.total
        return Counts(total - self.union, total - self.predicted, total - self.target, total)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.intersection + other.intersection,
            self.predicted + other.predicted,
            self.target + other.target,
            self.total + other.total,
        )


Pair: TypeAlias = (
    "tuple[ArrayLike | None, ArrayLike] | tuple[ArrayLike | None, ArrayLike, ArrayLike | None]"  # as in `count`
)
# What metrics over many images take for one of them: its counts, or (prediction, target) or (prediction, target,
# ignore), which are then counted.
Measured: TypeAlias = "Counts | Pair"


def count(prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None = None) -> Counts:
    """Count the pixels of two masks, without the ignored ones.

    Args:
        prediction: (H, W) bool, or all 0 and 1, or all 0 and 255 (see `as_mask`); None, if missing, counts as empty.
        target: the truth, likewise.
        ignore: likewise, 1 on pixels that do not count.

    Raises:
        ValueError: Their sizes differ, or one is no mask.

    >>> count(np.array([[True, True]]), np.array([[True, False]])).iou
    0.5
    >>> count(np.array([[True, True]]), np.array([[True, False]]), np.array([[False, True]])).iou
    1.0
    """
    found, true, ignored = as_masks(prediction, target, ignore)
    total = true.size
    if ignored is not None:
        found, true = found & ~ignored, true & ~ignored
        total -= int(np.count_nonzero(ignored))
    both = int(np.count_nonzero(found & true))
    return Counts(both, int(np.count_nonzero(found)), int(np.count_nonzero(true)), total)


def counted(image: Measured) -> Counts:
    """Counts of an image that is given as such, or as (prediction, target[, ignore]), which are then counted.

    >>> counted((np.array([[1, 1]]), np.array([[1, 0]])))
    Counts(intersection=1, predicted=2, target=1, total=2)
    """
    return image if isinstance(image, Counts) else count(*image)


def pooled(images: Iterable[Measured]) -> Counts:
    """Sum of the counts of images; all 0 if there are none.

    >>> pooled([Counts(1, 2, 3, 9), Counts(0, 2, 0, 9)])
    Counts(intersection=1, predicted=4, target=3, total=18)
    """
    return sum((counted(image) for image in images), Counts(0, 0, 0, 0))


def pooled_groups(groups: Mapping[str, Iterable[Measured]]) -> dict[str, Counts]:
    """Sum of the counts of every object's (or class's) images, in the order of the names given.

    Raises:
        ValueError: There is no group, so that no mean over them exists.

    >>> pooled_groups({"mug": [Counts(1, 2, 3, 9), Counts(0, 2, 0, 9)]})
    {'mug': Counts(intersection=1, predicted=4, target=3, total=18)}
    """
    if not groups:
        raise ValueError("There is no object or class to take a mean over; give at least one.")
    return {name: pooled(images) for name, images in groups.items()}
