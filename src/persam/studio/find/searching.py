"""Searching: concepts in photos one after the other, corrections that concepts learn from, and how a mask came about.

All of it asks the engine, which others ask as well; nothing here knows the page.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from persam.album import learned_with
from persam.errors import PersamError
from persam.explain import explain
from persam.geometry import Size, shrink
from persam.images import read_smaller
from persam.method.segment import LOOK_BACK, MEAN
from persam.reference import Reference
from persam.segmentation import SURE_ENOUGH, UNSURE, Segmentation
from persam.server.engine import BusyError
from persam.server.hearing import heard_doubts
from persam.studio.find.pictures import CARD, keep_map, keep_photo, keep_shown
from persam.studio.find.results import PhotoSearch, SearchedPhoto, SearchResult

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.server.engine import Engine

_LONGEST_WAIT = 2.0  # seconds after which a busy engine is asked again

_CONFIDENCE = (
    "Every place of the photo is compared with the reference. Light places are most alike; the star is the first point "
    "that the decoder is given, red points are the least alike places."
)
#: What a panel of an explanation shows, by how its caption begins.
_SENTENCES = {
    "Reference": "This is what the concept was learned from: the outlined thing, and nothing beside it.",
    "Confidence map": _CONFIDENCE,
    "Guidance": "The same likeness is added to the decoder's attention, so that it looks where the photo is alike.",
    "What was looked for": "The numbers of this search, and what the marks in the pictures mean.",
    "Closer look, confidence map": "What was found is small, so a window around it is looked at again. " + _CONFIDENCE,
    "Result": "This is the answer: the mask on the photo, and its score, which decides whether the thing is there.",
}
#: What happens in a pass of the decoder, by its name.
_PASSES = {
    "first pass": "The decoder is given the points, and a box if it is known how large the thing is. Of the masks that "
    "it offers the framed one is taken.",
    "first pass, weighted scales": "The decoder is given the points, and a box if it is known how large the thing is. "
    "Its three masks are added with the tuned weights.",
    "first pass, best scale": "The tuned sum of the three masks came to nothing, so the best one of them is taken.",
    "refined": "The decoder is given its own mask once more, which makes the outline better.",
    "refined with box": "The decoder is given its mask and the box around it, which keeps it from running away.",
    "point and box alone": "The decoder is given the point and the box once more, without all that steers it. The mask "
    "is taken that goes best with one of the first pass.",
    MEAN: "The masks of both passes are averaged, as they err in different ways.",
    LOOK_BACK: "Of the masks of all passes, the one that agrees best with the confidence map counts.",
}


@dataclass(frozen=True)
class SoFar:
    """How far a search is.

    Attributes:
        done: photos that were looked at.
        total: of so many.
        seconds_each: a photo took so long on average.
        stopped: whether it ended before its end.
    """

    done: int
    total: int
    seconds_each: float = 0.0
    stopped: bool = False

    def __str__(self) -> str:
        if self.stopped:
            return f"Stopped after {self.done} of {self.total} photos."
        if not self.done or self.done == self.total:
            return f"{self.done} of {self.total}"
        left = (self.total - self.done) * self.seconds_each
        return f"{self.done} of {self.total}, {self.seconds_each:.1f} s each, {_duration(left)} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"


# ----------------------------------------------------------------------------------------------------- photos


class CardPhoto:
    """A photo that the engine reads when its turn is near, of which a card's copy is kept on the way."""

    def __init__(self, photo: SearchedPhoto) -> None:
        self.name = str(photo.path)
        self.small: np.ndarray | None = None
        self.doubts: tuple[str, ...] = ()
        self._called = photo.name

    def read(self, longest: int | None) -> tuple[np.ndarray, Size]:
        """As the engine wants it, see `persam.images.read_smaller`."""
        with heard_doubts() as doubts:
            pixels, size = read_smaller(self.name, longest)
        self.doubts = tuple(each.replace(self.name, self._called) for each in doubts)
        self.small = shrink(pixels, CARD)
        return pixels, size


def look(
    engine: Engine,
    search: PhotoSearch,
    concepts: Mapping[str, Concept],
    photos: Iterable[SearchedPhoto],
    *,
    most: int = 1,
) -> Iterator[SoFar]:
    """Look for concepts in photos, and add what is found to the search, until it is stopped.

    A photo that cannot be read is a result with a problem; the others go on.

    Args:
        engine: runs the model.
        search: where results go; its ``stop`` ends it at the next photo.
        concepts: by the name that their results get.
        photos: of the search.
        most: objects of a concept in a photo.

    Yields:
        How far it is, after every photo.

    Raises:
        PersamError: a concept was made with another model, or the engine stops.
    """
    for each in concepts.values():
        engine.model.check(each)
    # A model on a CPU is no faster with several photos, and results are to come one by one.
    ahead = 2 if engine.model.model.device.type == "cpu" else 2 * engine.batch
    todo = deque(photos)
    total, done, started = len(todo), 0, time.perf_counter()
    asked: deque[tuple[SearchedPhoto, CardPhoto, Future[list[Segmentation]]]] = deque()
    try:
        while todo or asked:
            while todo and len(asked) < ahead and not search.stop.is_set():
                unread = CardPhoto(todo[0])
                try:
                    # Below the range of doubt there is no further object, whatever the threshold will be.
                    future = engine.segment(
                        unread,
                        list(concepts.values()),
                        max_instances=most,
                        threshold=SURE_ENOUGH if most == 1 else UNSURE[0],
                        explain=True,
                    )
                except BusyError as busy:
                    if not asked:
                        search.stop.wait(min(busy.retry_after or _LONGEST_WAIT, _LONGEST_WAIT))
                    break
                asked.append((todo.popleft(), unread, future))
            if search.stop.is_set():
                asked = deque(each for each in asked if not each[2].cancel())
                todo.clear()
            if not asked:
                continue
            photo, unread, future = asked.popleft()
            search.put(_results(search, photo, unread, future, list(concepts)))
            done += 1
            yield SoFar(done, total, (time.perf_counter() - started) / done)
    finally:
        for _, _, future in asked:
            future.cancel()
    if done < total:
        yield SoFar(done, total, stopped=True)


def _results(
    search: PhotoSearch,
    photo: SearchedPhoto,
    unread: CardPhoto,
    future: Future[list[Segmentation]],
    names: list[str],
) -> list[SearchResult]:
    try:
        every = future.result()
    except PersamError as error:
        return [SearchResult(photo, problem=str(error).replace(str(photo.path), photo.name))]
    if unread.small is not None:
        keep_photo(search, photo, unread.small)
    found = []
    for name, one in zip(names, every, strict=True):
        named = replace(one, concept=name)
        earlier = search.get((photo.number, name))
        before = None if earlier is None else (earlier.state(SURE_ENOUGH), earlier.score)
        result = SearchResult.of(photo, named, keep_map(search, photo, named))
        found.append(replace(result, before=before, doubts=unread.doubts))
    return found


# ------------------------------------------------------------------------------------------------ corrections


def learn_correction(engine: Engine, concept: Concept, photo: Path, mask: np.ndarray) -> Concept:
    """Let a concept learn from a photo whose mask a person corrected.

    Args:
        engine: runs the model.
        concept: to go on from; a tuned one is tuned again, for which it has to keep its references.
        photo: the photo.
        mask: (H, W) bool at its size, of something.

    Returns:
        The concept with one more reference.

    Raises:
        PersamError: the photo cannot be read, the mask does not fit it, or the concept cannot be gone on from.
    """
    shot = Reference.read(photo, mask)
    return engine.call(lambda model: learned_with(model, concept, [shot])).result()


@dataclass(frozen=True)
class Change:
    """What another look changed: the photo, and state and score before and after it."""

    photo: str
    before: tuple[str, float]
    after: tuple[str, float]


def changes_in(search: PhotoSearch, results: Iterable[SearchResult]) -> list[Change]:
    """Which of some earlier results are another state now, in their order.

    Args:
        search: that looked again.
        results: as they were before.
    """
    changed = []
    for old in results:
        new = search.get(old.key)
        if new is not None and not new.corrected and new.state(SURE_ENOUGH) != old.state(SURE_ENOUGH):
            before, after = ((one.state(SURE_ENOUGH), one.score) for one in (old, new))
            changed.append(Change(old.photo.name, before, after))
    return changed


# ------------------------------------------------------------------------------------------------- explanations


@dataclass(frozen=True)
class ExplainedStep:
    """One step of the way to a mask: where its picture is, what it shows, its numbers, and what happens in it."""

    address: str
    title: str
    note: str
    sentence: str


def explain_result(engine: Engine, search: PhotoSearch, one: SearchResult, concept: Concept) -> list[ExplainedStep]:
    """The way to a result step by step; the photo is looked at once more, keeping all on the way.

    Raises:
        PersamError: the photo cannot be read (any more), or the engine is too busy.
    """
    future = engine.segment(str(one.photo.path), [concept], threshold=search.choice.threshold, explain=True)
    (found,) = future.result()
    reference = None
    if concept.keeps_references:
        with suppress(PersamError):  # the way can be told without it
            first = concept.kept_references()[0]
            reference = None if first.mask is None else (first.image, first.mask)
    way = explain(one.photo.path, replace(found, concept=one.concept), reference=reference, concept=concept)
    place = search.concepts.index(one.concept)
    return [
        ExplainedStep(
            keep_shown(search, f"step-{one.photo.number}-{place}-{one.version}-{number}.png", panel.picture),
            panel.caption,
            panel.note,
            _sentence_of(panel.caption),
        )
        for number, panel in enumerate(way.panels)
    ]


def _sentence_of(caption: str) -> str:
    """What happens in a step: by the pass's name, else by the longest beginning that is known."""
    _, _, name = caption.partition(" · ")
    known = [start for start in _SENTENCES if caption.startswith(start)]
    return _PASSES[name] if name in _PASSES else _SENTENCES[max(known, key=len)] if known else ""
