"""Conduct a benchmark: read the data set, make the methods, run them, report. The API under `persam bench`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persam.benchmark.datasets.catalog import DATASETS, DatasetEntry, read
from persam.benchmark.episodes import Episode, Loaded, Sample, fingerprint
from persam.benchmark.reporting.plots import check_plots
from persam.benchmark.reporting.protocols import DAVIS, FEW_SHOT, FOLDER, PERSEG, Protocol
from persam.benchmark.reporting.report import Report
from persam.benchmark.reporting.worst import read_prediction
from persam.benchmark.running.equipment import ITS_OWN, Equipment, Setup, check_setup
from persam.benchmark.running.run import queries_of, run
from persam.benchmark.running.run_folder import RunFolder
from persam.errors import PersamError, UsageError
from persam.reports.provenance import versions, weights_hash

if TYPE_CHECKING:
    import numpy as np


Progress = Callable[[int, int], object]

_PROTOCOLS = {"object-pooled": PERSEG, "class-pooled": FEW_SHOT, "j-and-f": DAVIS, "image": FOLDER}


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
        options: of the data set, such as ``shots=3``; see its entry in the catalog.

    Returns:
        The report; with `out` it is written too.

    Raises:
        UsageError: an unknown data set, method, mode or option; a folder that is laid out otherwise; an `out` with a
            run of other settings.
        PersamError: a model is not to be had, or `out` cannot be written.
    """
    setup = setup or Setup()
    check_setup(setup)
    if out is not None:
        check_plots()
    loaded = load_data(data_set, data, setup, **options)
    equipment = Equipment.of(setup)
    settings = run_settings(loaded, setup, equipment)
    folder = None if out is None else RunFolder(out, settings, fresh=fresh)

    def prediction(method: str, query: str) -> np.ndarray | None:
        return None if folder is None else read_prediction(folder.prediction_path(method, query))

    total = sum(len(episode.tests) for episode in loaded.episodes)
    records = run(loaded.episodes, equipment.methods, counter(progress, total), store=folder)
    report = Report(
        title=title_of(data_set, equipment.in_words, data),
        data_set=data_set,
        protocol=protocol_of(data_set),
        records=records,
        queries=[query for queries in queries_of(loaded.episodes) for query in queries],
        settings=settings | {"works with": equipment.in_words},
        notes=(*notes_of(loaded, setup), mode_note(settings["methods"])),
        prediction=prediction,
        folder=None if folder is None else folder.folder,
    )
    if folder is not None:
        report.write(folder.folder)
    return report


def load_data(data_set: str, data: str | Path, setup: Setup, **options: Any) -> Loaded:
    """Read a data set as its protocol has it: of videos without the last frame, of all no more than `setup.limit`.

    Raises:
        UsageError: as `persam.benchmark.datasets.catalog.read` does, or no photo is left.
    """
    if any(option.name == "seed" for option in entry_of(data_set).options):
        options = {"seed": setup.seed} | options
    loaded = read(data_set, Path(data).expanduser(), **options)
    episodes = loaded.episodes
    if protocol_of(data_set) is DAVIS:
        episodes = tuple(_without_last_frame(episode) for episode in episodes)
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
        title = f"{Path(data).expanduser().resolve().name} ({title})"
    return title if works_with == ITS_OWN else f"{title}, {works_with}"


def protocol_of(data_set: str) -> Protocol:
    """How a data set is summed up."""
    return _PROTOCOLS[DATASETS[data_set].measure]


def _without_last_frame(episode: Episode) -> Episode:
    """DAVIS' protocol leaves it out, as it does the first."""
    frames = sorted(path.name for path in episode.references[0].photo.parent.iterdir() if not path.name.startswith("."))
    return replace(episode, tests=tuple(sample for sample in episode.tests if sample.photo.name != frames[-1]))


def limited(episodes: Sequence[Episode], limit: int) -> tuple[Episode, ...]:
    """The first photos of every object, in turns, so that a quick look sees all objects."""
    turns = zip_longest(*([(number, sample) for sample in each.tests] for number, each in enumerate(episodes)))
    chosen = [pair for turn in turns for pair in turn if pair is not None][:limit]
    kept: dict[int, list[Sample]] = {}
    for number, sample in chosen:
        kept.setdefault(number, []).append(sample)
    return tuple(replace(each, tests=tuple(kept.get(number, ()))) for number, each in enumerate(episodes))


def run_settings(loaded: Loaded, setup: Setup, equipment: Equipment, question: str = "where is it?") -> dict[str, Any]:
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
        "solver": setup.solver,
        "seed": setup.seed,
        "checkpoint": dict(setup.checkpoints),
        "device": choose_device(setup.device).type,
        "hash of the data": data_hash(loaded),
        "hash of the model": weights_hash(equipment.model),
        "hash of the encoder": weights_hash(equipment.encoder),
        "methods": {method.name: method.describe() for method in equipment.methods},
        "versions": versions(),
    }


def data_hash(loaded: Loaded) -> str:
    """SHA-256 of all photos and truths that are used; of those that cannot be read, the names alone."""
    samples = loaded.samples
    try:
        return fingerprint(samples)
    except PersamError:
        readable = [sample for sample in samples if _is_readable(sample)]
        names = [sample.name for sample in samples if sample not in readable]
        return fingerprint(readable) + " without " + ", ".join(names)


def _is_readable(sample: Sample) -> bool:
    try:
        sample.digest()
    except PersamError:
        return False
    return True


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
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return step


def entry_of(data_set: str) -> DatasetEntry:
    """The data set's entry in the catalog.

    Raises:
        UsageError: there is none.
    """
    if data_set not in DATASETS:
        raise UsageError(f"There is no data set {data_set}; there are {', '.join(DATASETS)}.")
    return DATASETS[data_set]
