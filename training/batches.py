"""Batches of view pairs, each view with a thing to segment, a click on it and a box, made by worker processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from persam.geometry import deepest

from .photos import IGNORE, Array, Photos
from .views import OWN, Mixture, View, sample_pair

SINGLE_THINGS = ("kitchen", "rmgc", "small", "tools", "waste")  # sets in which two pairs hardly ever show the same
FROM_ONE_SET = 0.12  # how often, instead of a pair, some pairs of one of these sets are drawn
IN_A_ROW = 4
MIXTURE = Mixture(same_photo=0.3, same_kind=0.3)
ONE_SET_MIXTURE = Mixture(same_photo=0.3, same_kind=0.15, same_object=0.35)


@dataclass(eq=False)
class Batch:
    """Views 2i and 2i+1 share the object `OWN`.

    Attributes:
        images: (B, 3, S, S) uint8; masks: (B, S, S) uint8; frames: (B, 2), height and width of what is no padding.
        targets: (B,) ids of the things to segment; points: (B, 1, 2); boxes: (B, 4).
    """

    images: Tensor
    masks: Tensor
    frames: Tensor
    targets: Tensor
    points: Tensor
    boxes: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})

    def pin_memory(self) -> Batch:
        """Called by the data loader."""
        return Batch(**{name: value.pin_memory() for name, value in vars(self).items()})


def make_batch(photos: Photos, size: int, views: int, random: Random) -> Batch:
    """`views` views (an even number) of side `size`."""
    pairs = sample_pairs(photos, size, views // 2, random)
    flat = [view for pair in pairs for view in pair]
    prompts = [sample_prompt(view.mask, random) for view in flat]
    return Batch(
        images=torch.from_numpy(np.stack([view.image for view in flat])).permute(0, 3, 1, 2),
        masks=torch.from_numpy(np.stack([view.mask for view in flat])),
        frames=torch.tensor([view.frame for view in flat]),
        targets=torch.tensor([prompt.target for prompt in prompts], dtype=torch.uint8),
        points=torch.tensor([prompt.point for prompt in prompts])[:, None],
        boxes=torch.tensor([prompt.box for prompt in prompts]),
    )


def sample_pairs(photos: Photos, size: int, count: int, random: Random) -> list[tuple[View, View]]:
    """Pairs of views; now and then `IN_A_ROW` of them are of one set, and so the strangers of one another.

    A tool is then told from other tools, and what lies in a bin from the rest of it.  A set with more photos is taken
    more often.
    """
    sets = {source: len(shown) for source, shown in photos.showing.items() if source in SINGLE_THINGS}
    pairs: list[tuple[View, View]] = []
    while len(pairs) < count:
        if sets and random.random() < FROM_ONE_SET:
            (source,) = random.choices(list(sets), list(sets.values()))
            pairs += [sample_pair(photos, size, random, ONE_SET_MIXTURE, source) for _ in range(IN_A_ROW)]
        else:
            pairs.append(sample_pair(photos, size, random, MIXTURE))
    return pairs[:count]


@dataclass(frozen=True, eq=False)
class PromptedThing:
    """The id of a thing in the mask, a click on it (x, y) and a box around it (x0, y0, x1, y1), in pixels."""

    target: int
    point: tuple[float, float]
    box: tuple[float, float, float, float]


def sample_prompt(mask: Array, random: Random, own_share: float = 0.3, jitter: float = 0.1) -> PromptedThing:
    """A random prompt for a mask (S, S): `OWN` in `own_share` of the cases, else any thing; the background if none."""
    areas = np.bincount(mask.ravel(), minlength=256)
    smallest = 0.0025 * mask.size
    things = [int(i) for i in np.flatnonzero(areas[1:IGNORE] >= smallest) + 1]
    if OWN in things and random.random() < own_share:
        target = OWN
    else:
        target = random.choice(things) if things else int(areas[:IGNORE].argmax())
    inside = mask == target
    if not inside.any():
        inside[...] = True
    x, y = interior_point(inside) if random.random() < 0.3 else random_point(inside, random)
    left, top, width, height = cv2.boundingRect(inside.astype(np.uint8))
    edges = [left, top, left + width, top + height]
    moves = [random.uniform(-jitter, jitter) * side for side in (width, height, width, height)]
    box = tuple(float(np.clip(edge + move, 0, mask.shape[0])) for edge, move in zip(edges, moves, strict=True))
    return PromptedThing(target, (x, y), (box[0], box[1], box[2], box[3]))


def random_point(inside: NDArray[np.bool_], random: Random) -> tuple[float, float]:
    """The centre (x, y) of a random pixel of a mask (H, W) that is not empty."""
    y, x = divmod(int(random.choice(np.flatnonzero(inside))), inside.shape[1])
    return x + 0.5, y + 0.5


def interior_point(inside: NDArray[np.bool_]) -> tuple[float, float]:
    """The pixel centre (x, y) that lies deepest in a mask (H, W); beyond the image counts as outside."""
    x, y = deepest(inside)
    return x + 0.5, y + 0.5


class _Views(IterableDataset[Batch]):
    def __init__(self, photos: Photos, size: int, views: int, seed: int, cores: set[int] | None) -> None:
        self.photos, self.size, self.views, self.seed, self.cores = photos, size, views, seed, cores

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is not None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the trainer's, which would outlive its end
            cv2.setNumThreads(1)
            torch.set_num_threads(1)
            if self.cores and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, self.cores)
        random = Random(self.seed * 1000 + (worker.id if worker else 0))
        while True:
            yield make_batch(self.photos, self.size, self.views, random)


def batches(
    photos: Photos, size: int, views: int, seed: int, workers: int, cores: set[int] | None = None, pin: bool = False
) -> Iterator[Batch]:
    """Endless batches; `workers` processes make them (0: this one), on `cores` if given and the platform can."""
    loader = DataLoader(
        _Views(photos, size, views, seed, cores),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=pin,
    )
    return iter(loader)
