"""Measurements: how good, how fast. One file a question; `persam bench` prints the answers.

>>> from persam.benchmark import bench
>>> bench("perseg", "~/data/PerSeg").figure("persam-f")        # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persam.lazy import lazy_names

if TYPE_CHECKING:
    from persam.benchmark.absence.report import AbsentReport
    from persam.benchmark.conduct import bench, bench_absent
    from persam.benchmark.reporting.report import Report
    from persam.benchmark.running.equipment import Setup
    from persam.benchmark.score import bench_score
    from persam.benchmark.video.video_bench import VideoSetup, bench_video, score_video
    from persam.benchmark.video.video_report import VideoReport

__all__ = [
    "AbsentReport",
    "Report",
    "Setup",
    "VideoReport",
    "VideoSetup",
    "bench",
    "bench_absent",
    "bench_score",
    "bench_video",
    "score_video",
]

# Loaded on first use: help texts need none of it.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "persam.benchmark.absence.report": "AbsentReport",
        "persam.benchmark.conduct": "bench bench_absent",
        "persam.benchmark.reporting.report": "Report",
        "persam.benchmark.running.equipment": "Setup",
        "persam.benchmark.score": "bench_score",
        "persam.benchmark.video.video_bench": "VideoSetup bench_video score_video",
        "persam.benchmark.video.video_report": "VideoReport",
    },
)
