"""Whether a person marks too little or too much, by the areas of their masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from persam.metrics import bootstrap_mean

#: The bootstrap knows nothing but the photos that it has: of fewer than this its intervals are too narrow to judge by.
ENOUGH_PHOTOS = 5
#: Share of the area that is no bias worth a word, however sure it is.
NEGLIGIBLE = 0.02


@dataclass(frozen=True)
class Bias:
    """A person's areas beside those of a consensus or of the truth.

    Attributes:
        ratio: geometric mean over photos of (own area / other area): 0.5 and 2 are equally far from 1, and cancel.
        low, high: its 95 % bootstrap interval.
        photos: that it was taken over.
    """

    ratio: float
    low: float
    high: float
    photos: int

    @property
    def verdict(self) -> str:
        """In words.

        ``under-segments`` or ``over-segments`` if the whole interval is more than `NEGLIGIBLE` away from 1; else
        ``even``, or ``too few photos``.
        """
        if self.photos < ENOUGH_PHOTOS:
            return "too few photos"
        if self.high < 1 / (1 + NEGLIGIBLE):
            return "under-segments"
        return "over-segments" if self.low > 1 + NEGLIGIBLE else "even"


def bias(areas: Sequence[tuple[int, int]]) -> Bias | None:
    """Compare areas.

    Args:
        areas: (own, other) in pixels, for each photo. Where one of them is 0 there is no ratio: those are left out.

    Returns:
        The bias, or None if no photo has a ratio.

    >>> bias([(50, 100), (200, 100)]).ratio
    1.0
    """
    logs = [math.log(own / other) for own, other in areas if own > 0 and other > 0]
    if not logs:
        return None
    ratio, low, high = (math.exp(value) for value in bootstrap_mean(logs))
    return Bias(ratio, low, high, len(logs))
