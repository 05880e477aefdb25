"""Track: objects through a clip, frame by frame, from a mask of the first frame or from concepts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol, TypedDict

import numpy as np

from persam.errors import UsageError
from persam.instance import Instance
from persam.persam import PerSAM
from persam.segmentation import SURE_ENOUGH, Segmentation, check_search
from persam.video.clips import Clip, ClipFrame, ClipSource, open_clip
from persam.video.follow import FollowedObjects
from persam.video.official import Faults, OfficialObjects
from persam.video.start import Start, StartObject, objects_of
from persam.video.state import Resumable


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """What was found in one frame of a clip.

    Attributes:
        frame: the frame itself: its number, time, name and pixels.
        labels: (H, W) uint8, 0 the background, k the k-th object.
        segmentations: one for each object, in the order of their labels; one that is out of sight is not `present`.
    """

    frame: ClipFrame
    labels: np.ndarray
    segmentations: tuple[Segmentation, ...] = field(default=())


class Tracker(Protocol):
    """Follows objects from frame to frame."""

    def follow(self, pixels: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """The next frame, (H, W, 3) uint8: labels (H, W) uint8, and the score of every object, 0 to 1."""
        ...


class Earlier(Protocol):
    """What is known of a clip before it is followed, as when a run was stopped; see `persam.video.resume`."""

    def begin(self, tracker: object) -> None:
        """A tracker is about to follow; it may be set to where it was."""
        ...

    def of(self, frame: ClipFrame) -> tuple[np.ndarray, list[float]] | None:
        """What is known of a frame, as `Tracker.follow` gives it; None if it is to be followed."""
        ...


class TrackOptions(TypedDict, total=False):
    """The options of `track`."""

    names: Sequence[str] | None
    tune: bool
    threshold: float | None
    faults: Faults | None


def track(
    persam: PerSAM,
    clip: ClipSource | Clip,
    start: Start,
    *,
    names: Sequence[str] | None = None,
    tune: bool = False,
    threshold: float | None = None,
    faults: Faults | None = None,
    earlier: Earlier | None = None,
) -> Iterator[TrackedFrame]:
    """Follow objects through a clip, frame by frame, which are read as they are asked for.

    Args:
        persam: the model. Mode official follows as the published scripts do, any other as `persam.video.follow`.
        clip: a video file, a folder of frames, frames one by one, a stream's URL or a camera's number; see `open_clip`.
        start: a mask of the first frame, in which several labels are several objects; or a concept, or several, which
            are looked for from the first frame on.
        names: of the objects; by default those of the concepts, or object 1, object 2, ...
        tune: fit the scale weights of objects that a mask shows (PerSAM-F).
        threshold: score from which on an object is present, 0 to 1; by default 0.5. Mode official has none.
        faults: of the published scripts, to bring back in mode official.
        earlier: where a run that was stopped goes on; the frames that it did are yielded, but not looked at again.

    Yields:
        Every frame, the first one too.

    Raises:
        PersamError: the clip or the mask cannot be read, or they do not fit together; or a concept was made with
            another model.
        UsageError: the mode has no such option, or cannot start so; too many objects, or other names than objects.
    """
    official = persam.settings.mode == "official"
    if threshold is not None and official:
        raise UsageError(
            "Mode official has no score, and so no threshold; leave the threshold out, or use mode persam."
        )
    threshold = SURE_ENOUGH if threshold is None else threshold
    check_search(1, threshold)
    if faults is not None and not official:
        raise UsageError(f"Faults of the published scripts belong to mode official, not {persam.settings.mode}.")
    return _tracked(persam, iter(open_clip(clip)), start, names, tune, threshold, faults, earlier)


def _tracked(
    persam: PerSAM,
    frames: Iterator[ClipFrame],
    start: Start,
    names: Sequence[str] | None,
    tune: bool,
    threshold: float,
    faults: Faults | None,
    earlier: Earlier | None,
) -> Iterator[TrackedFrame]:
    first = next(frames)
    height, width = first.pixels.shape[:2]
    objects = objects_of(start, (height, width), names)
    given = [one.mask for one in objects if one.mask is not None]
    if tune and len(given) < len(objects):
        raise UsageError("A concept is tuned where it is learned: `persam learn --tune`; leave tune out.")
    tracker: Tracker
    if persam.settings.mode == "official":
        if len(given) < len(objects):
            raise UsageError("Mode official starts from a mask of the first frame, not from concepts; use mode persam.")
        tracker = _Official(OfficialObjects(persam, first.pixels, given, tune=tune, faults=faults))
    else:
        published = [one.name for one in objects if one.concept is not None and one.concept.settings.mode == "official"]
        if published:
            raise UsageError(
                f"{published[0]} was learned in mode official, which follows no concepts; learn it in mode persam."
            )
        tracker = FollowedObjects(persam, first.pixels, objects, tune=tune, threshold=threshold)

    def found_in(frame: ClipFrame) -> tuple[np.ndarray, list[float]]:
        known = None if earlier is None else earlier.of(frame)
        if known is None and given and frame is first:
            labels = np.zeros((height, width), np.uint8)
            for number, mask in enumerate(given, start=1):
                labels[mask] = number
            known = labels, [1.0] * len(given)
        return known or tracker.follow(frame.pixels)

    if earlier is not None:
        earlier.begin(tracker)
    for frame in chain([first], frames):
        yield _frame(frame, *found_in(frame), objects, threshold)


def _frame(
    frame: ClipFrame, labels: np.ndarray, scores: list[float], objects: Sequence[StartObject], threshold: float
) -> TrackedFrame:
    found = []
    for number, (one, score) in enumerate(zip(objects, scores, strict=True), start=1):
        mask = labels == number
        present = bool(mask.any())
        instances = (Instance(mask, score),) if present else ()
        found.append(
            Segmentation(one.name, frame.name, mask, score, present=present, threshold=threshold, instances=instances)
        )
    return TrackedFrame(frame, labels, tuple(found))


class _Official(Resumable):
    """The published procedure has no score: what it gives a mask is there."""

    def __init__(self, objects: OfficialObjects) -> None:
        self._objects = objects

    def follow(self, pixels: np.ndarray) -> tuple[np.ndarray, list[float]]:
        labels, steps = self._objects.follow(pixels)
        seen = set(np.unique(labels).tolist())
        return labels, [float(number in seen) for number in range(1, len(steps) + 1)]
