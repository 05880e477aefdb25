"""Encoders for the confidence map alone: DINOv2, DINOv3, CLIP and their like, by name through transformers.

The paper reaches its best numbers with DINOv2 features and SAM's decoder.  The photo keeps its proportions: it is
resized to whole patches, about as many pixels as the square that the encoder was trained on, and no padding is needed,
because all of these interpolate their positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from persam.errors import PersamError
from persam.geometry import Frame
from persam.models.base import EncodedImage
from persam.models.fingerprint import check_numbers, fingerprint_of, sampled_fingerprint_of
from persam.models.hub import hub_call, load_network

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
KINDS = {"dinov2": IMAGENET, "dinov2_with_registers": IMAGENET, "dinov3_vit": IMAGENET, "clip": CLIP,
         "clip_vision_model": CLIP}  # fmt: skip


class TransformersEncoder:
    """Patch features of a vision transformer.

    Args:
        network: a vision model of transformers whose `last_hidden_state` is (1, 1 + registers + patches, C).
        name: how people call it.
        kind: its model type, a key of `KINDS`.
        side: pixels of the side of the square that has as many pixels as the resized photo.
    """

    def __init__(self, network: Any, *, name: str, kind: str, side: int, device: torch.device, dtype: torch.dtype):
        self.name = name
        self.kind = kind
        self.device = device
        self.dtype = dtype
        check_numbers(network, name)
        self.fingerprint = fingerprint_of(network)
        self.sampled_fingerprint = sampled_fingerprint_of(network)
        self.network = network.eval().requires_grad_(False).to(device, dtype)
        self.patch = int(network.config.patch_size)
        self.side = side
        mean, std = KINDS[kind]
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1)

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> TransformersEncoder:
        """Load by hub id or local folder.

        Raises:
            PersamError: not to be had, or of a kind that is not supported.
        """
        from transformers import AutoConfig, AutoModel, CLIPVisionModel

        config = hub_call(name, AutoConfig.from_pretrained)
        kind = config.model_type
        if kind not in KINDS:
            raise PersamError(
                f"{name} is of type {kind}, which persam cannot use for the confidence map; use a DINOv2, DINOv3 or "
                "CLIP model such as facebook/dinov2-base."
            )
        network = load_network(name, CLIPVisionModel if kind.startswith("clip") else AutoModel)
        return cls(network, name=name, kind=kind, side=int(network.config.image_size), device=device, dtype=dtype)

    @torch.inference_mode()
    def encode(self, image: np.ndarray) -> EncodedImage:
        """Encode a photo, (H, W, 3) uint8 RGB, to features (1, C, rows, columns)."""
        photo = (image.shape[0], image.shape[1])
        scale = self.side / (photo[0] * photo[1]) ** 0.5
        rows, columns = (max(1, round(length * scale / self.patch)) for length in photo)
        frame = Frame.stretched(photo, (rows * self.patch, columns * self.patch), (rows, columns))
        resized = Image.fromarray(image).resize((frame.canvas[1], frame.canvas[0]), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(resized)).to(self.device).permute(2, 0, 1)[None].float() / 255
        pixels = ((pixels - self._mean) / self._std).to(self.dtype)
        options = {"interpolate_pos_encoding": True} if self.kind.startswith("clip") else {}
        tokens = self.network(pixel_values=pixels, **options).last_hidden_state
        patches = tokens[:, tokens.shape[1] - rows * columns :]  # after the class token and any registers
        return EncodedImage(patches.float().transpose(1, 2).reshape(1, -1, rows, columns), frame)
