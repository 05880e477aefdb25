"""Score masks that any other tool made, with the protocol of the data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.conduct import Progress, claimed_report, counter, load_data, notes_of, protocol_of, title_of
from persam.benchmark.episodes import Episode, Loaded, MaskFile, data_hash
from persam.benchmark.methods.base import Prediction
from persam.benchmark.records import Query, Record, queries_of
from persam.benchmark.reporting.report import FILES, Report
from persam.benchmark.running.equipment import Setup
from persam.benchmark.running.run import read_truth, record_of
from persam.benchmark.running.run_folder import mask_name
from persam.errors import PersamError, UsageError
from persam.files import expanded
from persam.images import open_picture
from persam.masks import read_mask
from persam.reports.provenance import versions
from persam.video.layout import LABELS

MISSING = "no prediction"
_SUFFIXES = (".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")  # without loss, as masks need it
_LABELS_BELOW = 32


def bench_score(
    data_set: str,
    data: str | Path,
    predictions: str | Path,
    *,
    name: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Score masks that any other tool made, with the data set's published protocol.

    >>> from persam.benchmark import bench_score
    >>> bench_score("perseg", "~/data/PerSeg", "theirs/").figure("theirs")          # doctest: +SKIP
    0.893

    Args:
        data_set: name, see `persam.benchmark.datasets.catalog.DATASETS`.
        data: its folder.
        predictions: folder of masks, see `score_predictions`.
        name: what to call whoever made them; the folder's name by default.
        out: write the report to this folder.
        seed: of the data set's draws.
        progress: called with the number of photos done and of all.
        options: of the data set, such as ``reference="01"``.

    Raises:
        UsageError: an unknown data set or option, a folder that is not there or has none of the masks.
        PersamError: a photo of the data set cannot be read, or `out` cannot be written.
    """
    with claimed_report(out, FILES):
        setup = Setup(seed=seed)
        loaded = load_data(data_set, data, setup, **options)
        scored = score_folder(loaded, predictions, name, "score", progress)
        report = Report(
            title=title_of(data_set, scored["settings"]["predictions"], data),
            data_set=data_set,
            protocol=protocol_of(data_set),
            notes=notes_of(loaded, setup),
            **scored,
            folder=None if out is None else expanded(out),
        )
        if report.folder is not None:
            report.write(report.folder)
    return report


def score_folder(
    loaded: Loaded, predictions: str | Path, name: str | None, question: str, progress: Progress | None
) -> dict[str, Any]:
    """Score the masks of a folder: what a `Report` has of them, its records, queries, settings and predictions.

    Args:
        loaded: the data set.
        predictions: the folder, see `score_predictions`.
        name: what to call whoever made them; the folder's name by default.
        question: what was asked.
        progress: called with the number of photos done and of all.

    Raises:
        UsageError, PersamError: as `score_predictions`.
    """
    folder = expanded(predictions)
    called = name or folder.resolve().name
    queries = queries_of(loaded.episodes)
    records = score_predictions(loaded.episodes, folder, called, counter(progress, len(queries)))
    answers, by_name = Answers(folder, queries), {query.name: query for query in queries}
    settings = {
        "data set": loaded.name,
        "question": question,
        **loaded.settings,
        "predictions": called,
        "works with": "not known",
        "hash of the data": data_hash(loaded.episodes),
        "versions": versions(),
    }
    return {
        "records": records,
        "queries": queries,
        "settings": settings,
        "prediction": lambda method, query: answers.mask(by_name[query]),
    }


def score_predictions(
    episodes: Iterable[Episode],
    predictions: str | Path,
    name: str | None = None,
    progress: Callable[[], object] | None = None,
) -> list[Record]:
    """Measure masks in a folder against the truth; what is missing counts as an empty mask and is named.

    A mask lies at ``PREDICTIONS/SAMPLE.png``, such as ``duck_toy/03.png`` or ``bear/00005.png``, in any form that
    `persam.masks.read_mask` takes; where the truth is one value of a palette picture, such a picture with the same
    values is read likewise. Frames of videos may also lie as `persam video` writes them, in ``PREDICTIONS/SEQUENCE``
    or, of one sequence, in ``PREDICTIONS`` itself: ``labels/FRAME.png``, whose values number the objects.

    Args:
        episodes: what was asked.
        predictions: the folder.
        name: what to call whoever made them; the folder's name by default.
        progress: called after every photo.

    Raises:
        UsageError: there is no such folder, or it has none of the masks.
        PersamError: a photo or truth of the data set cannot be read.
    """
    folder = expanded(predictions)
    if not folder.is_dir():
        raise UsageError(f"There is no folder of predictions {folder}; check the path.")
    queries = queries_of(episodes)
    _check_one_clip(folder, queries)
    answers = Answers(folder, queries)
    if queries and not any(answers.file(query) for query in queries):
        raise UsageError(
            f"{folder} has none of the {len(queries)} masks; looked for such as {folder / mask_name(queries[0].name)}."
        )
    records = []
    for query in queries:
        truth, ignore, digest = read_truth(query.sample, query.sample.read_photo())
        found, failure = answers.prediction(query, truth)
        records.append(record_of(query, name or folder.name, found, truth, ignore, digest=digest, failure=failure))
        if progress is not None:
            progress()
    return records


class Answers:
    """Masks for the questions of a run, in a folder; see `score_predictions` for where they may lie.

    Args:
        folder: of the masks.
        queries: all that is asked: the labels of `persam video` number the objects of a sequence in the order of their
            values, whichever frame shows them first.
    """

    def __init__(self, folder: Path, queries: Iterable[Query]) -> None:
        self.folder = folder
        self._values: dict[Path, set[int]] = {}
        for query in queries:
            truth = query.sample.truth
            if isinstance(truth, MaskFile) and truth.value is not None:
                self._values.setdefault(truth.path.parent, set()).add(truth.value)

    def file(self, query: Query) -> Path | None:
        """Where the mask for a query lies: under the sample's name, or under that of the true mask's file."""
        return next((path for path in _places(self.folder, query) if path.is_file()), None)

    def mask(self, query: Query) -> np.ndarray | None:
        """The mask for a query, (H, W) bool; None if there is none.

        Raises:
            PersamError: it is damaged.
        """
        path = self.file(query)
        return None if path is None else self._read(path, query)

    def prediction(self, query: Query, truth: np.ndarray) -> tuple[Prediction | None, str | None]:
        """What the file says, or why it says nothing."""
        path = self.file(query)
        if path is None:
            return None, MISSING
        try:
            mask = self._read(path, query)
        except PersamError as error:
            return None, str(error)
        if mask.shape != truth.shape:
            height, width = truth.shape
            return None, f"{path} is {mask.shape[1]} x {mask.shape[0]} pixels, its photo {width} x {height}"
        # A mask says no more than whether there is one: that is its score and its verdict.
        return Prediction(mask, float(mask.any()), bool(mask.any())), None

    def _read(self, path: Path, query: Query) -> np.ndarray:
        truth = query.sample.truth
        if isinstance(truth, MaskFile) and truth.value is not None:
            value = truth.value
            if path.parent.name == LABELS:
                value = sorted(self._values.get(truth.path.parent, {value}) | {value}).index(value) + 1
            picture = open_picture(path, what="prediction")
            if picture.mode in {"P", "L"}:
                values = np.asarray(picture)
                if picture.mode == "P" or values.max(initial=0) < _LABELS_BELOW:
                    return values == value
        return read_mask(path, what="prediction", may_be_trivial=True)


def _places(folder: Path, query: Query) -> Iterator[Path]:
    names = [mask_name(query.name).with_suffix("")]
    if isinstance(query.sample.truth, MaskFile):  # objects of one palette picture lie in one prediction, too
        truth = query.sample.truth.path
        names.append(Path(truth.parent.name, truth.stem))
        names += [Path(truth.parent.name, LABELS, truth.stem), Path(LABELS, truth.stem)]
    for name in names:
        yield from (folder / name.parent / (name.name + suffix) for suffix in _SUFFIXES)


def _check_one_clip(folder: Path, queries: Sequence[Query]) -> None:
    """See that frames of several sequences are not looked for in the labels of one."""
    sequences = {query.sample.truth.path.parent for query in queries if isinstance(query.sample.truth, MaskFile)}
    if len(sequences) > 1 and (folder / LABELS).is_dir() and LABELS not in {place.name for place in sequences}:
        raise UsageError(
            f"{folder / LABELS} has the labels of one clip, but there are {len(sequences)} sequences; name the one "
            f"that it is with --sequences, or give a folder with SEQUENCE/{LABELS}/ for each."
        )
