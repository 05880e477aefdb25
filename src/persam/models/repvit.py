"""EdgeTAM's image encoder, RepViT-M1 (arXiv 2307.09283, 2501.07256), in the place of the one that the library timm has.

transformers makes EdgeTAM of its own classes, but for this network, which it takes from timm; and timm needs
torchvision, which does not go with every torch. So it stands here, after timm 1.0's `repvit_m1` (Apache-2.0) with
`features_only`: the same tensors by the same names as in published checkpoints, and the same numbers.

EdgeTAM's checkpoints are of the network as it was trained: batch norms are not fused, and the branches of a block are
not summed into one convolution. Neither is done here: a concept knows its model by its tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, TimmWrapperConfig
from transformers.models.timm_wrapper.modeling_timm_wrapper import TimmWrapperModel

ARCHITECTURE = "repvit_m1"
WIDTHS, DEPTHS = (48, 96, 192, 384), (2, 2, 14, 2)  # channels and blocks of the four stages


def _conv(given: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution that keeps the size, but for its stride, and its batch norm."""
    conv = nn.Conv2d(given, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(c=conv, bn=nn.BatchNorm2d(width)))


def _mlp(width: int) -> nn.Sequential:
    """An MLP on every cell."""
    return nn.Sequential(OrderedDict(conv1=_conv(width, 2 * width), act=nn.GELU(), conv2=_conv(2 * width, width)))


class SummedConvs(nn.Module):
    """What a cell takes of its neighbours, channel by channel: a 3 x 3 convolution, a factor, and the cell itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _conv(width, width, 3, groups=width)
        self.conv1 = _conv(width, width, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return self.conv(x) + self.conv1(x) + x


class ChannelGate(nn.Module):
    """Squeeze and excitation: the means of the channels say how much of each goes on."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(8, (width // 4 + 4) // 8 * 8)  # a quarter, rounded to eights
        self.fc1 = nn.Conv2d(width, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        mean = x.mean((2, 3), keepdim=True)
        return x * self.fc2(self.fc1(mean).relu()).sigmoid()


class RepVitBlock(nn.Module):
    """Neighbours, for every other block of a stage a gate, then an MLP around a skip connection."""

    def __init__(self, width: int, *, gated: bool) -> None:
        super().__init__()
        self.token_mixer = SummedConvs(width)
        self.se = ChannelGate(width) if gated else nn.Identity()
        self.channel_mixer = _mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        mixed: Tensor = self.se(self.token_mixer(x))
        return mixed + self.channel_mixer(mixed)


class RepVitDownsample(nn.Module):
    """Between two stages: half the height and width, another number of channels."""

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        self.pre_block = RepVitBlock(given, gated=False)
        self.spatial_downsample = _conv(given, given, 3, stride=2, groups=given)
        self.channel_downsample = _conv(given, width)
        self.ffn = _mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H / 2, W / 2), rounded up."""
        halved: Tensor = self.channel_downsample(self.spatial_downsample(self.pre_block(x)))
        return halved + self.ffn(halved)


class RepVit(nn.Module):
    """The feature maps of all stages.

    Args:
        widths: channels of the stages, even numbers.
        depths: blocks in each.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, depths: Sequence[int] = DEPTHS) -> None:
        super().__init__()
        first = widths[0]
        self.stem = nn.Sequential(
            OrderedDict(conv1=_conv(3, first // 2, 3, 2), act1=nn.GELU(), conv2=_conv(first // 2, first, 3, 2))
        )
        before = [nn.Identity(), *(RepVitDownsample(given, width) for given, width in pairwise(widths))]
        self._stages = []
        for number, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = nn.Sequential(*(RepVitBlock(width, gated=block % 2 == 0) for block in range(depth)))
            self._stages.append(f"stages_{number}")
            self.add_module(self._stages[-1], nn.Sequential(OrderedDict(downsample=before[number], blocks=blocks)))

    def forward(self, pixel_values: Tensor) -> list[Tensor]:
        """Normalised pixels (B, 3, H, W) -> a map of every stage, (B, width, H / 4, W / 4), then half as high and wide
        each, rounded up."""
        x = self.stem(pixel_values.contiguous(memory_format=torch.channels_last))  # a third quicker in bf16
        maps = []
        for name in self._stages:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return maps


class RepVitConfig(TimmWrapperConfig):
    """Of an encoder that timm is not needed for; of the same `model_type`, so that it is saved as timm's would be."""


class RepVitModel(TimmWrapperModel):
    """What transformers gets in the place of timm's network, and calls as it would call that."""

    config_class = RepVitConfig

    def __init__(self, config: RepVitConfig) -> None:
        PreTrainedModel.__init__(self, config)  # that of the base asks for timm
        self.features_only = True
        given = config.model_args or {}
        self.timm_model = RepVit(given.get("embed_dim", WIDTHS), given.get("depth", DEPTHS))
        self.post_init()


AutoModel.register(RepVitConfig, RepVitModel)


def with_repvit(config: Any) -> Any:
    """Have the encoder above in an EdgeTAM's configuration, where it asks timm for the same; it is changed in place."""
    encoder: Any = getattr(config.vision_config, "backbone_config", None)
    if type(encoder) is TimmWrapperConfig and _is_here(encoder):
        config.vision_config.backbone_config = RepVitConfig(
            architecture=encoder.architecture, model_args=encoder.model_args
        )
    return config


def _is_here(encoder: Any) -> bool:
    """Whether what is asked of timm is this network, all stages of it, with nothing unknown about it."""
    asked = {"in_chans": 3, "embed_dim": WIDTHS, "depth": DEPTHS, **(encoder.model_args or {})}
    widths, depths, stages = (asked.pop(each, None) for each in ("embed_dim", "depth", "out_indices"))
    return (
        encoder.architecture.partition(".")[0] == ARCHITECTURE  # a dot stands before how it was trained
        and asked == {"in_chans": 3, "features_only": True}
        and all(isinstance(each, list | tuple) for each in (widths, depths, stages))
        and list(range(len(widths))) == list(range(len(depths))) == list(stages)
    )
