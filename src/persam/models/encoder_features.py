"""What is done with an encoder's features: windows are put together, positions are taken out.

Positions: DINOv3's patches are alike not only where they show the like, but also where they lie at the like place of
their photos, and a thing is then looked for where the reference had it.  INSID3 (Cuttano et al., CVPR 2026,
arXiv 2603.28480) finds that this lies in a subspace of few dimensions: whatever distinguishes the patches of an image
without content, and projects it out.  It takes a fixed number of dimensions (500 of ViT-L's 1024; 20 in another
task), more than ViT-S has; here as many as a share of what distinguishes the patches.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from persam.geometry import Size

SHARE = 0.99  # of the variance between the patches of an image without content, which is all position

Encode = Callable[[Tensor], Tensor]


def positional_basis(features: Tensor, share: float = SHARE) -> Tensor:
    """Main directions in which the patches of an image without content differ, orthonormal, (C, s).

    Args:
        features: of an image of one colour, (1, C, rows, columns).
        share: of the variance, which they hold; but they are at most half of the channels, so that content remains.
    """
    unit = F.normalize(features[0].flatten(1), dim=0)
    directions, strengths, _ = torch.linalg.svd(unit - unit.mean(1, keepdim=True), full_matrices=False)
    variance = strengths.square()
    if float(variance.sum()) < 1e-9 * unit.shape[1]:  # all patches are the same but for rounding
        return features.new_zeros(unit.shape[0], 0)
    held = variance.cumsum(0) / variance.sum()
    rank = min(int((held < share).sum()) + 1, unit.shape[0] // 2)
    return directions[:, :rank].contiguous()


def without_positions(features: Tensor, basis: Tensor) -> Tensor:
    """Features, (B, C, rows, columns), less their part in the subspace of a `positional_basis`."""
    return features - torch.einsum("cs,ds,bdhw->bchw", basis, basis, features)


def joined(features: list[Tensor]) -> Tensor:
    """Features of several layers as one, so that a cosine is the mean of the layers' cosines; of one layer: they."""
    return features[0] if len(features) == 1 else torch.cat([F.normalize(each, dim=1) for each in features], dim=1)


def in_windows(pixels: Tensor, encode: Encode, *, count: int, window: Size, patch: int) -> Tensor:
    """Encode photos in overlapping windows, one after the other, and blend their features.

    Every axis has one window more than would lie side by side. Where windows overlap, the one counts more in whose
    middle a patch lies: what is near the border of a window is seen with half of its surroundings.

    Args:
        pixels: (B, 3, height, width), in patches `count` times as many rows and columns as a window.
        encode: windows (B, 3, h, w) to features (B, C, rows, columns).
        count: windows that would lie side by side along each axis; 1: photos are encoded as they are.
        window: its patches, (rows, columns).
        patch: pixels of a side of a patch.

    Returns:
        (B, C, count * rows, count * columns).
    """
    if count == 1:
        return encode(pixels)
    rows, columns = window
    weights = _tent(rows)[:, None] * _tent(columns)
    total: Tensor | None = None
    seen = torch.zeros(rows * count, columns * count)
    for top in _starts(rows, count):
        for left in _starts(columns, count):
            part = (slice(top * patch, (top + rows) * patch), slice(left * patch, (left + columns) * patch))
            features = encode(pixels[..., part[0], part[1]])
            if total is None:
                total = features.new_zeros(*features.shape[:2], *seen.shape)
            total[..., top : top + rows, left : left + columns] += features * weights.to(features)
            seen[top : top + rows, left : left + columns] += weights
    assert total is not None
    return total / seen.to(total)


def _starts(length: int, count: int) -> list[int]:
    """Where windows of `length` patches begin on an axis of `count` times as many; both of its ends are reached."""
    return sorted({round(each * (count - 1) * length / count) for each in range(count + 1)})


def _tent(length: int) -> Tensor:
    """Highest in the middle, (length,), and nowhere 0."""
    ascending = torch.arange(1, length + 1)
    return torch.minimum(ascending, ascending.flip(0)).float()
