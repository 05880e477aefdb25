"""One mask out of several people's: by majority, and by STAPLE, which also says how far each is to be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from persam.study.extra import library

_MOST_ROUNDS = 100  # of expectation-maximisation; it ends after a few where people agree at all


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
    sitk = library("SimpleITK")
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
