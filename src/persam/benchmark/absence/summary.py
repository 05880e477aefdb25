"""What the scores of photos with and without the object tell: AUROC, thresholds, and the plot of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.records import Record, grouped
from persam.benchmark.reporting.plots import ABSENT, PRESENT, new_figure, png_of
from persam.files import write_bytes
from persam.metrics import Threshold, auroc, best_threshold, bootstrap_figure, fpr_at_tpr

PAPER_THRESHOLD = 0.45  # of the paper, for DINOv2 and its mean of cosines
_RESAMPLES = 300


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
        paper: what the paper's threshold, 0.45, would do.
        missing: pairs without an answer, and why; they count nowhere else.
    """

    method: str
    with_object: int
    without: int
    auroc: float
    auroc_interval: tuple[float, float] | None
    fpr_at_95_tpr: float
    best: Threshold
    own_tpr: float | None
    own_fpr: float | None
    own_thresholds: tuple[float, float, float] | None
    paper: Threshold
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
    known = [(answer, answer.score) for answer in answers if answer.score is not None]
    scores = np.array([score for _, score in known])
    truth = np.array([is_there(answer) for answer, _ in known], bool)
    verdicts = [answer for answer, _ in known if answer.present is not None]
    thresholds = [answer.threshold for answer, _ in known if answer.threshold is not None]
    low, middle, high = np.quantile(thresholds, [0, 0.5, 1]) if thresholds else (0.0, 0.0, 0.0)
    above = scores >= PAPER_THRESHOLD
    return AbsentSummary(
        method=method,
        with_object=int(truth.sum()),
        without=int((~truth).sum()),
        auroc=auroc(scores, truth),
        auroc_interval=bootstrap_figure(
            auroc, (scores, truth), [answer.sample for answer, _ in known], resamples=_RESAMPLES
        ),
        fpr_at_95_tpr=fpr_at_tpr(scores, truth, 0.95),
        best=best_threshold(scores, truth),
        own_tpr=_share([answer for answer in verdicts if is_there(answer)]),
        own_fpr=_share([answer for answer in verdicts if not is_there(answer)]),
        own_thresholds=(float(low), float(middle), float(high)) if thresholds else None,
        paper=Threshold(PAPER_THRESHOLD, float(above[truth].mean()), float(above[~truth].mean())),
        missing={answer.query: why for answer in answers if (why := failure_of(answer)) is not None},
    )


def _share(answers: Sequence[Record]) -> float | None:
    return float(np.mean([bool(answer.present) for answer in answers])) if answers else None


def plot_scores(answers: Sequence[Record], summaries: Sequence[AbsentSummary], title: str, path: Path) -> None:
    """Histograms of the scores, photos with the object against photos without, one panel a method."""
    figure, axes = new_figure(8, 0.9 + 2.7 * len(summaries), rows=len(summaries))
    for axis, summary in zip(axes[:, 0], summaries, strict=True):
        of_method = [answer for answer in answers if answer.method == summary.method and answer.score is not None]
        values = [answer.score for answer in of_method if answer.score is not None]
        bins = int(np.clip(2 * len(values) ** 0.5, 10, 40))
        edges = np.linspace(min(values), max(values) + 1e-9, bins + 1)
        for expected, colour, word in ((True, PRESENT, "with the object"), (False, ABSENT, "without")):
            part = [value for value, answer in zip(values, of_method, strict=True) if is_there(answer) == expected]
            shares = np.full(len(part), 100 / max(1, len(part)))
            axis.hist(part, edges, weights=shares, color=colour, alpha=0.55, label=f"{word} ({len(part)})")
        axis.axvline(summary.best.value, color="#222222", linewidth=1.4, label=f"best {summary.best.value:.3f}")
        if summary.own_thresholds is not None:
            low, middle, high = summary.own_thresholds
            axis.axvspan(low, high, color="#999999", alpha=0.22, linewidth=0)
            label = f"persam's own {middle:.3f} ({low:.3f} to {high:.3f})"
            axis.axvline(middle, color="#666666", linewidth=1.4, linestyle="--", label=label)
        axis.set_title(
            f"{summary.method}: AUROC {summary.auroc:.3f}, FPR at 95 % TPR {summary.fpr_at_95_tpr:.1%}",
            fontsize=10,
            loc="left",
        )
        axis.set_ylabel("% of its kind", fontsize=9)
        axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes[-1, 0].set_xlabel("score", fontsize=9)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    write_bytes(path, png_of(figure))
