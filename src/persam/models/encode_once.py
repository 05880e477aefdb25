"""A model that remembers what it encoded: twenty forms of the method look at the same references."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, TypeVar, cast

import numpy as np

from persam.models.base import EncodedImage, FeatureEncoder

KEPT = 8  # encodings: the references of one episode, and the photo at hand


AnyEncoder = TypeVar("AnyEncoder", bound=FeatureEncoder)


def encode_once(model: AnyEncoder) -> AnyEncoder:
    """The same model or encoder, but a photo that is among the last `KEPT` is not encoded again."""
    return cast(AnyEncoder, _EncodeOnce(model))


class _EncodeOnce:
    """Everything but `encode` is the model's own."""

    def __init__(self, model: FeatureEncoder) -> None:
        self._model = model
        self._kept: OrderedDict[tuple[Any, bytes], EncodedImage] = OrderedDict()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Encode a photo, (H, W, 3) uint8 RGB, or take it from the last ones."""
        key = (image.shape, hashlib.blake2b(np.ascontiguousarray(image).data).digest())
        if key not in self._kept:
            self._kept[key] = self._model.encode(image)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
