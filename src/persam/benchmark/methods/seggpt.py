"""SegGPT (arXiv 2304.03284): segmentation in context. The reference photo and its mask, painted white on black, are the
prompt; below it the model paints the photo's mask. Several references: its feature ensemble, as transformers has it: at
the layer where the photos' stream and the masks' stream are merged it averages over both, so that a reference given
twice does not quite say what it says given once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from persam.benchmark.methods.base import Example, Prediction, SharedPhoto, answer, check_type, to_size
from persam.models.fingerprint import fingerprint_of
from persam.models.hub import load_network
from persam.models.loading import choose_device

ONE_CLASS = 1  # a palette of one: the background is black, the object white


@dataclass(frozen=True)
class PaintedExamples:
    """K references as SegGPT wants them: photos and painted masks, each (K, 3, S, S)."""

    pixels: Tensor
    masks: Tensor


class SegGpt:
    """SegGPT of transformers, with transformers' own preprocessing (PIL, no torchvision) and postprocessing.

    Args:
        checkpoint: its hub id or folder.
        device: where it computes.

    Raises:
        PersamError: not to be had, or another kind of model.
    """

    name = "seggpt"

    def __init__(self, checkpoint: str, *, device: str = "auto") -> None:
        from transformers import SegGptForImageSegmentation, SegGptImageProcessorPil

        self.checkpoint = checkpoint
        self.device = choose_device(device)
        check_type(checkpoint, "seggpt", "not SegGPT", "BAAI/seggpt-vit-large")
        network: Any = load_network(checkpoint, SegGptForImageSegmentation)
        self.fingerprint = fingerprint_of(network)
        self.network = network.eval().requires_grad_(False).to(self.device, torch.float32)
        height, width = network.config.image_size  # of the prompt and the photo, one above the other
        self.size = (height // 2, width)
        self.processor = SegGptImageProcessorPil(size={"height": self.size[0], "width": self.size[1]})

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`."""
        return {
            "method": "SegGPT",
            "checkpoint": self.checkpoint,
            "fingerprint": self.fingerprint,
            "size": list(self.size),
            "prompt": "instance",
            "several_references": "feature ensemble of transformers",
        }

    def learn(self, examples: Sequence[Example], category: str) -> PaintedExamples:
        """See `Method.learn`."""
        prepared = self.processor.preprocess(
            prompt_images=[each.photo.pixels for each in examples],
            prompt_masks=[each.mask.astype(np.uint8) for each in examples],
            num_labels=ONE_CLASS,
            input_data_format="channels_last",  # else a photo 3 pixels high is taken for one with the channels first
            return_tensors="pt",
        )
        return PaintedExamples(
            prepared["prompt_pixel_values"].to(self.device), prepared["prompt_masks"].to(self.device)
        )

    @torch.inference_mode()
    def find(self, photo: SharedPhoto, learned: PaintedExamples) -> Prediction:
        """See `Method.find`."""
        prepared = self.processor.preprocess(
            images=photo.pixels, input_data_format="channels_last", return_tensors="pt"
        )
        pixels = prepared["pixel_values"].to(self.device)
        outputs = self.network(
            pixel_values=pixels.expand(len(learned.pixels), -1, -1, -1),
            prompt_pixel_values=learned.pixels,
            prompt_masks=learned.masks,
            feature_ensemble=len(learned.pixels) > 1,
            embedding_type="instance",
        )
        painted = self.painted(outputs.pred_masks[0])  # with an ensemble, all K of them are the same
        white, ranking = (
            to_size(each.mean(0), photo.size, mode="nearest").cpu().numpy() for each in (painted.clamp(0, 1), painted)
        )
        return answer(white, ranking)

    def painted(self, canvas: Tensor) -> Tensor:
        """The photo's half of what the model painted, (3, 2 S, S) normalised, as colours: (3, S, S), 0 black, 1 white.

        Where the mean of the clipped colours exceeds one half a pixel is nearer to white than to black; that is how
        transformers' postprocessing decides.
        """
        half = canvas[:, canvas.shape[1] // 2 :].float()
        mean, std = self.processor.image_mean, self.processor.image_std
        return half * half.new_tensor(std).view(3, 1, 1) + half.new_tensor(mean).view(3, 1, 1)
