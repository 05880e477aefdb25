"""The report of a run through videos: that of any run, with every sequence, J over time, and times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.reporting.report import FILES, Report
from persam.benchmark.reporting.worst import CASES_ARE
from persam.benchmark.video.passages import Passage
from persam.benchmark.video.sequences import VideoSequence
from persam.benchmark.video.video_pictures import STRIP_IS, j_over_time, strip
from persam.benchmark.video.video_tables import (
    scores_by_sequence,
    sequence_csv,
    sequence_tables,
    speed_table,
    speeds,
)
from persam.files import write_text
from persam.reports.contact_sheet import ContactSheet
from persam.reports.page import render
from persam.reports.pictures import data_uri
from persam.reports.tables import Table

PER_SEQUENCE = "per_sequence.csv"
VIDEO_FILES = (*FILES, PER_SEQUENCE)
_DRAWN = 30  # sequences, the worst ones: a page of hundreds would not open


@dataclass(frozen=True)
class VideoReport(Report):
    """What a run through videos found.

    Attributes:
        sequences: what was asked.
        passages: how the methods came through them, for times; none where masks of another tool are scored.
        machine: that the times were taken on.
    """

    sequences: tuple[VideoSequence, ...] = ()
    passages: tuple[Passage, ...] = ()
    machine: str = ""

    def tables(self, *, brief: bool = False) -> list[Table]:
        """All tables: of the methods, of the sequences, of times."""
        timed = [speed_table(speeds(self.passages), self.machine)] if speeds(self.passages) else []
        return [self.table(brief=brief), *sequence_tables(self.records), *timed]

    def markdown(self) -> str:
        """What ``table.md`` holds."""
        return "\n".join(table.markdown() for table in self.tables())

    def metrics(self) -> dict[str, Any]:
        """Everything, as JSON values; what depends on the clock is under ``times`` alone."""
        by_sequence = {
            method: {name: {"j_and_f": score.j_and_f, **asdict(score)} for name, score in own.items()}
            for method, own in scores_by_sequence(self.records).items()
        }
        return super().metrics() | {"by_sequence": by_sequence}

    def page(self, plots: Mapping[str, bytes], cases: ContactSheet) -> str:
        """What ``report.html`` holds."""
        return render(
            "benchmark/video/report.html.j2",
            title=self.title,
            tables=self.tables(brief=True),
            sequences=self._drawn(),
            left_out=max(0, len(self.sequences) - _DRAWN),
            strip_is=STRIP_IS.capitalize(),
            plots={words: data_uri(plot, "png") for words, plot in plots.items()},
            cases=cases.entries,
            columns=cases.columns,
            cases_are=CASES_ARE.capitalize(),
        )

    def write(self, folder: Path) -> list[str]:
        """Write all of it into a folder; see `Report.write`."""
        write_text(folder / PER_SEQUENCE, sequence_csv(self.records))
        return [*super().write(folder), PER_SEQUENCE]

    def _drawn(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """Name, plot and strip of every sequence, one after the other."""
        scores = scores_by_sequence(self.records)
        worst = {
            sequence.name: float(np.mean([own[sequence.name].j_and_f for own in scores.values()]))
            for sequence in self.sequences
        }
        chosen = set(sorted(worst, key=lambda name: worst[name])[:_DRAWN])
        for sequence in self.sequences:
            if sequence.name in chosen:
                plot = data_uri(j_over_time(sequence, self.records), "png")
                yield sequence.name, plot, strip(sequence, self.records, self.prediction)

    def _times(self) -> dict[str, Any]:
        shared = "seconds of a frame that counts, shared out among the objects that are asked for in it"
        note = "frames a second: median and quartiles over frames; start: seconds until the first frame is done"
        methods = {name: asdict(each) for name, each in speeds(self.passages).items()}
        return super()._times() | {"note": shared, "machine": self.machine, "speed": methods, "speed_note": note}
