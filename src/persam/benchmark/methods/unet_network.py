"""A U-Net (arXiv 1505.04597): a ResNet goes down, a decoder comes up again and takes over what each level saw.

segmentation-models-pytorch's where it can be imported; otherwise the same form from transformers' ResNet blocks, which
need neither torchvision nor timm.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from persam.errors import PersamError
from persam.models.hub import hub_call, load_network

COARSEST = 32  # how much smaller the last level is: a photo's sides must be multiples of it
WIDTHS = (16, 32, 64, 128)  # of an encoder from scratch: one reference teaches no more
DECODER = (48, 32, 24, 16)


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
    from transformers import AutoConfig, ResNetConfig, ResNetModel

    if checkpoint is not None:
        config = hub_call(checkpoint, AutoConfig.from_pretrained)
        if config.model_type != "resnet":
            raise PersamError(
                f"{checkpoint} is a model of type {config.model_type}, but the U-Net's encoder is a ResNet; name one "
                "such as microsoft/resnet-18."
            )
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
