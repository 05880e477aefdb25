"""A method with its networks, on its way through a sequence: one answer a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from persam.benchmark.methods.base import Prediction, SharedPhoto
from persam.benchmark.methods.ours import PersamMethod
from persam.benchmark.running.run import example_of
from persam.benchmark.video.sequences import SequenceObject, VideoSequence
from persam.benchmark.video.video_methods import VideoMethod
from persam.method.settings import Settings
from persam.models.base import FeatureEncoder, PromptableModel
from persam.models.fitted import Fitted
from persam.persam import PerSAM
from persam.video.track import track

Pixels = Callable[[int], np.ndarray]  # of a frame, by its number: (H, W, 3) uint8 RGB


@dataclass(frozen=True, eq=False)
class FoundInFrame:
    """What was found in one frame.

    Attributes:
        labels: (H, W) uint8 of the objects' values, 0 the background.
        scores: by value; an object that is missing was not looked for.
    """

    labels: np.ndarray
    scores: Mapping[int, float]

    def prediction(self, value: int) -> Prediction:
        """What was found of the object of that value."""
        mask = self.labels == value
        return Prediction(mask, self.scores.get(value, 0.0), bool(mask.any()))


@dataclass(frozen=True)
class VideoFinder:
    """A method with its networks.

    Attributes:
        method: which one.
        model: the promptable model.
        encoder: another for the confidence map, or None.
        fitted: numbers of both; by default the packaged ones, if any.
    """

    method: VideoMethod
    model: PromptableModel
    encoder: FeatureEncoder | None = None
    fitted: Fitted | None = None

    def find(self, sequence: VideoSequence, pixels: Pixels) -> Iterator[FoundInFrame]:
        """Every frame of a sequence; a frame is asked for when its turn comes, and the first one may take long.

        Raises:
            PersamError: as the method does.
        """
        if self.method.by_itself:
            return self._by_itself(sequence, pixels)
        return self._followed(sequence, pixels)

    def describe(self) -> dict[str, Any]:
        """What a reader must know to do the same again, JSON values."""
        method = self.method
        how = "every frame by itself" if method.by_itself else f"followed, started from a {method.shown}"
        return self._photos.describe() | {
            "video": how,
            "options": {key: str(one) for key, one in method.options.items()},
        }

    @property
    def _photos(self) -> PersamMethod:
        method = self.method
        return PersamMethod(
            method.name,
            self.model,
            Settings.of(method.mode),
            tuned=method.tuned,
            encoder=self.encoder,
            fitted=self.fitted,
        )

    def _concept(self, method: PersamMethod, one: SequenceObject) -> Any:
        return method.learn([example_of(one.photo)], one.queries[min(one.queries)].episode.category)

    def _followed(self, sequence: VideoSequence, pixels: Pixels) -> Iterator[FoundInFrame]:
        """Objects that are first shown in one frame are followed together; those that come in later, beside them."""
        size = pixels(0).shape[0], pixels(0).shape[1]
        begin = self._with_concepts if self.method.shown == "photo" else self._with_masks
        ways: dict[int, Iterator[FoundInFrame]] = {}
        for number in range(len(sequence.frames)):
            if any(one.first == number for one in sequence.objects):
                ways[number] = begin(number, sequence, pixels)
            found = {first: next(way) for first, way in ways.items()}
            if len(found) == 1:
                yield next(iter(found.values()))
                continue
            # Of equal scores what was just shown counts, then who began earlier.
            order = sorted(found, key=lambda first: (first != number, first))
            masks = {value: found[first].prediction(value) for first in order for value in found[first].scores}
            yield FoundInFrame(together(masks, size), {value: one.score for value, one in masks.items()})

    def _with_masks(self, first: int, sequence: VideoSequence, pixels: Pixels) -> Iterator[FoundInFrame]:
        """From a frame on, the objects that its masks show first."""
        given = sequence.labels_at(first, (pixels(first).shape[0], pixels(first).shape[1]))
        values = [value for value in np.unique(given).tolist() if value]
        start = np.searchsorted([0, *values], given).astype(np.uint8)  # 1, 2, ... in the order of the values
        settings = Settings.of(self.method.mode)
        persam = PerSAM(self.model, encoder=self.encoder, settings=settings, fitted=self.fitted)
        clip = (pixels(number) for number in range(first, len(sequence.frames)))
        return self._tracked(persam, clip, start > 0 if len(values) == 1 else start, values)

    def _with_concepts(self, first: int, sequence: VideoSequence, pixels: Pixels) -> Iterator[FoundInFrame]:
        """From a frame on, the objects that are first shown there, looked for."""
        photos = self._photos
        due = [one for one in sequence.objects if one.first == first]
        concepts = [self._concept(photos, one) for one in due]
        clip = (pixels(number) for number in range(first, len(sequence.frames)))
        return self._tracked(photos.persam, clip, concepts, [one.value for one in due])

    def _tracked(
        self, persam: PerSAM, clip: Iterator[np.ndarray], start: Any, values: Sequence[int]
    ) -> Iterator[FoundInFrame]:
        of_label = np.array([0, *values], np.uint8)
        names = [str(value) for value in values]
        options: dict[str, Any] = dict(self.method.options)
        if self.method.tuned and self.method.shown == "mask":  # a concept was tuned when it was learned
            options["tune"] = True
        for found in track(persam, clip, start, names=names, **options):
            scores = {value: one.score for value, one in zip(values, found.segmentations, strict=True)}
            yield FoundInFrame(of_label[found.labels], scores)

    def _by_itself(self, sequence: VideoSequence, pixels: Pixels) -> Iterator[FoundInFrame]:
        photos = self._photos
        concepts = {one.value: self._concept(photos, one) for one in sequence.objects}
        for number in range(len(sequence.frames)):
            photo = SharedPhoto(pixels(number))
            due = [one for one in sequence.objects if one.first <= number]
            found = {one.value: photos.find(photo, concepts[one.value]) for one in due}
            yield FoundInFrame(together(found, photo.size), {value: each.score for value, each in found.items()})


def together(found: Mapping[int, Prediction], size: tuple[int, int]) -> np.ndarray:
    """Masks of objects, by value, as labels (H, W) uint8: what several of them claim goes to the one of most score.

    Of equal scores the first one counts. One that its method holds to be absent has no pixels, as where objects are
    followed, and as `persam segment` gives it.
    """
    labels = np.zeros(size, np.uint8)
    for value, one in sorted(found.items(), key=lambda pair: pair[1].score, reverse=True):
        if one.present is not False:
            labels[one.mask & (labels == 0)] = value
    return labels
