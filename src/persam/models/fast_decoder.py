"""SAM's mask decoder as quick as a CPU can run it: the same weights, the same function, sums in another order.

Few tokens (7 for a point, 8 with a box) look at many cells (64 x 64), and the cells at them.  The published code
projects every cell to keys, values and queries, for every concept and every pass, which is most of its time.  Instead,
with y_c the cells, x_t the tokens that are projected already, head by head:

    x_t . (W y_c + b)             =  (W' x_t) . y_c  +  b . x_t           W y_c + b: keys, or the image's queries
    sum_c w_tc (W y_c + b)        =  W (sum_c w_tc y_c)  +  b             values; a token's weights add up to 1
    W_o (sum_t w_ct x_t)  +  b_o  =  sum_t w_ct (W_o x_t)  +  b_o         what the image is told

So the tokens are taken to the cells, once for every head, and no cell is projected.  That costs `heads x tokens x
channels` products a cell each time instead of `inner x channels`: with more tokens than a head has channels it would be
slower, and the transformer goes its own way.  What a photo's cells have in common for all its concepts and passes is
kept (`decoder_photo`).

The other half of the time went into memory: sums, norms and sorting of 4 MB at a time.  Here the cells lie one after
the other from the first layer to the last mask, and all that becomes of some hundred of them is made while they are in
the cache.  The two transposed convolutions that draw the masks have steps of their own size, so each is a matrix
product that makes 2 x 2 pixels of one.

Guidance weighs the same logits as everywhere (`models/sam.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from persam.models.base import Guidance
from persam.models.decoder_cells import Linear, OwnCells, heads_of, out_of, projected_by, tiles
from persam.models.decoder_photo import PhotoCells, ToldCells, rows_of
from persam.models.fast_vit import compute_by
from persam.models.sam import current_guidance, steered, with_semantic

# By name, as in `fast_vit`: those whose masks are drawn from cells and tokens alone.
_DECODERS = {"SamMaskDecoder", "MaskDecoder"}
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
        compute_by(network.prompt_encoder.mask_embed, _mark)


@contextmanager
def as_published() -> Iterator[None]:
    """Decoders go their own way until the block ends, in this thread alone: to compare with."""
    token = _published.set(True)
    try:
        yield
    finally:
        _published.reset(token)


def _mark(embedding: Any, masks: Tensor) -> Tensor:
    """What mask prompts (N, 1, 4 h, 4 w) add to the image, (N, C, h, w); it remembers the channels it was made of.

    Norms over so few channels are slow where these lie beside one another: here they lie one after the other.
    """
    if _goes_its_own_way(embedding, masks):
        own: Tensor = embedding.published_forward(masks)
        return own
    channels = masks
    for conv, norm in ((embedding.conv1, embedding.layer_norm1), (embedding.conv2, embedding.layer_norm2)):
        pixels = F.pixel_unshuffle(channels, 2)  # 2 x 2 as channels of one: the convolution's step is its own size
        weight, bias = conv.weight.flatten(1), conv.bias[:, None]
        centred = (weight - weight.mean(0)) @ pixels.flatten(2) + (bias - bias.mean())
        centred *= (centred.square().mean(1, keepdim=True) + norm.eps).rsqrt()
        made = F.gelu(centred * norm.weight[:, None] + norm.bias[:, None])
        channels = made.unflatten(2, pixels.shape[2:])
    layer = embedding.conv3
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
    return tokens * heads_of(attention) > int(attention.q_proj.out_features)


# ----------------------------------------------------------------------------------------- the two-way transformer


def _two_way(
    transformer: Any,
    point_embeddings: Tensor,
    image_embeddings: Tensor,
    image_positional_embeddings: Tensor,
    attention_similarity: Guidance | Tensor | None = None,
    prompted: ToldCells | None = None,
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
    cells: OwnCells | ToldCells = prompted or OwnCells.of(image_embeddings, image_positional_embeddings)
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
    seen = _look(transformer.final_attn_token_to_image, with_semantic(tokens + point_embeddings), cells, None)
    tokens = transformer.layer_norm_final_attn(tokens + seen)
    return tokens, cells if isinstance(cells, ToldCells) else cells.cells[:, None]


def _by_head(attention: Any, projected: Tensor) -> Tensor:
    """Projected tokens (B, P, n, heads d) -> (N, heads, n, d), N = B x P."""
    return projected.flatten(0, 1).unflatten(-1, (heads_of(attention), -1)).transpose(1, 2)


def _found(answer: Any) -> Tensor:
    """What an attention found; those of transformers also return its weights."""
    found: Tensor = answer if isinstance(answer, Tensor) else answer[0]
    return found


def _look(attention: Any, asking: Tensor, cells: OwnCells | ToldCells, guidance: Guidance | None) -> Tensor:
    """What tokens see in the image, by an attention from them to it: (B, P, n, C) to the same."""
    asked = _by_head(attention, attention.q_proj(asking)) * attention.scaling
    found = cells.sums(steered(cells.logits(asked, attention.k_proj), guidance), attention.v_proj)
    return out_of(attention)(found.transpose(1, 2).reshape(*asking.shape[:3], -1))


def _tell(layer: Any, asked: Tensor, telling: Tensor, cells: OwnCells | ToldCells) -> OwnCells | ToldCells:
    """The last step of a layer: the image is found by tokens, and told something, (B, P, n, C) each."""
    attention = layer.cross_attn_image_to_token
    logits = cells.logits(_by_head(attention, attention.k_proj(asked)) * attention.scaling, attention.q_proj)
    return cells.told(logits, _by_head(attention, attention.v_proj(telling)), layer)


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
    once, twice = _halves(decoder.upscale_conv1), _halves(decoder.upscale_conv2)
    if not _is_slower(decoder.transformer, tokens.shape[2]):
        known = _prompted(decoder, image, places, dense_prompt_embeddings, tokens, once)
    if known is None:
        image, places = (each.repeat_interleave(prompts, 0) for each in (image + dense_prompt_embeddings, places))
    tokens, cells = decoder.transformer(
        point_embeddings=tokens, image_embeddings=image, image_positional_embeddings=places, prompted=known
    )
    chosen = slice(1, None) if multimask_output else slice(0, 1)
    heads = list(enumerate(decoder.output_hypernetworks_mlps, start=1))[chosen]
    kernels = torch.stack([head(tokens[:, :, number]) for number, head in heads], 2)  # (B, P, M, c)
    rows, columns = image.shape[-2:]
    logits = tokens.new_empty(batch * prompts, len(heads), 4 * rows, 4 * columns)
    for number, (kernel, masks) in enumerate(zip(kernels.flatten(0, 1), logits, strict=True)):
        if isinstance(cells, ToldCells):
            projected = cells.projected(number, once)
        else:
            projected = projected_by(once, cells.flatten(0, 1)[number])
        _draw(decoder, projected, twice, kernel, masks)
    return logits.unflatten(0, (batch, prompts)), decoder.iou_prediction_head(tokens[:, :, 0])[:, :, chosen]


def _prompted(
    decoder: Any, features: Tensor, places: Tensor, added: Tensor, tokens: Tensor, drawing: Sequence[Linear]
) -> ToldCells | None:
    """The cells of prompts of one photo; None where the prompts have a photo each, or add something that is not known.

    Args:
        decoder: of masks.
        features: (B, C, h, w).
        places: positions of the cells, (B, C, h, w).
        added: by the mask prompts, (B or 1, C, h, w).
        tokens: (B, P, n, C); N = B x P prompts.
        drawing: the first layers that the masks are drawn with.
    """
    count, heads = tokens.shape[0] * tokens.shape[1], heads_of(decoder.transformer.final_attn_token_to_image)
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
    photo, told = PhotoCells.of(decoder, features[:1], places[:1]), heads * (tokens.shape[2] - 1)
    _, rows = rows_of(mask.shape[1], len(decoder.transformer.layers), told)
    stages = photo.stages_for(count, rows, decoder, drawing)
    return ToldCells.of(photo, stages, mask, through, constant, told)


def _is_watched(decoder: Any) -> bool:
    """Whether someone takes what the parts give, as `models/graphs.py` does: maps, channel by channel."""
    parts = (decoder.upscale_conv1, decoder.upscale_layer_norm, decoder.upscale_conv2, decoder.activation)
    return any(part._forward_hooks or part._forward_pre_hooks for part in parts)


def _draw(
    decoder: Any,
    projected: Sequence[Callable[[slice], Tensor]],
    doubling: Sequence[Linear],
    kernels: Tensor,
    masks: Tensor,
) -> None:
    """Masks of one prompt, (M, 4 rows, 4 columns), written.

    Args:
        decoder: of masks.
        projected: gives the upper, and the lower, two pixels of some cells (t, 2 c').
        doubling: the layers that make of each of those its upper, and its lower, two.
        kernels: one for each mask, (M, c).
        masks: written.
    """
    first, second, norm = decoder.upscale_conv1, decoder.upscale_conv2, decoder.upscale_layer_norm
    columns = masks.shape[2] // 4
    for tile in tiles(masks.shape[1] // 4 * columns, 2 * first.out_channels, columns):  # rows of cells
        lines = slice(4 * tile.start // columns, 4 * tile.stop // columns)
        for row, once in enumerate(projected):
            pair = once(tile).view(-1, first.out_channels)  # side by side, of every cell
            pair = F.gelu(F.layer_norm(pair, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
            for line, twice in enumerate(doubling):
                four = F.gelu(F.linear(pair, *twice).view(-1, second.out_channels))
                drawn = (kernels @ four.T).view(len(masks), -1, 4 * columns)
                masks[:, lines][:, 2 * row + line :: 4] = drawn


def _halves(conv: nn.ConvTranspose2d) -> tuple[Linear, Linear]:
    """The linear layers that make the upper, and the lower, two pixels of one: (2 c, C) and (2 c,) each."""
    assert conv.bias is not None
    upper, lower = (each.permute(2, 1, 0).flatten(0, 1) for each in conv.weight.unbind(2))
    return (upper, conv.bias.repeat(2)), (lower, conv.bias.repeat(2))
