"""What several people's masks of one thing say of each other: agreement, a consensus, and who marks too little."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from persam.lazy import library
from persam.metrics import bootstrap_mean, iou

Pair = tuple[str, str]

_MOST_ROUNDS = 100  # of expectation-maximisation; it ends after a few where people agree at all
#: The bootstrap knows nothing but the photos that it has: of fewer than this its intervals are too narrow to judge by.
ENOUGH_PHOTOS = 5
#: Share of the area that is no bias worth a word, however sure it is.
NEGLIGIBLE = 0.02


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

    >>> one, other = np.array([[True, True, False, False]]), np.array([[True, False, False, False]])
    >>> round(Coincidences.of([one, other]).alpha, 4)
    0.5333
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


def majority(masks: Sequence[np.ndarray]) -> np.ndarray:
    """What more than half of the people marked; a tie is background. Of two people it is what both marked.

    Args:
        masks: (H, W) bool each, at least one.

    Returns:
        (H, W) bool.
    """
    marked = np.sum(masks, axis=0, dtype=np.min_scalar_type(2 * len(masks)))
    result: np.ndarray = 2 * marked > len(masks)
    return result


@dataclass(frozen=True, eq=False)
class Staple:
    """STAPLE's estimate of the truth behind several people's masks of one photo.

    Attributes:
        mask: (H, W) bool, where the object is more likely than not.
        sensitivity: by annotator, the share of that object that the annotator marked, 0 to 1.
        specificity: by annotator, the share of the rest that the annotator left out, 0 to 1.
    """

    mask: np.ndarray
    sensitivity: dict[str, float]
    specificity: dict[str, float]


def staple(masks: Mapping[str, np.ndarray]) -> Staple:
    """Estimate the truth and everybody's care together (Warfield et al. 2004, the implementation of ITK).

    Two people alone give it little to go by: it then believes that the one who marked less is right.

    Args:
        masks: (H, W) bool by annotator, two or more.

    Raises:
        PersamError: SimpleITK is not installed.
    """
    sitk = library("SimpleITK", "STAPLE", "study")
    names = sorted(masks)
    estimate = sitk.STAPLEImageFilter()
    estimate.SetForegroundValue(1)
    estimate.SetMaximumIterations(_MOST_ROUNDS)
    probability = estimate.Execute([sitk.GetImageFromArray(masks[name].astype(np.uint8)) for name in names])
    return Staple(
        sitk.GetArrayFromImage(probability) > 0.5,
        dict(zip(names, map(float, estimate.GetSensitivity()), strict=True)),
        dict(zip(names, map(float, estimate.GetSpecificity()), strict=True)),
    )


@dataclass(frozen=True)
class Bias:
    """A person's areas beside those of a consensus or of the truth.

    Attributes:
        ratio: geometric mean over photos of (own area / other area): 0.5 and 2 are equally far from 1, and cancel.
        low, high: its 95 % bootstrap interval.
        photos: that it was taken over.
        verdict: ``under-segments`` or ``over-segments`` if the whole interval is more than `NEGLIGIBLE` away from 1;
            else ``even``, or ``too few photos``.
    """

    ratio: float
    low: float
    high: float
    photos: int
    verdict: str


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
    if len(logs) < ENOUGH_PHOTOS:
        verdict = "too few photos"
    elif high < 1 / (1 + NEGLIGIBLE):
        verdict = "under-segments"
    else:
        verdict = "over-segments" if low > 1 + NEGLIGIBLE else "even"
    return Bias(ratio, low, high, len(logs), verdict)
