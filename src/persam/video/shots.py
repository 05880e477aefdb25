"""What given frames teach: of every object a concept, with each frame that shows it as a reference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from persam.concept import Concept
from persam.persam import PerSAM
from persam.reference import Reference
from persam.video.start import StartObject
from persam.video.windows import WHOLE, window_around


def shots_of(frame: np.ndarray, mask: np.ndarray) -> list[Reference]:
    """What a frame (H, W, 3) shows of an object, (H, W) bool: all of the frame, and a closer look."""
    references = [Reference(frame, mask=mask)]
    window = window_around(mask, frame)
    if window != WHOLE:
        references.append(Reference(np.ascontiguousarray(window.of(frame)), mask=window.of(mask)))
    return references


def learned_from(
    persam: PerSAM, frames: Iterable[tuple[np.ndarray, list[StartObject]]], *, tune: bool
) -> list[StartObject]:
    """Learn objects from all frames that were given of them, which are needed one at a time.

    Args:
        persam: the model.
        frames: each frame, (H, W, 3) uint8 RGB, and the same objects, with their masks on it.
        tune: PerSAM-F, on all of an object's shots together.

    Returns:
        The objects with their concepts, and without masks.
    """
    concepts: dict[str, Concept] = {}
    objects: list[StartObject] = []
    for frame, objects in frames:
        for one in objects:
            if one.mask is not None:
                shots = shots_of(frame, one.mask)
                concepts[one.name] = persam.learn(shots, name=one.name, base=concepts.get(one.name))
    if tune:
        concepts = {name: persam.tune(concept) for name, concept in concepts.items()}
    # What tuning needs of the frames is large, and nothing tunes any more.
    return [StartObject(one.name, concept=replace(concepts[one.name], material=())) for one in objects]
