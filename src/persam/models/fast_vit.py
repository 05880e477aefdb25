"""SAM's image encoder as quick as a CPU can run it: the same weights and arithmetic, without the detours of memory.

On a grid of 64 x 64 cells the published code writes, for each of the four layers that attend to everything, several
tensors of 12 x 4096 x 4096 numbers, 0.8 GB each: the similarities, those with the positions added along rows, along
columns, and the softmax.  That costs more time than all matrix products.  Here one tile is made at a time, small
enough for the processor's cache, in memory that is used again.

Windows of 14 x 14 do not divide that grid; the published code pads the cells with zeros, and the padding takes part as
keys and values.  Its projection is the bias of the layer, so it is filled in after the projection, which then runs over
the real cells alone.

In bf16 only the large matrix products are computed in it.  The stream of residuals, the norms and the convolutions stay
in float32: that costs no time, and the sums of twelve layers keep their digits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# By name, because importing a model's module of transformers only to compare takes a second.
_ENCODERS = {"SamVisionEncoder", "SamHQVisionEncoder"}
_TILE = 2**20  # similarities at a time: 4 MB in float32, what the cache of a core and its share of the common one hold
_GRAPH_TILE = 2**25  # in a graph for another engine, where each tile is nodes of its own


def quicken(encoder: nn.Module, dtype: torch.dtype) -> bool:
    """Let a frozen image encoder of SAM or SAM-HQ compute quickly on the CPU; its parameters keep their names.

    Only training goes the way of transformers; what is exported or compiled is the quick way, in larger tiles.

    Args:
        encoder: `vision_encoder` of a network of transformers, in float32; other networks are left as they are.
        dtype: of the large matrix products.

    Returns:
        Whether it is one of those.
    """
    if type(encoder).__name__ not in _ENCODERS or not all(_is_known(layer) for layer in _layers(encoder)):
        return False
    for layer in _layers(encoder):
        layer.attn.to(dtype)
        layer.mlp.to(dtype)
        compute_by(layer, _forward_layer)
    return True


def compute_by(module: Any, forward: Callable[..., Any]) -> None:
    """Let a module compute by another function from now on; as before it does by its `published_forward`.

    By another class, not by a method that the module holds: that would be a circle, and a model that nobody needs any
    more would stay in memory until Python looks for circles.
    """
    kind: Any = type(module)
    if getattr(kind, "quick_forward", None) is not forward:  # a copy has that class already
        module.__class__ = _computing_by(kind, forward)


@cache
def _computing_by(kind: Any, forward: Callable[..., Any]) -> type:
    """A class like another, of the same name, but for its `forward`."""
    own = {
        "forward": forward,
        "quick_forward": forward,  # transformers wraps that of some layers
        "published_forward": kind.forward,
        "__module__": kind.__module__,
        "__doc__": kind.__doc__,
    }
    return type(kind.__name__, (kind,), own)


def _layers(encoder: Any) -> list[Any]:
    return list(encoder.layers)


def _is_known(layer: Any) -> bool:
    return bool(layer.attn.use_rel_pos)


def _forward_layer(layer: Any, hidden: Tensor) -> Tensor:
    """One layer: (B, H, W, C) float32 to the same."""
    learns = torch.is_grad_enabled() and (hidden.requires_grad or layer.attn.qkv.weight.requires_grad)
    if learns or layer.training:
        return _as_in_transformers(layer, hidden)
    numbers = layer.attn.qkv.weight.dtype
    hidden = hidden.contiguous()  # the patches come channel by channel; sums would stay so, to be sorted by every norm
    attended = _attention(layer.attn, layer.layer_norm1(hidden).to(numbers), layer.window_size)
    hidden = hidden + attended
    return hidden.add_(layer.mlp(layer.layer_norm2(hidden).to(numbers)))


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]


def _as_in_transformers(layer: Any, hidden: Tensor) -> Tensor:
    """The same by the parts of transformers' own layer; its forward would not convert between the number formats."""
    numbers, side = layer.attn.qkv.weight.dtype, layer.window_size
    attended, padded = layer.layer_norm1(hidden).to(numbers), (0, 0)
    if side:
        attended, padded = layer.window_partition(attended, side)
    attended = layer.attn(attended)[0]
    if side:
        attended = layer.window_unpartition(attended, side, padded, hidden.shape[1:3])
    hidden = hidden + attended
    found: Tensor = hidden + layer.mlp(layer.layer_norm2(hidden).to(numbers))
    return found


def _attention(attention: Any, hidden: Tensor, side: int) -> Tensor:
    """Attention within windows of `side` cells, or, with 0, of all to all: (B, H, W, C) to the same."""
    batch, height, width, channels = hidden.shape
    rows, columns = (side, side) if side else (height, width)  # of a window
    down, across = -(-height // rows), -(-width // columns)  # windows
    heads = attention.num_attention_heads
    projected = _projected(attention.qkv, hidden, down * rows, across * columns)
    query, key, value = (
        projected.view(batch, down, rows, across, columns, 3, heads, channels // heads)
        .permute(5, 0, 1, 3, 6, 2, 4, 7)
        .contiguous()
        .view(3, -1, rows, columns, channels // heads)  # G = batch x windows x heads
    )
    by_row = torch.einsum("grwc,rkc->grwk", query, attention.get_rel_pos(rows, rows, attention.rel_pos_h))
    by_column = torch.einsum("grwc,wkc->grwk", query, attention.get_rel_pos(columns, columns, attention.rel_pos_w))
    found = _attend(query, key * attention.scale, value, by_row, by_column)
    found = found.view(batch, down, across, heads, rows, columns, -1).permute(0, 1, 4, 2, 5, 3, 6)
    found = found.reshape(batch, down * rows, across * columns, channels)[:, :height, :width]
    projection: Tensor = attention.proj(found.contiguous())
    return projection


def _projected(layer: Any, hidden: Tensor, height: int, width: int) -> Tensor:
    """Cells (B, h, w, C) projected, and around them what the layer makes of zeros, to (B, height, width, 3 C)."""
    _, rows, columns, _ = hidden.shape
    around = (0, 0, 0, width - columns, 0, height - rows)
    if layer.bias is None or (rows, columns) == (height, width):
        return F.pad(layer(hidden), around)
    if _is_traced():  # filling in would be scattered writes in a graph
        return F.pad(F.linear(hidden, layer.weight), around) + layer.bias
    projected = layer(hidden)
    padded = projected.new_empty(len(hidden), height, width, projected.shape[3])
    padded[:, :rows, :columns] = projected
    padded[:, :rows, columns:] = layer.bias
    padded[:, rows:] = layer.bias
    return padded


def _attend(query: Tensor, key: Tensor, value: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """``softmax(query key' + positions) value``, tile by tile.

    Args:
        query: (G, rows, columns, c), contiguous.
        key: the same; it holds the scale.
        value: the same.
        by_row: what a query cell adds for the row of the key cell, (G, rows, columns, rows).
        by_column: the same for its column, (G, rows, columns, columns).

    Returns:
        (G, rows, columns, c).
    """
    count, rows, columns, channels = query.shape
    cells = rows * columns
    positions_as_channels = rows + columns <= channels  # of small windows, whose short lines are slow to add
    if positions_as_channels:
        query = torch.cat([query, by_row, by_column], -1)
        key = torch.cat([key, _one_hot(rows, columns).to(key).expand(count, -1, -1, -1)], -1)
    keys, values = key.flatten(1, 2).transpose(1, 2), value.flatten(1, 2)
    positions = None if positions_as_channels else (by_row[:, :, :, :, None], by_column[:, :, :, None, :])
    if _is_traced():
        return _attend_in_graph(query, keys, values, positions).view(value.shape)
    groups = max(1, _TILE // cells**2)
    lines = min(rows, max(1, _TILE // (columns * cells)))
    found = torch.empty_like(value)
    memory = query.new_empty(2, min(groups, count) * lines * columns * cells)
    for group in (slice(start, start + groups) for start in range(0, count, groups)):
        for line in (slice(start, start + lines) for start in range(0, rows, lines)):
            queries, out = query[group, line].flatten(1, 2), found[group, line].flatten(1, 2)
            shape = (len(queries), queries.shape[1], cells)
            logits, weights = (each[: shape[0] * shape[1] * cells].view(shape) for each in memory)
            if positions is None:
                torch.bmm(queries, keys[group], out=logits)
            else:
                added = (each[group, line] for each in positions)
                torch.add(*added, out=logits.view(shape[0], -1, columns, rows, columns))
                logits.baddbmm_(queries, keys[group])
            torch.softmax(logits, -1, out=weights)
            torch.bmm(weights, values[group], out=out)
    return found


def _attend_in_graph(query: Tensor, keys: Tensor, values: Tensor, positions: tuple[Tensor, Tensor] | None) -> Tensor:
    """The same as nodes of a graph for another engine: some lines of cells at a time, (G, rows * columns, c)."""
    count, rows, columns, _ = query.shape
    lines = min(rows, max(1, _GRAPH_TILE // (count * columns * rows * columns)))
    found = []
    for line in (slice(start, start + lines) for start in range(0, rows, lines)):
        queries = query[:, line].flatten(1, 2)
        logits = queries @ keys
        if positions is not None:
            by_row, by_column = (each[:, line] for each in positions)
            logits = (logits.view(count, -1, columns, rows, columns) + by_row + by_column).view(logits.shape)
        found.append(logits.softmax(-1) @ values)
    return torch.cat(found, 1)


def _one_hot(rows: int, columns: int) -> Tensor:
    """The row and the column of every cell as ones among zeros, (rows, columns, rows + columns)."""
    row = torch.eye(rows)[:, None].expand(-1, columns, -1)
    column = torch.eye(columns)[None].expand(rows, -1, -1)
    return torch.cat([row, column], -1)
