"""Text and photo: PerSAM that also asks a finder for a concept's words, where the concept has any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from persam.concept import Concept
from persam.encoding import Photo, PhotoEncoder
from persam.errors import PersamError, UsageError
from persam.method.words import join
from persam.models.base import EncodedImage
from persam.models.words import WordFinder
from persam.persam import PerSAM
from persam.segmentation import Segmentation

SEEN_BY_WORDS = 1024  # pixels of a photo's longest side, of which finders see about as many


def with_finder(model: PerSAM, finder: WordFinder) -> PerSAM:
    """The same model with a second kind of evidence: of a concept with words, it also finds what they name.

    How the two are weighed: `persam.method.words`. A concept without words is found as ever.

    Args:
        model: as it was loaded.
        finder: as `persam.models.words.load_finder` gives it.
    """
    return _TextAndPhoto(model, finder)


class _TextAndPhoto(PerSAM):
    def __init__(self, model: PerSAM, finder: WordFinder) -> None:
        super().__init__(model.model, encoder=model.encoder, settings=model.settings, fitted=model.fitted)
        self.finder = finder

    @property
    def photos(self) -> PhotoEncoder:
        return PhotoEncoder(self.model, self.encoder, self.fitted is not None, finder_side=SEEN_BY_WORDS)

    def _segment_all(
        self, image: Photo, concepts: Sequence[Concept], most: int, threshold: float, explain: bool
    ) -> Iterator[Segmentation]:
        photo = self.encode(image)
        for each in concepts:
            if each.text:
                yield self._by_both(photo, each, most, threshold, explain)
            else:
                yield from super()._segment_all(photo, [each], most, threshold, explain)

    def _by_both(
        self, image: EncodedImage, concept: Concept, most: int, threshold: float, explain: bool
    ) -> Segmentation:
        if explain:
            raise UsageError(
                "The way to a mask can be shown only of what features find alone; segment without a finder to see it."
            )
        if image.for_finder is None:
            raise PersamError(
                f"{image.source or 'The photo'} was encoded by a model without a finder; encode it with this one."
            )
        (by_photo,) = super()._segment_all(image, [concept], most, threshold, True)
        first = () if by_photo.candidate is None else (by_photo.candidate,)
        named = self.finder.find_words(image.for_finder, concept.text)
        size = self.model.low_resolution
        found = join(by_photo.instances or first, named, image, concept, size, most=most, threshold=threshold)
        points, labels = found[0].points(), found[0].labels()
        instances = tuple(each.without_way() for each in found)
        return Segmentation.of(concept.name, image.source, instances, threshold, points, labels)
