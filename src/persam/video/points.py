"""Points that are carried from frame to frame: by what, and which ones.

A point tracker follows places of the picture, whatever they belong to. `CarriedPoints` gives it places of the objects,
and asks after every frame whether they are still on them: what is found and what is carried keep each other from going
astray. Trackers are chosen by name, or given: whatever has the two methods of `PointTracker` is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import torch

from persam.errors import PersamError, UsageError
from persam.geometry import Frame, shrink
from persam.method.prior import Prior
from persam.video.state import Resumable

SIDE = 1024  # pixels of the longest side of the pictures in which points are followed: LK sees no faster motion
WINDOW, LEVELS = 21, 3  # of LK: pixels around a point, and halvings of the picture beyond the first
RETURN = 1.0  # pixels by which a point may miss its start when it is followed back

COUNT = 5  # points of an object
GRID = 256  # among how many places along the longest side they are chosen
NO_POINTS = np.zeros((0, 2))
MARGIN = 3  # pixels from the outline, where what is around comes into a point's window


@runtime_checkable
class PointTracker(Protocol):
    """Follows points through a clip."""

    def start(self, frame: np.ndarray, points: np.ndarray) -> None:
        """Follow these points from this frame on, and forget all others.

        Args:
            frame: (H, W, 3) uint8 RGB; this one is not followed.
            points: (N, 2) float, (x, y) in pixels of the frame, (0, 0) the middle of the first; N may be 0.
        """
        ...

    def follow(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the points are in the next frame, in the order in which they were given.

        Returns:
            Points (N, 2) float; and whether each is seen, (N,) bool.
        """
        ...


PointsChoice = str | PointTracker


class LucasKanade(Resumable):
    """OpenCV's pyramidal Lucas-Kanade; a point counts as seen if, followed back, it comes out where it came from.

    A point that was not seen once is not looked for again.
    """

    def __init__(self) -> None:
        self._grey = np.zeros((0, 0), np.uint8)
        self._points = np.zeros((0, 2), np.float32)
        self._seen = np.zeros(0, bool)

    def start(self, frame: np.ndarray, points: np.ndarray) -> None:
        """See `PointTracker`."""
        self._grey = _grey(frame)
        self._points = np.array(points, np.float32).reshape(-1, 2)
        self._seen = np.ones(len(self._points), bool)

    def follow(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `PointTracker`."""
        before, self._grey = self._grey, _grey(frame)
        points, seen = self._points.copy(), self._seen.copy()
        if before.shape != self._grey.shape:  # another picture altogether
            seen[:] = False
        if seen.any():
            scale = np.array(self._grey.shape[::-1], np.float32) / frame.shape[1::-1]
            start = (points[seen] + 0.5) * scale - 0.5
            end, found = _flow(before, self._grey, start)
            back, returned = _flow(self._grey, before, end)
            points[seen] = (end + 0.5) / scale - 0.5
            seen[seen] = found & returned & (np.linalg.norm(back - start, axis=1) <= RETURN)
        self._points, self._seen = points, seen
        return points.copy(), seen.copy()


def _grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(shrink(frame, SIDE), cv2.COLOR_RGB2GRAY)


def _flow(before: np.ndarray, now: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where points (N, 2) of one picture are in another, and whether there was anything to go by, (N,) bool."""
    end, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]  # as its page has it
        before, now, points[:, None].astype(np.float32), None, winSize=(WINDOW, WINDOW), maxLevel=LEVELS
    )
    return end[:, 0], found[:, 0] > 0


def _co_tracker(device: torch.device) -> PointTracker:
    from persam.video.cotracker import CoTracker

    return CoTracker.from_hub(device)


POINT_TRACKERS: dict[str, Callable[[torch.device], PointTracker]] = {
    "lk": lambda device: LucasKanade(),
    "cotracker": _co_tracker,
}


def point_tracker(choice: PointsChoice, device: torch.device) -> PointTracker:
    """The tracker of a name, on a device; or the one that was given.

    Raises:
        UsageError: no such name, or something else.
        PersamError: it is not installed, or its weights cannot be had.
    """
    check_points(choice)
    return POINT_TRACKERS[choice](device) if isinstance(choice, str) else choice


def check_points(choice: PointsChoice) -> None:
    """See that there is such a point tracker.

    Raises:
        UsageError: no such name, or something else.
    """
    if isinstance(choice, str) and choice in POINT_TRACKERS:
        return
    if not isinstance(choice, str) and isinstance(choice, PointTracker) and not isinstance(choice, type):
        return
    names = ", ".join(POINT_TRACKERS)
    raise UsageError(f"There is no point tracker {choice!r}; choose {names}, or in Python one with start and follow.")


class CarriedPoints(Resumable):
    """The points of a clip's objects: which ones, where they are, and when it takes others.

    Args:
        tracker: what follows them; of all objects together, as each knows better where it goes if it sees the others.
        objects: their number.
    """

    _FIXED = frozenset({"objects"})

    def __init__(self, tracker: PointTracker, objects: int) -> None:
        self.tracker, self.objects = tracker, objects
        self._owner = np.zeros(0, int)  # whose each point is that the tracker follows
        self._points = np.zeros((0, 2))
        self._seen = np.zeros(0, bool)
        self._astray = np.zeros(0, bool)  # seen where its object was not
        self._picked = [0] * objects

    def follow(self, frame: np.ndarray) -> list[np.ndarray]:
        """The next frame, (H, W, 3) uint8: for every object the points that are seen, (N, 2) as (x, y) in pixels."""
        if len(self._owner):
            self._points, self._seen = self._followed(frame)
        good = self._seen & ~self._astray
        return [self._points[good & (self._owner == which)] for which in range(self.objects)]

    def renew(self, frame: np.ndarray, masks: Sequence[np.ndarray], similarity: Callable[[int], np.ndarray]) -> None:
        """Tell what was found in this frame: points that are not on their object are dropped for good.

        Of an object that is in sight and has fewer than half of its points left, others are taken, and the tracker
        begins anew. Then the other objects, those that are out of sight too, keep the points that it sees at this
        moment and lose the rest; until then it may see them again.

        Args:
            frame: (H, W, 3) uint8.
            masks: of every object, (H, W) bool; empty, if it is out of sight.
            similarity: to the k-th object, (h, w) of any size over the frame; only asked for if it is needed.
        """
        places, owners = [], []
        anew = False
        for which, mask in enumerate(masks):
            own = self._owner == which
            if mask.any():
                self._astray = self._astray | (own & self._seen & ~_is_on(mask, self._points))
            left = self._points[own & self._seen & ~self._astray]
            if mask.any() and (not self._picked[which] or 2 * len(left) < self._picked[which]):
                left = similar_places(similarity(which), mask, COUNT)
                self._picked[which] = len(left)
                anew = True
            places.append(left)
            owners.append(np.full(len(left), which))
        if anew:
            self._points, self._owner = np.concatenate(places), np.concatenate(owners)
            self._seen, self._astray = np.ones(len(self._owner), bool), np.zeros(len(self._owner), bool)
            self.tracker.start(frame, self._points)

    def _followed(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the tracker says, which may be the user's own."""
        answer: Any = self.tracker.follow(frame)
        try:
            points, seen = (np.asarray(each) for each in answer)
            points, seen = points.astype(np.float64), seen.astype(bool)
            if points.shape != self._points.shape or seen.shape != self._seen.shape:
                raise ValueError(f"not arrays {points.shape} and {seen.shape}")  # noqa: TRY301
        except (TypeError, ValueError) as error:
            count = len(self._owner)
            raise PersamError(
                f"The point tracker {type(self.tracker).__name__} was given {count} points, and must give points "
                f"({count}, 2) and what is seen ({count},) of every frame: {error}."
            ) from error
        height, width = frame.shape[:2]
        within = np.isfinite(points).all(1) & (points > -0.5).all(1) & (points < np.array([width, height]) - 0.5).all(1)
        return np.where(within[:, None], points, 0.0), seen & within


def with_points(prior: Prior, frame: Frame, carried: np.ndarray, dropped: np.ndarray) -> Prior:
    """The prior with carried points as positive ones, in the place of some of its own, and a box that holds them.

    Args:
        prior: its points stay as they are if none was carried here.
        frame: of the photo that was looked at.
        carried: (N, 2), (x, y) in pixels of the photo.
        dropped: which of the prior's points make way for them, (M,) bool.
    """
    if not len(carried):
        return prior
    new, box = frame.to_canvas(carried), prior.box
    points = np.concatenate([prior.points[~dropped], new])
    labels = np.append(prior.labels[~dropped], np.ones(len(carried), prior.labels.dtype))
    if box is not None:
        box = np.concatenate([np.minimum(box[:2], new.min(0)), np.maximum(box[2:], new.max(0))])
    return replace(prior, points=points, labels=labels, box=box)


def _is_on(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which points (N, 2) lie on a mask (H, W) bool; all lie in its frame."""
    x, y = points.round().astype(int).T
    return mask[y, x]


def similar_places(similarity: np.ndarray, mask: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` places of a mask, far from one another, where it is more similar than in its median.

    The first is the most similar one. They keep away from the outline where the mask is thick enough.

    Args:
        similarity: (h, w), of any size over the frame.
        mask: (H, W) bool, not empty.
        count: at least 1.

    Returns:
        (N, 2) float, (x, y) in pixels of the mask.
    """
    kernel = np.ones((2 * MARGIN + 1,) * 2, np.uint8)
    step = max(1, max(mask.shape) // GRID)
    thick = cv2.erode(mask.astype(np.uint8), kernel) > 0
    y, x = next(found for each in (thick, mask) if len((found := np.nonzero(each))[0]))
    on_grid = (y % step == 0) & (x % step == 0)
    if on_grid.any():
        y, x = y[on_grid], x[on_grid]
    values = cv2.resize(similarity.astype(np.float32), mask.shape[::-1], interpolation=cv2.INTER_LINEAR)[y, x]
    best = values >= np.median(values)
    places, values = np.stack([x, y], axis=1)[best].astype(float), values[best]
    taken = [int(values.argmax())]
    distance = np.full(len(places), np.inf)
    while len(taken) < min(count, len(places)):
        distance = np.minimum(distance, np.linalg.norm(places - places[taken[-1]], axis=1))
        taken.append(int(distance.argmax()))
    return places[taken]
