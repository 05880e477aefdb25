"""`persam bench DATASET --absent`: what came of it, as tables, pictures and CSV."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from persam.benchmark.absence.summary import AbsentSummary, pair_row, plot_scores, summarise_absent
from persam.benchmark.records import Record, grouped
from persam.benchmark.reporting.report import LATEX, MARKDOWN, METRICS, PAGE, run_page
from persam.files import write_text
from persam.reports.tables import Table, to_csv

PLOT, PER_PAIR = "scores.png", "absent.csv"
_NOTES = (
    "Every object is looked for in the test photos of all objects; it counts as there where its true mask is not empty",
    "AUROC: chance that a photo with the object scores above one without; [..]: its 95 % bootstrap, over photos",
    "FPR at 95 % TPR: share of photos without the object that pass where 95 % of those with it do",
    "Best: the threshold of the highest balanced accuracy on these photos",
    "Own: the verdict of the method, with the median of its objects' thresholds",
    "0.45 is the paper's threshold, for DINOv2 and its mean of cosines",
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

    @property
    def missing(self) -> dict[str, dict[str, str]]:
        """For each method that has them, pairs without an answer and why."""
        return {summary.method: summary.missing for summary in self.summaries if summary.missing}

    def table(self) -> Table:
        """One row a method."""
        columns = ("method", "with", "without", "AUROC", "FPR at 95 % TPR", "best", "own", "0.45")
        notes = [f"{note}." for note in _NOTES] + list(self.notes)
        for method, missing in self.missing.items():
            notes.append(f"{method} has no answer for {len(missing)} pairs, which do not count.")
        return Table(self.title, columns, tuple(_row(each) for each in self.summaries), notes=tuple(notes))

    def metrics(self) -> dict[str, Any]:
        """Everything, as JSON values; what depends on the clock is under ``times`` alone."""
        by_method = grouped(self.answers, "method")
        return {
            "title": self.title,
            "protocol": {"name": "absent", "sentence": "; ".join(_NOTES)},
            "notes": list(self.notes),
            "settings": self.settings,
            "photos": len({answer.sample for answer in self.answers}),
            "objects": len({answer.object for answer in self.answers}),
            "methods": {summary.method: asdict(summary) for summary in self.summaries},
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
        write_text(folder / MARKDOWN, self.table().markdown())
        write_text(folder / LATEX, self.table().latex())
        write_text(folder / PER_PAIR, to_csv([pair_row(answer) for answer in self.answers]))
        plot_scores(self.answers, self.summaries, self.title, folder / PLOT)
        write_text(folder / PAGE, run_page(self.table(), (folder / PLOT).read_bytes()))
        return [METRICS, MARKDOWN, LATEX, PER_PAIR, PLOT, PAGE]


def _row(summary: AbsentSummary) -> tuple[str, ...]:
    ends = "" if summary.auroc_interval is None else " [{:.3f}, {:.3f}]".format(*summary.auroc_interval)
    own = "–"
    if summary.own_tpr is not None and summary.own_fpr is not None:
        at = "" if summary.own_thresholds is None else f"{summary.own_thresholds[1]:.3f}: "
        own = f"{at}TPR {summary.own_tpr:.1%}, FPR {summary.own_fpr:.1%}"
    return (
        summary.method,
        str(summary.with_object),
        str(summary.without),
        f"{summary.auroc:.3f}{ends}",
        f"{summary.fpr_at_95_tpr:.1%}",
        f"{summary.best.value:.3f}: TPR {summary.best.tpr:.1%}, FPR {summary.best.fpr:.1%}",
        own,
        f"TPR {summary.paper.tpr:.1%}, FPR {summary.paper.fpr:.1%}",
    )
