"""Let methods go through sequences side by side, frame by frame, and measure what they find.

Side by side they meet the same machine in the same minute, so that their times can be compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from persam.benchmark.records import Query, Record
from persam.benchmark.running.run import SURVIVABLE, read_truth, reason_of, record_of
from persam.benchmark.suites.timing import now
from persam.benchmark.video.finders import FoundInFrame, VideoFinder
from persam.benchmark.video.passages import Passage
from persam.benchmark.video.sequences import VideoSequence
from persam.benchmark.video.video_folder import VideoFolder
from persam.errors import PersamWarning
from persam.images import read_image


def go_through(
    sequences: Sequence[VideoSequence],
    finders: Sequence[VideoFinder],
    progress: Callable[[], object] | None = None,
    *,
    store: VideoFolder | None = None,
) -> tuple[list[Record], list[Passage]]:
    """Let every method find the objects in every sequence.

    A method that fails in a sequence gets no further in it: records say why, and the others go on.

    Args:
        sequences: what is asked.
        finders: of different names.
        progress: called after every frame.
        store: keeps sequences that are done, and those that it has are not gone through again; gets the labels of every
            frame.

    Returns:
        One record for every question and method, and one passage for every sequence and method.

    Raises:
        PersamError: the store cannot be written.
    """
    records: list[Record] = []
    passages: list[Passage] = []
    for sequence in sequences:
        kept = {} if store is None else _kept(store, sequence, finders)
        missing = [finder for finder in finders if finder.method.name not in kept]
        gone = _Gone(sequence, missing, store, progress) if missing else None
        if gone is not None:
            gone.go()
            if store is not None:
                store.keep_passages(gone.records, list(gone.passages.values()))
        elif progress is not None:
            for _ in sequence.frames:
                progress()
        for finder in finders:
            name = finder.method.name
            if gone is not None and name in gone.passages:
                records += [record for record in gone.records if record.method == name]
                passages.append(gone.passages[name])
            else:
                records += kept[name][0]
                passages.append(kept[name][1])
    return records, passages


def _kept(
    store: VideoFolder, sequence: VideoSequence, finders: Sequence[VideoFinder]
) -> dict[str, tuple[list[Record], Passage]]:
    """What an earlier start did of a sequence, by method: all of it, or it is done again."""
    found = {}
    for name in (finder.method.name for finder in finders):
        records = [store.kept(name, query.name) for query in sequence.queries]
        passage = store.passage(name, sequence.name)
        if passage is not None and all(record is not None for record in records):
            found[name] = ([record for record in records if record is not None], passage)
    return found


class _Frames:
    """The frames of a sequence, of which the last one that was asked for is in memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._last: tuple[int, np.ndarray] | None = None

    def __call__(self, number: int) -> np.ndarray:
        if self._last is None or self._last[0] != number:
            self._last = number, read_image(self._paths[number])
        return self._last[1]


class _Gone:
    """One sequence, and several methods on their way through it."""

    def __init__(
        self,
        sequence: VideoSequence,
        finders: Sequence[VideoFinder],
        store: VideoFolder | None,
        progress: Callable[[], object] | None,
    ) -> None:
        self.sequence, self.store, self.progress = sequence, store, progress
        self.frames = _Frames(sequence.frames)
        self.finders = {finder.method.name: finder for finder in finders}
        self.passages = {name: Passage(name, sequence.name) for name in self.finders}
        self.records: list[Record] = []
        self._ways: dict[str, Iterator[FoundInFrame]] = {}

    def go(self) -> None:
        """Go through all of it."""
        for number in range(len(self.sequence.frames)):
            asked = self._asked(number)
            for name, finder in self.finders.items():
                found, seconds = self._next(name, finder, number)
                self._keep(name, number, found)
                share = seconds / max(1, len(asked))  # all objects are found at once: so that sums are of frames
                self.records += [self._record(name, query, found, truth, share) for query, truth in asked]
            if self.progress is not None:
                self.progress()

    def _asked(self, number: int) -> list[tuple[_Asked, _Truth | str]]:
        """The questions about a frame, each with its truth, or why there is none."""
        asked: list[tuple[_Asked, _Truth | str]] = []
        for place, one in enumerate(self.sequence.objects):
            if number in one.queries:
                truth: _Truth | str
                try:
                    truth = _Truth(*read_truth(one.queries[number].sample, self.frames(number)))
                except SURVIVABLE as error:
                    truth = reason_of(error)
                asked.append((_Asked(one.queries[number], place), truth))
        return asked

    def _next(self, name: str, finder: VideoFinder, number: int) -> tuple[FoundInFrame | None, float]:
        """What a method finds in a frame, and its seconds; nothing once it failed."""
        passage = self.passages[name]
        if passage.failure is not None:
            return None, 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PersamWarning)  # a data set's masks are as they are
            try:
                self.frames(number)  # reading is no part of finding
                start = now(finder.model)
                if number == 0:
                    self._ways[name] = finder.find(self.sequence, self.frames)
                found = next(self._ways[name])
                seconds = now(finder.model) - start
            except SURVIVABLE as error:
                passage.failure = reason_of(error)
                return None, 0.0
        if number == 0:
            passage.start = seconds
        else:
            passage.frames.append(seconds)
        return found, seconds

    def _keep(self, name: str, number: int, found: FoundInFrame | None) -> None:
        if self.store is not None and found is not None:
            self.store.write_frame(name, self.sequence, number, found.labels)

    def _record(
        self, name: str, asked: _Asked, found: FoundInFrame | None, truth: _Truth | str, seconds: float
    ) -> Record:
        if isinstance(truth, str):
            return record_of(asked.query, name, None, np.ones((1, 1), bool), failure=truth)
        one = self.sequence.objects[asked.place]
        return record_of(
            asked.query,
            name,
            None if found is None else found.prediction(one.value),
            truth.mask,
            truth.ignore,
            seconds,
            truth.digest,
            None if found is not None else self.passages[name].failure,
        )


@dataclass(frozen=True)
class _Asked:
    """A question, and the place of its object in the sequence."""

    query: Query
    place: int


@dataclass(frozen=True, eq=False)
class _Truth:
    """What `read_truth` gives."""

    mask: np.ndarray
    ignore: np.ndarray | None
    digest: str
