"""Conduct a benchmark: read the data set, make the methods, run them, report. The API under `persam bench`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.absence.report import FILES as ABSENT_FILES
from persam.benchmark.absence.report import AbsentReport
from persam.benchmark.datasets.catalog import DATASETS, find_data_set
from persam.benchmark.episodes import Episode, Loaded, data_hash, limited
from persam.benchmark.methods.catalog import ITS_OWN
from persam.benchmark.records import Query, Record, presence_queries, queries_of
from persam.benchmark.reporting.protocols import DAVIS, FOLDER, PROTOCOLS, Protocol
from persam.benchmark.reporting.report import FILES as REPORT_FILES
from persam.benchmark.reporting.report import METRICS, Report
from persam.benchmark.reporting.worst import read_prediction
from persam.benchmark.running.equipment import Equipment, Setup, check_setup
from persam.benchmark.running.run import ask
from persam.benchmark.running.run_folder import ABSENT, RECORDS, RunFolder, kept_files
from persam.errors import PersamError, UsageError
from persam.files import expanded
from persam.ledger import claimed, holds_json
from persam.reports.figures import check_plots
from persam.reports.provenance import versions, weights_hash

Progress = Callable[[int, int], object]

# Where an object that is not marked is not there. Photos of COCO show much that one episode does not ask for.
_ALL_MARKED = ("perseg", "fss", "davis", "things", "folder", "study")


def bench(
    data_set: str,
    data: str | Path,
    setup: Setup | None = None,
    *,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Measure methods on a data set, with its published protocol.

    >>> from persam.benchmark import Setup, bench
    >>> setup = Setup(modes=["persam", "official"])
    >>> report = bench("perseg", "~/data/PerSeg", setup, out="runs/perseg")         # doctest: +SKIP
    >>> report.figure("persam-f")                                                   # doctest: +SKIP
    0.953
    >>> print(report.table().markdown())                                            # doctest: +SKIP

    Args:
        data_set: name, see `persam.benchmark.datasets.catalog.DATASETS`.
        data: its folder, as unpacked.
        setup: what is measured; by default PerSAM and PerSAM-F with the bundled model.
        out: keep predictions, records and the report in this folder; a run that was stopped goes on from it.
        fresh: drop an earlier run in `out`.
        progress: called with the number of photos done and of all.
        options: of the data set, such as ``shots=3``; those of its reader.

    Returns:
        The report; with `out` it is written too.

    Raises:
        UsageError: an unknown data set, method, mode or option; a folder that is laid out otherwise; an `out` with a
            run of other settings.
        PersamError: a model is not to be had, or `out` cannot be written.
    """
    with claimed_report(out, REPORT_FILES):
        done = _run(data_set, data, setup, out=out, fresh=fresh, progress=progress, **options)

        def prediction(method: str, query: str) -> np.ndarray | None:
            return None if done.folder is None else read_prediction(done.folder.prediction_path(method, query))

        report = Report(
            title=title_of(data_set, done.equipment.in_words, data),
            data_set=data_set,
            protocol=protocol_of(data_set),
            records=done.records,
            queries=done.queries,
            settings=done.settings | {"works with": done.equipment.in_words},
            notes=done.notes,
            prediction=prediction,
            folder=done.place,
        )
        if report.folder is not None:
            report.write(report.folder)
    return report


def bench_absent(
    data_set: str, data: str | Path, setup: Setup | None = None, *, out: str | Path | None = None, **more: Any
) -> AbsentReport:
    """Look for every object in every other object's photos: is it there at all?

    >>> from persam.benchmark import bench_absent
    >>> bench_absent("perseg", "~/data/PerSeg").summaries[0].auroc       # doctest: +SKIP
    0.97

    Args and errors are those of `bench`; it is the same run, but for the questions.

    Raises:
        UsageError: besides, a data set whose photos show objects that are not marked, or one with a single object.
    """
    with claimed_report(out, ABSENT_FILES):
        done = _run(data_set, data, setup, absent=True, out=out, **more)
        title = title_of(data_set, done.equipment.in_words, data) + ": is it there at all?"
        report = AbsentReport(title, done.records, done.settings, done.notes, done.place)
        try:
            report.summaries  # noqa: B018 (computed now, while its errors can be told from others)
        except ValueError as error:
            raise PersamError(f"The scores cannot be summed up: {error}") from error
        if report.folder is not None:
            report.write(report.folder)
    return report


def claimed_report(out: str | Path | None, files: Sequence[str]) -> AbstractContextManager[None]:
    """Hold the folder of a benchmark's report while it is made.

    Raises:
        UsageError: a file of others has the name of one of `files`.
        PersamError: another command writes there, or it cannot be written.
    """
    kept = [] if out is None else kept_files(expanded(out))
    return claimed(
        out,
        files,
        is_ours=lambda folder: bool(kept) or holds_json(folder / METRICS, "settings", "methods"),
        earlier=kept,
        advice="choose another --output, or move it away",
    )


@dataclass(frozen=True)
class _Done:
    """A run that came to its end."""

    equipment: Equipment
    queries: list[Query]
    records: list[Record]
    settings: dict[str, Any]
    notes: tuple[str, ...]
    folder: RunFolder | None

    @property
    def place(self) -> Path | None:
        return None if self.folder is None else self.folder.folder


def _run(
    data_set: str,
    data: str | Path,
    setup: Setup | None,
    *,
    absent: bool = False,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> _Done:
    """See that all that is named is there, and ask all methods.

    Where every object is looked for in every photo (`absent`), no masks are measured or kept.
    """
    setup = setup or Setup()
    check_setup(setup)
    if out is not None:
        check_plots()
    if absent and data_set in DATASETS and data_set not in _ALL_MARKED:
        raise UsageError(
            f"Photos of {DATASETS[data_set].title} show more than is marked in them, so nobody knows what is absent; "
            f"use --absent with {', '.join(_ALL_MARKED)}."
        )
    loaded = load_data(data_set, data, setup, **options)
    if absent and len({episode.object for episode in loaded.episodes}) < 2:
        raise UsageError(f"{data} has one object alone; --absent looks for each in the photos of the others.")
    equipment = Equipment.of(setup)
    settings = run_settings(loaded, setup, equipment, "is it there?" if absent else "where is it?")
    folder = None if out is None else RunFolder(out, settings, fresh=fresh, records=ABSENT if absent else RECORDS)
    looks = presence_queries(loaded.episodes) if absent else [[query] for query in queries_of(loaded.episodes)]
    records = ask(looks, equipment.methods, counter(progress, len(looks)), store=folder, masks=not absent)
    notes = (*notes_of(loaded, setup), mode_note(settings["methods"]))
    return _Done(equipment, [query for look in looks for query in look], records, settings, notes, folder)


def load_data(data_set: str, data: str | Path, setup: Setup, **options: Any) -> Loaded:
    """Read a data set as its protocol has it: of videos without the last frame, of all no more than `setup.limit`.

    Raises:
        UsageError: as `persam.benchmark.datasets.catalog.read` does, or no photo is left.
    """
    entry = find_data_set(data_set)
    if any(option.name == "seed" for option in entry.options):
        options = {"seed": setup.seed} | options
    loaded = entry.read(expanded(data), **options)
    episodes: Sequence[Episode] = loaded.episodes
    if protocol_of(data_set) is DAVIS:
        episodes = [_without_last_frame(episode) for episode in episodes]
    if setup.limit is not None:
        episodes = limited(episodes, setup.limit)
    episodes = tuple(episode for episode in episodes if episode.tests)
    if not episodes:
        raise UsageError(f"{data} has no photos to find the objects in: each object has its reference alone.")
    return replace(loaded, episodes=episodes)


def title_of(data_set: str, works_with: str, data: str | Path) -> str:
    """What stands above the report: the data set, of a person's own folder its name, and what it is measured with."""
    title = DATASETS[data_set].title
    if protocol_of(data_set) is FOLDER:
        title = f"{expanded(data).resolve().name} ({title})"
    return title if works_with == ITS_OWN else f"{title}, {works_with}"


def protocol_of(data_set: str) -> Protocol:
    """How a data set is summed up."""
    return PROTOCOLS[DATASETS[data_set].measure]


def _without_last_frame(episode: Episode) -> Episode:
    """DAVIS' protocol leaves it out, as it does the first."""
    frames = sorted(path.name for path in episode.references[0].photo.parent.iterdir() if not path.name.startswith("."))
    return replace(episode, tests=tuple(sample for sample in episode.tests if sample.photo.name != frames[-1]))


def run_settings(loaded: Loaded, setup: Setup, equipment: Equipment, question: str) -> dict[str, Any]:
    """All that the numbers depend on, JSON values; `question` keeps runs apart that ask something else."""
    from persam.models.loading import choose_device

    return {
        "data set": loaded.name,
        "question": question,
        **{name: value for name, value in loaded.settings.items() if name != "seed"},
        "limit": setup.limit,
        "method": list(setup.methods),
        "mode": list(setup.modes),
        "model": setup.model,
        "encoder": setup.encoder,
        "fitted": setup.fitted,
        "solver": setup.solver,
        "seed": setup.seed,
        "checkpoint": dict(setup.checkpoints),
        "device": choose_device(setup.device).type,
        "hash of the data": data_hash(loaded.episodes),
        "hash of the model": weights_hash(equipment.model),
        "hash of the encoder": weights_hash(equipment.encoder),
        "methods": {method.name: method.describe() for method in equipment.methods},
        "versions": versions(),
    }


def notes_of(loaded: Loaded, setup: Setup) -> tuple[str, ...]:
    """Sentences on what was read."""
    notes = [f"Data: {loaded.protocol}", *loaded.notes]
    if setup.limit is not None:
        notes.append(f"No more than {setup.limit} photos, in turns from every object: a quick look, no result")
    return tuple(f"{note[0].upper()}{note[1:].rstrip('.')}." for note in notes)


def mode_note(described: Mapping[str, Mapping[str, Any]]) -> str:
    """The sentence that tells which methods run in which mode, from what each says of itself (`Method.describe`)."""
    modes: dict[str, list[str]] = {}
    for name, each in described.items():
        modes.setdefault(each["settings"]["mode"] if "settings" in each else "of their own", []).append(name)
    return "Mode: " + "; ".join(f"{mode} ({', '.join(names)})" for mode, names in modes.items()) + "."


def counter(progress: Progress | None, total: int) -> Callable[[], object]:
    """A function to call after every photo, which tells `progress` how many are done."""
    numbers = count(1)
    return lambda: None if progress is None else progress(next(numbers), total)
