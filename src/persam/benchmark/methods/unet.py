"""A U-Net trained on the reference alone: what a person without a foundation model would do with one mask.

The network (arXiv 1505.04597): a ResNet goes down, a decoder comes up again and takes over what each level saw. It is
segmentation-models-pytorch's where that can be imported; otherwise the same form from transformers' ResNet blocks,
which need neither torchvision nor timm.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from persam.benchmark.methods.base import Prediction, SharedPhoto, answer, check_type, to_size
from persam.benchmark.methods.training import TrainedMethod, fitted, seeded, to_tensor
from persam.method.scale import dice_loss
from persam.models.encoders import IMAGENET
from persam.models.fingerprint import fingerprint_of
from persam.models.hub import load_network

LEARNING_RATE = 3e-3
PRETRAINED_RATE = 3e-4  # gentler, so that what a pretrained encoder knows is not lost at once
COARSEST = 32  # how much smaller the last level is: a photo's sides must be multiples of it
WIDTHS = (16, 32, 64, 128)  # of an encoder from scratch: one reference teaches no more
DECODER = (48, 32, 24, 16)


class UNetMethod(TrainedMethod):
    """Trains a new U-Net for every object: binary cross-entropy + dice, AdamW, one cycle.

    Args:
        checkpoint: pretrained ResNet of transformers for the encoder, hub id or folder; None: from scratch.
        device, seed, options: as of `TrainedMethod`.

    Raises:
        PersamError: the checkpoint is not to be had, or no ResNet.
    """

    name = "unet"
    STEPS, BATCH, SIDE = 120, 4, 160

    def __init__(self, *, checkpoint: str | None = None, device: str = "auto", seed: int = 0, **options: Any) -> None:
        super().__init__(checkpoint, device, seed, **options)
        self.rate = LEARNING_RATE if checkpoint is None else PRETRAINED_RATE
        self._mean, self._std = (torch.tensor(each, device=self.device).view(3, 1, 1) for each in IMAGENET)
        with seeded(self.seed, self.device):  # now, so that a wrong checkpoint is told before the first photo is read
            network, self.built_of = build_unet(checkpoint)
        self.fingerprint = fingerprint_of(network)

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`."""
        return {"method": "U-Net", "network": self.built_of} | super().describe()

    def network(self) -> nn.Module:
        """See `TrainedMethod.network`."""
        network: Any = build_unet(self.checkpoint)[0]
        return network.to(memory_format=torch.channels_last)  # quicker on a CPU

    def view_side(self) -> int:
        """See `TrainedMethod.view_side`: it can be halved at every level."""
        return -(-self.side // COARSEST) * COARSEST

    def schedule(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """See `TrainedMethod.schedule`."""
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, self.rate, total_steps=self.steps)

    def loss(self, network: nn.Module, pixels: Tensor, masks: Tensor) -> Tensor:
        """See `TrainedMethod.loss`."""
        logits = network((pixels - self._mean) / self._std)[:, 0]
        return F.binary_cross_entropy_with_logits(logits, masks) + dice_loss(logits, masks).mean()

    @torch.inference_mode()
    def find(self, photo: SharedPhoto, learned: nn.Module) -> Prediction:
        """See `Method.find`."""
        height, width = fitted(photo.size, self.side)
        pixels = (to_tensor(photo.pixels, (height, width), self.device) - self._mean) / self._std
        logits = learned(_padded(pixels[None]))[0, 0, :height, :width]
        logits = to_size(logits, photo.size)
        return answer(logits.sigmoid().cpu().numpy(), logits.cpu().numpy())


def _padded(pixels: Tensor) -> Tensor:
    """The edge's pixels repeated at the right and the bottom, up to sides that can be halved at every level."""
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, -width % COARSEST, 0, -height % COARSEST), mode="replicate")


class ResNetUNet(nn.Module):
    """Encoder: a ResNet of transformers. Decoder: four levels of two convolutions, made of the same library's blocks.

    The finest level is at half the photo's size, as fine as the encoder's first convolution.

    Args:
        encoder: a `ResNetModel`; of any depth and width.
        channels: of the decoder's levels, coarse to fine.
    """

    def __init__(self, encoder: Any, channels: tuple[int, ...] = DECODER) -> None:
        from transformers.models.resnet.modeling_resnet import ResNetConvLayer

        super().__init__()
        self.encoder = encoder
        stages = list(encoder.config.hidden_sizes)  # at 1/4, 1/8, 1/16, 1/32
        skips = [*stages[-2::-1], encoder.config.embedding_size]  # what the levels at 1/16, 1/8, 1/4, 1/2 take over
        before = [stages[-1], *channels[:-1]]
        self.levels = nn.ModuleList(
            nn.Sequential(ResNetConvLayer(below + skip, own), ResNetConvLayer(own, own))
            for below, skip, own in zip(before, skips, channels, strict=True)
        )
        self.head = nn.Conv2d(channels[-1], 1, kernel_size=3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, 1, h, w) of normalised photos (B, 3, h, w)."""
        half = self.encoder.embedder.embedder(pixels)
        seen = [half]
        below = self.encoder.embedder.pooler(half)
        for stage in self.encoder.encoder.stages:
            below = stage(below)
            seen.append(below)
        for level, skip in zip(self.levels, seen[-2::-1], strict=True):
            below = F.interpolate(below, skip.shape[-2:], mode="nearest")
            below = level(torch.cat([below, skip], dim=1))
        return F.interpolate(self.head(below), pixels.shape[-2:], mode="bilinear", align_corners=False)


def build_unet(checkpoint: str | None) -> tuple[nn.Module, str]:
    """A U-Net, and in words what it is made of.

    Args:
        checkpoint: hub id or folder of a pretrained ResNet of transformers for the encoder, or None for random weights;
            then segmentation-models-pytorch's U-Net is taken if it can be imported.

    Raises:
        PersamError: the checkpoint is not to be had, or no ResNet.
    """
    from transformers import ResNetConfig, ResNetModel

    if checkpoint is not None:
        check_type(checkpoint, "resnet", "but the U-Net's encoder is a ResNet", "microsoft/resnet-18")
        return ResNetUNet(load_network(checkpoint, ResNetModel)), "transformers' ResNet, pretrained"
    if (library := import_smp()) is not None:
        network = library.Unet("resnet18", encoder_weights=None, decoder_channels=(*DECODER, 8), classes=1)
        return network, f"segmentation-models-pytorch {library.__version__}, resnet18, from scratch"
    small = ResNetConfig(embedding_size=WIDTHS[0], hidden_sizes=list(WIDTHS), depths=[1, 1, 1, 1], layer_type="basic")
    return ResNetUNet(ResNetModel(small)), "transformers' ResNet blocks, from scratch"


def import_smp() -> Any:
    """segmentation-models-pytorch, or None: it needs torchvision and timm, which do not go with every torch."""
    try:
        return importlib.import_module("segmentation_models_pytorch")
    except (ImportError, RuntimeError, AttributeError, OSError):  # the last three: torchvision beside another torch
        return None
