"""Comparators that are trained on the reference: the same photo again and again, never twice alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from persam.benchmark.methods.base import Example
from persam.geometry import Size
from persam.models.fingerprint import fingerprint_of
from persam.models.loading import choose_device


@dataclass(frozen=True)
class Lesson:
    """A reference at training size.

    Attributes:
        pixels: (3, h, w) RGB in [0, 1].
        mask: (h, w), share of every pixel that is the object's.
    """

    pixels: Tensor
    mask: Tensor

    @classmethod
    def of(cls, example: Example, side: int, device: torch.device) -> Self:
        """The reference with its longest side at `side` pixels."""
        size = fitted((example.mask.shape[0], example.mask.shape[1]), side)
        mask = torch.from_numpy(example.mask).float()
        share = F.interpolate(mask[None, None], size, mode="area")[0, 0]
        return cls(to_tensor(example.photo.pixels, size, device), share.to(device))


@dataclass(frozen=True)
class Views:
    """How a reference is varied.

    Attributes:
        zoom: smallest and largest magnification.
        turn: largest rotation, degrees.
        light: largest relative change of brightness and of contrast.
        tint: largest relative change of each colour channel.
        on_object: share of the views that are centred on a place of the object; the others on any place.
    """

    zoom: tuple[float, float] = (0.6, 1.6)
    turn: float = 20.0
    light: float = 0.3
    tint: float = 0.1
    on_object: float = 0.5

    def batch(
        self, lessons: Sequence[Lesson], count: int, side: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Random square views: photos (count, 3, side, side) in [0, 1] and masks (count, side, side)."""
        views = []
        for _ in range(count):
            pick = int(torch.randint(len(lessons), (1,), generator=generator))
            views.append(self.one(lessons[pick], side, generator))
        return torch.stack([pixels for pixels, _ in views]), torch.stack([mask for _, mask in views])

    def one(self, lesson: Lesson, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One view: flipped, turned, magnified, moved, and in another light. Beyond its edges the photo is mirrored."""

        def uniform(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        height, width = lesson.mask.shape
        zoom = math.exp(uniform(math.log(self.zoom[0]), math.log(self.zoom[1])))
        angle = math.radians(uniform(-self.turn, self.turn))
        flip = -1.0 if uniform(0, 1) < 0.5 else 1.0
        x, y = uniform(0, width), uniform(0, height)
        places = (lesson.mask > 0.5).nonzero()
        if len(places) and uniform(0, 1) < self.on_object:
            row, column = places[int(torch.randint(len(places), (1,), generator=generator))].tolist()
            x, y = column + uniform(-0.25, 0.25) * side / zoom, row + uniform(-0.25, 0.25) * side / zoom

        # a pixel (u, v) of the view, counted from its middle, shows the place (x, y) + R (u, v) / zoom of the photo
        step = (torch.arange(side, device=lesson.mask.device) + 0.5 - side / 2) / zoom
        u, v = flip * step[None, :], step[:, None]
        from_x = x + u * math.cos(angle) - v * math.sin(angle)
        from_y = y + u * math.sin(angle) + v * math.cos(angle)
        grid = torch.stack([from_x / width * 2 - 1, from_y / height * 2 - 1], dim=-1)[None]
        both = torch.cat([lesson.pixels, lesson.mask[None]])[None]
        seen = F.grid_sample(both, grid, mode="bilinear", padding_mode="reflection", align_corners=False)[0]

        pixels, mask = seen[:3], seen[3]
        tint = torch.tensor([uniform(1 - self.tint, 1 + self.tint) for _ in range(3)], device=pixels.device)
        pixels = pixels * tint[:, None, None] * uniform(1 - self.light, 1 + self.light)
        mean = pixels.mean()
        return ((pixels - mean) * uniform(1 - self.light, 1 + self.light) + mean).clamp(0, 1), mask


class TrainedMethod:
    """Trains a new network for every object, with AdamW on views of the references.

    Args:
        checkpoint: of the network before it is trained; see the method.
        device: where it is trained.
        seed: of the weights and of the views of the reference.
        steps: optimiser steps, unless the method's own number.
        batch: views a step.
        side: longest side of a photo, pixels.
        views: how the reference is varied.
    """

    name: str
    STEPS: int
    BATCH: int
    SIDE: int
    rate: float  # of learning

    def __init__(
        self,
        checkpoint: str | None,
        device: str,
        seed: int,
        *,
        steps: int | None = None,
        batch: int | None = None,
        side: int | None = None,
        views: Views | None = None,
    ) -> None:
        self.checkpoint, self.device, self.seed = checkpoint, choose_device(device), seed
        self.steps, self.batch, self.side = steps or self.STEPS, batch or self.BATCH, side or self.SIDE
        self.views = views or Views()

    def network(self) -> nn.Module:
        """A network before training, its random weights drawn anew."""
        raise NotImplementedError

    def loss(self, network: nn.Module, pixels: Tensor, masks: Tensor) -> Tensor:
        """Of a batch of views, see `Views.batch`."""
        raise NotImplementedError

    def schedule(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """How the learning rate goes; it stays where it is unless a method says otherwise."""
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    def view_side(self) -> int:
        """Side of the views that it is trained on, pixels."""
        return self.side

    @cached_property
    def fingerprint(self) -> str:
        """Of a network before it is trained."""
        with seeded(self.seed, self.device):
            return fingerprint_of(self.network())

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`; the fingerprint is the network's before it is trained."""
        return {
            "checkpoint": self.checkpoint,
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "steps": self.steps,
            "batch": self.batch,
            "side": self.side,
            "learning_rate": self.rate,
            "views": asdict(self.views) | {"zoom": list(self.views.zoom)},
        }

    def learn(self, examples: Sequence[Example], category: str) -> nn.Module:
        """See `Method.learn`."""
        lessons = [Lesson.of(each, self.side, self.device) for each in examples]
        with seeded(self.seed, self.device) as generator:
            network = self.network().to(self.device).train()
            optimizer = torch.optim.AdamW([each for each in network.parameters() if each.requires_grad], lr=self.rate)
            schedule = self.schedule(optimizer)
            for _ in range(self.steps):
                loss = self.loss(network, *self.views.batch(lessons, self.batch, self.view_side(), generator))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return network.eval().requires_grad_(False)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[torch.Generator]:
    """Fix the weights that a network is born with and the views it sees; afterwards torch's chance is as it was."""
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


def fitted(photo: Size, side: int) -> Size:
    """The size (h, w) of a photo with its longest side at `side` pixels, at least one pixel high and wide."""
    scale = side / max(photo)
    return max(1, round(photo[0] * scale)), max(1, round(photo[1] * scale))


def to_tensor(pixels: np.ndarray, size: Size, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 RGB, resized, as (3, h, w) in [0, 1]."""
    resized = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).to(device).permute(2, 0, 1).float() / 255
