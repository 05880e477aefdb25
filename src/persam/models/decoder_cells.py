"""The cells of an image as SAM's mask decoder looks at them, without projecting them: for `fast_decoder`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE = 2**17  # numbers of cells at a time and thread, 0.5 MB: they stay in the cache of a core
Linear = tuple[Tensor, Tensor]  # weight and bias


def heads_of(attention: Any) -> int:
    """How many an attention has; the bundled model calls them another way than transformers."""
    return int(attention.heads if hasattr(attention, "heads") else attention.num_attention_heads)


def out_of(attention: Any) -> nn.Linear:
    """W_o; the published name, and SAM 2's."""
    layer: nn.Linear = attention.out_proj if hasattr(attention, "out_proj") else attention.o_proj
    return layer


def tiles(cells: int, numbers: int, multiple: int = 1) -> list[slice]:
    """Slices of so many cells, each of a multiple of some; `numbers` is how many floats are made of one cell."""
    step = multiple * max(1, TILE * torch.get_num_threads() // (numbers * multiple))
    return [slice(start, min(start + step, cells)) for start in range(0, cells, step)]


def weights_by_head(layer: nn.Linear, heads: int) -> Tensor:
    """The weights of a layer that projects to heads, (h, d, C)."""
    return layer.weight.view(heads, -1, layer.in_features)


def columns_of(attention: Any) -> Tensor:
    """W_o, by which every head tells what it has, (h, d, C)."""
    return out_of(attention).weight.unflatten(1, (heads_of(attention), -1)).permute(1, 2, 0)


# ------------------------------------------------------------------------------------------- cells of a prompt's own


@dataclass(frozen=True)
class OwnCells:
    """The cells of N prompts as a layer takes them.

    Attributes:
        cells: (N, m, C); changed in place when they are told something.
        placed: the same with their positions, by which they are found, (N, m, C); likewise.
        places: the positions, (N or 1, m, C).
    """

    cells: Tensor
    placed: Tensor
    places: Tensor

    @classmethod
    def of(cls, image: Tensor, positions: Tensor) -> OwnCells:
        """Of maps (N, C, h, w) and (N or 1, C, h, w)."""
        cells, places = (each.flatten(2).transpose(1, 2) for each in (image, positions))
        return cls(cells.clone(memory_format=torch.contiguous_format), cells + places, places)

    def logits(self, asking: Tensor, layer: nn.Linear) -> Tensor:
        """Products of tokens with the cells at their positions that a layer projects: (N, h, n, d) -> (N, h, n, m)."""
        heads = asking.shape[1]
        constant = (asking @ layer.bias.view(heads, -1, 1)).flatten(1, 2)
        asked = (asking @ weights_by_head(layer, heads)).flatten(1, 2)  # (N, h n, C)
        logits = asking.new_empty(*asking.shape[:3], self.cells.shape[1])
        for number, (one, own, placed) in enumerate(zip(asked, constant, self.placed, strict=True)):
            torch.addmm(own, one, placed.T, out=logits[number].flatten(0, 1))
        return logits

    def sums(self, weights: Tensor, layer: nn.Linear) -> Tensor:
        """Weighted sums of the cells that a layer projects: (N, h, n, m) -> (N, h, n, d)."""
        heads = weights.shape[1:3]
        seen = torch.stack([one @ cells for one, cells in zip(weights.flatten(1, 2), self.cells, strict=True)])
        through = weights_by_head(layer, heads[0]).transpose(1, 2)
        return seen.unflatten(1, heads) @ through + layer.bias.view(heads[0], 1, -1)

    def told(self, logits: Tensor, values: Tensor, layer: Any) -> OwnCells:
        """What a layer's tokens tell the cells is added to them, and the sums are normalised.

        Args:
            logits: of the tokens for every cell, (N, h, n, m); may be changed.
            values: what each token has to tell, (N, h, n, d).
            layer: of the transformer.
        """
        return self.filled(lambda number, tile: self.cells[number, tile], logits, values, layer)

    def filled(self, before: Callable[[int, slice], Tensor], logits: Tensor, values: Tensor, layer: Any) -> OwnCells:
        """The same for cells that are to be had from elsewhere: some (t, C) of a prompt, which may be changed."""
        attention, norm, weights = layer.cross_attn_image_to_token, layer.layer_norm4, logits.softmax(2)
        told = values @ columns_of(attention)
        # as the weights of a cell add up to 1, in the first head as in every other
        told[:, 0] += out_of(attention).bias
        places = self.places.expand_as(self.cells)
        for number, (weight, tell) in enumerate(zip(weights.flatten(1, 2), told.flatten(1, 2), strict=True)):
            for tile in tiles(weights.shape[3], told.shape[3]):
                new = before(number, tile).addmm_(weight[:, tile].T, tell)
                new = F.layer_norm(new, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
                self.cells[number, tile] = new
                torch.add(new, places[number, tile], out=self.placed[number, tile])
        return self


def projected_by(layers: Sequence[Linear], cells: Tensor) -> list[Callable[[slice], Tensor]]:
    """For each layer what gives some of the cells (m, C) as it projects them, (t, c)."""

    def some(layer: Linear, tile: slice) -> Tensor:
        return F.linear(cells[tile], *layer)

    return [partial(some, layer) for layer in layers]
