"""CLIP's two halves: one vector of a photo, and one of words, that can be compared.

>>> vectors = text_vectors(network, tokenizer, ["a photo of a mug."])   # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def picture_vectors(network: Any, pixels: Tensor) -> Tensor:
    """Of photos that CLIP's processor prepared, (N, 3, S, S): (N, C) float32, of any length.

    Args:
        network: transformers' `CLIPModel`.
        pixels: on its device, in its number format.
    """
    return _pooled(network.get_image_features(pixel_values=pixels))


def text_vectors(network: Any, tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Of words, which are cut at what CLIP reads: (N, C) float32, of any length.

    Args:
        network: transformers' `CLIPModel`.
        tokenizer: its own.
        texts: what to read.
    """
    longest = int(network.config.text_config.max_position_embeddings)
    words = tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
    given = {key: words[key].to(network.device) for key in ("input_ids", "attention_mask")}
    return _pooled(network.get_text_features(**given))


def _pooled(found: Any) -> Tensor:
    """What the halves are compared by; early versions of transformers 5 give it bare."""
    vectors: Tensor = getattr(found, "pooler_output", found)
    return vectors.float()
