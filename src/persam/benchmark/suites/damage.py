"""References damaged on purpose: what people do to photos and masks without meaning to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

import cv2
import numpy as np

from persam.benchmark.suites.light import exposed
from persam.benchmark.suites.robustness import resized_mask
from persam.instance import mask_box

AS_IT_IS = "as it is"

Picture = tuple[np.ndarray, np.ndarray]
One = TypeVar("One")
Damage = Callable[[np.ndarray, np.ndarray], Picture]


def shifted(photo: np.ndarray, mask: np.ndarray) -> Picture:
    """The mask half of the object's width to the side, and half of its height down."""
    x0, y0, x1, y1 = mask_box(mask) or (0, 0, 0, 0)
    move = np.array([[1, 0, (x1 - x0) / 2], [0, 1, (y1 - y0) / 2]])
    return photo, cv2.warpAffine(mask.astype(np.uint8), move, mask.shape[::-1], flags=cv2.INTER_NEAREST) > 0


def blurred(photo: np.ndarray, mask: np.ndarray) -> Picture:
    """The photo out of focus: a blur of 3 % of its longest side."""
    return cv2.GaussianBlur(photo, (0, 0), max(1.0, 0.03 * max(mask.shape))), mask


def cut_off(photo: np.ndarray, mask: np.ndarray) -> Picture:
    """The photo ends in the middle of the object."""
    middle = int(np.median(np.nonzero(mask)[1]))
    return np.ascontiguousarray(photo[:, middle:]), np.ascontiguousarray(mask[:, middle:])


def far_away(photo: np.ndarray, mask: np.ndarray) -> Picture:
    """The photo is the middle of one that is five times as large, whose rest goes on as its edges do."""
    width = 2 * max(mask.shape)
    return cv2.copyMakeBorder(photo, *(width,) * 4, cv2.BORDER_REPLICATE), np.pad(mask, width)


DAMAGES: Mapping[str, Damage] = MappingProxyType(
    {
        AS_IT_IS: lambda photo, mask: (photo, mask),
        "mask inverted": lambda photo, mask: (photo, ~mask),
        "mask x 0.003": lambda photo, mask: (photo, resized_mask(mask, 0.003)),
        "mask x 0.25": lambda photo, mask: (photo, resized_mask(mask, 0.25)),
        "mask x 2": lambda photo, mask: (photo, resized_mask(mask, 2)),
        "mask shifted": shifted,
        "mask and its mirror image": lambda photo, mask: (photo, mask | mask[:, ::-1]),
        "object far away": far_away,
        "object cut off": cut_off,
        "photo blurred": blurred,
        "photo dark": lambda photo, mask: (exposed(photo, 0.04, 0.04, 0.04), mask),
        "photo overexposed": lambda photo, mask: (exposed(photo, 6, 6, 6), mask),
    }
)


def spread(samples: Sequence[One], most: int) -> list[One]:
    """At most so many, evenly spread over all, the first among them."""
    if len(samples) <= most:
        return list(samples)
    return [samples[int(place)] for place in np.linspace(0, len(samples) - 1, most).round()]
