"""Encode a photo once, though several people's masks are learned from it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from persam.models.base import Encoding, FeatureEncoder, PromptableModel
from persam.persam import PerSAM


def encoding_once(persam: PerSAM) -> PerSAM:
    """The same PerSAM, learning several concepts from one photo with one encoding."""
    encoder = None if persam.encoder is None else cast(FeatureEncoder, _EncodeOnce(persam.encoder))
    return PerSAM(cast(PromptableModel, _EncodeOnce(persam.model)), encoder=encoder, settings=persam.settings)


class _EncodeOnce:
    """A model that still has the encoding of the last photo when it is asked for it again.

    The photo is known by being the same array, so nothing is compared. All but `encode` is the model's own, also what
    only some models have (`prepare`).
    """

    def __init__(self, model: PromptableModel | FeatureEncoder) -> None:
        self._model = model
        self._last: tuple[np.ndarray, Encoding] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode(self, image: np.ndarray) -> Encoding:
        """Encode a photo, (H, W, 3) uint8 RGB, or give its encoding again."""
        if self._last is None or self._last[0] is not image:
            self._last = image, self._model.encode(image)
        return self._last[1]
