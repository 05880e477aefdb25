"""The report of a run: its numbers and everything that they depend on, as JSON, tables, pictures and CSV."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from persam.benchmark.methods.catalog import ITS_OWN
from persam.benchmark.records import Query, Record, grouped
from persam.benchmark.reporting.protocols import Protocol
from persam.benchmark.reporting.published import published_for
from persam.benchmark.reporting.summary import Summary, summarise
from persam.benchmark.reporting.tables import results_table
from persam.files import write_text
from persam.reports.contact_sheet import ContactSheet
from persam.reports.page import render
from persam.reports.pictures import data_uri
from persam.reports.tables import Table, to_csv

METRICS, MARKDOWN, LATEX, WORST, PLOT = "metrics.json", "table.md", "table.tex", "worst.png", "iou.png"
PAGE = "report.html"
PER_OBJECT, PER_IMAGE = "per_object.csv", "per_image.csv"
FILES = (METRICS, MARKDOWN, LATEX, PER_OBJECT, PER_IMAGE, WORST, PLOT, PAGE)


@dataclass(frozen=True)
class Report:
    """What a run found. Everything in it is computed from `records`.

    Attributes:
        title: what was measured: ``PerSeg, tiny``.
        data_set: its name, ``perseg``.
        protocol: how it is summed up.
        records: one a photo and method.
        queries: what was asked.
        settings: what was asked for, models and data by fingerprint: JSON values.
        notes: sentences that belong to the numbers.
        prediction: gives the mask of (method, query), or None where none is kept.
        folder: where the run lies, or None.
    """

    title: str
    data_set: str
    protocol: Protocol
    records: list[Record]
    queries: list[Query]
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    prediction: Callable[[str, str], np.ndarray | None] = field(default=lambda method, query: None, repr=False)
    folder: Path | None = None

    @cached_property
    def summaries(self) -> list[Summary]:
        """One a method."""
        return summarise(self.records, self.protocol)

    @property
    def missing(self) -> dict[str, dict[str, str]]:
        """For each method that has them, photos without an answer and why."""
        return {summary.method: summary.missing for summary in self.summaries if summary.missing}

    def figure(self, method: str, key: str | None = None) -> float:
        """One number, in [0, 1]: by default the main one of the protocol.

        Raises:
            KeyError: no such method or figure.
        """
        summary = {each.method: each for each in self.summaries}[method]
        return summary.figures[key or self.protocol.headline].value

    def table(self, *, brief: bool = False, published: bool = True) -> Table:
        """The table of the run, with published numbers below; `brief` for a terminal."""
        shots = len(self.queries[0].episode.references) if self.queries else 1
        return results_table(
            self.title,
            self.summaries,
            self.protocol,
            published_for(self.data_set) if published else (),
            notes=self.notes,
            encoder=str(self.settings.get("works with", "")),
            encoders={name: works_with(each) for name, each in self.settings.get("methods", {}).items()},
            shots=shots,
            brief=brief,
        )

    def metrics(self) -> dict[str, Any]:
        """Everything, as JSON values; what depends on the clock is under ``times`` alone."""
        return {
            "title": self.title,
            "protocol": {"name": self.protocol.name, "sentence": self.protocol.sentence},
            "notes": list(self.notes),
            "settings": self.settings,
            "photos": len({record.query for record in self.records}),
            "objects": len({record.object for record in self.records}),
            "references": {
                query.episode.object: [reference.name for reference in query.episode.references]
                for query in reversed(self.queries)
            },
            "methods": {
                summary.method: {key: value for key, value in asdict(summary).items() if key != "method"}
                for summary in self.summaries
            },
            "published": [asdict(each) for each in published_for(self.data_set)],
            "times": self._times(),
        }

    def write(self, folder: Path) -> list[str]:
        """Write all of it into a folder.

        Returns:
            Names of the files.

        Raises:
            PersamError: a file cannot be written, or matplotlib is not installed.
        """
        from persam.benchmark.reporting.plots import plot_ious
        from persam.benchmark.reporting.worst import worst_sheet

        write_text(folder / METRICS, json.dumps(self.metrics(), indent=2, ensure_ascii=False) + "\n")
        brief = self.table(brief=True)  # the whole is wider than any page
        write_text(folder / MARKDOWN, self.markdown())
        write_text(folder / LATEX, brief.latex())
        write_text(folder / PER_OBJECT, per_object_csv(self.summaries))
        write_text(folder / PER_IMAGE, per_image_csv(self.records))
        sheet = worst_sheet(self.records, self.queries, self.prediction, self.title)
        pages = sheet.write_png(folder / WORST)
        plot_ious(self.records, self.title, folder / PLOT)
        plots = {"IoU of every photo": (folder / PLOT).read_bytes()}
        write_text(folder / PAGE, self.page(plots, sheet))
        return [METRICS, MARKDOWN, LATEX, PER_OBJECT, PER_IMAGE, *(page.name for page in pages), PLOT, PAGE]

    def markdown(self) -> str:
        """What ``table.md`` holds."""
        return self.table().markdown()

    def page(self, plots: Mapping[str, bytes], cases: ContactSheet) -> str:
        """What ``report.html`` holds, with plots (PNG files by what they show) and worst cases."""
        return run_page(self.table(brief=True), plots, cases)

    def _times(self) -> dict[str, Any]:
        seconds = {
            name: [record.seconds for record in records] for name, records in grouped(self.records, "method").items()
        }
        return {
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "note": "seconds a photo; the encoding is in those of the first method that shares it",
            "methods": {name: {"median": median(each), "sum": sum(each)} for name, each in seconds.items()},
        }


def run_page(table: Table, plots: Mapping[str, bytes], cases: ContactSheet | None = None) -> str:
    """All of a run on one page that needs nothing else: table, plots (PNG files by what they show) and worst cases."""
    from persam.benchmark.reporting.worst import CASES_ARE

    return render(
        "benchmark/reporting/report.html.j2",
        table=table,
        plots={words: data_uri(plot, "png") for words, plot in plots.items()},
        cases=[] if cases is None else cases.entries,
        columns=1 if cases is None else cases.columns,
        cases_are=CASES_ARE.capitalize(),
    )


def works_with(described: Mapping[str, Any]) -> str:
    """What a method's confidence map and masks are made with, from what it says of itself (`Method.describe`)."""
    model = described.get("model")
    if model is None:
        return ITS_OWN
    if described.get("encoder") is not None:
        return f"{described['encoder']} for matching, {model}"
    return f"{described['checkpoint']}, {model}" if described.get("checkpoint") else str(model)


def per_object_csv(summaries: Sequence[Summary]) -> str:
    """One line a method and object."""
    rows = [
        {"method": summary.method, "object": name} | figures
        for summary in summaries
        for name, figures in summary.by_object.items()
    ]
    return to_csv(rows)


def per_image_csv(records: Sequence[Record]) -> str:
    """One line a method and photo."""
    rows = [
        {
            "method": record.method,
            "object": record.object,
            "photo": record.query,
            "references": " ".join(record.references),
            "fold": record.fold,
            "iou": record.iou,
            "biou": record.boundary_iou,
            "f": record.contour,
            "intersection": record.counts.intersection,
            "union": record.counts.union,
            "predicted": record.counts.predicted,
            "target": record.counts.target,
            "score": record.score,
            "present": record.present,
            "located": record.on_object,
            "seconds": round(record.seconds, 4),
            "failure": record.failure,
        }
        for record in records
    ]
    return to_csv(rows)
