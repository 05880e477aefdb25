"""What a clip is started with: label masks of one or more of its frames, or concepts that are looked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from persam.concept import Concept
from persam.doubts import doubt_of_mask, doubt_of_size
from persam.errors import PersamError, PersamWarning, UsageError
from persam.images import read_once
from persam.labels import VOID, Label, listed
from persam.masks import MaskSource, mask_size, name_of, read_labels, read_mask
from persam.video.waiting import SmallLabels
from persam.video.writers import MOST_LABELS

Start = MaskSource | Mapping[int, MaskSource] | Concept | Sequence[Concept]

_COUNTED = 32  # labels below this count objects; one larger value alone is brightness, as in `persam.masks`
_WHITE = "#ffffff"
_FRAME = "frame"  # what a mask was drawn on


@dataclass(frozen=True, eq=False)
class StartObject:
    """An object as following begins on a frame.

    Attributes:
        name: what it is called.
        mask: where it is on this frame, (H, W) bool; None if it is not known to be there.
        concept: what is known of it; None until it is learned from the masks that show it.
    """

    name: str
    mask: np.ndarray | None = None
    concept: Concept | None = None

    @property
    def known(self) -> Concept:
        """The concept of one that is given or was learned, without which nothing is followed."""
        assert self.concept is not None
        return self.concept


@dataclass(frozen=True, eq=False)
class Given:
    """What a clip is started with.

    Attributes:
        objects: in the order of their labels.
        labels: on every frame that was given, by its number, k for the k-th object; none if concepts were given.
    """

    objects: tuple[StartObject, ...]
    labels: Mapping[int, SmallLabels] = field(default_factory=dict)

    def on(self, number: int) -> list[StartObject]:
        """The objects as following begins on a frame; those that a given frame does not show have no mask."""
        given = self.labels.get(number)
        if given is None:
            return list(self.objects)
        return [
            replace(one, mask=given.mask(label) if label in given else None)
            for label, one in enumerate(self.objects, start=1)
        ]

    def found_on(self, number: int) -> tuple[np.ndarray, list[float]] | None:
        """What a given frame shows: its labels, (H, W) uint8, and of every object 1 or 0; None if it was not given."""
        given = self.labels.get(number)
        if given is None:
            return None
        return given.read(), [float(label in given) for label in range(1, len(self.objects) + 1)]


def numbers_of(start: Start) -> list[int] | None:
    """The numbers of the frames of which a start gives masks; None for the first frame's, or for concepts.

    Raises:
        UsageError: one is no number of a frame, or there is none.
    """
    if not isinstance(start, Mapping):
        return None
    for number in start:
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 0:
            raise UsageError(f"Masks are given for frames by their numbers, which count from 0, not for {number!r}.")
    if not start:
        raise UsageError("Masks are given for no frame; give one of at least one frame.")
    return sorted(int(number) for number in start)


def concepts_of(start: Start) -> list[Concept]:
    """The concepts of a start; none if it is of masks, or of something else."""
    if isinstance(start, Concept):
        return [start]
    if isinstance(start, (list, tuple)) and all(isinstance(each, Concept) for each in start):
        return list(start)
    return []


def given_of(start: Start, size: tuple[int, int], names: Sequence[str] | None = None, *, first: int = 0) -> Given:
    """The objects that a clip is started with, in the order of their labels.

    Args:
        start: a mask of the first frame (a mask whose values tell several things apart gives an object for each);
            masks by the numbers of their frames, in which a label is the same object everywhere; or concepts.
        size: (H, W) of the clip's frames.
        names: of the objects; by default those of the concepts, or object 1, object 2, ...
        first: number of the first frame.

    Raises:
        PersamError: a mask cannot be read, covers everything, has another aspect than the clip, or too many objects;
            none shows anything; or they tell things apart in different ways.
        UsageError: something else, too many concepts, or another number of names.

    Warns:
        PersamWarning: a mask may not be what was meant, or is scaled to fit, as `persam learn` would say of it.
    """
    labels: dict[int, SmallLabels] = {}
    if concepts := concepts_of(start):
        objects = [StartObject(each.name, concept=each) for each in concepts]
        if len(objects) > MOST_LABELS:
            raise UsageError(_too_many(len(objects)))
    else:
        count, labels = _read(start if isinstance(start, Mapping) else {first: start}, size)
        objects = [StartObject(f"object {number}") for number in range(1, count + 1)]
    if names is None:
        return Given(tuple(objects), labels)
    if len(names) != len(objects) or len(set(names)) != len(names):
        several = len(objects) > 1
        number = f"{len(objects)} objects" if several else "one object"
        wanted = "give each a name of its own" if several else "give it one name"
        raise UsageError(f"Of {number} there are these names: {', '.join(names) or 'none'}; {wanted}.")
    return Given(tuple(replace(one, name=name) for name, one in zip(names, objects, strict=True)), labels)


def _too_many(count: int) -> str:
    return f"{count} objects are too many for one clip; at most {MOST_LABELS} are followed."


# -------------------------------------------------------------------------------------------------- label masks


def _read(masks: Mapping[int, Any], size: tuple[int, int]) -> tuple[int, dict[int, SmallLabels]]:
    """The number of objects in label masks, and where they are on every frame."""
    for source in masks.values():
        if not isinstance(source, (str, os.PathLike, Image.Image, np.ndarray)):
            kind = "a list" if isinstance(source, (list, tuple)) else type(source).__name__
            raise UsageError(
                "A clip is started with a mask of its first frame, with masks by the numbers of their frames, or with "
                f"concepts, not with {kind}."
            )
    sources = {int(number): read_once(source, "mask") for number, source in sorted(masks.items())}
    things = _things_in([_without_void(read_labels(source).things) for source in sources.values()])
    count = max(1, len(things))  # what is not told apart is one thing
    if count > MOST_LABELS:
        raise PersamError(_too_many(count))
    found = {}
    for number, source in sources.items():
        of_frame = "" if len(sources) == 1 else f" of frame {number}"
        name = name_of(masks[number], f"mask{of_frame}" if isinstance(source, np.ndarray) else "mask")
        labels = np.zeros(size, np.uint8)
        parts = _parts_of(source, things, size, name, of_frame)
        if parts:
            _warn(doubt_of_size(mask_size(source), size, name, _FRAME))
        for label, (what, mask) in parts.items():
            labels[mask] = label
            _warn(doubt_of_mask(mask, what[0].upper() + what[1:], _FRAME))
        found[number] = SmallLabels(labels)
    if not any(label in each for each in found.values() for label in range(1, count + 1)):
        raise PersamError(
            "None of the masks has an object: every pixel is background; paint the object white on black."
        )
    return count, found


def _warn(doubt: str | None) -> None:
    if doubt is not None:
        warnings.warn(doubt, PersamWarning, stacklevel=4)


def _things_in(things: Sequence[list[Label]]) -> list[Label]:
    """Of the labels in every mask those that tell things apart, in order; none of one thing in black and white."""
    found = {label for each in things if len(each) > 1 or _is_label(each) for label in each}
    if len({type(label) for label in found}) > 1:
        raise PersamError(
            f"The masks tell things apart by numbers and by colours ({listed(sorted(found, key=str))}); "
            "a thing needs the same label in all of them."
        )
    return sorted(found)


def _is_label(things: Sequence[Label]) -> bool:
    """Whether the only thing of a mask has a label that says which one it is."""
    return len(things) == 1 and (things[0] < _COUNTED if isinstance(things[0], int) else things[0] != _WHITE)


def _parts_of(
    source: MaskSource, things: Sequence[Label], size: tuple[int, int], name: str, of_frame: str
) -> dict[int, tuple[str, np.ndarray]]:
    """What one mask shows: by the numbers of the objects what it is called in sentences, and its mask (H, W) bool.

    Of several masks, for which `of_frame` says whose it is, one may show nothing.
    """
    labels = read_labels(source)
    what = f"mask{of_frame}" if isinstance(source, np.ndarray) else "mask"  # a file is called by its name
    if of_frame and not read_mask(source, what=what, may_be_trivial=True).any():
        return {}
    if len(things) < 2 and not _has_void(labels.things):
        return {1: (name, read_mask(source, size, what=what, photo=_FRAME))}
    parts = {number: label for number, label in enumerate(things, start=1) if label in labels.labels}
    if not parts:
        raise PersamError(
            f"{name} does not tell things apart, and others do ({listed(things)}); paint each in its label."
        )
    whats = {number: f"part {label} of the mask{of_frame}" for number, label in parts.items()}
    return {
        number: (whats[number], read_mask(labels.pick(label, name), size, what=whats[number], photo=_FRAME))
        for number, label in parts.items()
    }


def _has_void(things: Sequence[Label]) -> bool:
    return _without_void(things) != list(things)


def _without_void(things: Sequence[Label]) -> list[Label]:
    others = [label for label in things if label != VOID]
    counted = bool(others) and all(isinstance(label, int) and label < _COUNTED for label in others)
    return others if counted else list(things)
