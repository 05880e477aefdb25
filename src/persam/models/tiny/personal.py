"""The personal pass, as PerSAM runs it: target embedding, confidence map, location prior, guided decoding, cascade.

Everything is batched over directed pairs (reference view, test view) and lets gradients through to the features; the
trainer and the validation share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from persam.models.guidance import Guidance, guided, install

from .architecture import TinyConfig, TinySam
from .prompts import boxes_of

CELL = TinyConfig.stride


@dataclass(frozen=True, eq=False)
class Decoded:
    """Mask logits (B, K, S/2, S/2) and predicted IoUs (B, K) of one decoder pass."""

    logits: Tensor
    iou: Tensor

    def best(self) -> Tensor:
        """Logits of the output with the best predicted IoU, without gradient, (B, 1, S/2, S/2)."""
        chosen = self.iou.detach().argmax(1)
        items = torch.arange(len(chosen), device=chosen.device)
        return self.logits.detach()[items, chosen][:, None].float()


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts of one decoder pass; what is None is not given.

    Attributes:
        points: (B, 1, K, 2) pixels; labels: (B, 1, K), 1 object, 0 background, -1 no point.
        boxes: (B, 1, 4) pixels.
        masks: logits or z-scored confidence map, (B, 1, S/2, S/2); used_masks: boolean (B,), where it is given.
        semantic: target embedding (B, 1, 1, C), zero where it is not given.
        attention: z-scored confidence map (B, 1, 1, h*w), zero where it is not given; added before the softmax.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None
    used_masks: Tensor | None = None
    semantic: Tensor | None = None
    attention: Tensor | None = None


def decode(model: TinySam, features: Tensor, prompts: Prompts, multimask: bool = True) -> Decoded:
    """One decoder pass with one set of prompts an image: features (B, C, h, w)."""
    sparse, dense = model.prompt_encoder(
        input_points=prompts.points,
        input_labels=prompts.labels,
        input_boxes=prompts.boxes,
        input_masks=prompts.masks,
    )
    dense = dense.expand(len(features), -1, -1, -1)
    if prompts.masks is not None and prompts.used_masks is not None:
        absent = model.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        dense = torch.where(prompts.used_masks.view(-1, 1, 1, 1), dense, absent)
    positions = model.get_image_wide_positional_embeddings().expand(len(features), -1, -1, -1)
    guidance = None
    if prompts.semantic is not None or prompts.attention is not None:
        guidance = Guidance(attention=prompts.attention, where="before", semantic=prompts.semantic)
    with guided_with_gradient(model.mask_decoder, guidance, features.dtype) as arguments:
        logits, iou = model.mask_decoder(
            image_embeddings=features,
            image_positional_embeddings=positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            **arguments,
        )
    return Decoded(logits[:, 0], iou[:, 0])


@contextmanager
def guided_with_gradient(decoder: nn.Module, guidance: Guidance | None, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    """`guidance.guided` for training: the same numbers without transformers' in-place addition, which autograd refuses.

    transformers adds the target embedding in place to the queries of every block; before the first block these are
    also the point embeddings that every later step adds as positions, so those get it too.
    """
    install(decoder)
    with guided(guidance, dtype) as arguments:
        target = arguments.pop("target_embedding")
        if target is None:
            yield arguments
            return

        def to_points(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return args, {**kwargs, "point_embeddings": kwargs["point_embeddings"] + target}

        def to_queries(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return args, {**kwargs, "queries": kwargs["queries"] + target}

        transformer: Any = decoder.transformer
        hooks = [transformer.register_forward_pre_hook(to_points, with_kwargs=True)]
        hooks += [layer.register_forward_pre_hook(to_queries, with_kwargs=True) for layer in transformer.layers[1:]]
        try:
            yield arguments
        finally:
            for hook in hooks:
                hook.remove()


def cell_coverage(mask: Tensor) -> Tensor:
    """Share of every cell that a boolean mask (B, S, S) covers, (B, h, w)."""
    return F.avg_pool2d(mask[:, None].float(), CELL)[:, 0]


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


def box_prompts(decoded: Decoded) -> Tensor:
    """Tight boxes (B, 1, 4), in pixels, of the best masks of a pass."""
    return boxes_of(decoded.best()[:, 0] > 0, CELL / 4)
