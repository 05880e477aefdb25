"""What the promptable networks of transformers have in common: SAM, SAM-HQ, SAM 2, EdgeTAM and SAM 3's tracker.

All of them have a `vision_encoder`, a `prompt_encoder` and a `mask_decoder` with a two-way transformer.  A kind of
network says how it sees a photo (`encode`) and what its decoder takes beside the prompts (`_masks`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from persam.geometry import Frame, Size
from persam.models.base import Decoded, EncodedImage, Prompts
from persam.models.fast_decoder import quicken_decoder
from persam.models.fast_vit import quicken
from persam.models.fingerprint import check_numbers, fingerprint_of, sampled_fingerprint_of
from persam.models.guidance import Guidance, guided, install
from persam.models.pixels import MeanStd, as_channels


class PromptedNetwork(ABC):
    """A promptable network, frozen; who trains it unfreezes it afterwards.

    Args:
        network: transformers' model, or one with the same parts (`vision_encoder`, `prompt_encoder`, `mask_decoder`,
            `get_image_wide_positional_embeddings`).
        name: how people call it.
        image_size: side of the canvas in pixels.
        device: where it computes.
        encoder_dtype: number format of the image encoder, by far the largest part; prompts and masks stay float32.
        pixels: mean and deviation of the pixels, on the scale that `encode` has them; None: those of its kind.

    Raises:
        PersamError: a weight is NaN or infinite.
    """

    _usual_pixels: ClassVar[MeanStd]
    _label_dtype: ClassVar[torch.dtype] = torch.float32  # of the points' labels, as the prompt encoder takes them

    def __init__(
        self,
        network: Any,
        *,
        name: str,
        image_size: int,
        device: torch.device,
        pixels: MeanStd | None = None,
        encoder_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.name = name
        self.device = device
        self.image_size = image_size
        check_numbers(network, name)
        self.fingerprint = fingerprint_of(network)
        self.sampled_fingerprint = sampled_fingerprint_of(network)
        install(network.mask_decoder)
        self.network = network.eval().requires_grad_(False).to(device, torch.float32)  # some come in half precision
        if device.type != "cpu" or not quicken(self.network.vision_encoder, encoder_dtype):
            self.network.vision_encoder.to(encoder_dtype)
        if device.type == "cpu":
            quicken_decoder(self.network)
        self.encoder_dtype = encoder_dtype
        self._pixels_dtype = next((each.dtype for each in self.network.vision_encoder.parameters()), encoder_dtype)
        self._mean, self._std = (as_channels(each, device) for each in pixels or self._usual_pixels)
        with torch.no_grad():
            positions: Tensor = self.network.get_image_wide_positional_embeddings()
        self._positions = positions.contiguous(memory_format=torch.channels_last)  # cell by cell, as the decoder reads
        rows, columns = self._positions.shape[-2:]
        self.grid: Size = (rows, columns)  # feature cells
        self.low_resolution: Size = (4 * rows, 4 * columns)  # of the logits

    @abstractmethod
    def prepare(self, image: np.ndarray, frame: Frame) -> Tensor:
        """See `PromptableModel.prepare`."""

    @abstractmethod
    def encode(self, image: np.ndarray) -> EncodedImage:
        """Encode a photo, (H, W, 3) uint8 RGB."""

    def decode(
        self, encoding: EncodedImage, prompts: Prompts, *, multimask: bool, guidance: Guidance | None = None
    ) -> Decoded:
        """Masks for P prompts, of one photo or one of each of P photos: logits (P, 3 or 1, h, w) and predicted IoU.

        Guidance steers this pass alone. Gradients reach what requires them: features, guidance, the network.
        """
        # transformers counts (images, prompts, ...); a mask prompt is tied to an image there, so with several prompts
        # each becomes an image of its own and the features are only viewed, not copied.
        separate = prompts.logits is not None or len(encoding.features) > 1
        points, labels, boxes, masks = (
            None if given is None else given.to(self.device, torch.float32)
            for given in (prompts.points, prompts.labels, prompts.boxes, prompts.logits)
        )
        if labels is not None:
            labels = labels.to(self._label_dtype)
        sparse, dense = self.network.prompt_encoder(
            input_points=None if points is None else (points[:, None] if separate else points[None]),
            input_labels=None if labels is None else (labels[:, None] if separate else labels[None]),
            # the network adds half a pixel to coordinates (`_embed_points`), as the published code does
            input_boxes=None if boxes is None else (boxes[:, None] if separate else boxes[None]),
            input_masks=masks,
        )
        count = len(dense) if separate else 1
        with guided(guidance):
            logits, scores, presence = self._masks(
                encoding,
                count,
                image_positional_embeddings=viewed(self._positions, count),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multimask,
            )
        return Decoded(logits.flatten(0, 1), scores.flatten(0, 1), None if presence is None else presence.flatten(0, 1))

    @abstractmethod
    def _masks(self, encoding: EncodedImage, count: int, **prompted: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run the mask decoder.

        Args:
            encoding: of the photo, or of `count` photos.
            count: number of images that the decoder is to see; the features of one photo are viewed as so many.
            prompted: what the decoder takes beside the features of the photo.

        Returns:
            Logits (count, prompts, M, h, w), predicted IoU (count, prompts, M), and the logit that the object can be
            seen (count, prompts, 1), or None.
        """


def viewed(features: Tensor, count: int) -> Tensor:
    """Features (1 or count, C, h, w) as (count, C, h, w), not copied."""
    return features.expand(count, -1, -1, -1)
