"""What a search in the studio has found: kept with all scores and masks, so that what is shown of it is a choice.

The model is asked once. A threshold, a filter or an order that is chosen later goes over what is kept: `at` decides
again from the score alone, as `PerSAM.segment` would with that threshold.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from persam.album import expected_gain
from persam.drawing import Colour, colours_of
from persam.errors import UsageError
from persam.files import UniqueNames, safe_name
from persam.instance import Instance
from persam.segmentation import SURE_ENOUGH, UNSURE, Segmentation

State = Literal["present", "unsure", "absent", "corrected", "failed"]

#: What a result can be, in the order in which they are counted: `corrected` was said by a person, `failed` is a photo
#: that could not be read.
STATES: tuple[State, ...] = ("present", "unsure", "absent", "corrected", "failed")
PAGE = 24  # results that are shown at a time


@dataclass(frozen=True)
class SearchedPhoto:
    """A photo of a search.

    Attributes:
        number: its place in the search, from 0.
        path: its file on this machine.
        name: what it is called, its file's name or, of several of one name, that with a number; no other has it.
        listed_as: what exports call it: the whole path of a photo in a folder that was named, the name of one that
            was dropped, whose copy on this machine means nothing to anybody.
    """

    number: int
    path: Path
    name: str
    listed_as: str


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What was found of one concept in one photo, or why the photo could not be looked at.

    Attributes:
        photo: the photo.
        concept: the concept's name; "" where the photo failed, which it does for all of them at once.
        found: `Segmentation.to_dict` with all masks, the rejected candidate's too; empty where the photo failed.
        problem: the sentence that says why it failed, or "".
        doubts: what was warned of when the photo was read, a sentence each.
        corrected: whether a person said what is there.
        levels: what the darkest and the lightest place of its confidence map stand for; None where there is none.
        before: state and score before it was done again with a better concept, or None.
        version: another number each time that it changes, for whoever keeps pictures of it.
    """

    photo: SearchedPhoto
    concept: str = ""
    found: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    doubts: tuple[str, ...] = ()
    corrected: bool = False
    levels: tuple[float, float] | None = None
    before: tuple[State, float] | None = None
    version: int = 0

    @property
    def key(self) -> tuple[int, str]:
        """By what it is known: the photo's number and the concept."""
        return self.photo.number, self.concept

    @property
    def score(self) -> float:
        """Probability that the concept is there, 0 to 1; 0 where the photo failed."""
        return float(self.found["score"]) if self.found else 0.0

    @property
    def _things(self) -> list[Mapping[str, Any]]:
        """What was found, the surest first: instances, or the candidate that was rejected."""
        return self.found["instances"] or [self.found["candidate"]] if self.found else []

    @property
    def area(self) -> float:
        """The part of the photo that the mask covers, or would if the thing were there, 0 to 1."""
        return sum(one["area"] for one in self._things if one is not None)

    def state(self, threshold: float) -> State:
        """What it is, if a score from the threshold on means that the thing is there; see `Segmentation.verdict`."""
        if self.problem:
            return "failed"
        if self.corrected:
            return "corrected"
        if UNSURE[0] <= self.score < UNSURE[1]:
            return "unsure"
        return "present" if self.is_there(threshold) else "absent"

    def is_there(self, threshold: float) -> bool:
        """Whether the thing counts as there; what a person said counts whatever the threshold."""
        if self.corrected or not self.found:
            return bool(self.found) and self.found["present"]
        return self.score >= threshold and self._things[0]["box"] is not None

    def count(self, threshold: float) -> int:
        """How many things count as there, see `at`."""
        if self.corrected or not self.is_there(threshold):
            return int(self.is_there(threshold))
        return 1 + sum(one["score"] >= threshold for one in self._things[1:])

    def with_first(self, count: int) -> Segmentation:
        """The segmentation in which so many things count as there, the surest first; what a person said stays.

        Raises:
            UsageError: the photo failed.
        """
        scores = sorted((one["score"] for one in self._things), reverse=True)
        return self.at(scores[min(count, len(scores)) - 1] if scores and count > 0 else math.inf)

    def at(self, threshold: float) -> Segmentation:
        """The segmentation, decided with a threshold, 0 to 1; its ``image`` is what exports call the photo.

        With one instance a concept it is what `PerSAM.segment` gives with that threshold. Of several, those stay
        whose score reaches it.

        Raises:
            UsageError: the photo failed.
        """
        if not self.found:
            raise UsageError(f"Nothing was found out about {self.photo.name}: {self.problem}")
        kept = Segmentation.from_dict(self.found)
        if self.corrected:
            return kept
        things = kept.instances or (kept.candidate,)
        assert things[0] is not None
        first, *others = (one for one in things if one is not None)
        sure = (first, *(one for one in others if one.score >= threshold))
        return Segmentation.of(self.concept, kept.image, sure, threshold, kept.points, kept.labels)

    @classmethod
    def of(cls, photo: SearchedPhoto, found: Segmentation, levels: tuple[float, float] | None = None) -> SearchResult:
        """Of what `PerSAM.segment` found."""
        values = found.to_dict() | {"image": photo.listed_as}
        return cls(photo, found.concept, values, levels=levels)

    @classmethod
    def said(cls, photo: SearchedPhoto, concept: str, mask: np.ndarray) -> SearchResult:
        """Of what a person said: a mask (H, W) bool, of nothing where the thing is not there."""
        there = bool(mask.any())
        found = Segmentation(
            concept,
            photo.listed_as,
            mask,
            1.0 if there else 0.0,
            present=there,
            instances=(Instance(mask, 1.0),) if there else (),
        )
        return cls(photo, concept, found.to_dict(), corrected=True)


# ------------------------------------------------------------------------------------------ what is shown of it

_ORDERS: dict[str, tuple[str, Callable[[SearchResult], Any]]] = {
    "order": ("as given", lambda one: 0),
    "score": ("surest first", lambda one: -one.score),
    "unsure": ("least sure first", lambda one: abs(one.score - 0.5) + one.corrected),
    "worth": ("most worth correcting first", lambda one: one.corrected - _gain(one)),
    "size": ("largest first", lambda one: -one.area),
    "name": ("by name", lambda one: one.photo.name.casefold()),
}
#: How results can be sorted: key, and what it is called.
ORDERS = {key: name for key, (name, _) in _ORDERS.items()}


def _gain(one: SearchResult) -> float:
    """What a correction is expected to be worth, see `persam.album.worth`."""
    return expected_gain(one.found) if one.found else 0.0


@dataclass(frozen=True)
class Choice:
    """What is shown of the results, and how.

    Attributes:
        states: those that are shown; none means all.
        concepts: likewise.
        least_score: of those that are shown, 0 to 1.
        order: key of `ORDERS`.
        page: which page, from 0.
        threshold: score from which on a thing counts as there, 0 to 1.
    """

    states: frozenset[str] = frozenset()
    concepts: frozenset[str] = frozenset()
    least_score: float = 0.0
    order: str = "order"
    page: int = 0
    threshold: float = SURE_ENOUGH

    def takes(self, one: SearchResult) -> bool:
        """Whether a result is shown. A photo that failed belongs to every concept, and has no score."""
        if self.states and one.state(self.threshold) not in self.states:
            return False
        if one.problem:
            return True
        return (not self.concepts or one.concept in self.concepts) and one.score >= self.least_score


class PhotoSearch:
    """One person's search: its photos, what was found in them, and a folder for pictures of that.

    It may be read while it is added to. Another search is another object, with another name and folder: so a picture
    that a browser kept, or that is still being drawn, is never one of the photos of the next search.

    Args:
        name: tells searches apart; nobody can guess it, so that it can stand in an address.
        folder: of its own, made when something is searched.
        choice: what is shown.

    Attributes:
        photos: of the search, in the order given.
        concepts: names of the concepts that are looked for, in the order chosen.
        stop: set when no further photo is to be begun.
        shown: the result that was chosen, by its key, or None.
        changes: another number each time that something was found or said.
    """

    def __init__(self, name: str, folder: Path, choice: Choice | None = None) -> None:
        self.name, self.folder = name, folder
        self.photos: list[SearchedPhoto] = []
        self.concepts: list[str] = []
        self.choice = choice or Choice()
        self.stop = threading.Event()
        self.shown: tuple[int, str] | None = None
        self.changes = 0
        self._results: dict[tuple[int, str], SearchResult] = {}
        self._names = UniqueNames()
        self._changing = threading.Lock()

    @classmethod
    def empty(cls) -> PhotoSearch:
        """One of nothing, for a page that was just opened."""
        return cls("", Path())

    def begin(self, photos: Sequence[tuple[Path, str]], concepts: Iterable[str], *, dropped: bool) -> None:
        """Say once which concepts are looked for in which photos.

        Args:
            photos: each one's file, and its name as its owner knows it.
            concepts: their names.
            dropped: whether the files are copies of what was dropped into the page.
        """
        self.concepts = list(concepts)
        self.folder.mkdir(parents=True)
        for number, (path, given) in enumerate(photos):
            name = self._name_of(number, given)
            self.photos.append(SearchedPhoto(number, path, name, name if dropped else str(path)))

    def _name_of(self, number: int, given: str) -> str:
        name = Path(safe_name(Path(given).name, otherwise="photo"))
        # A number goes before the suffix, which says what the file is.
        return self._names.of(
            str(number), [name.name, *(f"{name.stem}_{n}{name.suffix}" for n in range(2, 100))], str(name)
        )

    def put(self, results: Iterable[SearchResult]) -> None:
        """Add results, or replace those of the same photo and concept; each gets a new version.

        What a person said is replaced by what a person says alone: the model may still have looked meanwhile.
        """
        with self._changing:
            self.changes += 1
            for one in results:
                earlier = self._results.get(one.key)
                if earlier is not None and earlier.corrected and not one.corrected:
                    continue
                self._results[one.key] = replace(one, version=0 if earlier is None else earlier.version + 1)

    def get(self, key: tuple[int, str] | None) -> SearchResult | None:
        """The result of a photo's number and a concept."""
        return None if key is None else self._results.get(key)

    @property
    def results(self) -> list[SearchResult]:
        """All of them, those of a photo together, in the order of the photos and concepts."""
        with self._changing:
            every = list(self._results.values())
        places = {name: place for place, name in enumerate(self.concepts)}
        return sorted(every, key=lambda one: (one.photo.number, places.get(one.concept, -1)))

    def chosen(self) -> list[SearchResult]:
        """Those that are shown, on whatever page, in the order that was chosen."""
        return sorted(filter(self.choice.takes, self.results), key=_ORDERS[self.choice.order][1])

    def page(self) -> tuple[list[SearchResult], int]:
        """Those of the page that is shown, and how many pages there are, at least one. The page is put right where
        there are fewer now."""
        every = self.chosen()
        pages = max(1, -(-len(every) // PAGE))
        self.choice = replace(self.choice, page=min(max(self.choice.page, 0), pages - 1))
        start = self.choice.page * PAGE
        return every[start : start + PAGE], pages

    def counts(self) -> dict[State, int]:
        """How many results there are of every state, whatever is shown."""
        counted = Counter(one.state(self.choice.threshold) for one in self.results)
        return {state: counted[state] for state in STATES}

    def unsure(self, concept: str) -> list[SearchResult]:
        """The results of a concept that are unsure, which a better one may settle."""
        return [one for one in self.results if one.concept == concept and one.state(SURE_ENOUGH) == "unsure"]

    def colours(self) -> dict[str, Colour]:
        """A colour for every concept, no two alike while there are others."""
        return colours_of(self.concepts)

    def taken(self) -> tuple[float, list[SearchResult]]:
        """What is shown and could be looked at, those of a photo together, and the threshold that decides it."""
        choice = self.choice
        return choice.threshold, [one for one in self.results if choice.takes(one) and one.found]

    @property
    def edition(self) -> tuple[str, int, Choice]:
        """Another value where what is shown, on whatever page and in whatever order, may be another."""
        return self.name, self.changes, replace(self.choice, page=0, order="order")
