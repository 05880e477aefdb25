"""Masks that tell several things apart: 1 the mug, 2 the plate, in numbers or in colours; and one of them alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from persam.errors import UsageError

Label = int | str
#: The label of pixels of no object, and of no background, in DAVIS, YouTube-VOS and PASCAL VOC: they do not count.
VOID = 255

_MOST = 64  # so many different values are labels; more are soft edges or JPEG noise
_CORE = np.ones(
    (5, 5), np.uint8
)  # around some pixel of a thing all is that thing; of a soft edge's steps none is so wide
_COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True, eq=False)
class LabelMap:
    """What tells things apart in a mask.

    Attributes:
        values: (H, W) numbers, or (H, W, 3) uint8 colours.
        labels: the values but the background's, which is 0, or black: numbers, or colours such as ``"#ff8000"``.
    """

    values: np.ndarray
    labels: tuple[Label, ...]

    @classmethod
    def of(cls, source: np.ndarray | Image.Image) -> LabelMap:
        """From a mask as it was read; of a palette's picture the numbers count. Soft values are no labels at all."""
        if isinstance(source, np.ndarray):
            values = source[:, :, 0] if source.ndim == 3 and source.shape[2] == 1 else source
        elif source.mode in ("P", "PA", "LA"):
            values = np.asarray(source.getchannel(0))
        elif source.mode == "RGBA":
            values = np.asarray(source.convert("RGB"))
        elif source.mode in ("L", "RGB", "I", "F") or source.mode.startswith("I;16"):
            values = np.asarray(source)
        else:
            return cls(np.zeros((1, 1), np.uint8), ())
        if values.ndim == 3:
            return cls._of_colours(values[:, :, :3])
        if values.ndim != 2 or values.size == 0 or not np.issubdtype(values.dtype, np.number):
            return cls(values, ())
        found = np.flatnonzero(Image.fromarray(values).histogram()) if values.dtype == np.uint8 else np.unique(values)
        are_labels = len(found) <= _MOST and np.array_equal(found, np.round(np.nan_to_num(found, nan=0.5)))
        background = _black_in(source) if isinstance(source, Image.Image) else {0}
        if background.issuperset(found.tolist()):  # a palette that says nothing
            background = {0}
        return cls(values, tuple(int(value) for value in found if value not in background) if are_labels else ())

    @classmethod
    def _of_colours(cls, values: np.ndarray) -> LabelMap:
        if values.dtype != np.uint8 or values.size == 0:
            return cls(values, ())
        if all(np.array_equal(values[:, :, 0], values[:, :, channel]) for channel in (1, 2)):
            return cls.of(np.ascontiguousarray(values[:, :, 0]))
        colours = _colours_of(values)
        return cls(values, tuple(_name(colour) for colour in colours if any(colour)))

    @property
    def things(self) -> list[Label]:
        """The labels that are wide somewhere; the steps of a soft edge are not."""
        if len(self.labels) < 2:
            return list(self.labels)
        values = self.values
        if values.dtype not in (np.uint8, np.uint16, np.int16, np.float32):
            values = values.astype(np.float64)
        same = cv2.erode(values, _CORE) == cv2.dilate(values, _CORE)
        if values.ndim == 3:
            wide = {_name(colour) for colour in _colours_of(values[same.all(axis=2)][None])}
        else:
            wide = set(np.unique(values[same]).tolist())
        return [label for label in self.labels if label in wide]

    def pick(self, label: Label, name: str) -> np.ndarray:
        """Where one label is, (H, W) bool.

        Args:
            label: a number, also as text, or a colour such as ``"#ff8000"``.
            name: of the mask, for the sentence.

        Raises:
            UsageError: it is not in the mask, or is no label at all.
        """
        wanted = _read(label)
        if not self.labels:
            raise UsageError(f"{name} has no labels to choose from; leave --label out.")
        if wanted not in self.labels:
            raise UsageError(f"{name} has no label {wanted}; it has {listed(self.labels)}.")
        if isinstance(wanted, int):
            return np.asarray(self.values == wanted)
        return np.asarray((self.values == tuple(bytes.fromhex(wanted[1:]))).all(axis=2))


def listed(labels: Sequence[Label]) -> str:
    """Labels in words: ``1, 2, 5``; of many the first ones."""
    names = [str(label) for label in labels]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _colours_of(values: np.ndarray) -> list[tuple[int, ...]]:
    """The colours of (H, W, 3) uint8, sorted; none if there are too many for labels."""
    counted = Image.fromarray(values).getcolors(_MOST) if values.size else None
    return sorted(colour for _, colour in counted or [] if isinstance(colour, tuple))


def _black_in(picture: Image.Image) -> set[int]:
    """The numbers that are the background: in a palette's picture those whose colour is black."""
    palette = picture.getpalette("RGB") if picture.mode in ("P", "PA") else None
    if palette is None:
        return {0}
    return {index for index in range(len(palette) // 3) if not any(palette[3 * index : 3 * index + 3])}


def _name(colour: tuple[int, ...]) -> str:
    return f"#{bytes(colour).hex()}"


def _read(label: Label) -> Label:
    text = str(label).strip().lower()
    if _COLOUR.fullmatch(text):
        return text
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"A label is a number such as 3 or a colour such as #ff8000, not {label!r}.") from None
