"""Run methods on episodes: every photo is read and encoded once for all of them, and each answer becomes a record."""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from persam.benchmark.episodes import Episode, Sample
from persam.benchmark.methods.base import Method, Photo, Prediction, Shot
from persam.benchmark.running.records import Record
from persam.errors import PersamError, first_line
from persam.metrics import boundary_counts, boundary_f, count

__all__ = ["Query", "Record", "Store", "queries_of", "run"]

# What one odd photo may raise; it must not end a run of thousands.
SURVIVABLE = (PersamError, RuntimeError, ValueError, MemoryError)


@dataclass(frozen=True)
class Query:
    """One question of a run: where is the episode's object in this sample?

    Attributes:
        name: the sample's, with a number where the same sample is asked again (with other references, or for another
            object), so that it is unique within the run.
    """

    episode: Episode
    sample: Sample
    name: str


class Store(Protocol):
    """Keeps what a run has done, so that it can go on later."""

    def kept(self, method: str, query: str) -> Record | None:
        """What an earlier start recorded, or None."""
        ...

    def keep(self, records: Sequence[tuple[Record, np.ndarray]]) -> None:
        """Keep the records of one photo and the masks (H, W) bool that they are about, for good."""
        ...


def queries_of(episodes: Iterable[Episode]) -> list[list[Query]]:
    """The questions of every episode, in the order in which they are asked."""
    asked: Counter[str] = Counter()
    found = []
    for episode in episodes:
        of_episode = []
        for sample in episode.tests:
            asked[sample.name] += 1
            times = asked[sample.name]
            of_episode.append(Query(episode, sample, sample.name if times == 1 else f"{sample.name}~{times}"))
        found.append(of_episode)
    return found


def run(
    episodes: Iterable[Episode],
    methods: Sequence[Method],
    progress: Callable[[], object] | None = None,
    *,
    store: Store | None = None,
) -> list[Record]:
    """Let every method learn every episode's references and find the object in its tests.

    A method that fails on a photo (or on the references) gets a record that says so; the run goes on.

    Args:
        episodes: what is asked.
        methods: of different names.
        progress: called after every photo.
        store: keeps finished photos; those that it has are not asked again, and references are learned only if
            something is left to ask about them.

    Returns:
        One record a photo and method: photos in the order of the episodes, methods in the given order.

    Raises:
        PersamError: the store cannot be written.
    """
    records: list[Record] = []
    for queries in queries_of(episodes):
        records += _run_episode(queries, methods, progress or (lambda: None), store)
    return records


def _run_episode(
    queries: Sequence[Query], methods: Sequence[Method], progress: Callable[[], object], store: Store | None
) -> list[Record]:
    kept = {
        (query.name, method.name): record
        for query in queries
        for method in methods
        if store is not None and (record := store.kept(method.name, query.name)) is not None
    }
    names = [method.name for method in methods]
    learned: dict[str, _Learned] | None = None
    records = []
    for query in queries:
        missing = [method for method in methods if (query.name, method.name) not in kept]
        new: dict[str, Record] = {}
        if missing:
            if learned is None:
                done = {name for name in names if all((each.name, name) in kept for each in queries)}
                learned = _learn(query.episode, [method for method in methods if method.name not in done])
            answers = _ask(query, missing, learned)
            new = {record.method: record for record, _ in answers}
            if store is not None:
                store.keep(answers)
        records += [new.get(method.name) or kept[query.name, method.name] for method in methods]
        progress()
    return records


@dataclass(frozen=True)
class _Learned:
    """What a method made of the references, or why it could not."""

    concept: Any = None
    failure: str | None = None


def _learn(episode: Episode, methods: Sequence[Method]) -> dict[str, _Learned]:
    try:
        shots = [shot_of(reference) for reference in episode.references]
    except SURVIVABLE as error:
        return {method.name: _Learned(failure=reason(error)) for method in methods}
    learned = {}
    for method in methods:
        try:
            learned[method.name] = _Learned(method.learn(shots, episode.category))
        except SURVIVABLE as error:
            learned[method.name] = _Learned(failure=f"the references could not be learned: {reason(error)}")
    return learned


def shot_of(reference: Sample) -> Shot:
    """A reference as methods see it.

    Raises:
        PersamError: photo or mask cannot be read.
    """
    pixels, mask = reference.read()
    return Shot(Photo(pixels), mask, reference.mask_file)


def _ask(query: Query, methods: Sequence[Method], learned: dict[str, _Learned]) -> list[tuple[Record, np.ndarray]]:
    try:
        pixels, truth = query.sample.read()
        ignore = query.sample.truth.read_ignore(truth.shape)
    except SURVIVABLE as error:
        unread = (np.zeros((1, 1), bool), np.ones((1, 1), bool))  # an IoU of 0; how large the object is, nobody knows
        return [(record_of(query, method.name, None, *unread, failure=reason(error)), unread[0]) for method in methods]
    photo, digest = Photo(pixels), digest_of(pixels, truth, ignore)
    answers = []
    for method in methods:
        start, found, failure = time.perf_counter(), None, learned[method.name].failure
        if failure is None:
            try:
                found = _checked(method.find(photo, learned[method.name].concept), truth)
            except SURVIVABLE as error:
                failure = reason(error)
        seconds = time.perf_counter() - start
        mask = np.zeros(truth.shape, bool) if found is None else found.mask
        record = record_of(query, method.name, found, mask, truth, ignore, seconds, digest, failure)
        answers.append((record, mask))
    return answers


def _checked(found: Prediction, truth: np.ndarray) -> Prediction:
    if found.mask.shape != truth.shape:
        raise ValueError(f"the mask is {found.mask.shape}, the photo {truth.shape} (height, width)")
    return found


def record_of(
    query: Query,
    method: str,
    found: Prediction | None,
    mask: np.ndarray,
    truth: np.ndarray,
    ignore: np.ndarray | None = None,
    seconds: float = 0.0,
    digest: str = "",
    failure: str | None = None,
) -> Record:
    """Measure one answer.

    Args:
        query: what was asked.
        method: who answered.
        found: the answer, or None if there is none.
        mask: what counts as the answer's mask, (H, W) bool.
        truth: (H, W) bool.
        ignore: (H, W) bool, pixels that do not count, or None.
        seconds: that the answer took.
        digest: of photo and truth, see `digest_of`.
        failure: why there is no answer.
    """
    return Record(
        method=method,
        data_set=query.episode.data_set,
        object=query.episode.object,
        sample=query.sample.name,
        references=tuple(reference.name for reference in query.episode.references),
        fold=query.episode.fold,
        counts=count(mask, truth, ignore),
        boundary=boundary_counts(mask, truth, ignore),
        contour=boundary_f(mask, truth, ignore) if failure is None else 0.0,
        on_object=None if found is None else _on_object(found, truth),
        score=float(found.score) if found is not None and math.isfinite(found.score) else None,
        present=None if found is None or found.present is None else bool(found.present),
        seconds=seconds,
        query=query.name,
        digest=digest,
        failure=failure,
    )


def digest_of(pixels: np.ndarray, truth: np.ndarray, ignore: np.ndarray | None) -> str:
    """A short hash of a photo, (H, W, 3) uint8, and its truth, (H, W) bool, as read."""
    hashed = hashlib.sha256(str(pixels.shape).encode())
    for part in (pixels, np.packbits(truth), *(() if ignore is None else (np.packbits(ignore),))):
        hashed.update(np.ascontiguousarray(part).data)
    return hashed.hexdigest()[:16]


def reason(error: BaseException) -> str:
    return str(error) if isinstance(error, PersamError) else f"{type(error).__name__}: {first_line(error)}"


def _on_object(found: Prediction, truth: np.ndarray) -> bool | None:
    if found.peak is None or not truth.any():
        return None
    x, y = np.clip(np.round(found.peak).astype(int), 0, np.array(truth.shape[::-1]) - 1)
    return bool(truth[y, x])
