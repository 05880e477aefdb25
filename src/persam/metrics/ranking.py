"""Which photos have it: how well a score puts the photos with the object before those without, as a search does.

The figures of information retrieval for one query. Written out here and not taken from torchmetrics, whose average
precision counts a photo with a score of 0 or below as one without the object, such as a cosine may be, and which takes
photos of one score in any order; here they stay in the order in which they come.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Scores = Sequence[float] | np.ndarray
Labels = Sequence[bool] | np.ndarray


def average_precision(scores: Scores, present: Labels) -> float:
    """Mean over the photos with the object of the precision down to each, in (0, 1]; not interpolated.

    Args:
        scores: (N,) of any range, higher where the object seems to be there; minus infinity for photos that a search
            leaves out.
        present: (N,) bool or 0 and 1, the truth; at least one.

    Raises:
        ValueError: The lengths differ, a score is not a number, or no photo has the object.

    >>> average_precision([0.9, 0.8, 0.7, 0.1], [True, False, True, False])
    0.8333333333333333
    """
    ranks = np.flatnonzero(_ranked(scores, present)) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).mean())


def precision_at(scores: Scores, present: Labels, first: int) -> float:
    """Share of the `first` photos that have the object; fewer photos in all count as if the rest had it not.

    Takes and raises what `average_precision` does, and ValueError for a `first` below 1.

    >>> precision_at([0.9, 0.8, 0.7, 0.1], [True, False, True, False], 2)
    0.5
    """
    if first < 1:
        raise ValueError(f"There are no first {first} photos; ask for at least 1.")
    return float(_ranked(scores, present)[:first].sum() / first)


def r_precision(scores: Scores, present: Labels) -> float:
    """Share of the first R photos that have the object, where R photos have it: 1 only for a faultless search.

    Takes and raises what `average_precision` does.

    >>> r_precision([0.9, 0.8, 0.7, 0.1], [True, False, True, False])
    0.5
    """
    return precision_at(scores, present, int(np.asarray(present).sum()) or 1)


def _ranked(scores: Scores, present: Labels) -> np.ndarray:
    """Whether each photo has the object, from the highest score down, (N,) bool."""
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(present)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"Scores and labels have the shapes {values.shape} and {truth.shape}; give (N,) of each.")
    if np.isnan(values).any():
        raise ValueError("A score is not a number; every photo needs one.")
    if not np.isin(truth, (0, 1)).all() or not truth.any():
        raise ValueError("Labels must be True and False, or 1 and 0, and at least one photo must have the object.")
    return truth.astype(bool)[np.argsort(-values, kind="stable")]
