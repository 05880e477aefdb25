"""How far people agree with each other: IoU of every pair, and Krippendorff's alpha over pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from persam.metrics import iou

Pair = tuple[str, str]


def pairwise_iou(masks: Mapping[str, np.ndarray]) -> dict[Pair, float]:
    """IoU of every two people's masks of one photo.

    Args:
        masks: (H, W) bool by annotator.

    Returns:
        IoU by pair, each pair once, its names in sorted order; nothing for fewer than two people.
    """
    return {(one, other): iou(masks[one], masks[other]) for one, other in combinations(sorted(masks), 2)}


@dataclass(frozen=True)
class Coincidences:
    """Krippendorff's coincidence matrix of the values 0 (background) and 1 (object); it adds up over photos.

    Every pair of ratings that two people gave to one pixel counts 1 / (m - 1), m being the number of people who rated
    it, in both orders.

    Attributes:
        background: pairs of two zeros.
        disputed: pairs of a zero and a one, in one order; in the other there are as many.
        object: pairs of two ones.
    """

    background: float = 0.0
    disputed: float = 0.0
    object: float = 0.0

    @classmethod
    def of(cls, masks: Iterable[np.ndarray]) -> Coincidences:
        """Count the pixels of one photo's masks, (H, W) bool each; a photo of one mask has no pairs.

        Pixels are counted by the number of people who marked them, so a photo is a handful of numbers afterwards. The
        library `krippendorff` wants a row for each pixel, about 130 bytes, which is too much for phone photos.
        """
        layers = list(masks)
        people = len(layers)
        if people < 2:
            return cls()
        marked = np.sum(layers, axis=0, dtype=np.min_scalar_type(people))
        pixels = np.bincount(marked.reshape(-1), minlength=people + 1).astype(np.float64)
        ones = np.arange(people + 1, dtype=np.float64)
        zeros = people - ones
        weight = pixels / (people - 1)
        return cls(
            float((weight * zeros * (zeros - 1)).sum()),
            float((weight * zeros * ones).sum()),
            float((weight * ones * (ones - 1)).sum()),
        )

    def __add__(self, other: Coincidences) -> Coincidences:
        return Coincidences(
            self.background + other.background, self.disputed + other.disputed, self.object + other.object
        )

    @property
    def alpha(self) -> float | None:
        """Krippendorff's alpha, nominal: 1 - observed / expected disagreement (Krippendorff 2004, section 11.3).

        1 where all agree, about 0 where they agree no more than by chance, below 0 where they contradict each other.
        None where it is not defined: no pixel was rated twice, or all ratings are one value, so that nothing can be
        told from chance.
        """
        zeros, ones = self.background + self.disputed, self.object + self.disputed
        if zeros == 0 or ones == 0:
            return None
        return 1 - (zeros + ones - 1) * self.disputed / (zeros * ones)


def krippendorff_alpha(photos: Iterable[Iterable[np.ndarray]]) -> float | None:
    """Krippendorff's alpha over the pixels of several photos, each with the masks of those who masked it.

    >>> one, other = np.array([[True, True, False, False]]), np.array([[True, False, False, False]])
    >>> round(krippendorff_alpha([[one, other]]), 4)
    0.5333
    """
    return sum((Coincidences.of(masks) for masks in photos), Coincidences()).alpha
