"""SAM-HQ behind the protocol: SAM with finer masks, by one more output token and the features of an early layer.

Its image encoder, prompts and decoder are SAM's, and so guidance goes where it goes in SAM; the HQ token is one token
among the others, and target-semantic prompting adds the target to it as well.  A mask is the sum of one of SAM's masks
and the HQ token's, logit by logit, as the published code has it unless told otherwise; the predicted IoU is SAM's.

The published code, and transformers, bring the three masks of a pass into the order of their predicted IoU.  PerSAM-F's
weights (Eq. 11) belong to the decoder's three scales, so here they keep the decoder's order, as SAM's masks have it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor

from persam.models.base import EncodedImage
from persam.models.prompted import viewed
from persam.models.sam import Sam

# Predicted IoU of all masks of the pass that has just run, in the decoder's order; not an attribute, for threads' sake.
_predicted: ContextVar[Tensor] = ContextVar("persam_hq_predicted_iou")


class SamHQ(Sam):
    """transformers' `SamHQModel`; arguments and errors are those of `Sam`."""

    def __init__(self, network: Any, **options: Any) -> None:
        super().__init__(network, **options)
        self.network.mask_decoder.iou_prediction_head.register_forward_hook(_remember)

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Encode a photo, (H, W, 3) uint8 RGB."""
        frame = self.frame((image.shape[0], image.shape[1]))
        seen = self.network.vision_encoder(self.prepare(image, frame).to(self.encoder_dtype))
        early = seen.intermediate_embeddings[
            0
        ]  # after the first layer with global attention; the decoder takes no other
        return EncodedImage(seen.last_hidden_state.float(), frame, {"early": early.float()})

    def _masks(self, encoding: EncodedImage, count: int, **prompted: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        logits, scores = self.network.mask_decoder(
            image_embeddings=viewed(encoding.features, count),
            intermediate_embeddings=[encoding.extras["early"]],
            hq_token_only=False,
            **prompted,
        )
        if prompted["multimask_output"]:
            ranks = _ranks(_predicted.get()[..., 1:])  # without the single-mask output
            logits = logits.gather(2, ranks[..., None, None].expand_as(logits))
            scores = scores.gather(2, ranks)
        return logits, scores, None


def _remember(_: torch.nn.Module, __: Any, predicted: Tensor) -> None:
    _predicted.set(predicted)


def _ranks(predicted: Tensor) -> Tensor:
    """At which place of the sorted masks each one is, (..., M): the way back from the decoder's own sorting."""
    return predicted.sort(dim=-1, descending=True).indices.argsort(dim=-1)
