"""DAVIS: J and F of a sequence's frames summed up as mean, recall and decay, and over all objects as J&F.

Which frames count is the protocol's affair (the semi-supervised task leaves out the first and the last): give those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_RECALL_ABOVE = 0.5


@dataclass(frozen=True)
class SequenceStatistics:
    """How J or F runs over the frames of one object, or the mean of that over objects.

    Attributes:
        mean: over frames, in [0, 1].
        recall: share of frames above 0.5, in [0, 1].
        decay: mean of the first quarter less mean of the last, in [-1, 1]; above 0 if it gets worse.

    >>> SequenceStatistics(mean=0.8, recall=1.0, decay=0.1).decay
    0.1
    """

    mean: float
    recall: float
    decay: float


@dataclass(frozen=True)
class DavisScore:
    """The table row of DAVIS.

    Attributes:
        j, f: means over objects of their statistics.
        objects: how many there are.

    >>> half = SequenceStatistics(0.5, 0.5, 0.0)
    >>> DavisScore(half, SequenceStatistics(0.7, 1.0, 0.0), objects=3).j_and_f
    0.6
    """

    j: SequenceStatistics
    f: SequenceStatistics
    objects: int

    @property
    def j_and_f(self) -> float:
        """(mean J + mean F) / 2."""
        return (self.j.mean + self.f.mean) / 2


def sequence_statistics(values: Sequence[float] | np.ndarray) -> SequenceStatistics:
    """Mean, recall and decay of one object's J or F.

    The quarters are frames ids[i] to ids[i + 1], both included, with ids = round(linspace(1, N, 5) + 1e-10) - 1.

    Args:
        values: (N,) in [0, 1], in the order of the frames.

    Raises:
        ValueError: There is no frame, or a value is not in [0, 1].

    >>> sequence_statistics([1.0, 1.0, 0.5, 0.5])
    SequenceStatistics(mean=0.75, recall=0.5, decay=0.5)
    """
    frames = np.asarray(values, dtype=np.float64)
    if frames.ndim != 1 or not len(frames):
        raise ValueError(f"Values of frames have the shape {frames.shape}; give (N,), at least one frame.")
    if not ((frames >= 0) & (frames <= 1)).all():
        raise ValueError("J and F lie between 0 and 1, but a frame has another value.")
    ids = np.round(np.linspace(1, len(frames), 5) + 1e-10).astype(int) - 1
    first, last = frames[ids[0] : ids[1] + 1], frames[ids[3] : ids[4] + 1]
    return SequenceStatistics(
        float(frames.mean()), float((frames > _RECALL_ABOVE).mean()), float(first.mean() - last.mean())
    )


def davis_score(j: Mapping[str, Sequence[float]], f: Mapping[str, Sequence[float]]) -> DavisScore:
    """Sum up J and F of all objects: each statistic is a mean over objects, which all count the same.

    Args:
        j: J (the IoU, see `iou`) of every frame, by object, such as ``bear/1``; in the order of the frames.
        f: F (see `boundary_f`), likewise.

    Raises:
        ValueError: There is no object, J and F name different objects, or `sequence_statistics` refuses one.

    >>> score = davis_score({"bear/1": [1.0, 0.5]}, {"bear/1": [0.5, 0.5]})
    >>> score.j.mean, score.f.recall, score.j_and_f
    (0.75, 0.0, 0.625)
    """
    if not j or j.keys() != f.keys():
        odd = sorted(j.keys() ^ f.keys())
        raise ValueError(
            f"J and F must be given for the same objects, but {', '.join(odd)} has only one of them."
            if odd
            else "There is no object to take a mean over; give at least one."
        )
    return DavisScore(_mean_over_objects(j), _mean_over_objects(f), len(j))


def _mean_over_objects(values: Mapping[str, Sequence[float]]) -> SequenceStatistics:
    rows = [sequence_statistics(frames) for frames in values.values()]
    return SequenceStatistics(
        float(np.mean([row.mean for row in rows])),
        float(np.mean([row.recall for row in rows])),
        float(np.mean([row.decay for row in rows])),
    )
