"""Batches of view pairs with prompts, made by worker processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from .photos import Photos
from .prompts import sample_prompt
from .views import Mixture, sample_pair

MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)


@dataclass(eq=False)
class Batch:
    """Views 2i and 2i+1 share the object `OWN`.

    Attributes:
        images: (B, 3, S, S) uint8; masks: (B, S, S) uint8; frames: (B, 2), height and width of what is no padding.
        targets: (B,) ids of the things to segment; points: (B, 1, 1, 2); boxes: (B, 1, 4).
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


def make_batch(photos: Photos, size: int, views: int, random: Random, mixture: Mixture | None = None) -> Batch:
    """`views` views (an even number) of side `size`."""
    pairs = [sample_pair(photos, size, random, mixture) for _ in range(views // 2)]
    flat = [view for pair in pairs for view in pair]
    prompts = [sample_prompt(view.mask, random) for view in flat]
    return Batch(
        images=torch.from_numpy(np.stack([view.image for view in flat])).permute(0, 3, 1, 2),
        masks=torch.from_numpy(np.stack([view.mask for view in flat])),
        frames=torch.tensor([view.frame for view in flat]),
        targets=torch.tensor([prompt.target for prompt in prompts], dtype=torch.uint8),
        points=torch.tensor([prompt.point for prompt in prompts]).view(-1, 1, 1, 2),
        boxes=torch.tensor([prompt.box for prompt in prompts]).view(-1, 1, 4),
    )


def normalise(images: Tensor) -> Tensor:
    """uint8 RGB (B, 3, S, S) -> what the encoder takes, channels last."""
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    deviation = torch.tensor(DEVIATION, device=images.device).view(1, 3, 1, 1)
    return ((images.float() - mean) / deviation).contiguous(memory_format=torch.channels_last)


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
