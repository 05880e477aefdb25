"""SAM's image encoder as the published code computes it, written plainly: what ours is timed against."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def is_vit(encoder: nn.Module) -> bool:
    """Whether it is the image encoder that the published code has."""
    return type(encoder).__name__ == "SamVisionEncoder"


def encode_as_published(encoder: Any, pixels: Tensor) -> Tensor:
    """Features of prepared pixels (B, 3, S, S) with the weights of transformers' `SamVisionEncoder` in float32.

    Windows are padded before the projection, and the similarities of all cells are written whole: as they are, with
    the positions along rows and columns added, and after the softmax.
    """
    hidden = encoder.patch_embed(pixels) + encoder.pos_embed
    for layer in encoder.layers:
        normed, side = layer.layer_norm1(hidden), layer.window_size
        attended = _in_windows(layer.attn, normed, side) if side else _attention(layer.attn, normed)
        hidden = hidden + attended
        hidden = hidden + layer.mlp(layer.layer_norm2(hidden))
    features: Tensor = encoder.neck(hidden)
    return features


def _in_windows(attention: Any, cells: Tensor, side: int) -> Tensor:
    batch, height, width, channels = cells.shape
    padded = F.pad(cells, (0, 0, 0, -width % side, 0, -height % side))
    down, across = padded.shape[1] // side, padded.shape[2] // side
    windows = padded.view(batch, down, side, across, side, channels).permute(0, 1, 3, 2, 4, 5)
    found = _attention(attention, windows.reshape(-1, side, side, channels))
    found = found.view(batch, down, across, side, side, channels).permute(0, 1, 3, 2, 4, 5)
    return found.reshape(batch, down * side, across * side, channels)[:, :height, :width]


def _attention(attention: Any, cells: Tensor) -> Tensor:
    batch, height, width, channels = cells.shape
    heads = attention.num_attention_heads
    projected = attention.qkv(cells).reshape(batch, height * width, 3, heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = projected.reshape(3, batch * heads, height * width, -1).unbind(0)
    weights = (query * attention.scale) @ key.transpose(-2, -1)
    lines = query.reshape(batch * heads, height, width, -1)
    along_rows = torch.einsum("bhwc,hkc->bhwk", lines, _positions(attention.rel_pos_h, height))
    along_columns = torch.einsum("bhwc,wkc->bhwk", lines, _positions(attention.rel_pos_w, width))
    weights = weights.view(-1, height, width, height, width)
    weights = (weights + along_rows[..., None] + along_columns[..., None, :]).view(-1, height * width, height * width)
    found = (weights.softmax(dim=-1) @ value).view(batch, heads, height, width, -1)
    projection: Tensor = attention.proj(found.permute(0, 2, 3, 1, 4).reshape(batch, height, width, channels))
    return projection


def _positions(table: Tensor, size: int) -> Tensor:
    """(2 size - 1, c) by distance to (size, size, c) by place of the query and the key."""
    return table[torch.arange(size)[:, None] - torch.arange(size) + size - 1]
