"""The pictures of `persam bench DATASET --absent`: scores with and without the object, and the reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.absence.summary import BINS, AbsentSummary, Calibration, is_there
from persam.benchmark.records import Record
from persam.benchmark.reporting.plots import ABSENT, PRESENT
from persam.files import write_bytes
from persam.method.find import USUAL
from persam.reports.figures import COLOURS, new_figure, png_of
from persam.segmentation import UNSURE

_MARKS = "os^Dvp"


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
            label = f"its own {middle:.3f}" + (f" ({low:.3f} to {high:.3f})" if low < high else "")
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


def draw_reliability(summaries: Sequence[AbsentSummary], title: str) -> bytes | None:
    """The reliability diagram of the methods whose score is a probability: what they say against what is so.

    Above, bin by bin, the mean score and the share of questions with the object there, weighted as in `Calibration`;
    below, how many questions a bin has.

    Returns:
        A PNG; None if no method is calibrated.
    """
    calibrated = [(summary.method, summary.calibration) for summary in summaries if summary.calibration is not None]
    if not calibrated:
        return None
    figure, axes = new_figure(7.2, 7.4 + 0.2 * len(calibrated), rows=2, heights=(3.4, 1))
    above, below = axes[:, 0]
    above.plot([0, 1], [0, 1], color="#888888", linewidth=1.2, linestyle="--", label="a score that says what is so")
    for axis in (above, below):
        axis.axvspan(*UNSURE, color="#999999", alpha=0.13, linewidth=0)
        axis.set_xlim(-0.02, 1.02)
        axis.set_xticks(np.arange(BINS + 1) / BINS)
        axis.set_axisbelow(True)
    words: dict[str, Any] = {"color": "#777777", "fontsize": 9}
    above.text(sum(UNSURE) / 2, 0.99, "unsure", ha="center", va="top", **words)
    above.text(0.0, 0.99, "there more often\nthan it says", va="top", **words)
    above.text(1.0, 0.01, "less often\nthan it says", ha="right", **words)
    for number, (method, calibration) in enumerate(calibrated):
        colour = COLOURS[number % len(COLOURS)]
        above.plot(
            [each.predicted for each in calibration.bins],
            [each.observed for each in calibration.bins],
            _MARKS[number % len(_MARKS)],
            linestyle="-",
            color=colour,
            linewidth=1.6,
            markersize=7,
            markeredgecolor="white",
            label=f"{method}: Brier {calibration.brier:.3f}, calibration error {calibration.error:.3f}",
        )
        _draw_counts(below, calibration, number, len(calibrated), colour)
    above.set_ylim(-0.02, 1.02)
    above.set_yticks(np.arange(0, 1.01, 0.2))
    above.grid(color="#dddddd", linewidth=0.6)
    above.set_ylabel(f"share that is there, where 1 in {1 / USUAL:.0f} photos shows it", fontsize=9)
    above.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    below.margins(y=0.2)  # room for the numbers above the bars
    below.set_ylabel("questions", fontsize=9)
    below.set_xlabel("score", fontsize=9)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return png_of(figure)


def _draw_counts(axis: Any, calibration: Calibration, number: int, of: int, colour: str) -> None:
    """The questions of every bin as bars with their numbers, the methods' side by side."""
    width = 0.84 / BINS / of
    counts = [each.count for each in calibration.bins]
    middles = [(each.low + each.high) / 2 + width * (number - (of - 1) / 2) for each in calibration.bins]
    bars = axis.bar(middles, counts, width * 0.92, color=colour, alpha=0.8)
    # Long numbers side by side would touch, so they stand.
    axis.bar_label(bars, fontsize=7, padding=2, color="#333333", rotation=90 if of > 1 else 0)
