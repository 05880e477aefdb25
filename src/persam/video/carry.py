"""Following with a propagator: the concept finds an object, the propagator's memory carries it, and when the memory has
lost it the concept brings it back.

An object is lost in a frame in which the memory says that it is out of sight (or draws nothing of it), and in one in
which the concept contradicts: what the memory draws is far less like the object than it usually is, and by itself would
not count as present.  The concept looks now and then, and whenever the memory is unsure.

While an object is lost, it is looked for in every frame.  The memory brings it back if it sees it again and the concept
does not contradict; otherwise the concept does, if it finds the object, and the memory begins anew with that mask.
Neither brings it back where another object is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from persam.concept import Concept
from persam.errors import UsageError
from persam.geometry import fit_mask
from persam.instance import Instance
from persam.method.find import probability
from persam.method.prior import prior_of
from persam.models.base import EncodedImage
from persam.models.propagator import Propagation, Propagator, load_propagator
from persam.persam import PerSAM
from persam.video.likeness import likeness_of
from persam.video.start import StartObject
from persam.video.state import Resumable

# Not tuned on a model of the hub. What UNLIKE does was measured with the bundled model on every second frame
# of six clips of DAVIS: of 170 true masks none is contradicted, and 202 of 217 of the same form laid elsewhere are.
EVERY = 5  # frames after which the concept looks whether it is still the object that is carried
UNSURE = 2.0  # log odds that it is visible, under which the concept looks at once
UNLIKE = 2.0  # log odds by which it must look less like itself than usual to be another thing
USUAL = 0.1  # weight of a new look in what is usual
HELD = 0.5  # share of what is back, from which on it is another object that is there already
MOST = 3  # things that are looked for when an object is lost, as the first ones may be other objects


class CarriedObjects(Resumable):
    """The objects of a clip. Their number and order never change, whoever is lost.

    Args:
        persam: the model.
        propagator: whose memory carries them.
        frame: the one from which they are carried, (H, W, 3) uint8 RGB.
        objects: which ones, with their concepts; those with a mask are carried from this frame, the others once their
            concepts find them.
        threshold: score from which on an object is present.

    Raises:
        UsageError: a concept was learned in another mode than persam.
    """

    _FIXED = frozenset({"persam", "threshold", "memory"})

    def __init__(
        self,
        persam: PerSAM,
        propagator: Propagator,
        frame: np.ndarray,
        objects: Sequence[StartObject],
        *,
        threshold: float,
    ) -> None:
        for one in objects:
            _check_mode(one.known.mode, f"{one.name} was learned in mode")
        self.persam, self.threshold = persam, threshold
        self.memory = propagator.begin()
        self.objects = [_CarriedObject(one.known) for one in objects]
        if any(one.mask is not None for one in objects):
            self.memory.show(frame)
            look = _Look(persam, frame)
            for number, one in enumerate(objects, start=1):
                if one.mask is not None:
                    self.memory.prompt(number, one.mask, given=True)
                    self.objects[number - 1].confirm(look.likeness(self.objects[number - 1].concept, one.mask))

    def state(self) -> dict[str, Any]:
        """See `Resumable`; of a memory that has a state, as those of transformers have."""
        return {**super().state(), "memory": self.memory.state()}  # type: ignore[attr-defined]

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Resumable`."""
        self.memory.restore(state["memory"])  # type: ignore[attr-defined]
        super().restore({name: value for name, value in state.items() if name != "memory"})

    def follow(self, pixels: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """The next frame (frame 0 itself, if all objects are looked for): its labels, and every object's score."""
        self.memory.show(pixels)
        look = _Look(self.persam, pixels)
        steady: dict[int, np.ndarray] = {}
        back: dict[int, np.ndarray] = {}
        for number, one in enumerate(self.objects, start=1):
            was_here = one.here
            odds = one.carry(self.memory, number, look, self.threshold)
            if odds is not None:
                (steady if was_here else back)[number] = odds
        labels = _drawn(steady, look.size)
        for number in sorted(back, key=lambda each: -self.objects[each - 1].score):
            _placed(labels, number, _enlarged(back[number], look.size) > 0)
        self._find(look, labels)
        return labels, [one.score for one in self.objects]

    def _find(self, look: _Look, labels: np.ndarray) -> None:
        """Look for the objects of which nothing is drawn, and draw those that are found, the surest first."""
        seen = set(np.unique(labels).tolist())
        found: list[tuple[int, Instance]] = []
        for number, one in enumerate(self.objects, start=1):
            one.here = number in seen
            if not one.here:
                most = min(MOST, len(self.objects))
                best = self.persam.segment(look.image, one.concept, max_instances=most, threshold=self.threshold)
                one.score = 0.0 if best.present else best.score
                found += [(number, instance) for instance in best.instances]
        for number, instance in sorted(found, key=lambda each: -each[1].score):
            one = self.objects[number - 1]
            if not one.here and _placed(labels, number, instance.mask):
                mask = labels == number
                self.memory.prompt(number, mask)
                one.score = instance.score
                one.confirm(look.likeness(one.concept, mask))


class _CarriedObject(Resumable):
    """One object: its concept, whether it is carried, and how like itself it usually looks."""

    _FIXED = frozenset({"concept"})

    def __init__(self, concept: Concept) -> None:
        self.concept = concept
        self.known = False  # to the memory
        self.here = False  # in the last frame
        self.unconfirmed = 0  # frames since the concept looked
        self.usual: float | None = None
        self.score = 0.0

    def confirm(self, likeness: float) -> None:
        """It is here, and looks so much like itself (log odds)."""
        self.known = self.here = True
        self.unconfirmed = 0
        self.usual = likeness if self.usual is None else (1 - USUAL) * self.usual + USUAL * likeness

    def carry(self, memory: Propagation, number: int, look: _Look, threshold: float) -> np.ndarray | None:
        """Log odds of where the memory has it in a frame, (h, w); None if it is lost, or was never found."""
        if not self.known:
            return None
        carried = memory.carry(number)
        self.score = probability(carried.presence)
        self.unconfirmed += 1
        mask = _enlarged(carried.odds, look.size) > 0
        if self.score < threshold or not mask.any():
            return None
        if not self.here or carried.presence < UNSURE or self.unconfirmed >= EVERY:
            likeness = look.likeness(self.concept, mask)
            assert self.usual is not None
            if likeness < self.usual - UNLIKE and probability(likeness) < threshold:
                return None
            self.confirm(likeness)
        return carried.odds


class _Look:
    """A frame as the concept sees it: encoded when somebody looks, and once for all."""

    def __init__(self, persam: PerSAM, pixels: np.ndarray) -> None:
        self._persam, self._pixels = persam, pixels
        self.size = pixels.shape[0], pixels.shape[1]

    @cached_property
    def image(self) -> EncodedImage:
        return self._persam.encode(self._pixels)

    @torch.inference_mode()
    def likeness(self, concept: Concept, mask: np.ndarray) -> float:
        """Log odds that what a mask shows, (H, W) bool, is a concept."""
        model = self._persam.model
        concept.check_vectors(self.image)
        prior = prior_of(self.image, concept, model.low_resolution, tuned=concept.tuned)
        assert self.image.pixels is not None
        return likeness_of(model, self.image, concept, prior, fit_mask(mask, self.image.pixels))


def propagator_for(persam: PerSAM, propagator: str | Path | Propagator, dtype: str = "auto") -> Propagator:
    """The propagator that is to carry what a model finds; one that is only named is loaded, on the model's device.

    Args:
        persam: the model.
        propagator: its name or folder, or itself.
        dtype: number format of one that is loaded: `auto`, `float32`, `bfloat16` or `float16`.

    Raises:
        UsageError: the mode has none, or it is something else.
        PersamError: there is no such propagator.
    """
    _check_mode(persam.settings.mode, "this is mode")
    if isinstance(propagator, (str, Path)):
        return load_propagator(propagator, device=persam.model.device, dtype=dtype)
    if isinstance(propagator, Propagator):
        return propagator
    raise UsageError(f"A propagator is a name, a folder or what load_propagator() gives, not {propagator!r}.")


def _check_mode(mode: str, what: str) -> None:
    if mode != "persam":
        raise UsageError(f"A propagator works in mode persam, and {what} {mode}; leave the propagator out.")


def _enlarged(odds: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Log odds at the frame's size (H, W), as transformers enlarges them."""
    return cv2.resize(odds, size[::-1], interpolation=cv2.INTER_LINEAR)


def _drawn(odds: dict[int, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Labels (H, W) uint8: a pixel belongs to the object that is surest of it. One large map of odds at a time."""
    labels, best = np.zeros(size, np.uint8), np.zeros(size, np.float32)
    for number, each in odds.items():
        large = _enlarged(each, size)
        surer = large > best
        labels[surer], best[surer] = number, large[surer]
    return labels


def _placed(labels: np.ndarray, number: int, mask: np.ndarray) -> bool:
    """Draw an object that is back, (H, W) bool, where nothing else is drawn; not if others have `HELD` of it."""
    free = mask & (labels == 0)
    if np.count_nonzero(free) <= (1 - HELD) * np.count_nonzero(mask):
        return False
    labels[free] = number
    return True
