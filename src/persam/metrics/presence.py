"""Is it there at all: how well a score tells photos with the object from photos without, and whether it is honest.

"Present" is the verdict of a threshold t where score >= t. Written out here and not taken from torchmetrics, which
passes scores outside [0, 1], such as cosines, through a float32 sigmoid and may so make ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from persam.metrics.base import Rows

if TYPE_CHECKING:
    from torch import Tensor

Scores = Sequence[float] | np.ndarray
Labels = Sequence[bool] | np.ndarray
Numbers: TypeAlias = "Tensor | np.ndarray | Sequence[float] | Sequence[bool] | float | bool"


@dataclass(frozen=True, eq=False)
class Roc:
    """The verdicts of every threshold that matters, from the highest, where least is called present, down.

    Attributes:
        thresholds: (K,) the distinct scores, falling.
        tpr: (K,) share of the photos with the object that are called present, rising to 1.
        fpr: (K,) share of those without that are called present, rising to 1.

    >>> roc([0.9, 0.2], [True, False]).fpr
    array([0., 1.])
    """

    thresholds: np.ndarray
    tpr: np.ndarray
    fpr: np.ndarray


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it does: present where score >= value.

    Attributes:
        value: of the score.
        tpr: share of the photos with the object that are called present.
        fpr: share of those without that are.

    >>> Threshold(0.5, tpr=0.9, fpr=0.2).balanced_accuracy
    0.85
    """

    value: float
    tpr: float
    fpr: float

    @property
    def balanced_accuracy(self) -> float:
        """(TPR + 1 - FPR) / 2, in [0, 1]."""
        return (self.tpr + 1 - self.fpr) / 2

    @property
    def youden(self) -> float:
        """Youden's J, TPR - FPR, in [-1, 1]."""
        return self.tpr - self.fpr


def roc(scores: Scores, present: Labels) -> Roc:
    """The receiver operating characteristic; photos of one score fall together, in whatever order they come.

    Args:
        scores: (N,) finite numbers of any range, higher where the object seems to be there.
        present: (N,) bool or 0 and 1, the truth; there must be both.

    Raises:
        ValueError: The lengths differ, a score is not finite, a label is not 0 or 1, or all labels are the same.

    >>> roc([0.9, 0.8, 0.8, 0.1], [True, True, False, False]).tpr
    array([0.5, 1. , 1. ])
    """
    values, truth = _validate(scores, present)
    thresholds, place = np.unique(-values, return_inverse=True)
    hits = np.cumsum(np.bincount(place, weights=truth))
    alarms = np.cumsum(np.bincount(place, weights=~truth))
    return Roc(-thresholds, hits / hits[-1], alarms / alarms[-1])


def auroc(scores: Scores, present: Labels) -> float:
    """Area under the ROC: the chance that a photo with the object scores above one without, ties counting half.

    In [0, 1]; 0.5 if the scores say nothing, and exactly so if they are all the same. Takes and raises what `roc` does.

    >>> auroc([0.9, 0.8, 0.8, 0.1], [True, True, False, False])
    0.875
    """
    curve = roc(scores, present)
    return float(np.trapezoid(np.r_[0.0, curve.tpr], np.r_[0.0, curve.fpr]))


def fpr_at_tpr(scores: Scores, present: Labels, tpr: float = 0.95) -> float:
    """The lowest false positive rate at which at least `tpr` of the photos with the object are called present.

    No point between two thresholds is made up: the rate is that of a threshold that exists.

    Args:
        scores: as in `roc`.
        present: as in `roc`.
        tpr: in (0, 1].

    Raises:
        ValueError: `tpr` is out of range, or what `roc` raises.

    >>> fpr_at_tpr([0.9, 0.3, 0.5, 0.1], [True, True, False, False])
    0.5
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"A true positive rate of {tpr} cannot be asked for; give one above 0 and up to 1.")
    curve = roc(scores, present)
    # k of n must not fall short of a rate that says k/n, because of how the two were rounded.
    return float(curve.fpr[int(np.argmax(curve.tpr >= tpr - 1e-12))])


def best_threshold(scores: Scores, present: Labels) -> Threshold:
    """The threshold of the highest balanced accuracy (or Youden's J, which is the same one).

    It lies half-way to the next lower score, so that it does not hang on one photo. Of several as good the highest is
    taken: the fewest false alarms. If every photo is to be called present it is the lowest score.

    Takes and raises what `roc` does.

    >>> best_threshold([0.9, 0.8, 0.4, 0.1], [True, True, False, False])
    Threshold(value=0.6000000000000001, tpr=1.0, fpr=0.0)
    """
    curve = roc(scores, present)
    gain = curve.tpr - curve.fpr
    best = int(np.argmax(gain > gain.max() - 1e-12))
    value = curve.thresholds[best]
    if best + 1 < len(curve.thresholds):
        below = curve.thresholds[best + 1]
        middle = below + (value - below) / 2
        value = middle if middle > below else value  # neighbours among the floats have no middle
    return Threshold(float(value), float(curve.tpr[best]), float(curve.fpr[best]))


@dataclass(frozen=True)
class ReliabilityBin:
    """Photos of about one score: what was said of them, and what was so.

    Attributes:
        low, high: scores from `low` on and below `high`; the last bin has its `high` too.
        count: photos in it, as they are.
        weight: their share of all photos, in (0, 1], weighted if a `share` was asked for.
        predicted: their mean score, in [low, high].
        observed: share of them that show the object, in [0, 1].

    >>> ReliabilityBin(0.8, 0.9, count=20, weight=0.1, predicted=0.85, observed=0.6).gap
    0.25
    """

    low: float
    high: float
    count: int
    weight: float
    predicted: float
    observed: float

    @property
    def gap(self) -> float:
        """How far both lie apart, in [0, 1]."""
        return abs(self.predicted - self.observed)


def reliability(
    scores: Scores, present: Labels, share: float | None = None, bins: int = 10
) -> tuple[ReliabilityBin, ...]:
    """Predicted probability against what is so, in bins of equal width: the numbers of a reliability diagram.

    Args:
        scores: (N,) probabilities in [0, 1] that the object is there.
        present: as in `roc`.
        share: photos are weighted so that this share of them, in (0, 1), shows the object, for probabilities that were
            made for such photos; None counts every photo alike.
        bins: how many.

    Returns:
        The bins that hold a photo, from the lowest score on.

    Raises:
        ValueError: A score lies outside [0, 1], `share` or `bins` is out of range, or what `roc` raises.

    >>> [(each.count, each.predicted, each.observed) for each in reliability([0.75, 0.75, 0.25, 0.25], [1, 0, 0, 0])]
    [(2, 0.25, 0.0), (2, 0.75, 0.5)]
    """
    values, truth, weights = _weighted(scores, present, share)
    if bins < 1:
        raise ValueError(f"There cannot be {bins} bins; ask for at least 1.")
    edges = np.arange(bins + 1) / bins
    place = np.searchsorted(edges[1:-1], values, side="right")
    found = []
    for number in np.unique(place).tolist():
        inside = place == number
        weight = float(weights[inside].sum())
        predicted, observed = (float(weights[inside] @ each[inside]) / weight for each in (values, truth))
        low, high = edges[number : number + 2].tolist()
        found.append(ReliabilityBin(low, high, int(inside.sum()), weight, predicted, observed))
    return tuple(found)


def calibration_error(scores: Scores, present: Labels, share: float | None = None, bins: int = 10) -> float:
    """Expected calibration error: how far scores lie from what is so, mean over photos, both taken bin by bin.

    In [0, 1]; 0 if of the photos with a score of about p a share of p shows the object. It also grows with few photos a
    bin. Takes and raises what `reliability` does.

    >>> calibration_error([0.75, 0.75, 0.25, 0.25], [True, True, True, False])
    0.25
    """
    return sum(each.weight * each.gap for each in reliability(scores, present, share, bins))


def brier_score(scores: Scores, present: Labels, share: float | None = None) -> float:
    """Mean square of the distance between the probability and the truth (1 there, 0 not).

    In [0, 1], lower is better. Who always says `share` p gets p (1 - p): 0.1875 where 1 in 4 photos shows the object.
    Takes and raises what `reliability` does.

    >>> brier_score([1.0, 0.5, 0.0], [True, False, False], share=0.5)
    0.0625
    """
    values, truth, weights = _weighted(scores, present, share)
    return float(weights @ (values - truth) ** 2)


class PresenceMetric(Rows):
    """What metrics of presence have in common: scores and labels of all photos; a subclass makes a figure of them.

    >>> metric = PresenceMetric()
    >>> metric.update([0.9, 0.2], [True, False])
    >>> metric.update(0.7, True)
    >>> metric.data()
    (array([0.9, 0.2, 0.7]), array([ True, False,  True]))
    """

    higher_is_better: bool | None = None
    plot_lower_bound = plot_upper_bound = None
    columns = ("scores", "present")
    nothing = "There is no photo to measure presence on; give some with the object and some without."

    def update(self, scores: Numbers, present: Numbers) -> None:
        """Add photos.

        Args:
            scores: of one photo, or (N,) of several: finite numbers of any range, higher where the object seems there.
            present: likewise, the truth: bool, or 0 and 1.

        Raises:
            ValueError: Their numbers differ.
        """
        rows = [row if row.ndim else row[None] for row in (self._number(scores), self._number(present))]
        if rows[0].shape != rows[1].shape or rows[0].ndim != 1:
            shapes = " and ".join(str(tuple(row.shape)) for row in rows)
            raise ValueError(f"Scores and labels have the shapes {shapes}; give (N,) of each.")
        self._add(*rows)

    def compute(self) -> Tensor:
        """Give the metric, () float64; ValueError if photos with the object, or without, are missing."""
        return self._number(self._figure(*self.data(), *self.setting))

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores (N,) float64 and labels (N,) bool of all photos so far.

        Raises:
            ValueError: There was no photo, or a label is neither 0 nor 1.
        """
        scores, present = self._table()
        return scores, _labels(present)


class PresenceAUROC(PresenceMetric):
    """Area under the ROC of "is it there at all", as `auroc`; ties count half.

    `update` takes scores and labels of one photo or several.

    >>> metric = PresenceAUROC()
    >>> metric.update([0.9, 0.8, 0.8, 0.1], [True, True, False, False])
    >>> metric.compute()
    tensor(0.8750, dtype=torch.float64)
    """

    higher_is_better = True
    _figure = staticmethod(auroc)


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
    _figure = staticmethod(fpr_at_tpr)

    def __init__(self, tpr: float = 0.95, **options: Any) -> None:
        super().__init__(tpr, **options)
        self.tpr = tpr


class PresenceThreshold(PresenceMetric):
    """The threshold of the highest balanced accuracy, as `best_threshold`.

    `update` takes scores and labels of one photo or several.

    >>> metric = PresenceThreshold()
    >>> metric.update([0.75, 0.25], [True, False])
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    _figure = staticmethod(lambda *photos: best_threshold(*photos).value)


class PresenceBrier(PresenceMetric):
    """Brier score of the probability that the object is there, as `brier_score`.

    `update` takes scores, in [0, 1], and labels of one photo or several.

    Args:
        share: of photos with the object that the photos are weighted to, in (0, 1), or None.
        options: of `torchmetrics.Metric`.

    >>> metric = PresenceBrier(share=0.5)
    >>> metric.update([1.0, 0.5, 0.0], [True, False, False])
    >>> metric.compute()
    tensor(0.0625, dtype=torch.float64)
    """

    higher_is_better = False
    _figure = staticmethod(brier_score)

    def __init__(self, share: float | None = None, **options: Any) -> None:
        super().__init__(share, **options)
        self.share = share


class PresenceCalibrationError(PresenceMetric):
    """Expected calibration error of the probability that the object is there, as `calibration_error`.

    `update` takes scores, in [0, 1], and labels of one photo or several.

    Args:
        share: of photos with the object that the photos are weighted to, in (0, 1), or None.
        bins: how many.
        options: of `torchmetrics.Metric`.

    >>> metric = PresenceCalibrationError()
    >>> metric.update([0.75, 0.75, 0.25, 0.25], [True, True, True, False])
    >>> metric.compute()
    tensor(0.2500, dtype=torch.float64)
    """

    higher_is_better = False
    _figure = staticmethod(calibration_error)

    def __init__(self, share: float | None = None, bins: int = 10, **options: Any) -> None:
        super().__init__(share, bins, **options)
        self.share, self.bins = share, bins


def _weighted(scores: Scores, present: Labels, share: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores and labels, and the weight of every photo; the weights add up to 1."""
    values, truth = _validate(scores, present)
    if ((values < 0) | (values > 1)).any():
        raise ValueError("A score lies outside 0 to 1, so it is no probability, which calibration is asked of.")
    if share is None:
        share = truth.mean()
    if not 0 < share < 1:
        raise ValueError(f"A share of {share} photos with the object cannot be; give one between 0 and 1.")
    return values, truth, np.where(truth, share / truth.sum(), (1 - share) / (~truth).sum())


def _validate(scores: Scores, present: Labels) -> tuple[np.ndarray, np.ndarray]:
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(present)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"Scores and labels have the shapes {values.shape} and {truth.shape}; give (N,) of each.")
    if not np.isfinite(values).all():
        raise ValueError("A score is not a finite number; every photo needs one.")
    truth = _labels(truth)
    if truth.all() or not truth.any():
        raise ValueError(
            "Photos with the object and photos without are needed to tell the two apart; one kind is missing."
        )
    return values, truth


def _labels(values: np.ndarray) -> np.ndarray:
    if not np.isin(values, (0, 1)).all():
        raise ValueError("Labels must be True and False, or 1 and 0: whether the object is in the photo.")
    return values.astype(bool)
