"""Is it there at all, as classes: AUROC, FPR at 95 % TPR, and the best threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from persam.metrics.functional.presence import auroc, best_threshold, fpr_at_tpr

Numbers = Tensor | np.ndarray | Sequence[float] | Sequence[bool] | float | bool


class PresenceMetric(Metric):
    """What metrics of presence have in common: scores and labels of all photos; a subclass makes a figure of them.

    >>> metric = PresenceMetric()
    >>> metric.update([0.9, 0.2], [True, False])
    >>> metric.update(0.7, True)
    >>> metric.data()
    (array([0.9, 0.2, 0.7]), array([ True, False,  True]))
    """

    is_differentiable = False
    higher_is_better: bool | None = None
    full_state_update = False

    scores: list[Tensor]
    present: list[Tensor]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # A process without a photo sends an empty tensor of this type: all states must have it.
        self.set_dtype(torch.float64)
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("present", [], dist_reduce_fx="cat")

    def update(self, scores: Numbers, present: Numbers) -> None:
        """Add photos.

        Args:
            scores: of one photo, or (N,) of several: finite numbers of any range, higher where the object seems there.
            present: likewise, the truth: bool, or 0 and 1.

        Raises:
            ValueError: Their numbers differ.
        """
        rows = [
            torch.atleast_1d(torch.as_tensor(values, dtype=torch.float64, device=self.device).detach())
            for values in (scores, present)
        ]
        if rows[0].shape != rows[1].shape or rows[0].ndim != 1:
            shapes = " and ".join(str(tuple(row.shape)) for row in rows)
            raise ValueError(f"Scores and labels have the shapes {shapes}; give (N,) of each.")
        self.scores.append(rows[0])
        self.present.append(rows[1])

    def compute(self) -> Tensor:
        """Give the metric, () float64."""
        raise NotImplementedError

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores (N,) float64 and labels (N,) bool of all photos so far.

        Raises:
            ValueError: There was no photo, or a label is neither 0 nor 1.
        """
        if not len(self.scores):
            raise ValueError("There is no photo to measure presence on; give some with the object and some without.")
        scores, present = (dim_zero_cat(state).cpu().numpy() for state in (self.scores, self.present))
        if not np.isin(present, (0, 1)).all():
            raise ValueError("Labels must be True and False, or 1 and 0: whether the object is in the photo.")
        return scores, present.astype(bool)

    def _number(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64, device=self.device)


class PresenceAUROC(PresenceMetric):
    """Area under the ROC of "is it there at all", as `auroc`; ties count half.

    `update` takes scores and labels of one photo or several.

    >>> metric = PresenceAUROC()
    >>> metric.update([0.9, 0.8, 0.8, 0.1], [True, True, False, False])
    >>> metric.compute()
    tensor(0.8750, dtype=torch.float64)
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        """Give the area, () float64; ValueError if photos with the object, or without, are missing."""
        return self._number(auroc(*self.data()))


class PresenceFPR(PresenceMetric):
    """False positive rate at which `tpr` of the photos with the object are found, as `fpr_at_tpr`.

    `update` takes scores and labels of one photo or several.

    Args:
        tpr: in (0, 1].
        options: of `torchmetrics.Metric`.

    >>> metric = PresenceFPR(tpr=0.95)
    >>> metric.update([0.9, 0.3, 0.5, 0.1], [True, True, False, False])
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better = False

    def __init__(self, tpr: float = 0.95, **options: Any) -> None:
        super().__init__(**options)
        self.tpr = tpr

    def compute(self) -> Tensor:
        """Give the rate, () float64; ValueError if photos with the object, or without, are missing."""
        return self._number(fpr_at_tpr(*self.data(), self.tpr))


class PresenceThreshold(PresenceMetric):
    """The threshold of the highest balanced accuracy, as `best_threshold`.

    `update` takes scores and labels of one photo or several.

    >>> metric = PresenceThreshold()
    >>> metric.update([0.75, 0.25], [True, False])
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    def compute(self) -> Tensor:
        """Give the threshold, () float64; ValueError if photos with the object, or without, are missing."""
        return self._number(best_threshold(*self.data()).value)
