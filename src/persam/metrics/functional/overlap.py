"""Overlap of two masks: IoU, and the counts that it is pooled from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Counts:
    """Pixels of a predicted and a true mask; they add up over images.

    Attributes:
        intersection: in both.
        predicted: in the prediction.
        target: in the truth.
        total: that count at all (the image without ignored pixels).
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

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.intersection + other.intersection,
            self.predicted + other.predicted,
            self.target + other.target,
            self.total + other.total,
        )


def count(prediction: np.ndarray, target: np.ndarray, ignore: np.ndarray | None = None) -> Counts:
    """Count the pixels of two (H, W) bool masks, without those of `ignore`, (H, W) bool.

    Raises:
        ValueError: their sizes differ.

    >>> count(np.array([[True, True]]), np.array([[True, False]])).iou
    0.5
    """
    if prediction.shape != target.shape or (ignore is not None and ignore.shape != target.shape):
        raise ValueError(f"masks of different sizes: {prediction.shape} and {target.shape}")
    if ignore is not None:
        prediction, target = prediction & ~ignore, target & ~ignore
    total = target.size - (0 if ignore is None else int(ignore.sum()))
    return Counts(int((prediction & target).sum()), int(prediction.sum()), int(target.sum()), total)


def iou(prediction: np.ndarray, target: np.ndarray, ignore: np.ndarray | None = None) -> float:
    """IoU of two (H, W) bool masks; 1 if both are empty.

    >>> iou(np.array([[True, True]]), np.array([[True, False]]))
    0.5
    """
    return count(prediction, target, ignore).iou
