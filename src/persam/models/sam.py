"""SAM of transformers behind the protocol: hub id, local folder, converted checkpoint, and the bundled model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from persam.geometry import Frame, Size
from persam.models.base import Decoded, EncodedImage, Prompts
from persam.models.fingerprint import check_numbers, fingerprint_of, sampled_fingerprint_of
from persam.models.guidance import Guidance, guided, install

PIXEL_MEAN = (123.675, 116.28, 103.53)  # SAM's, on the 0..255 scale
PIXEL_STD = (58.395, 57.12, 57.375)


class Sam:
    """A SAM-like network with SAM's preprocessing, frozen; who trains it unfreezes it afterwards.

    Args:
        network: transformers' `SamModel`, or one with the same parts (`vision_encoder`, `prompt_encoder`,
            `mask_decoder`, `get_image_wide_positional_embeddings`).
        name: how people call it.
        image_size: side of the canvas in pixels.
        device: where it computes.
        encoder_dtype: number format of the image encoder, by far the largest part; prompts and masks stay float32.

    Raises:
        PersamError: a weight is NaN or infinite.
    """

    def __init__(
        self,
        network: Any,
        *,
        name: str,
        image_size: int,
        device: torch.device,
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
        self.network.vision_encoder.to(encoder_dtype)
        self.encoder_dtype = encoder_dtype
        self._mean = torch.tensor(PIXEL_MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(PIXEL_STD, device=device).view(1, 3, 1, 1)
        with torch.no_grad():
            self._positions: Tensor = self.network.get_image_wide_positional_embeddings()
        rows, columns = self._positions.shape[-2:]
        self.grid: Size = (rows, columns)  # feature cells
        self.low_resolution: Size = (4 * rows, 4 * columns)  # of the logits

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

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Encode a photo, (H, W, 3) uint8 RGB."""
        return self.encode_many([image])[0]

    def encode_many(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """Encode photos of any sizes in one pass, each (H, W, 3) uint8 RGB: padded, they are all one canvas."""
        frames = [self.frame((image.shape[0], image.shape[1])) for image in images]
        pixels = torch.cat([self.prepare(*each) for each in zip(images, frames, strict=True)])
        out = self.network.vision_encoder(pixels.to(self.encoder_dtype))
        features = (out if isinstance(out, Tensor) else out[0]).float()
        return [EncodedImage(one, frame) for one, frame in zip(features.split(1), frames, strict=True)]

    def decode(
        self, encoding: EncodedImage, prompts: Prompts, *, multimask: bool, guidance: Guidance | None = None
    ) -> Decoded:
        """Masks for P prompts, of one photo or one of each of P photos: logits (P, 3 or 1, h, w) and predicted IoU.

        Guidance steers this pass alone. Gradients reach what requires them: features, guidance, the network.
        """
        # transformers counts (images, prompts, ...); a mask prompt is tied to an image there, so with several prompts
        # each becomes an image of its own and the features are only viewed, not copied.
        features = encoding.features
        separate = prompts.logits is not None or len(features) > 1
        points, labels, boxes, masks = (
            None if given is None else given.to(self.device, torch.float32)
            for given in (prompts.points, prompts.labels, prompts.boxes, prompts.logits)
        )
        sparse, dense = self.network.prompt_encoder(
            input_points=None if points is None else (points[:, None] if separate else points[None]),
            input_labels=None if labels is None else (labels[:, None] if separate else labels[None]),
            # the network adds half a pixel to coordinates (`_embed_points`), as the published code does
            input_boxes=None if boxes is None else (boxes[:, None] if separate else boxes[None]),
            input_masks=masks,
        )
        count = len(dense) if separate else 1
        with guided(guidance):
            logits, scores = self.network.mask_decoder(
                image_embeddings=features.expand(count, -1, -1, -1),
                image_positional_embeddings=self._positions.expand(count, -1, -1, -1),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multimask,
            )
        return Decoded(logits.flatten(0, 1), scores.flatten(0, 1))
