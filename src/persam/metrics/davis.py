"""DAVIS: J and F of a sequence's frames summed up as mean, recall and decay, and over all objects as J&F.

Which frames count is the protocol's affair (the semi-supervised task leaves out the first and the last): give those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from persam.metrics.base import Rows, place_of, unique_names
from persam.metrics.boundaries import boundary_f
from persam.metrics.masks import ArrayLike
from persam.metrics.overlap import iou

if TYPE_CHECKING:
    from torch import Tensor

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
    return SequenceStatistics(*(float(np.mean(column)) for column in zip(*map(astuple, rows), strict=True)))


class DavisJF(Rows):
    """DAVIS' table row: J&F, and mean, recall and decay of J and of F, as `davis_score`.

    Frames may come in any order and be spread over processes. Which of them count is the protocol's affair.

    Args:
        names: of the objects, such as ``bear/1``, each once; one of which no frame came is left out.
        options: of `torchmetrics.Metric`.

    Raises:
        ValueError: There is no name, or one comes twice.

    >>> metric = DavisJF(["bear/1"])
    >>> mask = np.zeros((9, 9))
    >>> mask[3:6, 3:6] = 1
    >>> metric.update(mask, mask, "bear/1", frame=1)
    >>> metric.update(np.zeros((9, 9)), mask, "bear/1", frame=2)
    >>> {name: value.item() for name, value in metric.compute().items()}  # doctest: +NORMALIZE_WHITESPACE
    {'j_and_f': 0.5, 'j_mean': 0.5, 'j_recall': 0.5, 'j_decay': 1.0,
     'f_mean': 0.5, 'f_recall': 0.5, 'f_decay': 1.0}
    """

    columns = ("objects", "frames", "j", "f")
    nothing = "There is no frame to take a mean over; give at least one."

    def __init__(self, names: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.names = unique_names(names, "object")

    def update(
        self,
        prediction: ArrayLike | None,
        target: ArrayLike,
        name: str,
        frame: int,
        ignore: ArrayLike | None = None,
    ) -> None:
        """Add one object in one frame.

        Args:
            prediction: as in `count`, like target and ignore.
            target: the truth.
            name: of the object.
            frame: its number, which gives the order.
            ignore: what does not count.

        Raises:
            ValueError: The name was not given at the start, sizes differ, or one is no mask.
        """
        place = place_of(name, self.names)
        self._add(place, frame, iou(prediction, target, ignore), boundary_f(prediction, target, ignore))

    def compute(self) -> dict[str, Tensor]:
        """Give j_and_f, j_mean, j_recall, j_decay, f_mean, f_recall and f_decay, each () float64.

        Raises:
            ValueError: There was no frame, or one came twice.
        """
        rows = sorted(zip(*(column.tolist() for column in self._table()), strict=True))
        j: dict[str, list[float]] = {}
        f: dict[str, list[float]] = {}
        for number, (which, frame, region, edge) in enumerate(rows):
            name = self.names[int(which)]
            if number and rows[number - 1][:2] == (which, frame):
                raise ValueError(f"Frame {int(frame)} of {name} came twice; give every frame once.")
            j.setdefault(name, []).append(region)
            f.setdefault(name, []).append(edge)
        score = davis_score(j, f)
        figures = {"j_and_f": score.j_and_f}
        for letter, row in (("j", score.j), ("f", score.f)):
            figures |= {f"{letter}_{statistic}": value for statistic, value in asdict(row).items()}
        return {name: self._number(value) for name, value in figures.items()}
