"""SAM-HQ behind the protocol: SAM with finer masks, by one more output token and the features of an early layer.

Its image encoder, prompts and decoder are SAM's, and so guidance goes where it goes in SAM; the HQ token is one token
among the others, and target-semantic prompting adds the target to it as well.  A mask is the sum of one of SAM's masks
and the HQ token's, logit by logit, as the published code has it unless told otherwise; the predicted IoU is SAM's.

Two things are put right on the way, without a fork:

*Features.* transformers (5.23) drops what the decoder's attention has made of the features, and draws masks from those
that went in, with rows and columns swapped.  Here masks are drawn from what came out, as the published code does it.

*Scales.* Of several scales the published code gives the one with the highest predicted IoU, and transformers all three,
sorted by it.  PerSAM-F's weights (Eq. 11) belong to the decoder's three scales, so here they keep the decoder's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
from torch import Tensor, nn

from persam.models.base import EncodedImage
from persam.models.sam import SamLike, viewed

# Of the pass that is running: what came out of the attention, and the predicted IoU of all masks.  A context variable,
# not an attribute of the module, so that threads do not mix theirs; outside of a pass the hooks do nothing.
_pass: ContextVar[dict[str, Tensor] | None] = ContextVar("persam_hq_pass", default=None)


class SamHQ(SamLike):
    """transformers' `SamHQModel`; arguments and errors are those of `PromptedNetwork`."""

    def __init__(self, network: Any, **options: Any) -> None:
        super().__init__(network, **options)
        decoder = self.network.mask_decoder
        decoder.transformer.register_forward_hook(_keep_cells)
        decoder.upscale_conv1.register_forward_pre_hook(_draw_from_cells)
        decoder.iou_prediction_head.register_forward_hook(_keep_predicted)

    def encode_many(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """See `PromptedNetwork.encode_many`."""
        pixels, frames = self.prepared(images)
        seen = self.network.vision_encoder(pixels)
        features = seen.last_hidden_state.float().split(1)
        # After the first layer with global attention: the only one that the decoder takes.
        early = seen.intermediate_embeddings[0].float().split(1)
        return [
            EncodedImage(one, frame, {"early": before})
            for one, frame, before in zip(features, frames, early, strict=True)
        ]

    def _masks(self, encoding: EncodedImage, count: int, **prompted: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        kept: dict[str, Tensor] = {}
        token = _pass.set(kept)
        try:
            logits, scores = self.network.mask_decoder(
                image_embeddings=viewed(encoding.features, count),
                intermediate_embeddings=[encoding.extras["early"]],
                hq_token_only=False,
                **prompted,
            )
        finally:
            _pass.reset(token)
        if prompted["multimask_output"]:
            ranks = _ranks(kept["predicted"][..., 1:])  # without the single-mask output
            logits = logits.gather(2, ranks[..., None, None].expand_as(logits))
            scores = scores.gather(2, ranks)
        return logits, scores, None


def _keep_cells(_: nn.Module, __: Any, output: tuple[Tensor, Tensor]) -> None:
    """Of a two-way transformer: tokens, and cells (images, 1, h*w, C)."""
    if (kept := _pass.get()) is not None:
        kept["cells"] = output[1]


def _draw_from_cells(_: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
    """What the first step of drawing takes, (images, C, h, w)."""
    kept = _pass.get()
    return None if kept is None else (kept["cells"].transpose(2, 3).reshape(args[0].shape),)


def _keep_predicted(_: nn.Module, __: Any, predicted: Tensor) -> None:
    if (kept := _pass.get()) is not None:
        kept["predicted"] = predicted


def _ranks(predicted: Tensor) -> Tensor:
    """At which place of the sorted masks each one is, (..., M): the way back from the decoder's own sorting."""
    return predicted.sort(dim=-1, descending=True).indices.argsort(dim=-1)
