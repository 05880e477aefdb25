"""What the scores of photos with and without the object tell: AUROC, thresholds, verdicts, and calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from persam.benchmark.records import Record, grouped
from persam.method.find import USUAL
from persam.metrics import (
    ReliabilityBin,
    Threshold,
    auroc,
    best_threshold,
    bootstrap_figure,
    brier_score,
    calibration_error,
    fpr_at_tpr,
    reliability,
)
from persam.segmentation import UNSURE

PAPER_THRESHOLD = 0.45  # of the paper, for DINOv2 and its mean of cosines
BINS = 10  # of the calibration error and the reliability diagram
_RESAMPLES = 300

Ends = tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """Whether a score that is meant as a probability is one.

    The score is for an album in which `persam.method.find.USUAL` of the photos, 1 in 4, show the object. Questions
    of a benchmark have another share, so they are weighted to that one in all figures but the last three.

    Attributes:
        brier: Brier score, and its 95 % bootstrap interval over photos (None if there are too few).
        error: expected calibration error.
        bins: score against share that is there, those of `BINS` bins that hold a question.
        unsure: share of the questions with a score between `persam.segmentation.UNSURE`.
        sure: how many are the others.
        sure_right: share of these on which the method's own verdict is right; None if there are none.
    """

    brier: float
    brier_interval: Ends | None
    error: float
    bins: tuple[ReliabilityBin, ...]
    unsure: float
    sure: int
    sure_right: float | None


@dataclass(frozen=True)
class AbsentSummary:
    """How well a method tells photos with its object from photos without.

    Attributes:
        method: its name.
        with_object, without: pairs of photo and object.
        auroc: area under the ROC, and its 95 % bootstrap interval over photos (None if there are too few).
        fpr_at_95_tpr: share of photos without that pass where 95 % of those with do.
        best: the threshold of the highest balanced accuracy.
        own_tpr, own_fpr: of the method's own verdict, or None if it has none.
        own_thresholds: lowest, median and highest threshold of the method's objects, or None.
        verdicts: questions on which it has a verdict.
        right: share of these that it answers rightly, every question alike, and its interval; None if there are none.
        calibration: of a score that is meant as a probability; None for any other.
        paper: what the paper's threshold, 0.45, would do; None where the score is a probability.
        missing: pairs without an answer, and why; they count nowhere else.
    """

    method: str
    with_object: int
    without: int
    auroc: float
    auroc_interval: Ends | None
    fpr_at_95_tpr: float
    best: Threshold
    own_tpr: float | None
    own_fpr: float | None
    own_thresholds: tuple[float, float, float] | None
    verdicts: int
    right: float | None
    right_interval: Ends | None
    calibration: Calibration | None
    paper: Threshold | None
    missing: dict[str, str]


def is_there(answer: Record) -> bool:
    """Whether the object that was looked for is in the photo."""
    return answer.counts.target > 0


def failure_of(answer: Record) -> str | None:
    """Why there is no score, or None if there is one."""
    if answer.failure is None and answer.score is None:
        return "the score is no finite number"
    return answer.failure


def pair_row(answer: Record) -> dict[str, Any]:
    """What counts of an answer here, for the table of all pairs of photo and object."""
    return {
        "method": answer.method,
        "object": answer.object,
        "photo": answer.sample,
        "expected": is_there(answer),
        "score": answer.score,
        "calibrated": answer.calibrated,
        "present": answer.present,
        "threshold": answer.threshold,
        "seconds": answer.seconds,
        "failure": failure_of(answer),
    }


def summarise_absent(answers: Sequence[Record]) -> list[AbsentSummary]:
    """One row a method.

    Raises:
        ValueError: there is nothing but photos with the object, or nothing but photos without.
    """
    return [_summary(method, given) for method, given in grouped(answers, "method").items()]


def _summary(method: str, answers: Sequence[Record]) -> AbsentSummary:
    known = [answer for answer in answers if answer.score is not None]
    scores = np.array([answer.score for answer in known], float)
    truth = np.array([is_there(answer) for answer in known], bool)
    verdicts = [answer for answer in known if answer.present is not None]
    thresholds = [answer.threshold for answer in known if answer.threshold is not None]
    low, middle, high = np.quantile(thresholds, [0, 0.5, 1]) if thresholds else (0.0, 0.0, 0.0)
    calibrated = bool(known) and all(answer.calibrated for answer in known)
    above = scores >= PAPER_THRESHOLD
    return AbsentSummary(
        method=method,
        with_object=int(truth.sum()),
        without=int((~truth).sum()),
        auroc=auroc(scores, truth),
        auroc_interval=_interval(auroc, (scores, truth), known),
        fpr_at_95_tpr=fpr_at_tpr(scores, truth, 0.95),
        best=best_threshold(scores, truth),
        own_tpr=_share([bool(answer.present) for answer in verdicts if is_there(answer)]),
        own_fpr=_share([bool(answer.present) for answer in verdicts if not is_there(answer)]),
        own_thresholds=(float(low), float(middle), float(high)) if thresholds else None,
        verdicts=len(verdicts),
        right=_share(list(map(_is_right, verdicts))),
        right_interval=_interval(_mean, (np.array(list(map(_is_right, verdicts)), bool),), verdicts),
        calibration=_calibration(known, scores, truth) if calibrated else None,
        paper=None
        if calibrated
        else Threshold(PAPER_THRESHOLD, float(above[truth].mean()), float(above[~truth].mean())),
        missing={answer.query: why for answer in answers if (why := failure_of(answer)) is not None},
    )


def _calibration(known: Sequence[Record], scores: np.ndarray, truth: np.ndarray) -> Calibration:
    def brier(scores: np.ndarray, truth: np.ndarray) -> float:
        return brier_score(scores, truth, USUAL)

    sure = (scores < UNSURE[0]) | (scores >= UNSURE[1])
    return Calibration(
        brier=brier(scores, truth),
        brier_interval=_interval(brier, (scores, truth), known),
        error=calibration_error(scores, truth, USUAL, BINS),
        bins=reliability(scores, truth, USUAL, BINS),
        unsure=float(1 - sure.mean()),
        sure=int(sure.sum()),
        sure_right=_share([_is_right(answer) for answer, counts in zip(known, sure, strict=True) if counts]),
    )


def _is_right(answer: Record) -> bool:
    return bool(answer.present) == is_there(answer)


def _share(values: Sequence[bool]) -> float | None:
    return _mean(np.array(values)) if values else None


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


def _interval(figure: Callable[..., float], columns: Sequence[np.ndarray], of: Sequence[Record]) -> Ends | None:
    """The 95 % bootstrap interval of a figure, photos drawn whole."""
    if not of:
        return None
    return bootstrap_figure(figure, columns, [answer.sample for answer in of], resamples=_RESAMPLES)
