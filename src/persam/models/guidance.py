"""Guidance inside a SAM-style mask decoder: target-guided attention and target-semantic prompting.

Works on every decoder of transformers that is built like SAM's (SAM, SAM-HQ, SAM 2, EdgeTAM, SAM 3's tracker):
a two-way transformer whose blocks hand ``attention_similarity`` to their token-to-image attention, and a
``final_attn_token_to_image``.  transformers takes both arguments, but adds the similarity before the softmax and
leaves out the semantic prompt before the final attention; here both go where each mode wants them, without a fork.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

ATTENTION_NAME = "persam_guided"


@dataclass(frozen=True)
class Guidance:
    """What steers one decoder pass towards the target; either part may be None.

    Attributes:
        attention: similarity of every image cell to the target, shape (1 or B, 1, 1, h*w), on the padded grid of the
            image embedding (row by row). Its scale is the mode's business.
        where: ``"after"`` adds it to the attention *weights* and applies a second softmax (paper Eq. 8 and the
            published code); ``"before"`` adds it to the attention logits, so that one softmax weighs both.
        semantic: the target embedding T, shape (C,) or (B, 1, 1, C), added to every token (paper Eq. 9-10).
    """

    attention: Tensor | None = None
    where: Literal["before", "after"] = "after"
    semantic: Tensor | None = None


@dataclass(frozen=True)
class _AttentionBias:
    """Travels through transformers' decoder in the place of ``attention_similarity``, down to `guided_attention`."""

    similarity: Tensor
    where: Literal["before", "after"]


def guided_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: _AttentionBias | Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention for transformers' `AttentionInterface`: plain SDPA, unless a bias says how to steer it.

    Shapes: query (B, heads, tokens, c), key and value (B, heads, cells, c); returns (B, tokens, heads, c).
    """
    if not isinstance(attention_mask, _AttentionBias):
        out = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=scaling)
        return out.transpose(1, 2).contiguous(), None
    similarity = attention_mask.similarity.to(query.dtype)
    logits = query @ key.transpose(-2, -1) * scaling
    if attention_mask.where == "before":
        weights = (logits + similarity).softmax(dim=-1)
    else:
        weights = (logits.softmax(dim=-1) + similarity).softmax(dim=-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


AttentionInterface.register(ATTENTION_NAME, guided_attention)

_semantic: ContextVar[Tensor | None] = ContextVar("persam_semantic_prompt", default=None)


def _add_semantic_to_final_query(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    target = _semantic.get()
    if target is None:
        return None
    return args, {**kwargs, "query": kwargs["query"] + target}


def install(mask_decoder: nn.Module) -> None:
    """Prepare a transformers mask decoder for guidance. Without guidance it computes what it did before."""
    if getattr(mask_decoder, "_persam_guidance", False):
        return
    decoder: Any = mask_decoder
    decoder.config._attn_implementation = ATTENTION_NAME
    decoder.transformer.final_attn_token_to_image.register_forward_pre_hook(
        _add_semantic_to_final_query, with_kwargs=True
    )
    decoder._persam_guidance = True


@contextmanager
def guided(guidance: Guidance | None, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    """Give the decoder's keyword arguments for this guidance, and the final attention its semantic prompt.

    Safe with threads: the semantic prompt travels in a context variable, not on the module.
    """
    arguments: dict[str, Any] = {"attention_similarity": None, "target_embedding": None}
    semantic = None
    if guidance is not None and guidance.attention is not None:
        arguments["attention_similarity"] = _AttentionBias(guidance.attention, guidance.where)
    if guidance is not None and guidance.semantic is not None:
        semantic = guidance.semantic.to(dtype)
        if semantic.ndim == 1:
            semantic = semantic[None, None, None]
        arguments["target_embedding"] = semantic
    token = _semantic.set(semantic)
    try:
        yield arguments
    finally:
        _semantic.reset(token)
