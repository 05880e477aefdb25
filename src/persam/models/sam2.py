"""SAM 2, EdgeTAM and SAM 3's tracker behind the protocol: their image part, which is one construction.

How the published method is put onto it:

*Features.* The encoder gives three feature maps.  Concepts are made of the coarsest one (a cell is 16 pixels of the
canvas, 14 in SAM 3): it is what the decoder's tokens attend to, as SAM's only one, so that a confidence map has the
very cells that target-guided attention (Eq. 8) weighs, and the mean target feature has as many numbers as the tokens
that target-semantic prompting (Eq. 9-10) adds it to.  The two finer maps are projected to an eighth and a quarter of
the numbers and added while the mask is drawn, after all attention; guidance leaves them alone.

*No memory.* To all cells of the coarsest map of a photo the network adds one learned vector: "nothing is remembered".
It says nothing of the photo, and in a cosine it would only make all cells more alike.  So features are kept without
it, and the decoder gets it added, as SAM's decoder adds `no_mask_embed` to the features, which the published method
compares without it, too.  (transformers' image model of SAM 3 leaves it out, the published code does not.)

*Tokens.* There is one token more, for the object score (`Decoded.presence`); target-semantic prompting adds the target
to it as to all others.  The later passes of the cascade are not guided, and so their object score is the network's own.

*Single mask.* Where its single mask is not stable (it changes with the threshold), the decoder gives the best of the
three scales instead; with `multimask` the three scales come in their own order, as PerSAM-F's weights (Eq. 11) need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from persam.errors import UsageError
from persam.geometry import Frame, Size
from persam.models.base import Decoded, EncodedImage, Guidance, Prompts
from persam.models.pixels import IMAGENET, MeanStd, stretched
from persam.models.sam import PromptedNetwork, viewed


class Sam2(PromptedNetwork):
    """transformers' `Sam2Model`, `EdgeTamModel` or `Sam3TrackerModel`.

    Args:
        network: the network.
        name: how people call it.
        device: where it computes.
        encoder_dtype: number format of the image encoder; prompts and masks stay float32.
        pixels: mean and deviation of the pixels, of 0..1; None: ImageNet's.

    Raises:
        PersamError: a weight is NaN or infinite.
    """

    _usual_pixels = IMAGENET
    _label_dtype = torch.int64  # the embeddings of points are looked up by label

    def __init__(
        self,
        network: Any,
        *,
        name: str,
        device: torch.device,
        encoder_dtype: torch.dtype = torch.float32,
        pixels: MeanStd | None = None,
    ) -> None:
        super().__init__(
            network,
            name=name,
            image_size=int(network.prompt_encoder.input_image_size),
            device=device,
            pixels=pixels,
            encoder_dtype=encoder_dtype,
        )

    def prepare(self, image: np.ndarray, frame: Frame) -> Tensor:
        """Refuse: mode official needs SAM's own preprocessing.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"Mode official needs SAM's own preprocessing, which {self.name} does not have; use mode persam or paper."
        )

    def frame(self, photo: Size) -> Frame:
        """Where a photo of this size lies on the canvas: all over it."""
        return Frame.stretched(photo, (self.image_size, self.image_size), self.grid)

    def encode_many(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """See `PromptedNetwork.encode_many`."""
        pixels = torch.cat([stretched(image, self.image_size, self._mean, self._std) for image in images])
        seen = self.network.vision_encoder(pixels.to(self._pixels_dtype))
        # SAM 3's encoder gives a fourth map, coarser still, which its tracker has no use for.
        finest, finer, features = (each.float() for each in seen.fpn_hidden_states[:3])
        decoder = self.network.mask_decoder
        maps = features, decoder.conv_s0(finest), decoder.conv_s1(finer)  # once a photo, not once a pass
        return [
            EncodedImage(one, self.frame((image.shape[0], image.shape[1])), {"finest": finest, "finer": finer})
            for image, one, finest, finer in zip(images, *(each.split(1) for each in maps), strict=True)
        ]

    def decode(
        self, encoding: EncodedImage, prompts: Prompts, *, multimask: bool, guidance: Guidance | None = None
    ) -> Decoded:
        """See `PromptedNetwork.decode`; with `Decoded.presence`, the logit that the object can be seen."""
        if prompts.points is None and prompts.boxes is None and prompts.logits is not None:
            nowhere = prompts.logits.new_zeros(len(prompts.logits), 1, 2)  # a decoder without any token would fail
            prompts = replace(prompts, points=nowhere, labels=-torch.ones_like(nowhere[..., 0]))
        return super().decode(encoding, prompts, multimask=multimask, guidance=guidance)

    def _masks(self, encoding: EncodedImage, count: int, **prompted: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        features = encoding.features + self.network.no_memory_embedding.view(1, -1, 1, 1)
        logits, scores, _, presence = self.network.mask_decoder(
            image_embeddings=viewed(features, count),
            high_resolution_features=[viewed(encoding.extras[name], count) for name in ("finest", "finer")],
            **prompted,
        )
        return logits, scores, presence
