"""Guidance inside a SAM-style mask decoder: target-guided attention and target-semantic prompting.

Works on every decoder of transformers that is built like SAM's (SAM, SAM-HQ, SAM 2, EdgeTAM, SAM 3's tracker):
a two-way transformer whose blocks hand ``attention_similarity`` to their token-to-image attention, and a
``final_attn_token_to_image``.  transformers has arguments for both, but adds the similarity before the softmax, leaves
out the semantic prompt before the final attention, and adds it in place, which autograd refuses; here both go where
each mode wants them, with gradients, without a fork.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

ATTENTION_NAME = "persam_guided"


@dataclass(frozen=True)
class Guidance:
    """What steers one decoder pass towards the target; either part may be None.

    Attributes:
        attention: similarity of every image cell to the target, shape (1 or P, 1, 1, h*w) for P prompts, on the padded
            grid of the image embedding (row by row). Its scale is the mode's business.
        where: ``"after"`` adds it to the attention *weights* and applies a second softmax (paper Eq. 8 and the
            published code); ``"before"`` adds it to the attention logits, so that one softmax weighs both. A bool
            tensor, true for "after", leaves it open until the pass runs: an exported decoder serves every mode.
        semantic: the target embedding T, shape (C,), or one for each of P prompts (P, 1, 1, C), added to every token
            (paper Eq. 9-10).
    """

    attention: Tensor | None = None
    where: Literal["before", "after"] | Tensor = "after"
    semantic: Tensor | None = None

    @classmethod
    def joined(cls, guidances: Sequence[Guidance]) -> Guidance:
        """That of several prompts, each of one prompt and all of one form, as one."""
        attention = [each.attention for each in guidances if each.attention is not None]
        semantic = [each.semantic.reshape(1, 1, 1, -1) for each in guidances if each.semantic is not None]
        return cls(
            torch.cat(attention) if attention else None,
            guidances[0].where,
            torch.cat(semantic) if semantic else None,
        )


def guided_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Guidance | Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention for transformers' `AttentionInterface`: plain SDPA, unless guidance says how to steer it.

    Shapes: query (B, heads, tokens, c), key and value (B, heads, cells, c); returns (B, tokens, heads, c).
    """
    if not isinstance(attention_mask, Guidance):
        out = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=scaling)
        return out.transpose(1, 2).contiguous(), None
    weights = steered(query @ key.transpose(-2, -1) * scaling, attention_mask)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def steered(logits: Tensor, guidance: Guidance | None) -> Tensor:
    """Weights of the cells from the logits of an attention, (B, heads, tokens, cells): their softmax, or as guided."""
    if guidance is None or guidance.attention is None:
        return logits.softmax(dim=-1)
    similarity, where = guidance.attention.to(logits.dtype), guidance.where
    if isinstance(where, Tensor):
        after = (logits.softmax(dim=-1) + similarity).softmax(dim=-1)
        return torch.where(where, after, (logits + similarity).softmax(dim=-1))
    if where == "before":
        return (logits + similarity).softmax(dim=-1)
    return (logits.softmax(dim=-1) + similarity).softmax(dim=-1)


# Of the pass that is running: a context variable, not an attribute of the module, so that threads do not mix theirs.
_current: ContextVar[Guidance | None] = ContextVar("persam_guidance", default=None)

PreHook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]] | None]


def _hand_on_attention(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Guidance travels through transformers' decoder in the place of the similarity, down to `guided_attention`."""
    guidance = _current.get()
    if guidance is None or guidance.attention is None:
        return None
    return args, {**kwargs, "attention_similarity": guidance}


def _add_semantic_to(argument: str) -> PreHook:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, argument: with_semantic(kwargs[argument])}

    return hook


def current_guidance() -> Guidance | None:
    """Of the pass that is running in this thread."""
    return _current.get()


def with_semantic(tokens: Tensor) -> Tensor:
    """Tokens (photos, prompts of each, tokens, channels) and the target embedding, where the pass that runs has one."""
    guidance = _current.get()
    if guidance is None or guidance.semantic is None:
        return tokens
    semantic = guidance.semantic
    if semantic.ndim > 1 and tokens.shape[1] > 1:  # several prompts of one photo
        semantic = semantic.expand(tokens.shape[0] * tokens.shape[1], -1, -1, -1).reshape(*tokens.shape[:2], 1, -1)
    return tokens + semantic.to(tokens.dtype)


def install(mask_decoder: nn.Module) -> None:
    """Prepare a mask decoder of transformers, or the bundled model's, for guidance.

    Without guidance it computes what it did before.
    """
    if getattr(mask_decoder, "_persam_guidance", False):
        return
    decoder: Any = mask_decoder
    transformer = decoder.transformer
    attention = transformer.final_attn_token_to_image
    if hasattr(attention, "config"):  # of transformers; the bundled model's calls `guided_attention` itself
        from transformers import AttentionInterface

        AttentionInterface.register(ATTENTION_NAME, guided_attention)
        attention.config._attn_implementation = ATTENTION_NAME  # one configuration for all of the decoder's attentions
    # The published code adds T to the queries of every block in place. Before the first block these still are the
    # point embeddings, which every later step adds as positions: so T is in those too, and twice in the last query.
    transformer.register_forward_pre_hook(_hand_on_attention, with_kwargs=True)
    transformer.register_forward_pre_hook(_add_semantic_to("point_embeddings"), with_kwargs=True)
    for block in transformer.layers[1:]:
        block.register_forward_pre_hook(_add_semantic_to("queries"), with_kwargs=True)
    transformer.final_attn_token_to_image.register_forward_pre_hook(_add_semantic_to("query"), with_kwargs=True)
    decoder._persam_guidance = True


@contextmanager
def guided(guidance: Guidance | None) -> Iterator[None]:
    """Passes of prepared decoders are steered by this guidance until the block ends, in this thread alone."""
    token = _current.set(guidance)
    try:
        yield
    finally:
        _current.reset(token)
