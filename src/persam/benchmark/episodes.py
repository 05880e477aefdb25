"""What a benchmark asks: photos with their truth, and episodes of one object, references first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from persam.errors import PersamError
from persam.images import read_image
from persam.picture_files import open_picture


class Truth(Protocol):
    """Where a true mask comes from: a file, a value in a palette picture, an annotation in a JSON."""

    def read(self, shape: tuple[int, int]) -> np.ndarray:
        """The true mask, (H, W) bool, at the photo's size. Empty where the object is not in the photo."""
        ...

    def read_ignore(self, shape: tuple[int, int]) -> np.ndarray | None:
        """(H, W) bool, the pixels that do not count, or None where all do."""
        ...


@dataclass(frozen=True)
class MaskFile:
    """A picture of the mask: everything but 0 is the object, or the one `value` is; `ignored` pixels do not count.

    A photo of another size than its mask is an error of the data set: the mask is never resized.
    """

    path: Path
    value: int | None = None
    ignored: int | None = None

    def read(self, shape: tuple[int, int]) -> np.ndarray:
        """See `Truth.read`."""
        values = self._values(shape)
        mask = values != 0 if self.value is None else values == self.value
        return mask if self.ignored is None else mask & (values != self.ignored)

    def read_ignore(self, shape: tuple[int, int]) -> np.ndarray | None:
        """See `Truth.read_ignore`."""
        return None if self.ignored is None else self._values(shape) == self.ignored

    def _values(self, shape: tuple[int, int]) -> np.ndarray:
        picture = open_picture(self.path, what="mask")
        values = np.asarray(picture if picture.mode in {"P", "L", "1", "I;16", "I"} else picture.convert("RGB"))
        if values.ndim == 3:
            values = values.max(axis=2)
        if values.shape != shape:
            raise PersamError(
                f"{self.path} is {values.shape[1]} x {values.shape[0]} pixels, its photo {shape[1]} x {shape[0]}; "
                "in a data set they must have one size."
            )
        return values


@dataclass(frozen=True)
class Sample:
    """A photo with its truth.

    Attributes:
        name: unique within its data set, and fit for a path below a folder: ``duck_toy/03``.
    """

    name: str
    photo: Path
    truth: Truth

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """The photo, (H, W, 3) uint8 RGB, and the true mask, (H, W) bool."""
        pixels = read_image(self.photo)
        return pixels, self.truth.read(pixels.shape[:2])


@dataclass(frozen=True)
class Episode:
    """References that show one object (or class), and the samples in which it is to be found.

    Attributes:
        object: the thing that is found, such as ``duck_toy`` or ``bear/1``. Where a data set draws episodes at random
            (COCO-20i), many share it.
        category: what a person would call it ("toy duck"), for methods that are asked in words.
        fold: of the data set's protocol, or None.
    """

    data_set: str
    object: str
    references: tuple[Sample, ...]
    tests: tuple[Sample, ...]
    category: str
    fold: int | None = None
