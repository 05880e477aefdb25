"""Masks that tell several things apart: 1 the mug, 2 the plate, in numbers or in colours; and one of them alone."""

from __future__ import annotations

import re
from collections.abc import Mapping

import cv2
import numpy as np
from PIL import Image

from persam.errors import UsageError

Label = int | str

_MOST = 64  # so many different values are labels; more are soft edges or JPEG noise
_CORE = np.ones((5, 5), np.uint8)  # a label has pixels all around some of its pixels, the steps of a soft edge have not
_COLOUR = re.compile(r"#[0-9a-f]{6}")


def labels_of(values: np.ndarray | Image.Image) -> dict[Label, np.ndarray]:
    """Every label of a mask and where it is, (H, W) bool; empty where the values are no labels.

    Args:
        values: the mask as it was read: a palette's picture gives the numbers in it, a coloured one its colours
            (``"#ff8000"``), any other its values. Black, and 0, are the background.
    """
    if isinstance(values, np.ndarray):
        return _labels_of_array(values)
    if values.mode in ("1", "CMYK", "YCbCr", "LAB", "HSV"):
        return {}
    if values.mode in ("P", "PA"):
        return _labels_of_array(np.asarray(values.getchannel(0)))
    if values.mode in ("LA", "RGBA"):
        values = values.convert("L" if values.mode == "LA" else "RGB")
    if values.mode == "RGB" and values.getcolors(_MOST) is None:  # quick, where millions of colours would be sorted
        return {}
    return _labels_of_array(np.asarray(values))


def _labels_of_array(values: np.ndarray) -> dict[Label, np.ndarray]:
    if values.ndim == 3 and values.shape[2] in (3, 4):
        red, green, blue = (values[:, :, channel].astype(np.int64) for channel in range(3))
        if np.array_equal(red, green) and np.array_equal(red, blue):
            return _labels_of_array(red)
        colours = _labels_of_array((red << 16) + (green << 8) + blue)
        return {f"#{number:06x}": place for number, place in colours.items()}
    values = values[:, :, 0] if values.ndim == 3 else values
    if values.ndim != 2 or values.size == 0 or not np.issubdtype(values.dtype, np.number):
        return {}
    found = np.flatnonzero(np.bincount(values.ravel())) if values.dtype == np.uint8 else np.unique(values)
    if len(found) > _MOST or not np.array_equal(found, np.round(np.nan_to_num(found, nan=0.5))):
        return {}
    return {int(value): values == value for value in found if value != 0}


def several(labels: Mapping[Label, np.ndarray]) -> list[Label]:
    """The labels, if there is more than one thing; else none. Steps of a soft edge are no things."""
    return list(labels) if sum(_has_core(place) for place in labels.values()) > 1 else []


def pick(labels: Mapping[Label, np.ndarray], label: Label, name: str) -> np.ndarray:
    """Where one label is, (H, W) bool.

    Args:
        labels: of `labels_of`.
        label: a number, also as text, or a colour such as ``"#ff8000"``.
        name: of the mask, for the sentence.

    Raises:
        UsageError: it is not in the mask, or is no label at all.
    """
    wanted = _read(label)
    if not labels:
        raise UsageError(f"{name} has no labels to choose from; leave --label out.")
    if wanted not in labels:
        raise UsageError(f"{name} has no label {wanted}; it has {listed(labels)}.")
    return labels[wanted]


def listed(labels: Mapping[Label, np.ndarray] | list[Label]) -> str:
    """The labels in words: ``1, 2, 5``; of many the first ones."""
    names = [str(label) for label in labels]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _read(label: Label) -> Label:
    text = str(label).strip().lower()
    if _COLOUR.fullmatch(text):
        return text
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"A label is a number such as 3 or a colour such as #ff8000, not {label!r}.") from None


def _has_core(place: np.ndarray) -> bool:
    return bool(cv2.erode(place.astype(np.uint8), _CORE).any())
