"""The parts of PerSAM's way that training still has for itself: target embedding, confidence map, location prior.

Everything is batched over directed pairs (reference view, test view) and lets gradients through to the features; the
trainer and the validation share it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from persam.models.tiny.architecture import TinyConfig

CELL = TinyConfig.stride


def cell_coverage(mask: Tensor) -> Tensor:
    """Share of every cell that a boolean mask (B, S, S) covers, (B, h, w)."""
    return F.avg_pool2d(mask[:, None].float(), CELL)[:, 0]


def cells_inside(frames: Tensor, height: int, width: int) -> Tensor:
    """Which cells are no padding, boolean (B, height, width): frames (B, 2), height and width in pixels."""
    rows = torch.arange(height, device=frames.device) * CELL < frames[:, :1]
    columns = torch.arange(width, device=frames.device) * CELL < frames[:, 1:]
    return rows[:, :, None] & columns[:, None, :]


def target_embedding(features: Tensor, coverage: Tensor) -> Tensor:
    """Mean feature (B, C) of the object's cells: features (B, C, h, w), coverage (B, h, w) of 0..1.

    The object's cells are those that it covers by more than half; if none, those covered almost as well as the best.
    """
    threshold = torch.minimum(torch.full_like(coverage[:, 0, 0], 0.5), 0.8 * coverage.flatten(1).amax(1))
    cells = (coverage > threshold[:, None, None]).to(features.dtype)
    return torch.einsum("bchw,bhw->bc", features, cells) / cells.sum((1, 2)).clamp(min=1)[:, None]


def confidence_map(target: Tensor, features: Tensor) -> Tensor:
    """Cosine of target (B, C) with every cell of features (B, C, h, w): (B, h, w)."""
    return torch.einsum("bc,bchw->bhw", F.normalize(target.float(), dim=1), F.normalize(features.float(), dim=1))


def standardised(confidence: Tensor, valid: Tensor) -> Tensor:
    """z-scores (B, h, w) of a confidence map over its valid cells (boolean, same shape); 0 elsewhere."""
    weight = valid.float()
    count = weight.sum((1, 2), keepdim=True).clamp(min=1)
    centred = confidence - (confidence * weight).sum((1, 2), keepdim=True) / count
    deviation = ((centred**2 * weight).sum((1, 2), keepdim=True) / count).sqrt()
    return centred / (deviation + 1e-6) * weight


def highest_cells(confidence: Tensor, valid: Tensor, count: int, apart: float = 2.0) -> Tensor:
    """Flat indices (B, count) of high cells that lie more than `apart` cells from one another, the highest first."""
    height, width = confidence.shape[1:]
    y, x = torch.meshgrid(
        torch.arange(height, device=confidence.device), torch.arange(width, device=confidence.device), indexing="ij"
    )
    left = confidence.detach().masked_fill(~valid, -torch.inf)
    found = []
    for _ in range(count):
        place = left.flatten(1).argmax(1)
        found.append(place)
        near = (y - (place // width)[:, None, None]) ** 2 + (x - (place % width)[:, None, None]) ** 2 <= apart**2
        left = left.masked_fill(near, -1e4)
    return torch.stack(found, 1)


def cell_centres(cells: Tensor, width: int) -> Tensor:
    """Pixel coordinates (..., 2), as (x, y), of flat cell indices (...)."""
    return (torch.stack([cells % width, cells // width], -1) + 0.5) * CELL


def dense_prior(z_scores: Tensor) -> Tensor:
    """A confidence map (B, h, w) as a mask prompt (B, 1, 4h, 4w)."""
    return F.interpolate(z_scores[:, None], scale_factor=4, mode="bilinear", align_corners=False)


def box_prompts(logits: Tensor) -> Tensor:
    """Tight boxes (B, 4), in pixels, of masks given by their logits (B, 1, h, w); the whole frame for an empty one."""
    return boxes_of(logits[:, 0] > 0, CELL / 4)


def boxes_of(masks: Tensor, scale: float) -> Tensor:
    """Tight boxes (B, 4) of boolean masks (B, h, w), times `scale`; the whole frame where a mask is empty."""
    height, width = masks.shape[1:]
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
    return (boxes * scale).float()
