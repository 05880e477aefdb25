"""What a clip is started with: the objects of a label mask on frame 0, or concepts that are looked for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from persam.concept import Concept
from persam.doubts import doubt_of_mask
from persam.errors import PersamWarning, UsageError
from persam.images import read_once
from persam.labels import Label
from persam.masks import MaskSource, name_of, read_labels, read_mask
from persam.video.writers import MOST_LABELS

Start = MaskSource | Concept | Sequence[Concept]

_VOID = 255  # of DAVIS: pixels of no object, beside labels that count from 1


@dataclass(frozen=True, eq=False)
class StartObject:
    """An object to follow: its mask on frame 0, (H, W) bool, or the concept that is looked for.

    Attributes:
        name: what it is called.
        mask: on frame 0, or None.
        concept: or None.
    """

    name: str
    mask: np.ndarray | None = None
    concept: Concept | None = None


def objects_of(start: Start, size: tuple[int, int], names: Sequence[str] | None = None) -> list[StartObject]:
    """The objects that a clip is started with, in the order of their labels.

    Args:
        start: a mask of frame 0 (a mask whose values tell several things apart gives an object for each), or concepts.
        size: (H, W) of frame 0.
        names: of the objects; by default those of the concepts, or object 1, object 2, ...

    Raises:
        PersamError: the mask cannot be read, is empty, or has another aspect than the clip.
        UsageError: something else, too many objects, or another number of names.

    Warns:
        PersamWarning: a mask may not be what was meant, as `persam learn` would say of it.
    """
    if isinstance(start, Concept):
        start = [start]
    if isinstance(start, (list, tuple)) and start and all(isinstance(each, Concept) for each in start):
        objects = [StartObject(each.name, concept=each) for each in start]
    else:
        masks = _masks_of(start, size)  # type: ignore[arg-type]
        objects = [StartObject(f"object {number}", mask) for number, mask in enumerate(masks, start=1)]
    if len(objects) > MOST_LABELS:
        raise UsageError(f"{len(objects)} objects are too many for one clip; at most {MOST_LABELS} are followed.")
    if names is None:
        return objects
    if len(names) != len(objects) or len(set(names)) != len(names):
        raise UsageError(f"Give {len(objects)} different names, one for each object, not {', '.join(names) or 'none'}.")
    return [StartObject(name, one.mask, one.concept) for name, one in zip(names, objects, strict=True)]


def _masks_of(source: MaskSource, size: tuple[int, int]) -> list[np.ndarray]:
    """Masks (H, W) bool of the things in a mask, by their labels."""
    if isinstance(source, (list, tuple)):
        raise UsageError("A clip is started with a mask of its first frame, or with concepts, not with a list.")
    name = name_of(source)
    source = read_once(source, "mask")
    labels = read_labels(source)
    things = _without_void(labels.things)
    if len(things) < 2 and not _has_void(labels.things):
        masks = {name: read_mask(source, size)}
    else:
        parts = {label: f"part {label} of the mask" for label in things}
        masks = {what: read_mask(labels.pick(label, name), size, what=what) for label, what in parts.items()}
    for what, mask in masks.items():
        doubt = doubt_of_mask(mask, what[0].upper() + what[1:] if len(masks) > 1 else what)
        if doubt is not None:
            warnings.warn(doubt, PersamWarning, stacklevel=2)
    return list(masks.values())


def _has_void(things: Sequence[Label]) -> bool:
    return _without_void(things) != list(things)


def _without_void(things: Sequence[Label]) -> list[Label]:
    others = [label for label in things if label != _VOID]
    counted = bool(others) and all(isinstance(label, int) and label < 32 for label in others)
    return others if counted else list(things)
