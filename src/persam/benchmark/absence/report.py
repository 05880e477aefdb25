"""`persam bench DATASET --absent`: ask, sum up, and write the answer."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from persam.benchmark.absence.asking import JOURNAL, Answer, absent_photos, run_absent
from persam.benchmark.absence.summary import AbsentSummary, plot_scores, summarise_absent
from persam.benchmark.datasets.catalog import DATASETS
from persam.benchmark.reporting.plots import check_plots
from persam.benchmark.reporting.report import LATEX, MARKDOWN, METRICS, PAGE, run_page
from persam.benchmark.running.conduct import Progress, counter, load_data, mode_note, notes_of, run_settings, title_of
from persam.benchmark.running.equipment import Equipment, Setup, check_setup
from persam.benchmark.running.journal import Journal
from persam.benchmark.running.run_folder import RunFolder
from persam.errors import PersamError, UsageError
from persam.files import write_text
from persam.reports.tables import Table, to_csv

PLOT, PER_PAIR = "scores.png", "absent.csv"
# Where an object that is not marked is not there. Photos of COCO show much that one episode does not ask for.
_FIT = ("perseg", "fss", "davis", "folder", "study")
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
    answers: list[Answer]
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
        seconds = {each.method: 0.0 for each in self.answers}
        for answer in self.answers:
            seconds[answer.method] += answer.seconds
        return {
            "title": self.title,
            "protocol": {"name": "absent", "sentence": "; ".join(_NOTES)},
            "notes": list(self.notes),
            "settings": self.settings,
            "photos": len({answer.photo for answer in self.answers}),
            "objects": len({answer.object for answer in self.answers}),
            "methods": {summary.method: asdict(summary) for summary in self.summaries},
            "times": {"written": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": seconds},
        }

    def write(self, folder: Path) -> list[str]:
        """Write all of it into a folder.

        Returns:
            Names of the files.
        """
        write_text(folder / METRICS, json.dumps(self.metrics(), indent=2, ensure_ascii=False) + "\n")
        write_text(folder / MARKDOWN, self.table().markdown())
        write_text(folder / LATEX, self.table().latex())
        write_text(folder / PER_PAIR, to_csv([asdict(answer) for answer in self.answers]))
        plot_scores(self.answers, self.summaries, self.title, folder / PLOT)
        write_text(folder / PAGE, run_page(self.table(), (folder / PLOT).read_bytes()))
        return [METRICS, MARKDOWN, LATEX, PER_PAIR, PLOT, PAGE]


def bench_absent(
    data_set: str,
    data: str | Path,
    setup: Setup | None = None,
    *,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> AbsentReport:
    """Look for every object in every other object's photos: is it there at all?

    >>> from persam.benchmark import bench_absent
    >>> bench_absent("perseg", "~/data/PerSeg").summaries[0].auroc       # doctest: +SKIP
    0.97

    Args and errors are those of `persam.benchmark.bench`.

    Raises:
        UsageError: besides, a data set whose photos show objects that are not marked, or one with a single object.
    """
    setup = setup or Setup()
    check_setup(setup)
    if out is not None:
        check_plots()
    if data_set in DATASETS and data_set not in _FIT:
        raise UsageError(
            f"Photos of {DATASETS[data_set].title} show more than is marked in them, so nobody knows what is absent; "
            f"use --absent with {', '.join(_FIT)}."
        )
    loaded = load_data(data_set, data, setup, **options)
    if len({episode.object for episode in loaded.episodes}) < 2:
        raise UsageError(f"{data} has one object alone; --absent looks for each in the photos of the others.")
    equipment = Equipment.of(setup)
    settings = run_settings(loaded, setup, equipment, "is it there?")
    folder = None if out is None else RunFolder(out, settings, fresh=fresh)
    journal = None if folder is None else Journal(folder.folder / JOURNAL)
    step = counter(progress, absent_photos(loaded.episodes))
    answers = run_absent(loaded.episodes, equipment.methods, step, journal=journal)
    report = AbsentReport(
        title_of(data_set, equipment.in_words, data) + ": is it there at all?",
        answers,
        settings,
        (*notes_of(loaded, setup), mode_note(settings["methods"])),
        None if folder is None else folder.folder,
    )
    try:
        report.summaries  # noqa: B018 (computed now, while its errors can be told from others)
    except ValueError as error:
        raise PersamError(f"The scores cannot be summed up: {error}") from error
    if folder is not None:
        report.write(folder.folder)
    return report


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
