"""SAM of transformers behind the protocol: hub id, local folder, converted checkpoint, and the bundled model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from persam.geometry import Frame, Size
from persam.models.base import EncodedImage
from persam.models.prompted import PromptedNetwork, viewed

PIXEL_MEAN = (123.675, 116.28, 103.53)  # SAM's, on the 0..255 scale
PIXEL_STD = (58.395, 57.12, 57.375)


class SamLike(PromptedNetwork):
    """A network that sees a photo as SAM does: in its square, padded; arguments and errors as of `PromptedNetwork`."""

    _usual_pixels = (PIXEL_MEAN, PIXEL_STD)

    def prepare(self, image: np.ndarray, frame: Frame) -> Tensor:
        """SAM's preprocessing of an (H, W, 3) uint8 image: resize as the published code does (PIL, bilinear with
        antialias, in uint8), normalise, pad with zeros. Returns (1, 3, S, S)."""
        height, width = frame.content
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).to(self.device).permute(2, 0, 1)[None].float()
        pixels = (pixels - self._mean) / self._std
        return F.pad(pixels, (0, frame.canvas[1] - width, 0, frame.canvas[0] - height))

    def frame(self, photo: Size) -> Frame:
        """Where a photo of this size lies on the canvas."""
        return Frame.padded(photo, self.image_size, self.grid)


class Sam(SamLike):
    """transformers' `SamModel`, or a network with the same parts; arguments and errors as of `PromptedNetwork`."""

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Encode a photo, (H, W, 3) uint8 RGB."""
        return self.encode_many([image])[0]

    def encode_many(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """Encode photos of any sizes in one pass, each (H, W, 3) uint8 RGB: padded, they are all one canvas."""
        frames = [self.frame((image.shape[0], image.shape[1])) for image in images]
        pixels = torch.cat([self.prepare(*each) for each in zip(images, frames, strict=True)])
        out = self.network.vision_encoder(pixels.to(self._pixels_dtype))
        features = (out if isinstance(out, Tensor) else out[0]).float()
        return [EncodedImage(one, frame) for one, frame in zip(features.split(1), frames, strict=True)]

    def use_engine(self, engine: nn.Module, numbers: torch.dtype) -> None:
        """Let something else run the image encoder, in its own `numbers`; PyTorch's weights of it are let go.

        The fingerprint stays: concepts belong to the weights, whatever runs them.
        """
        self.network.vision_encoder = engine
        self.encoder_dtype, self._pixels_dtype = numbers, torch.float32

    def _masks(self, encoding: EncodedImage, count: int, **prompted: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        features = viewed(encoding.features, count)
        logits, scores = self.network.mask_decoder(image_embeddings=features, **prompted)
        return logits, scores, None
