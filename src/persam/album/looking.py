"""Looking at a photo: what it is, and what concepts find in it. It can be done here, in threads, or by `ray_engine`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from persam.album.batch import Wanted
from persam.places import Place

if TYPE_CHECKING:
    from persam.album.worker import Worker
    from persam.concept import Concept
    from persam.models.base import EncodedImage
    from persam.persam import PerSAM
    from persam.segmentation import Segmentation

AHEAD = 3  # photos that are read while one is worked on
READERS = 2


@dataclass(frozen=True)
class LookedAt:
    """A photo that was looked at, or what is wrong with it.

    Attributes:
        photo: the file.
        content: hash of what is in it.
        pixels: (h, w, 3) uint8, if something is to be looked for in it here, perhaps of a smaller copy.
        size: of the photo itself, (H, W).
        side: pixels of the longest side that were asked for; None: all.
        encoded: what was made of the pixels already, instead of them.
        finds: what was found elsewhere, by how it is made.
        masks: files of the masks that were found elsewhere, likewise.
        stamp: size and times of the file when it was read elsewhere, see `persam.places.stamp_of`.
        problem: a sentence.
        data: what is in a photo that is not on this disk; it is asked for once, however often this is called.
    """

    photo: Place
    content: str = ""
    pixels: np.ndarray | None = None
    size: tuple[int, int] | None = None
    side: int | None = None
    encoded: EncodedImage | None = None
    finds: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    masks: Mapping[str, bytes] = field(default_factory=dict)
    stamp: tuple[int, int, int] | None = None
    problem: str | None = None
    data: Callable[[], bytes] | None = None


class LookingEngine(Protocol):
    """Where photos are looked at."""

    def looked_at(self, worker: Worker, photos: Sequence[Place]) -> Iterator[LookedAt]:
        """All photos, each once, in any order, while the next ones are being looked at."""


class ThreadsHere:
    """Photos are read in threads of this process, ahead of those that `Worker.settle` is busy with."""

    def looked_at(self, worker: Worker, photos: Sequence[Place]) -> Iterator[LookedAt]:
        """All photos, in order."""
        pool = ThreadPoolExecutor(READERS, thread_name_prefix="persam-reader")
        waiting = deque[Any]()
        try:
            for photo in photos:
                waiting.append(pool.submit(worker.look, photo))
                if len(waiting) > max(AHEAD, 2 * worker.at_once):
                    yield from worker.encoded(_next_of(waiting, worker.at_once))
            while waiting:
                yield from worker.encoded(_next_of(waiting, worker.at_once))
        finally:
            pool.shutdown(cancel_futures=True)


def _next_of(waiting: deque[Any], most: int) -> list[LookedAt]:
    """The next photo, and those behind it that are read by then."""
    found = [waiting.popleft().result()]
    while len(found) < most and waiting and waiting[0].done():
        found.append(waiting.popleft().result())
    return found


class Finder:
    """Finds concepts in photos.

    Args:
        model: that the concepts were made with.
        concepts: by how they are made, see `persam.album.run.how_made`.
        wanted: how to look.

    Attributes:
        sides: the longest side at which a photo is read for a concept; None: whole.
        photos: encodes several photos in one pass.

    Raises:
        PersamError: a concept was made with another model.
    """

    def __init__(self, model: PerSAM, concepts: Mapping[str, Concept], wanted: Wanted) -> None:
        for concept in concepts.values():
            model.check(concept)
        self.model, self.concepts, self.wanted = model, concepts, wanted
        self.photos = model.photos
        # The published modes read a photo whole.
        self.sides = {
            made: model.longest_side if concept.settings.mode == "persam" else None
            for made, concept in concepts.items()
        }

    def by_side(self, missing: Sequence[str]) -> dict[int | None, list[str]]:
        """How the missing finds are made, by the side at which the photo is read for them."""
        sides: dict[int | None, list[str]] = {}
        for made in missing:
            sides.setdefault(self.sides[made], []).append(made)
        return sides

    def find(self, encoded: EncodedImage, missing: Sequence[str]) -> dict[str, Segmentation]:
        """What each concept finds in a photo, without its name."""
        found = self.model.segment(
            encoded,
            [self.concepts[made] for made in missing],
            max_instances=self.wanted.max_instances,
            threshold=self.wanted.threshold,
        )
        return {made: replace(one, image=None) for made, one in zip(missing, found, strict=True)}
