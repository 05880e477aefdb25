"""Run methods on questions: every photo is read and encoded once for all of them, and each answer becomes a record."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from persam.benchmark.episodes import Episode, Sample
from persam.benchmark.methods.base import Example, Method, Prediction, SharedPhoto
from persam.benchmark.records import Query, Record, queries_of
from persam.benchmark.running.run_folder import RunFolder
from persam.errors import PersamError, first_line
from persam.metrics import boundary_counts, boundary_f, count

# What one odd photo may raise; it must not end a run of thousands.
SURVIVABLE = (PersamError, RuntimeError, ValueError, MemoryError)


def run(
    episodes: Iterable[Episode],
    methods: Sequence[Method],
    progress: Callable[[], object] | None = None,
    *,
    store: RunFolder | None = None,
) -> list[Record]:
    """Let every method learn every episode's references and find the object in its tests: `ask` for `queries_of`."""
    return ask([[query] for query in queries_of(episodes)], methods, progress, store=store)


def ask(
    looks: Sequence[Sequence[Query]],
    methods: Sequence[Method],
    progress: Callable[[], object] | None = None,
    *,
    store: RunFolder | None = None,
    masks: bool = True,
) -> list[Record]:
    """Let every method answer every question, photo by photo.

    References are learned when the first question about them is asked, and forgotten after the last. A method that
    fails on a photo (or on the references) gets a record that says so; the run goes on.

    Args:
        looks: the questions about each photo.
        methods: of different names.
        progress: called after every photo.
        store: keeps finished photos; those that it has are not asked again, and references are learned only if
            something is left to ask about them.
        masks: False where only the verdict counts: outlines are not measured, and no masks go to the store.

    Returns:
        One record a question and method: questions in the given order, and for each the methods in the given order.

    Raises:
        PersamError: the store cannot be written.
    """
    pairs = [(query, method.name) for look in looks for query in look for method in methods]
    known = {
        (query.name, method): record
        for query, method in pairs
        if store is not None and (record := store.kept(method, query.name)) is not None
    }
    needed = {(id(query.episode), method) for query, method in pairs if (query.name, method) not in known}
    last = {id(query.episode): number for number, look in enumerate(looks) for query in look}
    learned: dict[tuple[int, str], _Learned] = {}
    for number, look in enumerate(looks):
        missing = [(query, each) for query in look for each in methods if (query.name, each.name) not in known]
        for query, method in missing:
            if (id(query.episode), method.name) not in learned:
                learners = [each for each in methods if (id(query.episode), each.name) in needed]
                learned |= _learn(query.episode, learners)
        if missing:
            answers = _answers(missing, learned, masks)
            known |= {(record.query, record.method): record for record, _ in answers}
            if store is not None:
                store.keep(answers)
        for gone in [key for key in learned if last[key[0]] == number]:
            del learned[gone]
        if progress is not None:
            progress()
    return [known[query.name, method] for query, method in pairs]


@dataclass(frozen=True)
class _Learned:
    """What a method made of the references, or why it could not."""

    concept: Any = None
    failure: str | None = None


def _learn(episode: Episode, methods: Sequence[Method]) -> dict[tuple[int, str], _Learned]:
    try:
        examples = [example_of(reference) for reference in episode.references]
    except SURVIVABLE as error:
        return {(id(episode), method.name): _Learned(failure=reason_of(error)) for method in methods}
    learned = {}
    for method in methods:
        try:
            found = _Learned(method.learn(examples, episode.category))
        except SURVIVABLE as error:
            found = _Learned(failure=f"the references could not be learned: {reason_of(error)}")
        learned[id(episode), method.name] = found
    return learned


def example_of(reference: Sample) -> Example:
    """A reference as methods see it.

    Raises:
        PersamError: photo or mask cannot be read.
    """
    pixels, mask = reference.read()
    return Example(SharedPhoto(pixels), mask, reference.mask_file)


def _answers(
    asked: Sequence[tuple[Query, Method]], learned: dict[tuple[int, str], _Learned], masks: bool
) -> list[tuple[Record, np.ndarray | None]]:
    """The answers to questions about one photo, and their masks if they are wanted."""
    queries = {query.name: query for query, _ in asked}
    try:
        photo = SharedPhoto(asked[0][0].sample.read_photo())
        truths = {name: read_truth(query.sample, photo.pixels) for name, query in queries.items()}
    except SURVIVABLE as error:
        unread = {query.is_marked: np.full((1, 1), query.is_marked) for query, _ in asked}  # of no known size
        return [
            (record_of(query, method.name, None, unread[query.is_marked], failure=reason_of(error)), None)
            for query, method in asked
        ]
    answers: list[tuple[Record, np.ndarray | None]] = []
    for query, method in asked:
        truth, ignore, digest = truths[query.name]
        known = learned[id(query.episode), method.name]
        start, found, failure = time.perf_counter(), None, known.failure
        if failure is None:
            try:
                found = _checked(method.find(photo, known.concept), truth)
            except SURVIVABLE as error:
                failure = reason_of(error)
        seconds = time.perf_counter() - start
        record = record_of(query, method.name, found, truth, ignore, seconds, digest, failure, outlines=masks)
        answers.append((record, found.mask if masks and found is not None else None))
    return answers


def read_truth(sample: Sample, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Truth and ignored pixels, and the digest of all."""
    shape = pixels.shape[0], pixels.shape[1]
    truth, ignore = sample.truth.read(shape), sample.truth.read_ignore(shape)
    return truth, ignore, digest_of(pixels, truth, ignore)


def _checked(found: Prediction, truth: np.ndarray) -> Prediction:
    if found.mask.shape != truth.shape:
        raise ValueError(f"the mask is {found.mask.shape}, the photo {truth.shape} (height, width)")
    return found


def record_of(
    query: Query,
    method: str,
    found: Prediction | None,
    truth: np.ndarray,
    ignore: np.ndarray | None = None,
    seconds: float = 0.0,
    digest: str = "",
    failure: str | None = None,
    *,
    outlines: bool = True,
) -> Record:
    """Measure one answer.

    Args:
        query: what was asked.
        method: who answered.
        found: the answer, or None if there is none, which counts as an empty mask.
        truth: (H, W) bool.
        ignore: (H, W) bool, pixels that do not count, or None.
        seconds: that the answer took.
        digest: of photo and truth, see `digest_of`.
        failure: why there is no answer.
        outlines: measure boundaries and contours, too, which takes longer than all the rest.
    """
    mask = np.zeros(truth.shape, bool) if found is None else found.mask
    return Record(
        method=method,
        data_set=query.episode.data_set,
        object=query.episode.object,
        sample=query.sample.name,
        references=tuple(reference.name for reference in query.episode.references),
        fold=query.episode.fold,
        counts=count(mask, truth, ignore),
        boundary=boundary_counts(mask, truth, ignore) if outlines else None,
        contour=None if not outlines else boundary_f(mask, truth, ignore) if failure is None else 0.0,
        on_object=None if found is None else _on_object(found, truth),
        score=float(found.score) if found is not None and math.isfinite(found.score) else None,
        present=None if found is None or found.present is None else bool(found.present),
        threshold=None if found is None else found.threshold,
        calibrated=found is not None and found.calibrated,
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


def reason_of(error: BaseException) -> str:
    """Why there is no answer, in words."""
    return str(error) if isinstance(error, PersamError) else f"{type(error).__name__}: {first_line(error)}"


def _on_object(found: Prediction, truth: np.ndarray) -> bool | None:
    if found.peak is None or not truth.any():
        return None
    x, y = np.clip(np.round(found.peak).astype(int), 0, np.array(truth.shape[::-1]) - 1)
    return bool(truth[y, x])
