"""What PerSAM costs on this machine: time by stage, time and memory over plain SAM, beside the paper's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from persam.benchmark.suites.memory import JOBS, Memory, measure_memory
from persam.benchmark.suites.overhead import PUBLISHED_ON, measure_overhead
from persam.benchmark.suites.speed import Spread, about_timing, drawn_scene, open_persam
from persam.benchmark.suites.stages import time_stages
from persam.benchmark.suites.suite import Findings, headline, table
from persam.reports.tables import Table

#: The paper's memory in MB.
PUBLISHED_MEMORY = {"SAM": 5731, "PerSAM": 5788, "PerSAM-F": 5832}
SIDE = 1024
MEMORY_ROUNDS = 2


def steps_of(rounds: int, *, memory: bool) -> int:
    """How often `measure_efficiency` reports progress."""
    return 2 * (rounds + 1) + (MEMORY_ROUNDS * len(JOBS) if memory else 0)


def measure_efficiency(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    mode: str = "persam",
    encoder: str | None = None,
    rounds: int = 5,
    memory: bool = True,
    progress: Callable[[], object] = lambda: None,
) -> Findings:
    """Time by stage, time and memory over plain SAM, on a drawn photo of 1024 x 1024 pixels.

    Args:
        name: of the model, as `open_persam` takes it.
        device: where to compute.
        dtype: number format of the image encoder.
        mode: form of the method.
        encoder: another encoder for the confidence map; memory is measured without it.
        rounds: that count; one more warms up.
        memory: measure it, too; on a CPU every number needs a process that loads the model anew.
        progress: called after every round and every measured peak.

    Raises:
        PersamError: the model is not to be had, or the system does not tell a process's peak memory.
        UsageError: an unknown mode, device or dtype.
    """
    persam = open_persam(name, device=device, dtype=dtype, mode=mode, encoder=encoder)
    about = about_timing(persam) | {"photo": SIDE, "rounds": rounds}
    title = f"{headline(about)}, one photo of {SIDE} x {SIDE}, {rounds} rounds"
    times = time_stages(persam, *drawn_scene(SIDE), rounds, progress)
    rows: list[Mapping[str, Any]] = [
        {"stage": stage, "persam": asdict(plain), "persam_f": None if tuned is None else asdict(tuned)}
        for stage, plain, tuned in times.rows()
    ]
    tables = [
        table(
            f"Seconds by stage, median [quartiles]: {title}",
            ("stage", "PerSAM", "PerSAM-F"),
            tuple((stage, _seconds(plain), _seconds(tuned)) for stage, plain, tuned in times.rows()),
        )
    ]
    added = measure_overhead(persam, SIDE, rounds, progress)
    rows += added.rows
    tables += added.tables
    notes = [f"Machine: {about['machine']}, {about['dtype']}.", *added.notes]
    if memory:
        place = persam.model.device.type
        del persam  # the processes that measure memory on a CPU load it themselves
        peaks = measure_memory(
            name, device=place, dtype=dtype, mode=mode, side=SIDE, rounds=MEMORY_ROUNDS, progress=progress
        )
        rows += [{"memory": job, "bytes": peaks.peaks[job], "added": peaks.added(job)} for job in JOBS]
        tables.append(_memory_sheet(peaks, title))
        notes.append(f"Memory: {peaks.how}, the model in it; every single number in metrics.json.")
    return Findings("efficiency", about | {"every_round": added.about["every_round"]}, rows, tables, notes)


def _memory_sheet(memory: Memory, title: str) -> Table:
    def cells(job: str) -> tuple[str, ...]:
        ours, paper = memory.peak(job) / 1e6, PUBLISHED_MEMORY[job]
        over = f"{memory.added(job) / 1e6:+.1f} MB ({memory.added(job) / memory.peak('SAM'):+.1%})"
        paper_over = f"{paper - PUBLISHED_MEMORY['SAM']:+d} MB ({paper / PUBLISHED_MEMORY['SAM'] - 1:+.1%})"
        return job, f"{ours:.1f} MB", over, f"{paper} MB", paper_over

    columns = ("", "peak", "over plain SAM", f"paper ({PUBLISHED_ON})", "over plain SAM")
    return table(f"Memory at its peak: {title}", columns, tuple(cells(job) for job in JOBS))


def _seconds(spread: Spread | None) -> str:
    return "–" if spread is None else spread.text(4)
