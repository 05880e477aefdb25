"""DAVIS' J, F and J&F over clips, as a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from persam.metrics.base import MaskMetric
from persam.metrics.functional.boundary_f import boundary_f
from persam.metrics.functional.davis import DavisScore, davis_score
from persam.metrics.functional.masks import ArrayLike
from persam.metrics.functional.overlap import iou


class DavisJF(MaskMetric):
    """DAVIS' table row: J&F, and mean, recall and decay of J and of F, as `davis_score`.

    Frames may come in any order and be spread over processes. Which of them count is the protocol's affair.

    Args:
        names: of the objects, such as ``bear/1``, each once; one of which no frame came is left out.
        options: of `torchmetrics.Metric`.

    Raises:
        ValueError: There is no name, or one comes twice.

    >>> metric = DavisJF(["bear/1"])
    >>> mask = torch.zeros(9, 9)
    >>> mask[3:6, 3:6] = 1
    >>> metric.update(mask, mask, "bear/1", frame=1)
    >>> metric.update(torch.zeros(9, 9), mask, "bear/1", frame=2)
    >>> {name: value.item() for name, value in metric.compute().items()}  # doctest: +NORMALIZE_WHITESPACE
    {'j_and_f': 0.5, 'j_mean': 0.5, 'j_recall': 0.5, 'j_decay': 1.0,
     'f_mean': 0.5, 'f_recall': 0.5, 'f_decay': 1.0}
    """

    objects: list[Tensor]
    frames: list[Tensor]
    j: list[Tensor]
    f: list[Tensor]

    def __init__(self, names: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.names = tuple(names)
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError("Every object needs a name of its own; give at least one, and each once.")
        # A process without a frame sends an empty tensor of this type: all states must have it.
        self.set_dtype(torch.float64)
        for state in ("objects", "frames", "j", "f"):
            self.add_state(state, [], dist_reduce_fx="cat")

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
            prediction: (H, W), NumPy or torch; bool, or all 0 and 1, or all 0 and 255; None, if missing, is empty.
            target: likewise.
            name: of the object.
            frame: its number, which gives the order.
            ignore: (H, W) likewise, 1 on pixels that do not count.

        Raises:
            ValueError: The name was not given at the start, sizes differ, or one is no mask.
        """
        if name not in self.names:
            raise ValueError(f"{name} is none of the {len(self.names)} names that this metric was made with.")
        row = (self.names.index(name), frame, iou(prediction, target, ignore), boundary_f(prediction, target, ignore))
        for state, value in zip((self.objects, self.frames, self.j, self.f), row, strict=True):
            state.append(self._number(value)[None])

    def compute(self) -> dict[str, Tensor]:
        """Give j_and_f, j_mean, j_recall, j_decay, f_mean, f_recall and f_decay, each () float64.

        Raises:
            ValueError: There was no frame, or one came twice.
        """
        score = self._score()
        figures = {"j_and_f": score.j_and_f}
        for letter, row in (("j", score.j), ("f", score.f)):
            figures |= {f"{letter}_mean": row.mean, f"{letter}_recall": row.recall, f"{letter}_decay": row.decay}
        return {name: self._number(value) for name, value in figures.items()}

    def _score(self) -> DavisScore:
        if not len(self.objects):
            raise ValueError("There is no frame to take a mean over; give at least one.")
        columns = (dim_zero_cat(state).tolist() for state in (self.objects, self.frames, self.j, self.f))
        rows = sorted(zip(*columns, strict=True))
        j: dict[str, list[float]] = {}
        f: dict[str, list[float]] = {}
        for number, (which, frame, region, edge) in enumerate(rows):
            name = self.names[int(which)]
            if number and rows[number - 1][:2] == (which, frame):
                raise ValueError(f"Frame {int(frame)} of {name} came twice; give every frame once.")
            j.setdefault(name, []).append(region)
            f.setdefault(name, []).append(edge)
        return davis_score(j, f)
