"""`persam bench DATASET --absent`: what came of it, as tables, pictures and CSV."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from persam.benchmark.absence.plots import draw_reliability, plot_scores
from persam.benchmark.absence.ranking import RankingSummary, ranking_table, summarise_rankings
from persam.benchmark.absence.summary import BINS, AbsentSummary, Ends, pair_row, summarise_absent
from persam.benchmark.records import Record, grouped
from persam.benchmark.reporting.report import LATEX, MARKDOWN, METRICS, PAGE, run_page
from persam.files import write_bytes, write_text
from persam.method.find import USUAL
from persam.reports.tables import Table, to_csv
from persam.segmentation import UNSURE

PLOT, RELIABILITY, PER_PAIR = "scores.png", "reliability.png", "absent.csv"
FILES = (METRICS, MARKDOWN, LATEX, PER_PAIR, PLOT, RELIABILITY, PAGE)
_COLUMNS = (
    "method", "with", "without", "AUROC", "FPR at 95 % TPR", "best", "own", "right", "Brier", "ECE", "unsure", "0.45",
)  # fmt: skip
_NOTES = (
    "Every object is looked for in the test photos of all objects; it counts as there where its true mask is not empty",
    "AUROC: chance that a photo with the object scores above one without; [..]: its 95 % bootstrap, over photos",
    "FPR at 95 % TPR: share of photos without the object that pass where 95 % of those with it do",
    "Best: the threshold of the highest balanced accuracy on these photos",
    "Own: the verdict of the method, with the median of its objects' thresholds",
    "Right: share of the questions that it answers rightly; where most are without the object, no is mostly right",
    "0.45 is the paper's threshold, for DINOv2 and its mean of cosines; it says nothing of a probability",
)
_ONE_IN = f"1 in {1 / USUAL:.0f}"
_CALIBRATED = (
    (
        f"Brier (mean square of score less truth) and ECE (expected calibration error, {BINS} bins), best at 0, are of "
        f"scores that are meant as a probability, for an album in which {_ONE_IN} photos shows the object"
    ),
    (
        f"For both, and for the reliability diagram, the questions are weighted until {_ONE_IN} counts as with "
        f"the object; to say {USUAL:g} of every photo gives a Brier score of {USUAL * (1 - USUAL):.3f}"
    ),
    (
        f"Unsure: share of the questions with a score from {UNSURE[0]:g} up to {UNSURE[1]:g}, and how often the "
        "verdict on the others is right; unweighted, as right is"
    ),
)


@dataclass(frozen=True)
class AbsentReport:
    """How well methods tell photos with their object from photos without.

    Attributes:
        title: what was measured.
        answers: one a photo, object and method. Everything else is computed from them.
        settings: what was asked for, JSON values.
        notes: sentences that belong to the numbers.
        folder: where the run lies, or None.
    """

    title: str
    answers: list[Record]
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    folder: Path | None = None

    @cached_property
    def summaries(self) -> list[AbsentSummary]:
        """One a method."""
        return summarise_absent(self.answers)

    @cached_property
    def rankings(self) -> list[RankingSummary]:
        """One a method: how well a search for each thing would have found the photos that show it."""
        return summarise_rankings(self.answers)

    @property
    def missing(self) -> dict[str, dict[str, str]]:
        """For each method that has them, pairs without an answer and why."""
        return {summary.method: summary.missing for summary in self.summaries if summary.missing}

    @property
    def _sentences(self) -> tuple[str, ...]:
        """What the figures are, those that are here."""
        calibrated = any(summary.calibration is not None for summary in self.summaries)
        return (*_NOTES, *_CALIBRATED) if calibrated else _NOTES

    def table(self) -> Table:
        """One row a method."""
        notes = [f"{note}." for note in self._sentences] + list(self.notes)
        for method, missing in self.missing.items():
            notes.append(f"{method} has no answer for {len(missing)} pairs, which do not count.")
        return Table(self.title, _COLUMNS, tuple(_row(each) for each in self.summaries), notes=tuple(notes))

    def ranking_table(self) -> Table:
        """Of `rankings`, one row a method."""
        return ranking_table(self.rankings, f"Which photos have it? {self.title}")

    def metrics(self) -> dict[str, Any]:
        """Everything, as JSON values; what depends on the clock is under ``times`` alone."""
        by_method = grouped(self.answers, "method")
        return {
            "title": self.title,
            "protocol": {"name": "absent", "sentence": "; ".join(self._sentences)},
            "notes": list(self.notes),
            "settings": self.settings,
            "photos": len({answer.sample for answer in self.answers}),
            "objects": len({answer.object for answer in self.answers}),
            "methods": {summary.method: asdict(summary) for summary in self.summaries},
            "rankings": {summary.method: asdict(summary) for summary in self.rankings},
            "times": {
                "written": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": {name: sum(answer.seconds for answer in given) for name, given in by_method.items()},
            },
        }

    def write(self, folder: Path) -> list[str]:
        """Write all of it into a folder.

        Returns:
            Names of the files.
        """
        write_text(folder / METRICS, json.dumps(self.metrics(), indent=2, ensure_ascii=False) + "\n")
        tables = (self.table(), self.ranking_table())
        write_text(folder / MARKDOWN, "\n".join(table.markdown() for table in tables))
        write_text(folder / LATEX, "\n".join(table.latex() for table in tables))
        write_text(folder / PER_PAIR, to_csv([pair_row(answer) for answer in self.answers]))
        plot_scores(self.answers, self.summaries, self.title, folder / PLOT)
        plots = {"scores with and without the object": folder / PLOT}
        if picture := draw_reliability(self.summaries, self.title):
            write_bytes(folder / RELIABILITY, picture)
            plots["reliability diagram"] = folder / RELIABILITY
        write_text(folder / PAGE, run_page(self.table(), {words: path.read_bytes() for words, path in plots.items()}))
        return [METRICS, MARKDOWN, LATEX, PER_PAIR, *(path.name for path in plots.values()), PAGE]


def _row(summary: AbsentSummary) -> tuple[str, ...]:
    own = right = brier = error = unsure = "–"
    if summary.own_tpr is not None and summary.own_fpr is not None:
        at = "" if summary.own_thresholds is None else f"{summary.own_thresholds[1]:.3f}: "
        own = f"{at}TPR {summary.own_tpr:.1%}, FPR {summary.own_fpr:.1%}"
    if summary.right is not None:
        right = f"{summary.right:.1%}{_ends(summary.right_interval, '.1%')} of {summary.verdicts}"
    if (calibration := summary.calibration) is not None:
        brier = f"{calibration.brier:.3f}{_ends(calibration.brier_interval, '.3f')}"
        error = f"{calibration.error:.3f}"
        rest = "" if calibration.sure_right is None else f", else right {calibration.sure_right:.1%}"
        unsure = f"{calibration.unsure:.1%}{rest}"
    return (
        summary.method,
        str(summary.with_object),
        str(summary.without),
        f"{summary.auroc:.3f}{_ends(summary.auroc_interval, '.3f')}",
        f"{summary.fpr_at_95_tpr:.1%}",
        f"{summary.best.value:.3f}: TPR {summary.best.tpr:.1%}, FPR {summary.best.fpr:.1%}",
        own,
        right,
        brier,
        error,
        unsure,
        "–" if summary.paper is None else f"TPR {summary.paper.tpr:.1%}, FPR {summary.paper.fpr:.1%}",
    )


def _ends(interval: Ends | None, form: str) -> str:
    return "" if interval is None else f" [{interval[0]:{form}}, {interval[1]:{form}}]"
