"""Run methods on episodes: every photo is read and encoded once for all of them, and each answer becomes a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from persam.benchmark.episodes import Episode
from persam.benchmark.methods.base import Method, Photo, Prediction, Shot
from persam.metrics.functional.overlap import Counts, count


@dataclass(frozen=True)
class Record:
    """One method's answer on one photo, measured.

    Attributes:
        counts: of the mask against the truth.
        on_object: whether the method's peak lies on the object; None where it names none or there is no object.
        score: how sure the method is that the object is there.
        present: the method's own verdict on that, or None.
        seconds: for this photo, without the encoding if another method had made it.
    """

    method: str
    data_set: str
    object: str
    sample: str
    references: tuple[str, ...]
    fold: int | None
    counts: Counts
    on_object: bool | None
    score: float
    present: bool | None
    seconds: float

    @property
    def iou(self) -> float:
        """Of this photo."""
        return self.counts.iou


def run(
    episodes: Iterable[Episode], methods: Sequence[Method], progress: Callable[[], object] | None = None
) -> list[Record]:
    """Let every method learn every episode's references and find the object in its tests."""
    records = []
    for episode in episodes:
        shots = [Shot(Photo(pixels), mask) for pixels, mask in (each.read() for each in episode.references)]
        learned = [method.learn(shots, episode.category) for method in methods]
        for sample in episode.tests:
            pixels, truth = sample.read()
            ignore = sample.truth.read_ignore(truth.shape)
            photo = Photo(pixels)
            for method, concept in zip(methods, learned, strict=True):
                start = time.perf_counter()
                found = method.find(photo, concept)
                seconds = time.perf_counter() - start
                records.append(
                    Record(
                        method.name,
                        episode.data_set,
                        episode.object,
                        sample.name,
                        tuple(reference.name for reference in episode.references),
                        episode.fold,
                        count(found.mask, truth, ignore),
                        _on_object(found, truth),
                        found.score,
                        found.present,
                        seconds,
                    )
                )
            if progress is not None:
                progress()
    return records


def _on_object(found: Prediction, truth: np.ndarray) -> bool | None:
    if found.peak is None or not truth.any():
        return None
    x, y = np.clip(np.round(found.peak).astype(int), 0, np.array(truth.shape[::-1]) - 1)
    return bool(truth[y, x])
