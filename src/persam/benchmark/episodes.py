"""What a benchmark asks: photos with their truth, and episodes of one object, references first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from persam.errors import PersamError
from persam.images import check_file, open_picture, read_image
from persam.masks import read_mask

#: Folds of YouTube-VOS: whether the category of an object is one of the training split.
SEEN, UNSEEN = 0, 1


class Truth(Protocol):
    """Where a true mask comes from: a file, a value in a palette picture, an annotation in a JSON."""

    def read(self, shape: tuple[int, int]) -> np.ndarray:
        """The true mask, (H, W) bool, at the photo's size. Empty where the object is not in the photo."""
        ...

    def read_ignore(self, shape: tuple[int, int]) -> np.ndarray | None:
        """(H, W) bool, the pixels that do not count, or None where all do."""
        ...

    def digest(self) -> str:
        """SHA-256 in hex of all that decides the mask, wherever its files lie."""
        ...


@dataclass(frozen=True)
class MaskFile:
    """A picture of the mask.

    Without `value`, every colour but black is the object, soft edges cut at half of the brightest. With it, the
    picture holds labels (a palette's indices, or grey values), and this one is the object; `ignored` is a label too.
    A photo of another size than its mask is an error of the data set: the mask is never resized.

    Attributes:
        value: the label of the object, or None.
        ignored: the label of pixels that do not count (255 in PASCAL VOC), or None.
        orientation: the photo's EXIF orientation, for masks that were drawn on the photo as stored: it is turned too.
    """

    path: Path
    value: int | None = None
    ignored: int | None = None
    orientation: int = 1

    def read(self, shape: tuple[int, int]) -> np.ndarray:
        """See `Truth.read`."""
        if self.value is None and self.ignored is None:
            mask = read_mask(self.path, may_be_trivial=True)
            if self.orientation != 1 and mask.shape == shape[::-1] != shape:
                mask = read_mask(self.path, shape, photo_orientation=self.orientation, may_be_trivial=True)
            return self._of_size(mask, shape)
        labels = self._of_size(read_labels(self.path), shape)
        return labels == self.value if self.value is not None else (labels != 0) & (labels != self.ignored)

    def read_ignore(self, shape: tuple[int, int]) -> np.ndarray | None:
        """See `Truth.read_ignore`."""
        return None if self.ignored is None else self._of_size(read_labels(self.path), shape) == self.ignored

    def digest(self) -> str:
        """See `Truth.digest`."""
        return _hash(_hash_file(self.path, "mask"), str((self.value, self.ignored, self.orientation)))

    def _of_size(self, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        if values.shape != shape:
            raise PersamError(
                f"{self.path} is {values.shape[1]} x {values.shape[0]} pixels, its photo {shape[1]} x {shape[0]}; "
                "in a data set they must have one size."
            )
        return values


@dataclass(frozen=True)
class NotThere:
    """The truth of a photo that does not show the object."""

    def read(self, shape: tuple[int, int]) -> np.ndarray:
        """See `Truth.read`."""
        return np.zeros(shape, bool)

    def read_ignore(self, shape: tuple[int, int]) -> np.ndarray | None:
        """See `Truth.read_ignore`."""
        return None

    def digest(self) -> str:
        """See `Truth.digest`."""
        return _hash("not there")


def read_labels(path: Path) -> np.ndarray:
    """The labels in a picture, (H, W): a palette's indices, grey values, or of colours the largest channel."""
    picture = open_picture(path, what="mask")
    labels = np.asarray(picture if picture.mode in {"P", "L", "1", "I;16", "I"} else picture.convert("RGB"))
    return labels.max(axis=2) if labels.ndim == 3 else labels


@dataclass(frozen=True)
class Crop:
    """The part of a photo that is used.

    Attributes:
        box: x0, y0, x1, y1 in pixels, the last two exclusive.
        size: (H, W) that the whole photo must have.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """That part of (H, W, ...) pixels."""
        x0, y0, x1, y1 = self.box
        return pixels[y0:y1, x0:x1]


@dataclass(frozen=True)
class Sample:
    """A photo with its truth.

    Attributes:
        name: unique within its data set, and fit for a path below a folder: ``duck_toy/03``.
        photo: the file. Read it with `read`: the sample may be a part of it.
        crop: the part that is the sample, or None for all. The truth has the part's size.
        as_stored: take the pixels as they are stored, because the truth was drawn on these: without EXIF rotation,
            and without a fourth channel (which may be another sensor's and no transparency).
    """

    name: str
    photo: Path
    truth: Truth
    crop: Crop | None = None
    as_stored: bool = False

    @property
    def mask_file(self) -> Path | None:
        """The picture that is this sample's mask, upright and whole; None where the truth is a part of something."""
        if not isinstance(self.truth, MaskFile) or self.crop is not None:
            return None
        return self.truth.path if self.truth == MaskFile(self.truth.path) else None

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """The photo, (H, W, 3) uint8 RGB, and the true mask, (H, W) bool.

        Raises:
            PersamError: one of them is missing or damaged, or they differ in size.
        """
        pixels = self.read_photo()
        return pixels, self.truth.read((pixels.shape[0], pixels.shape[1]))

    def read_photo(self) -> np.ndarray:
        """The photo alone."""
        if self.as_stored:
            pixels = np.array(open_picture(self.photo).convert("RGB"))
        else:
            pixels = read_image(self.photo)
        if self.crop is None:
            return pixels
        if pixels.shape[:2] != self.crop.size:
            height, width = self.crop.size
            raise PersamError(
                f"{self.photo} is {pixels.shape[1]} x {pixels.shape[0]} pixels, its annotation {width} x {height}; "
                "in a data set they must have one size."
            )
        return np.ascontiguousarray(self.crop.of(pixels))

    def digest(self) -> str:
        """SHA-256 in hex of the photo's bytes, the part taken and the truth; of no path."""
        return _hash(_hash_file(self.photo, "photo"), str((self.crop, self.as_stored)), self.truth.digest())


@dataclass(frozen=True)
class Episode:
    """References that show one object (or class), and the samples in which it is to be found.

    Attributes:
        object: the thing that is found, such as ``duck_toy`` or ``bear/1``. Where a data set draws episodes at random
            (COCO-20i), many share it.
        category: what a person would call it ("toy duck"), for methods that are asked in words.
        fold: of the data set's protocol, or None.
        not_asked: photos of other episodes that may show the object though this one does not mark it, or that are kept
            apart from its references: it does not count as absent there.
    """

    data_set: str
    object: str
    references: tuple[Sample, ...]
    tests: tuple[Sample, ...]
    category: str
    fold: int | None = None
    not_asked: frozenset[Path] = frozenset()

    @property
    def may_show(self) -> frozenset[Path]:
        """Photos in which the object is, or may be."""
        return self.not_asked.union(sample.photo for sample in (*self.references, *self.tests))


@dataclass(frozen=True)
class Loaded:
    """A data set as read from a folder.

    Attributes:
        name: of the data set: ``perseg``.
        episodes: in a fixed order.
        protocol: one sentence: references, tests, split, folds, seed, and how results are summed up.
        settings: the same for programs, JSON values: ``{"shots": 1, "reference": "00"}``.
        notes: sentences on what was passed over, and on what could not be done as published.
    """

    name: str
    episodes: tuple[Episode, ...]
    protocol: str
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> list[Sample]:
        """Every reference and test once, by name."""
        return samples_of(self.episodes)


def samples_of(episodes: Iterable[Episode]) -> list[Sample]:
    """Every reference and test of episodes once, by name."""
    found = {each.name: each for episode in episodes for each in (*episode.references, *episode.tests)}
    return [found[name] for name in sorted(found)]


def fingerprint(samples: Iterable[Sample]) -> str:
    """SHA-256 in hex of samples: their names, the bytes of their photos and their truths.

    Neither the order nor the place of the files counts, so two people with the same data have the same fingerprint.

    Raises:
        PersamError: a file is missing or cannot be read.
    """
    return _hash(*sorted({f"{each.name}\0{each.digest()}" for each in samples}))


def data_hash(episodes: Iterable[Episode]) -> str:
    """`fingerprint` of all samples of the episodes; of those that cannot be read, the names alone."""
    samples = samples_of(episodes)
    try:
        return fingerprint(samples)
    except PersamError:
        readable = [sample for sample in samples if _is_readable(sample)]
        names = [sample.name for sample in samples if sample not in readable]
        return fingerprint(readable) + " without " + ", ".join(names)


def _is_readable(sample: Sample) -> bool:
    try:
        sample.digest()
    except PersamError:
        return False
    return True


def limited(episodes: Sequence[Episode], limit: int) -> tuple[Episode, ...]:
    """The first photos of every object, in turns, so that a quick look sees all objects."""
    turns = zip_longest(*([(number, sample) for sample in each.tests] for number, each in enumerate(episodes)))
    chosen = [pair for turn in turns for pair in turn if pair is not None][:limit]
    kept: dict[int, list[Sample]] = {}
    for number, sample in chosen:
        kept.setdefault(number, []).append(sample)

    def cut(each: Episode, tests: tuple[Sample, ...]) -> Episode:
        # Another object may keep a photo that this one gives up, which still shows it.
        given_up = {sample.photo for sample in each.tests} - {sample.photo for sample in tests}
        return replace(each, tests=tests, not_asked=each.not_asked | given_up)

    return tuple(cut(each, tuple(kept.get(number, ()))) for number, each in enumerate(episodes))


def _hash(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\n")
    return digest.hexdigest()


def _hash_file(path: Path, what: str) -> str:
    with check_file(path, what=what).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
