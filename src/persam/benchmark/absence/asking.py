"""Is it there at all? Every object is looked for in every other object's photos too (the paper's table 18)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.episodes import Crop, Episode, Sample
from persam.benchmark.methods.base import Method, Photo
from persam.benchmark.running.journal import Journal
from persam.benchmark.running.run import SURVIVABLE, reason, shot_of
from persam.concept import Concept
from persam.errors import PersamError

JOURNAL = "absent.jsonl"


@dataclass(frozen=True)
class Answer:
    """How sure a method was that an object is in a photo.

    Attributes:
        method: who was asked.
        object: what was looked for.
        photo: where: the photo's sample, or the first of its samples.
        expected: whether the object is there.
        score: the answer, higher is surer; None if there is none.
        present: the method's own verdict, or None if it has none.
        threshold: from which score on the method calls this object present, or None.
        seconds: that the answer took.
        failure: why there is no answer.
    """

    method: str
    object: str
    photo: str
    expected: bool
    score: float | None
    present: bool | None
    threshold: float | None
    seconds: float
    failure: str | None = None


@dataclass
class _Place:
    """A photo, or a part of one, and the samples of the objects that are marked in it."""

    name: str
    samples: dict[str, Sample] = field(default_factory=dict)

    @property
    def any_sample(self) -> Sample:
        """All are of one photo."""
        return next(iter(self.samples.values()))


def absent_photos(episodes: Iterable[Episode]) -> int:
    """How many different photos `run_absent` looks at."""
    return len(_places(list(episodes)))


def run_absent(
    episodes: Iterable[Episode],
    methods: Sequence[Method],
    progress: Callable[[], object] | None = None,
    *,
    journal: Journal | None = None,
) -> list[Answer]:
    """Look for every object in the tests of all objects; each photo is read and encoded once.

    An object is absent where the data set marks none of it, so objects must be marked wherever they are: true of
    PerSeg, DAVIS, FSS-1000 and folders, not of photos of streets and kitchens with one class marked.

    Args:
        episodes: of different objects; where several have one object, the first is learned.
        methods: of different names.
        progress: called after every photo.
        journal: keeps finished photos, and has those of an earlier start.

    Returns:
        One answer a photo, object and method.
    """
    asked = list(episodes)
    first = {episode.object: episode for episode in reversed(asked)}
    first = {name: first[name] for name in dict.fromkeys(episode.object for episode in asked)}
    shown = {name: {reference.photo for reference in episode.references} for name, episode in first.items()}
    kept = {(a.photo, a.object, a.method): a for a in _answers(journal) if a.failure is None}
    concepts: dict[tuple[str, str], tuple[Any, str | None]] = {}
    answers: list[Answer] = []
    for place in _places(asked):
        wanted = [name for name in first if place.any_sample.photo not in shown[name]]
        keys = [(place.name, name, method.name) for name in wanted for method in methods]
        missing = [key for key in keys if key not in kept]
        if missing:
            if not concepts:
                concepts = _learn_all(first.values(), methods)
            new = _ask(place, missing, {method.name: method for method in methods}, concepts)
            if journal is not None:
                journal.append(asdict(answer) for answer in new)
            kept |= {(answer.photo, answer.object, answer.method): answer for answer in new}
        answers += [kept[key] for key in keys]
        if progress is not None:
            progress()
    return answers


def _answers(journal: Journal | None) -> list[Answer]:
    if journal is None:
        return []
    try:
        return [Answer(**line) for line in journal.lines]
    except TypeError as error:
        raise PersamError(
            f"{journal.path} was written by another version of persam; start over with --fresh, or choose another "
            "--out."
        ) from error


def _places(episodes: Sequence[Episode]) -> list[_Place]:
    places: dict[tuple[Path, Crop | None], _Place] = {}
    for episode in episodes:
        for sample in episode.tests:
            place = places.setdefault((sample.photo, sample.crop), _Place(sample.name))
            place.samples.setdefault(episode.object, sample)
    return list(places.values())


def _learn_all(episodes: Iterable[Episode], methods: Sequence[Method]) -> dict[tuple[str, str], tuple[Any, str | None]]:
    concepts: dict[tuple[str, str], tuple[Any, str | None]] = {}
    for episode in episodes:
        try:
            shots = [shot_of(reference) for reference in episode.references]
        except SURVIVABLE as error:
            concepts |= {(episode.object, method.name): (None, reason(error)) for method in methods}
            continue
        for method in methods:
            try:
                learned = method.learn(shots, episode.category)
                # All are in memory at once, so without the encodings that only tuning needs.
                learned = replace(learned, material=()) if isinstance(learned, Concept) else learned
                concepts[episode.object, method.name] = (learned, None)
            except SURVIVABLE as error:
                concepts[episode.object, method.name] = (None, reason(error))
    return concepts


def _ask(
    place: _Place,
    wanted: Sequence[tuple[str, str, str]],
    methods: dict[str, Method],
    concepts: dict[tuple[str, str], tuple[Any, str | None]],
) -> list[Answer]:
    try:
        photo = Photo(place.any_sample.read_photo())
        shape = photo.pixels.shape[0], photo.pixels.shape[1]
        there = {name: bool(sample.truth.read(shape).any()) for name, sample in place.samples.items()}
    except SURVIVABLE as error:
        return [
            Answer(method, thing, place.name, thing in place.samples, None, None, None, 0.0, reason(error))
            for _, thing, method in wanted
        ]
    answers = []
    for _, thing, method in wanted:
        learned, failure = concepts[thing, method]
        start, found = time.perf_counter(), None
        if failure is None:
            try:
                found = methods[method].find(photo, learned)
            except SURVIVABLE as error:
                failure = reason(error)
        score = None if found is None or not np.isfinite(found.score) else float(found.score)
        answers.append(
            Answer(
                method,
                thing,
                place.name,
                there.get(thing, False),
                score,
                None if found is None or found.present is None else bool(found.present),
                learned.threshold if isinstance(learned, Concept) else None,
                time.perf_counter() - start,
                failure if failure is not None or score is not None else "the score is no finite number",
            )
        )
    return answers
