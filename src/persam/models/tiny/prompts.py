"""Training prompts: which thing to segment in a view, a click on it, a box around it; and corrective clicks."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .photos import IGNORE, Array
from .views import OWN


@dataclass(frozen=True, eq=False)
class Prompt:
    """The id of a thing in the mask, a click on it (x, y) and a box around it (x0, y0, x1, y1), in pixels."""

    target: int
    point: tuple[float, float]
    box: tuple[float, float, float, float]


def sample_prompt(mask: Array, random: Random, own_share: float = 0.3, jitter: float = 0.1) -> Prompt:
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
    return Prompt(target, (x, y), (box[0], box[1], box[2], box[3]))


def random_point(inside: NDArray[np.bool_], random: Random) -> tuple[float, float]:
    """The centre (x, y) of a random pixel of a mask (H, W) that is not empty."""
    y, x = divmod(int(random.choice(np.flatnonzero(inside))), inside.shape[1])
    return x + 0.5, y + 0.5


def interior_point(inside: NDArray[np.bool_]) -> tuple[float, float]:
    """The pixel centre (x, y) that lies deepest in a mask (H, W); beyond the image counts as outside."""
    padded = np.pad(inside.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = divmod(int(depth.argmax()), inside.shape[1])
    return x + 0.5, y + 0.5


def corrective_points(logits: Tensor, target: Tensor, valid: Tensor, image_size: int) -> tuple[Tensor, Tensor]:
    """A click into what is wrong: logits, target (0..1), valid: (B, h, w) -> points (B, 1, 1, 2), labels (B, 1, 1).

    Where nothing is wrong the label is -1, which SAM reads as no point.
    """
    batch, _, width = logits.shape
    wrong = (((logits > 0) != (target > 0.5)) & valid.bool()).flatten(1).float()
    any_wrong = wrong.sum(1) > 0
    place = torch.multinomial(torch.where(any_wrong[:, None], wrong, 1.0), 1)[:, 0]
    y, x = place // width, place % width
    scale = image_size / width
    points = (torch.stack([x, y], -1) + 0.5) * scale
    labels = (target.flatten(1).gather(1, place[:, None])[:, 0] > 0.5).long()
    labels = torch.where(any_wrong, labels, -1)
    return points.view(batch, 1, 1, 2), labels.view(batch, 1, 1)


def boxes_of(masks: Tensor, scale: float) -> Tensor:
    """Tight boxes (B, 1, 4) of boolean masks (B, h, w), times `scale`; the whole frame where a mask is empty."""
    batch, height, width = masks.shape
    columns, rows = masks.any(1), masks.any(2)
    x = torch.arange(width, device=masks.device)
    y = torch.arange(height, device=masks.device)
    x0 = torch.where(columns, x, width).amin(1)
    y0 = torch.where(rows, y, height).amin(1)
    x1 = torch.where(columns, x + 1, 0).amax(1)
    y1 = torch.where(rows, y + 1, 0).amax(1)
    empty = ~columns.any(1)
    full = torch.tensor([0, 0, width, height], device=masks.device)
    boxes = torch.where(empty[:, None], full, torch.stack([x0, y0, x1, y1], 1))
    return (boxes * scale).float().view(batch, 1, 4)
