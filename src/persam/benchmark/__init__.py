"""Measurements: how good, how fast. One file a question; `persam bench` prints the answers.

>>> from persam.benchmark import bench
>>> bench("perseg", "~/data/PerSeg").figure("persam-f")        # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persam.lazy import lazily

if TYPE_CHECKING:
    from persam.benchmark.absence.report import AbsentReport
    from persam.benchmark.conduct import bench, bench_absent
    from persam.benchmark.reporting.report import Report
    from persam.benchmark.running.equipment import Setup
    from persam.benchmark.score import bench_score

__all__ = ["AbsentReport", "Report", "Setup", "bench", "bench_absent", "bench_score"]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "AbsentReport": "persam.benchmark.absence.report",
        "Report": "persam.benchmark.reporting.report",
        "Setup": "persam.benchmark.running.equipment",
        "bench": "persam.benchmark.conduct",
        "bench_absent": "persam.benchmark.conduct",
        "bench_score": "persam.benchmark.score",
    },
)
