"""A U-Net trained on the reference alone: what a person without a foundation model would do with one mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from persam.benchmark.methods.base import Photo, Prediction, Shot
from persam.benchmark.methods.probability import answer, to_size
from persam.benchmark.methods.training import Lesson, Views, fitted, seeded, to_tensor
from persam.benchmark.methods.unet_network import COARSEST, build_unet
from persam.method.scale import dice_loss
from persam.models.encoders import IMAGENET
from persam.models.loading import choose_device
from persam.models.sam import fingerprint_of

STEPS, BATCH, SIDE = 120, 4, 160
LEARNING_RATE = 3e-3
PRETRAINED_RATE = 3e-4  # gentler, so that what a pretrained encoder knows is not lost at once


class UNetMethod:
    """Trains a new U-Net for every object: binary cross-entropy + dice, AdamW, one cycle.

    Args:
        checkpoint: pretrained ResNet of transformers for the encoder, hub id or folder; None: from scratch.
        device: where it is trained.
        seed: of the weights and of the views of the reference.
        steps: optimiser steps.
        batch: views a step.
        side: longest side of a photo, pixels.
        views: how the reference is varied.

    Raises:
        PersamError: the checkpoint is not to be had, or no ResNet.
    """

    name = "unet"

    def __init__(
        self,
        *,
        checkpoint: str | None = None,
        device: str = "auto",
        seed: int = 0,
        steps: int = STEPS,
        batch: int = BATCH,
        side: int = SIDE,
        views: Views | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = choose_device(device)
        self.seed = seed
        self.steps = steps
        self.batch = batch
        self.side = side
        self.views = views or Views()
        self.rate = LEARNING_RATE if checkpoint is None else PRETRAINED_RATE
        self._mean, self._std = (torch.tensor(each, device=self.device).view(3, 1, 1) for each in IMAGENET)
        with seeded(seed, self.device):  # built now, so that a wrong checkpoint is told before the first photo is read
            network, self.built_of = build_unet(checkpoint)
        self.fingerprint = fingerprint_of(network)

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`; the fingerprint is the network's before it is trained."""
        return {
            "method": "U-Net",
            "network": self.built_of,
            "checkpoint": self.checkpoint,
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "steps": self.steps,
            "batch": self.batch,
            "side": self.side,
            "learning_rate": self.rate,
            "views": self.views.describe(),
        }

    def learn(self, shots: Sequence[Shot], category: str) -> nn.Module:
        """See `Method.learn`."""
        lessons = [Lesson.of(shot, self.side, self.device) for shot in shots]
        side = -(-self.side // COARSEST) * COARSEST
        with seeded(self.seed, self.device) as generator:
            network = build_unet(self.checkpoint)[0].to(self.device).train()
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # quicker on a CPU
            optimizer = torch.optim.AdamW(network.parameters(), lr=self.rate)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.rate, total_steps=self.steps)
            for _ in range(self.steps):
                pixels, mask = self.views.batch(lessons, self.batch, side, generator)
                logits = network((pixels - self._mean) / self._std)[:, 0]
                loss = F.binary_cross_entropy_with_logits(logits, mask) + dice_loss(logits, mask).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return network.eval().requires_grad_(False)

    @torch.inference_mode()
    def find(self, photo: Photo, learned: nn.Module) -> Prediction:
        """See `Method.find`."""
        shape = (photo.pixels.shape[0], photo.pixels.shape[1])
        height, width = fitted(shape, self.side)
        pixels = (to_tensor(photo.pixels, (height, width), self.device) - self._mean) / self._std
        logits = learned(_padded(pixels[None]))[0, 0, :height, :width]
        logits = to_size(logits, shape)
        return answer(logits.sigmoid().cpu().numpy(), logits.cpu().numpy())


def _padded(pixels: Tensor) -> Tensor:
    """The edge's pixels repeated at the right and the bottom, up to sides that can be halved at every level."""
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, -width % COARSEST, 0, -height % COARSEST), mode="replicate")
