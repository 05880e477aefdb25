"""An album of one thing: photos that show it and as many that do not, looked at with more shots than the first.

Its photos are encoded once, and what is found with the same shots is not looked for twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from persam.benchmark.episodes import Episode, Sample
from persam.benchmark.suites.damage import spread
from persam.benchmark.suites.suite import Missed, Trial
from persam.concept import Concept
from persam.errors import PersamError, UsageError
from persam.metrics import iou
from persam.models.base import EncodedImage
from persam.persam import PerSAM
from persam.reference import Reference
from persam.segmentation import Segmentation

Measured = TypeVar("Measured")

MADE_OF = (
    "an album for every object: its photos but for the first, which is the reference, and as many of other objects, "
    "evenly spread"
)


@dataclass(frozen=True)
class Looked:
    """What was found in a photo, and how right it is.

    Attributes:
        figures: of `Segmentation.to_dict`, which an album keeps.
        assumed: IoU of the mask if the thing is taken to be there; None where it is not.
        kept: IoU of the mask as the album has it; 1 where nothing is to be found and nothing is.
    """

    figures: Mapping[str, Any]
    assumed: float | None
    kept: float


class OneAlbum:
    """The photos of one thing and of others.

    Args:
        model: that learns and looks.
        name: ``DATA_SET/OBJECT``.
        reference: the first shot.
        photos: of the album; the truth of those without the thing is empty.
        is_shown: whether each photo has it.
        missed: is told of photos that cannot be read; the album is without them.

    Attributes:
        first: the concept of the reference alone.

    Raises:
        PersamError: the reference cannot be learned from, or no photo is left that shows the thing.
    """

    def __init__(
        self,
        model: PerSAM,
        name: str,
        reference: Sample,
        photos: Sequence[Sample],
        is_shown: Sequence[bool],
        missed: Missed,
    ) -> None:
        self.name = name
        self._model = model
        pixels, self._reference_mask = reference.read()
        self._reference = model.encode(pixels)
        self.first = model.learn(Reference(pixels, mask=self._reference_mask), name="thing")
        self._pixels: list[np.ndarray] = []
        self._encoded: list[EncodedImage] = []
        self._truths: list[np.ndarray] = []
        self._ignored: list[np.ndarray | None] = []
        for photo, shows in zip(photos, is_shown, strict=True):
            with missed.over(f"{photo.name} in the album {name}"):
                pixels = photo.read_photo()
                size = pixels.shape[0], pixels.shape[1]
                truth = photo.truth.read(size) if shows else np.zeros(size, bool)
                ignored = photo.truth.read_ignore(size) if shows else None
                self._encoded.append(model.encode(pixels))
                self._pixels.append(pixels)
                self._truths.append(truth)
                self._ignored.append(ignored)
        if not any(truth.any() for truth in self._truths):
            raise PersamError("No photo that shows the thing is left.")
        self._shots: dict[int, Concept] = {}
        self._looked: dict[frozenset[int], list[Looked]] = {}

    def __len__(self) -> int:
        return len(self._pixels)

    def shows(self, place: int) -> bool:
        """Whether the thing is in a photo."""
        return bool(self._truths[place].any())

    def looked(self, corrected: Sequence[int] = ()) -> list[Looked]:
        """What is found in all photos once some were corrected, those that show the thing being shots from then on."""
        shots = frozenset(place for place in corrected if self.shows(place))
        if shots not in self._looked:
            for place in shots - self._shots.keys():
                self._shots[place] = self.learned(place, self._truths[place])
            self._looked[shots] = self.look(self.joined([self._shots[place] for place in sorted(shots)]))
        return self._looked[shots]

    def learned(self, place: int, mask: np.ndarray) -> Concept:
        """A concept of a photo of the album, whatever mask it is given, alone."""
        return self._model.learn(Reference(self._pixels[place], mask=mask), name="thing")

    def joined(self, shots: Sequence[Concept]) -> Concept:
        """The concept with further shots, as `PerSAM.learn` with a base has it."""
        concept = self.first
        for shot in shots:
            concept = concept.joined(shot, concept.name)
        return concept

    def look(self, concept: Concept) -> list[Looked]:
        """What a concept finds in all photos."""
        return [self.judged(place, found) for place, found in enumerate(self.found(concept))]

    def found(self, concept: Concept) -> Iterator[Segmentation]:
        """The same, as it is found."""
        for encoded in self._encoded:
            yield self._model.segment(encoded, concept)

    def finds_reference(self, concept: Concept) -> float:
        """IoU with which a concept finds the thing in the reference."""
        return iou(self._model.segment(self._reference, concept).assumed_mask, self._reference_mask)

    def judged(self, place: int, found: Segmentation) -> Looked:
        """How right it is."""
        truth, ignored = self._truths[place], self._ignored[place]
        assumed = iou(found.assumed_mask, truth, ignored) if truth.any() else None
        return Looked(found.to_dict(rle=False), assumed, iou(found.mask, truth, ignored))


def in_albums(
    trial: Trial, mode: str, most: int, measure: Callable[[OneAlbum], Measured], missed: Missed
) -> dict[str, Measured]:
    """What is measured in every album, by its name; what one album cannot do is passed over.

    Raises:
        UsageError: as `albums`.
        PersamError: nothing could be measured in any album.
    """
    found = {}
    for album in albums(trial, mode, most, missed):
        with missed.over(album.name):
            found[album.name] = measure(album)
    if not found:
        raise PersamError(f"No album could be measured; {missed.reasons[0]}.")
    return found


def albums(trial: Trial, mode: str, most: int, missed: Missed) -> Iterator[OneAlbum]:
    """An album for every object, with at most so many photos of it, and as many of others.

    Args:
        trial: on what and with what.
        mode: of the method.
        most: photos of the object.
        missed: is told of photos and albums that cannot be read.

    Raises:
        UsageError: no such mode; one object alone, or nothing but photos in which each object may be, so that there are
            none without.
    """
    model = trial.persam(mode)
    episodes = trial.photos.episodes
    if len(episodes) < 2:
        raise UsageError("There is one object alone; an album has photos without the object, too: those of others.")
    strangers = [_without(episode, episodes) for episode in episodes]
    if not any(strangers):
        raise UsageError("Each object may be in every photo here; an album needs photos of others without the object.")
    for episode, without in zip(episodes, strangers, strict=True):
        shown = spread(episode.tests, most)
        others = spread(without, len(shown))
        is_shown = [True] * len(shown) + [False] * len(others)
        name, album = f"{episode.data_set}/{episode.object}", None
        with missed.over(name):
            album = OneAlbum(model, name, episode.references[0], [*shown, *others], is_shown, missed)
        if album is not None:
            yield album
        for _ in episode.tests:
            if trial.progress is not None:
                trial.progress()


def _without(episode: Episode, episodes: Sequence[Episode]) -> list[Sample]:
    """The tests of others in which the object of an episode cannot be."""
    elsewhere = {
        sample.photo: sample
        for other in episodes
        for sample in other.tests
        if other is not episode and sample.photo not in episode.may_show
    }
    return list(elsewhere.values())
