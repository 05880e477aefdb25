"""Parts of training photos that are cut out: labelled things, and what the bundled model draws.

Most of what is found in a thing's stead has no label in any data set: a piece of the table, half of a neighbour.  And a
thing that is found has the outline that the decoder gives it, not that of its label.  Both are drawn at points here,
as a decoder would for a user's click, so that a network can learn from them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from persam.instance import mask_box
from persam.metrics import iou
from persam.models.base import PromptableModel, Prompts

from .batches import random_point
from .photos import MIN_AREA, Array, Photo, Photos, Thing

THINGS, BESIDE = 2, 4  # points a photo, on things and beside them
LIKE = 0.5  # IoU with the thing from which on it is what was drawn
LARGEST = 0.4  # share of the photo beyond which something drawn is no thing
SPILT = 0.1  # share of something drawn beside things that may lie on things, or on what was drawn before

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Segment:
    """Part of a photo.

    Attributes:
        photo: its index.
        box: (x0, y0, x1, y1).
        inside: which pixels of the box, (h, w).
        is_mistaken: whether it is a labelled thing with a decoder's mistakes. (What is drawn beside things is right by
            itself: nothing says otherwise.)
    """

    photo: int
    box: tuple[int, int, int, int]
    inside: Mask
    is_mistaken: bool = False

    @classmethod
    def under(cls, photo: int, mask: Mask, *, is_mistaken: bool = False) -> Segment:
        """What a mask (H, W) covers, which is not empty."""
        box = mask_box(mask)
        assert box is not None
        x0, y0, x1, y1 = box
        return cls(photo, (x0, y0, x1, y1), mask[y0:y1, x0:x1].copy(), is_mistaken)

    @classmethod
    def of(cls, photo: Photo, thing: Thing) -> Segment:
        """A labelled thing."""
        x0, y0, x1, y1 = thing.box
        return cls(thing.photo, thing.box, photo.mask[y0:y1, x0:x1] == thing.id)


@dataclass(frozen=True)
class Segments:
    """What was drawn.

    Attributes:
        photos: in how many photos.
        things: labelled things as they were drawn.
        beside: what was drawn in a photo where nothing is labelled, by the photo's index.
    """

    photos: int = 0
    things: dict[Thing, Segment] = field(default_factory=dict)
    beside: dict[int, list[Segment]] = field(default_factory=dict)


def draw_segments(model: PromptableModel, photos: Photos, count: int, random: Random) -> Segments:
    """Segments of so many photos with things, or of all if there are no more; a tenth of a second each on one core."""
    shown = photos.showing[None]
    asked = random.sample(shown, min(count, len(shown)))
    drawn = Segments(len(asked), {}, defaultdict(list))
    for index in track(asked, "segments"):
        photo, there = photos[index], photos.by_photo[index]
        things = random.sample(there, min(THINGS, len(there)))
        free = photo.mask == 0
        places = [photo.mask == thing.id for thing in things] + BESIDE * ([free] if free.sum() >= MIN_AREA else [])
        masks = _drawn_at(model, photo.image, [random_point(place, random) for place in places])
        for thing, place, mask in zip(things, places, masks, strict=False):
            if iou(mask, place) >= LIKE:
                drawn.things[thing] = Segment.under(index, mask, is_mistaken=True)
        for mask in masks[len(things) :]:
            own = mask & free
            if MIN_AREA <= own.sum() >= (1 - SPILT) * mask.sum() and mask.mean() <= LARGEST:
                drawn.beside[index].append(Segment.under(index, own))
                free &= ~mask
    return drawn


def _drawn_at(model: PromptableModel, image: Array, points: Sequence[tuple[float, float]]) -> list[Mask]:
    """What the model draws at each point, (H, W): of its masks that of which it is surest."""
    with torch.inference_mode():
        seen = model.encode(image)
        clicks = torch.from_numpy(seen.frame.to_canvas(np.array(points, np.float32)))[:, None]
        decoded = model.decode(seen, Prompts(clicks, torch.ones(len(points), 1)), multimask=True)
        return list((seen.frame.to_photo_size(decoded.best())[:, 0] > 0).cpu().numpy())
