"""From photos of classes to vectors: persam learns every class from its mask, and finds the object in all photos.

Of a photo to be named nobody knows the class. So all concepts look for their object in it, and the surest one's mask is
taken for the foreground; a shot's mask is the one that was given for it, or what its own class's concept finds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from persam.classify.features import PhotoFeatures, PooledFeatures
from persam.classify.folder import ClassFolder
from persam.concept import Concept
from persam.errors import PersamError
from persam.files import writable
from persam.geometry import fit_mask, shrink
from persam.images import read_orientation, read_smaller
from persam.masks import read_mask
from persam.persam import PerSAM
from persam.places import Place
from persam.reference import sha256_of

SMALL = 320  # longest side of the mask that is kept for a look, pixels


@dataclass(frozen=True, eq=False)
class DescribedPhoto:
    """A photo as vectors of length 1.

    Attributes:
        place: of the photo, as it was given.
        label: number of its class; -1 for one that nobody knows.
        is_reference: persam learned the class from it, so that it is no photo to test with.
        whole: feature of all of it, (C,).
        shot: of the object, where its class is known, (C,); None where persam does not look for objects.
        asked: of the object, where its class is to be found, (C,); None likewise, and for references.
        scores: of all concepts, (classes,): how sure each is that its object is there; none where nobody asked.
        mask: where the object was found by the surest concept, small, (h, w) bool; or None.
    """

    place: str | Place
    label: int
    is_reference: bool
    whole: Tensor
    shot: Tensor | None = None
    asked: Tensor | None = None
    scores: tuple[float, ...] = ()
    mask: np.ndarray | None = None

    @property
    def path(self) -> str:
        """Its place as it can be written; a file whose name is no UTF-8 cannot be opened by it."""
        return writable(str(self.place))

    @property
    def as_shot(self) -> Tensor:
        """The feature by which it stands for its class, (C,)."""
        return self.whole if self.shot is None else self.shot

    @property
    def as_asked(self) -> Tensor:
        """The feature by which its class is found, (C,); of a reference, in which no concept looked, as a shot."""
        return self.as_shot if self.asked is None else self.asked

    @property
    def surest(self) -> int:
        """Number of the concept that is surest of its object here.

        Raises:
            ValueError: nobody asked the concepts.
        """
        return _surest(self.scores)


@dataclass(frozen=True, eq=False)
class Describer:
    """Makes vectors of photos.

    Attributes:
        model: finds the objects.
        features: makes the vectors.
        concepts: of every class; none: whole photos alone.
    """

    model: PerSAM
    features: PhotoFeatures
    concepts: tuple[Concept, ...] = ()

    def describe(
        self,
        photo: str | Place,
        label: int = -1,
        *,
        mask: Path | None = None,
        is_reference: bool = False,
    ) -> DescribedPhoto:
        """Describe one photo.

        Args:
            photo: its path or URL.
            label: its class, if that is known.
            mask: of the object in it, if there is one; only used where the class is known.
            is_reference: the class was learned from it: it needs its mask only.

        Raises:
            PersamError: photo or mask cannot be read.
        """
        image, size = read_smaller(photo, self.model.longest_side)
        encoded = self.model.encode(image) if self.concepts or self.features.needs_encoding else None
        if not self.concepts:
            (whole,) = self.features.of(image, [None], encoded)
            return DescribedPhoto(photo, label, is_reference, whole)
        given = None
        if mask is not None:
            given = fit_mask(read_mask(mask, size, photo_orientation=read_orientation(str(photo))), image)
        if is_reference and given is not None:
            whole, shot = self.features.of(image, [None, given], encoded)
            return DescribedPhoto(photo, label, True, whole, shot)
        assert encoded is not None
        found = self.model.segment(encoded, list(self.concepts))
        scores = tuple(each.score for each in found)
        theirs = found[_surest(scores)].assumed_mask
        own = given if given is not None else found[label].assumed_mask if label >= 0 else theirs
        whole, shot, asked = self.features.of(image, [None, own, theirs], encoded)
        small = fit_mask(theirs, shrink(image, SMALL)) if theirs.any() else None
        return DescribedPhoto(photo, label, is_reference, whole, shot if label >= 0 else None, asked, scores, small)


def _surest(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=scores.__getitem__)


@dataclass(frozen=True, eq=False)
class Described:
    """All photos of a folder of classes as vectors.

    Attributes:
        names: of the classes.
        photos: all that could be read.
        describer: made them, and makes those of new photos.
        words: features of the names, (classes, C), or None.
        left_out: photos, and masks of photos that were used without them, with what was wrong.
        unshown: classes without a mask or concept; where there is any, whole photos alone were described.
    """

    names: tuple[str, ...]
    photos: tuple[DescribedPhoto, ...]
    describer: Describer
    words: Tensor | None = None
    left_out: tuple[tuple[str, str], ...] = ()
    unshown: tuple[str, ...] = ()

    @property
    def has_foreground(self) -> bool:
        """Whether the objects were looked for."""
        return bool(self.describer.concepts)

    @property
    def labels(self) -> Tensor:
        """Classes of the photos, (N,)."""
        return torch.tensor([photo.label for photo in self.photos])


def describe(
    model: PerSAM,
    classes: Sequence[ClassFolder],
    features: PhotoFeatures | None = None,
    *,
    foreground: bool = True,
    on_photo: Callable[[Path, str | None], object] = lambda photo, problem: None,
) -> Described:
    """Learn the classes, find their objects, and make vectors of all photos.

    Args:
        model: finds the objects.
        classes: of `read_classes`.
        features: of `load_features`; by default the model's own.
        foreground: look for the objects at all.
        on_photo: called after each photo, with what was wrong with it.

    Raises:
        PersamError: no mask of a class can be used, or fewer than two classes are left with a photo.
    """
    features = features or PooledFeatures(None, model.model.name)
    unusable: dict[Path, str] = {}  # photos with a mask from which no concept could be learned, and why
    left_out: list[tuple[str, str]] = []
    unshown = tuple(each.name for each in classes if not each.is_shown)
    concepts, references = [], set[Path]()
    if foreground and not unshown:
        for each in classes:
            concept, learned_from = _concept_of(model, each, unusable)
            concepts.append(concept)
            references |= learned_from
    describer = Describer(model, features, tuple(concepts))
    photos = []
    for label, each in enumerate(classes):
        for photo in each.photos:
            mask = each.masks.get(photo)
            one, problems = _described(describer, photo, label, mask, is_reference=photo in references)
            if one is not None:
                photos.append(one)
            if photo in unusable and unusable[photo] not in problems:
                problems.insert(0, unusable[photo])
            file = photo if one is None or mask is None else mask  # where the photo is used, it was its mask
            left_out += [(writable(str(file)), writable(problem)) for problem in problems]
            on_photo(photo, problems[0] if problems else None)
    names = tuple(each.name for each in classes)
    return _without_empty(Described(names, tuple(photos), describer, None, tuple(left_out), unshown))


def _described(
    describer: Describer, photo: Path, label: int, mask: Path | None, *, is_reference: bool
) -> tuple[DescribedPhoto | None, list[str]]:
    """One photo, without its mask if that cannot be read, or None if it cannot itself; and what was wrong."""
    problems: list[str] = []
    for given in dict.fromkeys((mask, None)):
        try:
            return describer.describe(photo, label, mask=given, is_reference=is_reference), problems
        except PersamError as error:
            problems = list(dict.fromkeys((*problems, str(error))))
    return None, problems


def _concept_of(model: PerSAM, one: ClassFolder, unusable: dict[Path, str]) -> tuple[Concept, set[Path]]:
    """The concept of a class, and which of its photos it was learned from; why not from others goes to `unusable`."""
    if one.concept is not None:
        concept = Concept.load(one.concept)
        model.check(concept)
        known = {each.sha256 for each in concept.references}
        return concept, {photo for photo in one.photos if _is_of(photo, known)}
    problem = ""
    for photo in one.photos:
        if photo in one.masks:
            try:
                return model.learn(photo, one.masks[photo], name=one.name), {photo}
            except PersamError as error:
                unusable[photo] = problem = str(error)
    raise PersamError(f"No mask of the class {one.name} can be used: {problem}")


def _is_of(photo: Path, known: Collection[str]) -> bool:
    try:
        return sha256_of(photo) in known
    except OSError:  # reading it will say what is wrong
        return False


def _without_empty(described: Described) -> Described:
    """Without the classes of which no photo could be read; and with the features of the others' names."""
    there = sorted({photo.label for photo in described.photos})
    gone = [name for label, name in enumerate(described.names) if label not in there]
    if len(there) < 2:
        example = f", such as: {described.left_out[0][1]}" if described.left_out else "."
        raise PersamError(f"Fewer than two classes have a photo that can be read (not: {', '.join(gone)}){example}")
    names = tuple(described.names[label] for label in there)
    describer = described.describer
    concepts = tuple(describer.concepts[label] for label in there) if describer.concepts else ()
    photos = tuple(
        replace(
            photo,
            label=there.index(photo.label),
            scores=tuple(photo.scores[label] for label in there) if photo.scores else (),
        )
        for photo in described.photos
    )
    return replace(
        described,
        names=names,
        photos=photos,
        describer=replace(describer, concepts=concepts),
        words=describer.features.of_words(names),
        left_out=(*described.left_out, *((name, "No photo of this class can be read.") for name in gone)),
    )
