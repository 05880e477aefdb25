"""What a comparator trained on the reference sees: the same photo again and again, never twice alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from persam.benchmark.methods.base import Shot
from persam.geometry import Size


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
    def of(cls, shot: Shot, side: int, device: torch.device) -> Self:
        """The reference with its longest side at `side` pixels."""
        size = fitted((shot.mask.shape[0], shot.mask.shape[1]), side)
        mask = torch.from_numpy(shot.mask).float()
        share = F.interpolate(mask[None, None], size, mode="area")[0, 0]
        return cls(to_tensor(shot.photo.pixels, size, device), share.to(device))


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

    def describe(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"zoom": list(self.zoom)}

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
