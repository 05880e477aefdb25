"""A load test of the service from start to end: latencies, what was wanted of it beside them, and a plot over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.suites.suite import Findings, headline
from persam.benchmark.suites.timing import about_timing, open_persam
from persam.metrics.statistics import Interval, bootstrap_figure, bootstrap_mean
from persam.reports.figures import COLOURS, new_figure, png_of
from persam.reports.tables import Table
from persam.server.load.clients import BURST, RECOVERED, Load, LoadRequest, LoadTest
from persam.server.load.setup import SIZES, LoadedService, drawn_photos, photos_in, service_process

PLOT = "serve.png"
WARM = 0.25  # share of the time after which memory should no longer grow
WANTED_THROUGHPUT = 0.9
_PHOTOS = 12  # that are sent, again and again
_SLOPE_FROM = 240.0  # seconds over which memory is watched; what it breathes in less hides what it grows
_POINTS = 120  # that memory over time is summed up in
_QUARTILES = 0.5


def measure_service(
    name: str,
    *,
    url: str | None = None,
    token: str | None = None,
    folder: Path | None = None,
    clients: int = 8,
    seconds: float = 600,
    device: str = "auto",
    progress: Callable[[float, float], object] = lambda done, total: None,
) -> Findings:
    """Put load on a service of a model, and on the same model in a bare loop.

    Args:
        name: of the model.
        url: of a service that runs with it; None starts one, whose memory is then measured, too.
        token: of that service.
        folder: of photos to send; None for drawn ones.
        clients: at once.
        seconds: that all of them ask.
        device: where the model computes.
        progress: called with the seconds that are done, and those that it takes in all.

    Raises:
        PersamError: the model is not to be had, the service does not start or learn, or `folder` has no photos.
    """
    elsewhere = None if url is None else LoadedService(url.rstrip("/"), token)
    if elsewhere is not None:
        elsewhere.check()
    photos = drawn_photos(_PHOTOS) if folder is None else photos_in(folder, _PHOTOS)
    persam = open_persam(name, device=device)
    sizes = ", ".join(f"{width} x {height}" for width, height in SIZES)
    sent = f"drawn photos of {sizes}" if folder is None else f"{len(photos)} photos of {folder.name}"
    about = {**about_timing(persam), "clients": clients, "seconds": seconds, "sent": sent}
    with ExitStack() as stack:
        service = elsewhere or stack.enter_context(service_process("--model", name, "--device", device))
        test = LoadTest(service, photos, clients=clients, seconds=seconds, progress=progress)
        return findings_of(test.run(persam), about)


def findings_of(load: Load, about: Mapping[str, Any]) -> Findings:
    """Everything that a load test found, to be taken away.

    Args:
        load: what was seen.
        about: what it was measured with and on; `clients` and `seconds` are among it.
    """
    kinds = {kind: [each for each in load.together if each.kind == kind] for kind in ("segment", "learn", "album")}
    clients = f"{about['clients']} clients"
    groups = {
        "1 client, segment": load.alone,
        **{f"{clients}, {kind}": asked for kind, asked in kinds.items() if asked},
        **({f"burst of {len(load.burst.asked)}": load.burst.asked} if load.burst else {}),
    }
    rows = [{"requests": name, **_figures(asked)} for name, asked in groups.items()]
    summary = _summary(load)
    title = f"{headline(about)}, {about['sent']}"
    tables = [_latency_table(rows, title), _wanted_table(summary, load)]
    notes = [
        f"Machine: {about['machine']}, {about['dtype']}; service, clients and bare loop are on it.",
        "Latency is from the first byte sent to the answer, with the waiting that a 429 asked for.",
        "Throughput: clients and bare loop in turns, on the same photos; [..] are bootstrap quartiles over the rounds.",
        "The bare loop reads the photos from memory and segments them, one after another, in a process of its own.",
        f"Memory: resident bytes of the service's process, after the first {WARM:.0%} of the time.",
        "Growth: the Theil-Sen slope; [..] is its 95 % bootstrap interval, half minutes drawn whole.",
        *[f"Lost: {each.kind} at {each.start:.1f} s, {each.problem}." for each in load.lost[:5]],
        *[f"Differs: {each}." for each in load.differ[:5]],
    ]
    measured = {**summary, "memory_mb": [[round(at, 1), round(size / 1e6, 2)] for at, size in load.memory]}
    plots = {PLOT: partial(draw_load, load, title)}
    return Findings("serve", {**about, **measured}, rows, tables, notes, plots)


def _figures(asked: Sequence[LoadRequest]) -> dict[str, Any]:
    seconds = [each.seconds for each in asked if each.problem is None]
    p50, p95, p99 = (1000 * np.percentile(seconds, [50, 95, 99])).tolist() if seconds else (None, None, None)
    span = max((each.start + each.seconds for each in asked), default=0.0)
    return {
        "count": len(asked),
        "photos": sum(each.photos for each in asked),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "a_second": len(asked) / span if span else None,
        "refused": sum(each.refused for each in asked),
        "lost": sum(each.problem is not None for each in asked),
    }


def _summary(load: Load) -> dict[str, Any]:
    """Single figures, JSON values."""
    clients, loop = (bootstrap_mean([each[who] for each in load.rounds], level=_QUARTILES) for who in (0, 1))
    found: dict[str, Any] = {
        "throughput": bootstrap_mean([mine / bare for mine, bare in load.rounds], level=_QUARTILES),
        "photos_a_second": clients,
        "photos_a_second_bare": loop,
        "rounds": len(load.rounds),
        "lost": len(load.lost),
        "differ": len(load.differ),
        "memory_growth": memory_growth(load.memory),
    }
    if load.burst is not None:
        asked = load.burst.asked
        found["burst"] = {
            "requests": len(asked),
            "refusals": sum(each.refused for each in asked),
            "without_retry_after": sum(each.without_advice for each in asked),
            "seconds": load.burst.seconds,
            "recovery_seconds": load.burst.recovery,
        }
    return found


def memory_growth(memory: Sequence[tuple[float, int]]) -> dict[str, float | None] | None:
    """How memory grows after the warm-up, or None where there is too little to tell.

    Returns:
        ``first`` and ``last``: MB after the warm-up and at the end; ``slope``: MB an hour, the median of the slopes
        between all pairs of moments (Theil 1950, Sen 1968), so that single peaks do not count; ``low`` and ``high``:
        its 95 % bootstrap interval. The last three are None where memory was watched for too short a time.
    """
    end = memory[-1][0] if memory else 0.0
    late = [(at, size / 1e6) for at, size in memory if at >= WARM * end]
    if len(late) < 10:
        return None
    points = np.array([np.median(part, axis=0) for part in np.array_split(np.array(late), min(_POINTS, len(late)))])
    hours, sizes = points[:, 0] / 3600, points[:, 1]
    tenth = max(1, len(sizes) // 10)
    growth: dict[str, float | None] = {
        "first": float(np.median(sizes[:tenth])),
        "last": float(np.median(sizes[-tenth:])),
        **dict.fromkeys(("slope", "low", "high")),
    }
    if late[-1][0] - late[0][0] >= _SLOPE_FROM:
        blocks = [f"{at // 30}" for at in points[:, 0]]
        interval = bootstrap_figure(theil_sen, [hours, sizes], blocks, resamples=200)
        growth["slope"] = theil_sen(hours, sizes)
        growth["low"], growth["high"] = interval or (None, None)
    return growth


def theil_sen(x: np.ndarray, y: np.ndarray) -> float:
    """The median of the slopes between all pairs of points, x and y (N,).

    Raises:
        ValueError: all x are the same.

    >>> theil_sen(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 3.0, 99.0, 7.0]))
    2.0
    """
    one, other = np.triu_indices(len(x), 1)
    apart = x[one] != x[other]
    if not apart.any():
        raise ValueError("All points are above one another; a slope needs two places.")
    return float(np.median((y[other] - y[one])[apart] / (x[other] - x[one])[apart]))


def _latency_table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    def number(value: float | None, digits: int = 0) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    cells = tuple(
        (
            row["requests"],
            str(row["count"]),
            str(row["photos"]),
            *(number(row[key]) for key in ("p50_ms", "p95_ms", "p99_ms")),
            number(row["a_second"], 1),
            str(row["refused"]),
            str(row["lost"]),
        )
        for row in rows
    )
    columns = ("", "requests", "photos", "p50, ms", "p95, ms", "p99, ms", "a second", "answers 429", "lost")
    return Table(f"Service under load: {title}", columns, cells)


def _wanted_table(summary: Mapping[str, Any], load: Load) -> Table:
    def spread(value: Interval, digits: int) -> str:
        return f"{value.mean:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"

    rows = [
        ("throughput over that of the bare loop", spread(summary["throughput"], 3), f"{WANTED_THROUGHPUT} or more"),
        ("photos a second, all clients", spread(summary["photos_a_second"], 1), ""),
        ("photos a second, bare loop", spread(summary["photos_a_second_bare"], 1), ""),
        ("requests and jobs lost", str(summary["lost"]), "0"),
        ("answers that differ from those to one client", str(summary["differ"]), "0"),
    ]
    if growth := summary["memory_growth"]:
        sizes = f"{growth['first']:.0f} MB, {growth['last']:.0f} MB"
        interval = "" if growth["low"] is None else f" [{growth['low']:+.0f}, {growth['high']:+.0f}]"
        rows.append(("memory after warm-up, at the end", sizes, ""))
        if growth["slope"] is not None:
            rows.append(("growth of memory, MB an hour", f"{growth['slope']:+.0f}{interval}", "about 0"))
    if load.burst is not None:
        burst = summary["burst"]
        back = "–" if burst["recovery_seconds"] is None else f"{burst['recovery_seconds']:.1f} s"
        rows += [
            (f"burst of {BURST} times what may wait: answers 429", str(burst["refusals"]), "some"),
            ("of them without Retry-After", str(burst["without_retry_after"]), "0"),
            ("burst answered after", f"{burst['seconds']:.1f} s", ""),
            (f"p50 back within {RECOVERED} of one client's after", back, "soon"),
        ]
    return Table("What is wanted of it", ("figure", "measured", "wanted"), tuple(rows))


def draw_load(load: Load, title: str) -> bytes:
    """Draw latency and memory over the time in which all clients asked, as a PNG.

    Raises:
        PersamError: matplotlib is not installed.
    """
    figure, axes = new_figure(10, 6.5, rows=2, heights=(2, 1))
    latency, memory = axes[:, 0]
    for number, kind in enumerate(("segment", "learn", "album")):
        asked = [each for each in load.together if each.kind == kind and each.problem is None]
        starts, took = [each.start for each in asked], [each.seconds for each in asked]
        size = 4 if kind == "segment" else 20
        latency.scatter(starts, took, s=size, color=COLOURS[number], alpha=0.5, label=f"{kind}, {len(asked)}")
        if kind == "segment" and asked:
            for line, share in (("-", 50), ("--", 95)):
                latency.plot(*_running(starts, took, share), line, color="black", linewidth=1, label=f"p{share}")
    lost = [each for each in load.together if each.problem is not None]
    if lost:
        latency.scatter(
            [each.start for each in lost], [each.seconds for each in lost], marker="x", color="red", label="lost"
        )
    if load.alone:
        usual = float(np.median([each.seconds for each in load.alone]))
        latency.axhline(usual, color="grey", linewidth=1, linestyle=":", label="p50 of one client")
    latency.set_yscale("log")
    latency.set_ylabel("seconds to the answer")
    latency.legend(loc="upper right", ncols=3, fontsize=8)
    memory.plot([at for at, _ in load.memory], [size / 1e6 for _, size in load.memory], color=COLOURS[0])
    memory.set_ylabel("memory of the service, MB")
    memory.set_xlabel("seconds since all clients began")
    memory.set_ylim(0, 1.1 * max((size / 1e6 for _, size in load.memory), default=1.0))
    for each in (each for each in load.together if each.kind == "album"):
        for axis in (latency, memory):
            axis.axvspan(each.start, each.start + each.seconds, color=COLOURS[2], alpha=0.12, linewidth=0)
    end = max([each.start + each.seconds for each in load.together] + [at for at, _ in load.memory], default=1.0)
    for axis in (latency, memory):
        axis.grid(alpha=0.3)
        axis.set_xlim(0, end)
    figure.suptitle(title, fontsize=10)
    return png_of(figure)


def _running(starts: Sequence[float], took: Sequence[float], share: int) -> tuple[list[float], list[float]]:
    """A percentile over 60 stretches of the time."""
    order = np.argsort(starts)
    parts = [part for part in np.array_split(order, 60) if len(part)]
    at, values = np.array(starts), np.array(took)
    return [float(at[part].mean()) for part in parts], [float(np.percentile(values[part], share)) for part in parts]
