"""What follows the objects of a clip: one tracker or another, begun on any frame of which a mask was given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from persam.models.propagator import Propagator, TransformersPropagator
from persam.persam import PerSAM
from persam.video.backwards import FramesAgain
from persam.video.carry import CarriedObjects
from persam.video.clips import ClipFrame
from persam.video.follow import FollowedObjects
from persam.video.official import Faults, OfficialObjects
from persam.video.plan import Span
from persam.video.points import PointTracker
from persam.video.shots import learned_from
from persam.video.start import Given, StartObject
from persam.video.state import Resumable
from persam.video.waiting import SmallLabels


class Tracker(Protocol):
    """Follows objects from frame to frame."""

    def follow(self, pixels: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """The next frame, (H, W, 3) uint8: labels (H, W) uint8, and the score of every object, 0 to 1."""
        ...


class Earlier(Protocol):
    """What is known of a clip before it is followed, as when a run was stopped; see `persam.video.resume`."""

    @property
    def last(self) -> int:
        """Number of the last frame that is known; -1 if none is."""
        ...

    def begin(self, tracker: object | None, number: int) -> None:
        """A tracker is about to follow from a frame on, and may be set to where it was after the last known frame.

        None: frames come that were followed backwards before.
        """
        ...

    def of(self, frame: ClipFrame) -> tuple[np.ndarray, list[float]] | None:
        """What is known of a frame, as `Tracker.follow` gives it; None if it is to be followed."""
        ...


@dataclass(frozen=True)
class Way:
    """How objects are followed; see `persam.video.track.track`."""

    tune: bool
    threshold: float
    faults: Faults | None = None
    points: PointTracker | None = None
    propagator: Propagator | None = None


class Beginnings:
    """Begins to follow the objects, on any frame that was given, and in any direction.

    Args:
        persam: the model.
        given: the objects, and where they are on the given frames.
        first: the clip's first frame.
        again: the clip once more; None if no other frame was given.
        way: how they are followed.

    Raises:
        PersamError: an object cannot be learned from a given frame, or the frame cannot be read; or a concept was made
            with another model.
        UsageError: the clip has no such frame.
    """

    def __init__(
        self,
        persam: PerSAM,
        given: Given,
        first: ClipFrame,
        again: FramesAgain | None,
        way: Way,
    ) -> None:
        self._persam, self._given, self._first, self._again, self._way = persam, given, first, again, way
        numbers = sorted(given.labels)
        self._concepts = [one.concept for one in given.objects]
        for concept in filter(None, self._concepts):
            persam.check(concept)
        if persam.settings.mode != "official" and numbers:
            shown = ((self._pixels(number), given.on(number)) for number in numbers)
            self._concepts = [one.concept for one in learned_from(persam, shown, tune=way.tune)]
        elif len(numbers) > 1:  # what is wrong with one of them is said before the work
            for number in numbers:
                _Official(persam, self._pixels(number), given.on(number), replace(way, tune=False))

    @property
    def are_resumable(self) -> bool:
        """Whether what follows has a state that can be kept.

        Other networks that carry points have none, nor may an own propagator.
        """
        points, propagator = self._way.points, self._way.propagator
        return isinstance(points, Resumable | None) and isinstance(propagator, TransformersPropagator | None)

    def tracker(self, number: int, pixels: np.ndarray) -> Tracker:
        """What follows them from a frame on, (H, W, 3) uint8 RGB."""
        objects, way = self._given.on(number), self._way
        if self._persam.settings.mode == "official":
            return _Official(self._persam, pixels, objects, way)
        known = [replace(one, concept=concept) for one, concept in zip(objects, self._concepts, strict=True)]
        if way.propagator is not None:
            return CarriedObjects(self._persam, way.propagator, pixels, known, threshold=way.threshold)
        return FollowedObjects(self._persam, pixels, known, threshold=way.threshold, points=way.points)

    def backwards(self, span: Span, on_look: Callable[[int], object]) -> dict[int, tuple[SmallLabels, list[float]]]:
        """Follow them from a given frame back to its span's first: labels and scores, by the numbers of the frames."""
        assert self._again is not None
        found = {}
        tracker = self.tracker(span.given, self._pixels(span.given))
        for frame in self._again.backwards(span.given - 1, span.first, self._first.pixels.shape):
            labels, scores = tracker.follow(frame.pixels)
            found[frame.number] = SmallLabels(labels), scores
            on_look(frame.number)
        return found

    def _pixels(self, number: int) -> np.ndarray:
        """Of a given frame."""
        if number == self._first.number:
            return self._first.pixels
        assert self._again is not None
        frame = self._again.at(number)
        self._again.clip.check_size(frame, self._first.pixels.shape)
        return frame.pixels


class _Official(Resumable):
    """The published procedure has no score: what it gives a mask is there. What its frame does not show is never."""

    def __init__(self, persam: PerSAM, pixels: np.ndarray, objects: Sequence[StartObject], way: Way) -> None:
        self._known = [label for label, one in enumerate(objects, start=1) if one.mask is not None]
        self._labels = np.array([0, *self._known], np.uint8)  # of the objects, by those of the known ones
        self._count = len(objects)
        masks = [one.mask for one in objects if one.mask is not None]
        self._objects = None
        if masks:
            self._objects = OfficialObjects(persam, pixels, masks, tune=way.tune, faults=way.faults, points=way.points)

    def follow(self, pixels: np.ndarray) -> tuple[np.ndarray, list[float]]:
        if self._objects is None:
            return np.zeros(pixels.shape[:2], np.uint8), [0.0] * self._count
        labels = self._labels[self._objects.follow(pixels)[0]]
        seen = set(np.unique(labels).tolist())
        return labels, [float(label in seen) for label in range(1, self._count + 1)]
