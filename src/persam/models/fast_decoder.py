"""SAM's mask decoder as quick as a CPU can run it: the same weights, the same function, sums in another order.

Few tokens (7 for a point, 8 with a box) look at many cells (64 x 64), and the cells at them.  The published code
projects every cell to keys, values and queries, for every concept and every pass, which is most of its time.  Instead,
with y_c the cells, x_t the tokens that are projected already, head by head:

    x_t . (W y_c + b)             =  (W' x_t) . y_c  +  b . x_t           W y_c + b: keys, or the image's queries
    sum_c w_tc (W y_c + b)        =  W (sum_c w_tc y_c)  +  b             values; a token's weights add up to 1
    W_o (sum_t w_ct x_t)  +  b_o  =  sum_t w_ct (W_o x_t)  +  b_o         what the image is told

So the tokens are taken to the cells, once for every head, and no cell is projected.  That costs `heads x tokens x
channels` products a cell each time instead of `inner x channels`: with more tokens than a head has channels it would be
slower, and the transformer goes its own way.

In the first layer y_c = p_c + W_m m_c + b_m: the photo, and what a mask prompt adds, which is 16 channels through a
matrix (without one, it is the same for all cells).  There the photo is projected, once for all its concepts and passes:

    x_t . (W y_c + b)       =  x_t . (W p_c)  +  ((W W_m)' x_t) . m_c  +  (W b_m + b) . x_t
    sum_c w_tc (W y_c + b)  =  sum_c w_tc (W p_c)  +  W W_m (sum_c w_tc m_c)  +  W b_m + b

The other half of the time went into memory: sums, norms and sorting of 4 MB at a time.  Here the cells lie one after
the other from the first layer to the last mask, and all that becomes of some hundred of them is made while they are in
the cache.  The two transposed convolutions that draw the masks have steps of their own size, so each is a matrix
product that makes 2 x 2 pixels of one.

Guidance weighs the same logits as everywhere (`models/sam.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from persam.models.base import Guidance
from persam.models.fast_vit import compute_by
from persam.models.sam import current_guidance, steered, with_semantic

# By name, as in `fast_vit`: those whose masks are drawn from cells and tokens alone.
_DECODERS = {"SamMaskDecoder", "MaskDecoder"}
_TILE = 2**17  # numbers of cells at a time, 0.5 MB: they and what becomes of them stay in the cache of a core
_ADDED_BY = "_persam_added_by"  # of the features of a mask prompt: the channels and the layer that they came from

_published: ContextVar[bool] = ContextVar("persam_published_decoder", default=False)


def quicken_decoder(network: Any) -> None:
    """Let the frozen mask decoder of a promptable network compute quickly on the CPU; its parameters keep their names.

    Training, exporting, compiling and `torch.autocast` go the network's own way.

    Args:
        network: of transformers, or the bundled model, prepared for guidance. Of one whose decoder has further parts
            (SAM-HQ, SAM 2) only the transformer gets quicker.
    """
    decoder = network.mask_decoder
    compute_by(decoder.transformer, _two_way)
    if type(decoder).__name__ in _DECODERS:
        compute_by(decoder, _decode)
        compute_by(network.prompt_encoder.mask_embed.conv3, _add)


@contextmanager
def as_published() -> Iterator[None]:
    """Decoders go their own way until the block ends, in this thread alone: to compare with."""
    token = _published.set(True)
    try:
        yield
    finally:
        _published.reset(token)


def _add(layer: Any, channels: Tensor) -> Tensor:
    """What a mask prompt adds to the image, (N, r, h, w) -> (N, C, h, w); it remembers what it was made of."""
    if _goes_its_own_way(layer, channels):
        own: Tensor = layer.published_forward(channels)
        return own
    added = F.linear(channels.permute(0, 2, 3, 1), layer.weight[:, :, 0, 0], layer.bias).permute(0, 3, 1, 2)
    setattr(added, _ADDED_BY, (channels, layer))
    return added


def _goes_its_own_way(module: nn.Module, *tensors: Tensor | None) -> bool:
    """Whether a module has to compute as its class does: someone learns, records it or mixes number formats."""
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
    if module.training or recorded or _published.get() or torch.is_autocast_enabled("cpu"):
        return True
    if any(each is not None and not each.numel() for each in tensors):  # no prompts
        return True
    if not torch.is_grad_enabled():
        return False
    steering = current_guidance() or Guidance()
    given = (*tensors, steering.attention, steering.semantic, *module.parameters())
    return any(each.requires_grad for each in given if each is not None)


def _is_slower(transformer: Any, tokens: int) -> bool:
    attention = transformer.final_attn_token_to_image
    return tokens * _heads(attention) > int(attention.q_proj.out_features)


# ------------------------------------------------------------------------- attention between few tokens and many cells


def _heads(attention: Any) -> int:
    """How many an attention has; the bundled model calls them another way than transformers."""
    return int(attention.heads if hasattr(attention, "heads") else attention.num_attention_heads)


def _out(attention: Any) -> nn.Linear:
    """W_o; the published name, and SAM 2's."""
    layer: nn.Linear = attention.out_proj if hasattr(attention, "out_proj") else attention.o_proj
    return layer


def _by_head(attention: Any, projected: Tensor) -> Tensor:
    """Projected tokens (B, P, n, heads d) -> (N, heads, n, d), N = B x P."""
    return projected.flatten(0, 1).unflatten(-1, (_heads(attention), -1)).transpose(1, 2)


@dataclass(frozen=True)
class _Cells:
    """The cells of N prompts as a layer takes them.

    Attributes:
        cells: (N, m, C); changed in place when they are renewed.
        placed: the same with their positions, by which they are found, (N, m, C); likewise.
        places: the positions, (N or 1, m, C).
    """

    cells: Tensor
    placed: Tensor
    places: Tensor

    def logits(self, asking: Tensor, layer: nn.Linear) -> Tensor:
        """Products of tokens with the cells at their positions that a layer projects: (N, h, n, d) -> (N, h, n, m)."""
        heads = asking.shape[1]
        constant = (asking @ layer.bias.view(heads, -1, 1)).flatten(1, 2)
        asked = (asking @ layer.weight.view(heads, -1, layer.in_features)).flatten(1, 2)  # (N, h n, C)
        logits = asking.new_empty(*asking.shape[:3], self.cells.shape[1])
        for number, (one, own, placed) in enumerate(zip(asked, constant, self.placed, strict=True)):
            torch.addmm(own, one, placed.T, out=logits[number].flatten(0, 1))
        return logits

    def sums(self, weights: Tensor, layer: nn.Linear) -> Tensor:
        """Weighted sums of the cells that a layer projects: (N, h, n, m) -> (N, h, n, d)."""
        heads = weights.shape[1:3]
        seen = torch.stack([one @ cells for one, cells in zip(weights.flatten(1, 2), self.cells, strict=True)])
        by_head = layer.weight.view(heads[0], -1, layer.in_features).transpose(1, 2)
        return seen.unflatten(1, heads) @ by_head + layer.bias.view(heads[0], 1, -1)

    def renewed(self, weights: Tensor, told: Tensor, norm: nn.LayerNorm) -> _Cells:
        """What the cells are told is added to them, and the sums normalised.

        Args:
            weights: of what is told, (N, h, n, m); those of a cell and a head add up to 1.
            told: (N, h, n, C).
            norm: of the sums.
        """
        return self.filled(lambda number, tile: self.cells[number, tile], weights, told, norm)

    def filled(
        self, before: Callable[[int, slice], Tensor], weights: Tensor, told: Tensor, norm: nn.LayerNorm
    ) -> _Cells:
        """The same for cells that are to be had from elsewhere: some (t, C) of a prompt, which may be changed."""
        step = max(1, _TILE // told.shape[3])
        places = self.places.expand_as(self.cells)
        for number, (weight, tell) in enumerate(zip(weights.flatten(1, 2), told.flatten(1, 2), strict=True)):
            for tile in (slice(start, start + step) for start in range(0, weights.shape[3], step)):
                new = before(number, tile).addmm_(weight[:, tile].T, tell)
                new = F.layer_norm(new, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
                self.cells[number, tile] = new
                torch.add(new, places[number, tile], out=self.placed[number, tile])
        return self


@dataclass(frozen=True)
class _Photo:
    """A photo as the first layer takes it, for all its concepts and passes.

    Attributes:
        features: of which it was made, (1, C, h, w).
        cells: the same cell by cell, (m, C).
        places: positions of the cells, (m, C).
        projected: by the layers that project cells, each (h, d, m).
    """

    features: Tensor
    cells: Tensor
    places: Tensor
    projected: dict[nn.Linear, Tensor]

    @classmethod
    def of(cls, decoder: Any, features: Tensor, places: Tensor) -> _Photo:
        """The one that this decoder saw last, if it is the same: concepts and passes of a photo follow one another."""
        first = decoder.transformer.layers[0]
        look, tell = first.cross_attn_token_to_image, first.cross_attn_image_to_token
        layers: tuple[nn.Linear, ...] = (look.k_proj, look.v_proj, tell.q_proj)
        state = [_state(each) for each in (features, places, *(layer.weight for layer in layers))]
        kept: tuple[Any, _Photo] | None = getattr(decoder, "_persam_photo", None)
        if kept is not None and kept[0] == state:
            return kept[1]
        cells, at = (each[0].flatten(1).T.contiguous() for each in (features, places))
        placed = cells + at
        projected = {
            layer: (layer.weight @ each.T).unflatten(0, (_heads(look), -1))
            for layer, each in zip(layers, (placed, cells, placed), strict=True)
        }
        photo = cls(features, cells, at, projected)
        # with its features: as long as they are there, no others lie in their place
        decoder._persam_photo = (state, photo)
        return photo


def _state(tensor: Tensor) -> tuple[int, torch.Size, int]:
    """What changes when a tensor is another one, or was written into.

    Two ways of writing leave no trace: into a tensor that was made under `torch.inference_mode`, as features are that
    `encode` gives there, and through `.data`.
    """
    return tensor.data_ptr(), tensor.shape, 0 if tensor.is_inference() else tensor._version


@dataclass(frozen=True)
class _Prompted:
    """The cells of N prompts as the first layer takes them: those of the photo, and what a mask prompt adds.

    Attributes:
        photo: of all prompts.
        mask: channels of the mask prompts, (N, r, m); r may be 0.
        through: matrix through which they are added, (C, r).
        constant: what else is added to every cell, (C,).
    """

    photo: _Photo
    mask: Tensor
    through: Tensor
    constant: Tensor

    def _added(self, layer: nn.Linear, heads: int) -> tuple[Tensor, Tensor]:
        """W W_m and W b_m + b, head by head, (h, d, r) and (h, d, 1)."""
        constant = F.linear(self.constant, layer.weight, layer.bias)
        return (layer.weight @ self.through).unflatten(0, (heads, -1)), constant.view(heads, -1, 1)

    def logits(self, asking: Tensor, layer: nn.Linear) -> Tensor:
        """As of `_Cells`."""
        through, constant = self._added(layer, asking.shape[1])
        own, asked = asking @ constant, (asking @ through).flatten(1, 2)
        logits = asking.new_empty(*asking.shape[:3], len(self.photo.cells))
        for number, (one, mask) in enumerate(zip(asked, self.mask, strict=True)):
            torch.baddbmm(own[number], asking[number], self.photo.projected[layer], out=logits[number])
            logits[number].flatten(0, 1).addmm_(one, mask)
        return logits

    def sums(self, weights: Tensor, layer: nn.Linear) -> Tensor:
        """As of `_Cells`."""
        through, constant = self._added(layer, weights.shape[1])
        values = self.photo.projected[layer].transpose(1, 2)
        seen = torch.stack([one @ values for one in weights])
        marked = [one @ mask.T for one, mask in zip(weights.flatten(1, 2), self.mask, strict=True)]  # (h n, r)
        marked = torch.stack(marked).unflatten(1, weights.shape[1:3])
        return seen + marked @ through.transpose(1, 2) + constant.transpose(1, 2)

    def renewed(self, weights: Tensor, told: Tensor, norm: nn.LayerNorm) -> _Cells:
        """As of `_Cells`, which each prompt has of its own from here on."""
        told[:, 0] += self.constant  # as the weights of a cell add up to 1, in the first head as in every other
        cells = told.new_empty(len(told), *self.photo.cells.shape)
        return _Cells(cells, torch.empty_like(cells), self.photo.places[None]).filled(self._at, weights, told, norm)

    def _at(self, number: int, tile: slice) -> Tensor:
        return torch.addmm(self.photo.cells[tile], self.mask[number, :, tile].T, self.through.T)


# ----------------------------------------------------------------------------------------- the two-way transformer


def _two_way(
    transformer: Any,
    point_embeddings: Tensor,
    image_embeddings: Tensor,
    image_positional_embeddings: Tensor,
    attention_similarity: Guidance | Tensor | None = None,
    prompted: _Prompted | None = None,
    **more: Any,
) -> Any:
    """Tokens (B, P, n, C) and maps (N, C, h, w), or what is known of them, to tokens and cells (N, 1, h w, C)."""
    given = (point_embeddings, image_embeddings, image_positional_embeddings)
    if prompted is None:
        is_other = isinstance(attention_similarity, Tensor) or any(each is not None for each in more.values())
        if is_other or _is_slower(transformer, point_embeddings.shape[2]) or _goes_its_own_way(transformer, *given):
            return transformer.published_forward(*given, attention_similarity, **more)
    guidance = attention_similarity if isinstance(attention_similarity, Guidance) else None
    tokens = point_embeddings
    cells: _Cells | _Prompted = prompted or _cells_of(image_embeddings, image_positional_embeddings)
    for number, layer in enumerate(transformer.layers):
        if number:
            tokens = with_semantic(tokens)
            asking = tokens + point_embeddings
            tokens = tokens + _found(layer.self_attn(asking, asking, tokens))
        else:
            tokens = _found(layer.self_attn(tokens, tokens, tokens))
        tokens = layer.layer_norm1(tokens)
        seen = _look(layer.cross_attn_token_to_image, tokens + point_embeddings, cells, guidance)
        tokens = layer.layer_norm2(tokens + seen)
        tokens = layer.layer_norm3(tokens + layer.mlp(tokens))
        cells = _tell(layer, tokens + point_embeddings, tokens, cells)
    assert isinstance(cells, _Cells)
    seen = _look(transformer.final_attn_token_to_image, with_semantic(tokens + point_embeddings), cells, None)
    return transformer.layer_norm_final_attn(tokens + seen), cells.cells[:, None]


def _cells_of(image: Tensor, positions: Tensor) -> _Cells:
    """Of maps (N, C, h, w) and (N or 1, C, h, w)."""
    cells, places = (each.flatten(2).transpose(1, 2) for each in (image, positions))
    return _Cells(cells.clone(memory_format=torch.contiguous_format), cells + places, places)


def _found(answer: Any) -> Tensor:
    """What an attention found; those of transformers also return its weights."""
    found: Tensor = answer if isinstance(answer, Tensor) else answer[0]
    return found


def _look(attention: Any, asking: Tensor, cells: _Cells | _Prompted, guidance: Guidance | None) -> Tensor:
    """What tokens see in the image, by an attention from them to it: (B, P, n, C) to the same."""
    asked = _by_head(attention, attention.q_proj(asking)) * attention.scaling
    found = cells.sums(steered(cells.logits(asked, attention.k_proj), guidance), attention.v_proj)
    return _out(attention)(found.transpose(1, 2).reshape(*asking.shape[:3], -1))


def _tell(layer: Any, asked: Tensor, telling: Tensor, cells: _Cells | _Prompted) -> _Cells:
    """The last step of a layer: the image is found by tokens, and told something, (B, P, n, C) each."""
    attention = layer.cross_attn_image_to_token
    out = _out(attention)
    weights = cells.logits(_by_head(attention, attention.k_proj(asked)) * attention.scaling, attention.q_proj)
    columns = out.weight.unflatten(1, (_heads(attention), -1)).permute(1, 2, 0)  # (h, d, C)
    told = _by_head(attention, attention.v_proj(telling)) @ columns
    told[:, 0] += out.bias  # as the weights of a cell add up to 1, in the first head as in every other
    return cells.renewed(weights.softmax(2), told, layer.layer_norm4)


# ------------------------------------------------------------------------------------------------ drawing the masks


def _decode(
    decoder: Any,
    image_embeddings: Tensor,
    image_positional_embeddings: Tensor,
    sparse_prompt_embeddings: Tensor | None,
    dense_prompt_embeddings: Tensor,
    multimask_output: bool,
    **more: Any,
) -> Any:
    """Arguments and results of the decoder's own forward: logits (B, P, M, 4h, 4w) and predicted IoU (B, P, M)."""
    given = (image_embeddings, image_positional_embeddings, sparse_prompt_embeddings, dense_prompt_embeddings)
    if more or _is_watched(decoder) or _goes_its_own_way(decoder, *given):
        return decoder.published_forward(*given, multimask_output, **more)
    batch, sparse = len(image_embeddings), sparse_prompt_embeddings
    prompts = 1 if sparse is None else sparse.shape[1]
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(batch, prompts, -1, -1)
    tokens = own if sparse is None else torch.cat([own, sparse], dim=2)
    image, places, known = image_embeddings, image_positional_embeddings, None
    if not _is_slower(decoder.transformer, tokens.shape[2]):
        known = _prompted(decoder, image, places, dense_prompt_embeddings, batch * prompts)
    if known is None:
        image, places = (each.repeat_interleave(prompts, 0) for each in (image + dense_prompt_embeddings, places))
    tokens, cells = decoder.transformer(
        point_embeddings=tokens, image_embeddings=image, image_positional_embeddings=places, prompted=known
    )
    chosen = slice(1, None) if multimask_output else slice(0, 1)
    heads = list(enumerate(decoder.output_hypernetworks_mlps, start=1))[chosen]
    kernels = torch.stack([head(tokens[:, :, number]) for number, head in heads], 2)  # (B, P, M, c)
    rows, columns = image.shape[-2:]
    logits = cells.new_empty(batch * prompts, len(heads), 4 * rows, 4 * columns)
    for one, kernel, masks in zip(cells.flatten(0, 1), kernels.flatten(0, 1), logits, strict=True):
        _draw(decoder, one, kernel, masks)
    return logits.unflatten(0, (batch, prompts)), decoder.iou_prediction_head(tokens[:, :, 0])[:, :, chosen]


def _prompted(decoder: Any, features: Tensor, places: Tensor, added: Tensor, count: int) -> _Prompted | None:
    """The cells of prompts of one photo; None where the prompts have a photo each, or add something that is not known.

    Args:
        decoder: of masks.
        features: (B, C, h, w).
        places: positions of the cells, (B, C, h, w).
        added: by the mask prompts, (B or 1, C, h, w).
        count: of prompts, N.
    """
    if len(features) > 1 and features.stride(0):
        return None
    cells = features.shape[2] * features.shape[3]
    if added.stride()[2:] == (0, 0) and (len(added) == 1 or not added.stride(0)):  # without a mask: all the same
        mask, through, constant = features.new_empty(count, 0, cells), features.new_empty(added.shape[1], 0), added[0]
        constant = constant[:, 0, 0]
    elif hasattr(added, _ADDED_BY):
        channels, layer = getattr(added, _ADDED_BY)
        if len(channels) != count:
            return None
        mask, through, constant = channels.flatten(2), layer.weight[:, :, 0, 0], layer.bias
    else:
        return None
    return _Prompted(_Photo.of(decoder, features[:1], places[:1]), mask, through, constant)


def _is_watched(decoder: Any) -> bool:
    """Whether someone takes what the parts give, as `models/graphs.py` does: maps, channel by channel."""
    parts = (decoder.upscale_conv1, decoder.upscale_layer_norm, decoder.upscale_conv2, decoder.activation)
    return any(part._forward_hooks or part._forward_pre_hooks for part in parts)


def _draw(decoder: Any, cells: Tensor, kernels: Tensor, masks: Tensor) -> None:
    """Masks of one prompt, (M, 4 rows, 4 columns), written: of cells (m, C) and a kernel for each of them, (M, c)."""
    first, second, norm = decoder.upscale_conv1, decoder.upscale_conv2, decoder.upscale_layer_norm
    once, twice = _as_matrix(first), _as_matrix(second)
    columns = masks.shape[2] // 4
    step = max(1, _TILE // (columns * cells.shape[1]))  # rows of cells
    for number, tile in enumerate(cells.split(step * columns)):
        fine = F.linear(tile, *once).view(-1, first.out_channels)  # 2 x 2 of every cell
        fine = F.gelu(F.layer_norm(fine, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
        fine = F.gelu(F.linear(fine, *twice).view(-1, second.out_channels))  # 4 x 4
        # mask, row, column, and its halves: upper and lower, left and right, of both doublings
        drawn = (kernels @ fine.T).view(len(masks), -1, columns, 2, 2, 2, 2)
        lines = masks[:, 4 * step * number : 4 * step * (number + 1)]
        lines.view(len(masks), -1, 2, 2, columns, 2, 2).copy_(drawn.permute(0, 1, 3, 5, 2, 4, 6))


def _as_matrix(conv: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the linear layer that makes 2 x 2 pixels of one, (4 c, C) and (4 c,), pixel by pixel."""
    assert conv.bias is not None
    return conv.weight.permute(2, 3, 1, 0).reshape(-1, conv.in_channels), conv.bias.repeat(4)
