"""Track: objects through a clip, frame by frame, from masks of some of its frames or from concepts."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TypedDict

import numpy as np

from persam.errors import PersamError, UsageError
from persam.instance import Instance
from persam.models.propagator import Propagator
from persam.persam import PerSAM
from persam.segmentation import SURE_ENOUGH, Segmentation, check_search
from persam.video.backwards import FramesAgain, frames_again
from persam.video.carry import propagator_for
from persam.video.clips import Clip, ClipFrame, ClipSource, FrameFolder, VideoFile, open_clip
from persam.video.official import Faults
from persam.video.plan import spans_of
from persam.video.points import PointsChoice, check_points, point_tracker
from persam.video.start import Given, Start, StartObject, concepts_of, given_of, numbers_of
from persam.video.trackers import Beginnings, Earlier, Tracker, Way
from persam.video.waiting import SmallLabels


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


class TrackOptions(TypedDict, total=False):
    """The options of `track`."""

    names: Sequence[str] | None
    tune: bool
    threshold: float | None
    faults: Faults | None
    points: PointsChoice | None
    propagator: str | Path | Propagator | None


class TrackCall(TrackOptions, total=False):
    """All that `track` takes beside the clip and its start."""

    on_look: Callable[[int], object]
    earlier: Earlier | None


def track(
    persam: PerSAM,
    clip: ClipSource | Clip,
    start: Start,
    *,
    names: Sequence[str] | None = None,
    tune: bool = False,
    threshold: float | None = None,
    faults: Faults | None = None,
    points: PointsChoice | None = None,
    propagator: str | Path | Propagator | None = None,
    on_look: Callable[[int], object] = lambda _: None,
    earlier: Earlier | None = None,
) -> Iterator[TrackedFrame]:
    """Follow objects through a clip, frame by frame, which are read as they are asked for.

    From a mask of another frame than the first one, they are followed forwards and backwards; every frame from the
    nearest one of which a mask was given.

    Args:
        persam: the model. Mode official follows as the published scripts do, any other as `persam.video.follow`.
        clip: a video file, a folder of frames, frames one by one, a stream's URL or a camera's number; see `open_clip`.
        start: a mask of the first frame, in which several labels are several objects; or masks by the numbers of their
            frames, from 0, such as ``{40: "corrected.png"}``, in which a label is the same object everywhere, and an
            object that has no pixel is out of sight; or a concept, or several, which are looked for from the first
            frame on.
        names: of the objects; by default those of the concepts, or object 1, object 2, ...
        tune: fit the scale weights of objects that a mask shows (PerSAM-F).
        threshold: score from which on an object is present, 0 to 1; by default 0.5. Mode official has none.
        faults: of the published scripts, to bring back in mode official.
        points: what carries points of the objects from frame to frame, as further positive prompts: ``lk`` (OpenCV's
            Lucas-Kanade), ``cotracker``, or your own `PointTracker`; by default nothing.
        propagator: a SAM 2, EdgeTAM or SAM 3 for videos, by name, folder or as an object, whose memory carries what the
            concept finds (`persam.video.carry`); by default none.
        on_look: called with the number of every frame that was looked at, in the order of the work.
        earlier: where a run that was stopped goes on; the frames that it did are yielded, but not looked at again.

    Yields:
        Every frame, the first one too, in the clip's order. Those that are followed backwards wait for their turn.

    Raises:
        PersamError: the clip or a mask cannot be read, or they do not fit together; or a concept was made with
            another model.
        UsageError: the mode has no such option, or cannot start so; too many objects, or other names than objects; the
            clip has no such frame, or gives its frames only once, so that nothing can be followed backwards; or there
            is no such point tracker.
    """
    chosen: TrackOptions = {"threshold": threshold, "faults": faults, "points": points, "propagator": propagator}
    _check_options(persam.settings.mode, chosen)
    threshold = SURE_ENOUGH if threshold is None else threshold
    carried = None if points is None else point_tracker(points, persam.model.device)
    carrier = None if propagator is None else propagator_for(persam, propagator)
    opened = open_clip(clip)
    # A clip that cannot be gone through again is refused before any of it is used up.
    again = frames_again(opened) if set(numbers_of(start) or ()) - {0} else None
    way = Way(tune=tune, threshold=threshold, faults=faults, points=carried, propagator=carrier)
    return _tracked(persam, opened, again, start, names, way, earlier, on_look)


def check_call(persam: PerSAM, clip: Clip, start: Start, options: TrackOptions) -> None:
    """See that a clip may be followed so, as far as its first frame tells; nothing is followed, nor loaded.

    Raises:
        PersamError, UsageError: as `track`.
    """
    _check_options(persam.settings.mode, options)
    numbers = numbers_of(start) or []
    if set(numbers) - {0}:
        again = frames_again(clip)
        if clip.count is not None and numbers[-1] >= clip.count:  # which some files do not know exactly
            again.at(numbers[-1])
    for concept in concepts_of(start):
        persam.check(concept)
    if not isinstance(clip, FrameFolder | VideoFile):
        return  # its frames may come only once
    with warnings.catch_warnings(action="ignore"):
        first = next(iter(clip))
        given = given_of(start, first.pixels.shape[:2], options.get("names"), first=first.number)
    _check(persam, given, options.get("tune", False))


def _check_options(mode: str, options: TrackOptions) -> None:
    """See that a mode has these options, and that they go together.

    Raises:
        UsageError: it has not, or they do not.
    """
    threshold, points = options.get("threshold"), options.get("points")
    if threshold is not None and mode == "official":
        raise UsageError(
            "Mode official has no score, and so no threshold; leave the threshold out, or use mode persam."
        )
    check_search(1, SURE_ENOUGH if threshold is None else threshold)
    if options.get("faults") is not None and mode != "official":
        raise UsageError(f"Faults of the published scripts belong to mode official, not {mode}.")
    if points is not None and options.get("propagator") is not None:
        raise UsageError("Points are carried without a propagator, which needs none; leave one of the two out.")
    if points is not None:
        check_points(points)


def _tracked(
    persam: PerSAM,
    clip: Clip,
    again: FramesAgain | None,
    start: Start,
    names: Sequence[str] | None,
    way: Way,
    earlier: Earlier | None,
    on_look: Callable[[int], object],
) -> Iterator[TrackedFrame]:
    frames = iter(clip)
    first = next(frames)
    height, width = first.pixels.shape[:2]
    given = given_of(start, (height, width), names, first=first.number)
    _check(persam, given, way.tune)
    if set(given.labels) - {first.number}:
        again = again or frames_again(clip)
    beginnings = Beginnings(persam, given, first, again, way)
    spans = deque(spans_of(given.labels or [first.number], first.number))
    tracker: Tracker | None = None
    waiting: dict[int, tuple[SmallLabels, list[float]]] = {}
    kept = earlier if beginnings.are_resumable else None
    done = -1 if earlier is None else earlier.last
    official = persam.settings.mode == "official"
    for frame in chain([first], frames):
        if spans and frame.number >= spans[0].first:
            span, tracker, waiting = spans.popleft(), None, {}
            left = replace(span, first=max(span.first, done + 1))
            if left.first < span.given:
                waiting = beginnings.backwards(left, on_look)
                if kept is not None:
                    kept.begin(None, frame.number)
        if frame.number == span.given and (not spans or done + 1 < spans[0].first):  # else nothing is left to follow
            tracker = beginnings.tracker(frame.number, frame.pixels)
            if kept is not None:
                kept.begin(tracker, frame.number)
        found = _known(frame, earlier, waiting)
        if found is None:
            if tracker is None:
                raise _changed(clip)
            found = given.found_on(frame.number) or tracker.follow(frame.pixels)
            on_look(frame.number)
        yield _frame(frame, *found, given.objects, None if official else way.threshold)


def _known(
    frame: ClipFrame, earlier: Earlier | None, waiting: dict[int, tuple[SmallLabels, list[float]]]
) -> tuple[np.ndarray, list[float]] | None:
    """What was found in a frame before: by an earlier run, or backwards."""
    known = None if earlier is None else earlier.of(frame)
    if known is None and frame.number in waiting:
        small, scores = waiting.pop(frame.number)
        return small.read(), scores
    return known


def _changed(clip: Clip) -> PersamError:
    return PersamError(f"{clip.source} has changed while it was followed; run it again.")


def _check(persam: PerSAM, given: Given, tune: bool) -> None:
    """See that the mode can start so.

    Raises:
        UsageError: it cannot.
    """
    if given.labels:
        return
    if tune:
        raise UsageError("A concept is tuned where it is learned: `persam learn --tune`; leave tune out.")
    for one in given.objects:
        if "official" in (persam.settings.mode, one.concept.settings.mode if one.concept else ""):
            raise UsageError(
                f"{one.name} is a concept of mode official, which starts from a mask of a frame; give a mask, or learn "
                "the concept in mode persam."
            )


def _frame(
    frame: ClipFrame, labels: np.ndarray, scores: list[float], objects: Sequence[StartObject], threshold: float | None
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
