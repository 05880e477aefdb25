"""The network that is trained, behind persam's own protocol; its initial weights, average (EMA) and checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from persam.models.base import EncodedImage
from persam.models.sam import PIXEL_MEAN, PIXEL_STD, Sam
from persam.models.tiny.architecture import TinyConfig, TinySam


def as_sam(network: TinySam) -> Sam:
    """The network, frozen, as persam uses it, at the image size that it is set to now."""
    device = next(network.parameters()).device
    return Sam(network, name="tiny", image_size=network.image_size, device=device)


def as_trainable_sam(network: TinySam) -> Sam:
    """The network as persam uses it, but in train mode, and what was not frozen before can learn."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    model = as_sam(network)
    network.train()
    for parameter in learning:
        parameter.requires_grad_(True)
    if model.device.type == "cpu":
        _align_layouts(network.mask_decoder)
    return model


def attention_on(device: torch.device) -> AbstractContextManager[None]:
    """How a training step computes attention: on a CPU the fused way back takes long for few tokens and many cells."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def _align_layouts(decoder: Any) -> None:
    """Have tensors that meet in the mask decoder lie in memory alike; on a CPU it takes up to ten times as long if not.

    No number changes by it.
    """

    def cell_by_cell(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        names = ("image_embeddings", "image_positional_embeddings")
        aligned = {name: kwargs[name].contiguous(memory_format=torch.channels_last) for name in names}
        return args, kwargs | aligned

    decoder.transformer.register_forward_pre_hook(cell_by_cell, with_kwargs=True)
    # the gradient of what follows comes channel by channel
    decoder.upscale_conv2.register_forward_hook(lambda _module, _inputs, upscaled: upscaled.contiguous())


def encode_views(model: Sam, images: Tensor) -> EncodedImage:
    """Encode views, uint8 RGB (B, 3, S, S), that are as large as the canvas; lets gradients through."""
    mean, deviation = (torch.tensor(each, device=images.device).view(1, 3, 1, 1) for each in (PIXEL_MEAN, PIXEL_STD))
    pixels = ((images.float() - mean) / deviation).contiguous(memory_format=torch.channels_last)
    size = images.shape[-1]
    return EncodedImage(model.network.vision_encoder(pixels).float(), model.frame((size, size)))


def initial_network(path: str | Path | None) -> TinySam:
    """A network with the weights in `path`, `TinySam.save`'s file or the average in a checkpoint (.pt); or random."""
    if path is None:
        return TinySam()
    if not str(path).endswith(".pt"):
        return TinySam.load(path)
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    network = TinySam(TinyConfig.from_dict(checkpoint["config"]))
    network.load_weights(checkpoint["ema"])
    network.history = checkpoint["history"]
    return network


def deepened(network: TinySam, depths: Sequence[int]) -> TinySam:
    """A network with more blocks in the encoder's stages that gives the same numbers as `network`.

    What a new block adds to its input is multiplied with zero at first; training finds out what it is good for.

    Args:
        network: with any weights.
        depths: blocks of each of the four stages, none fewer than it has.

    Raises:
        ValueError: fewer blocks in a stage.
    """
    before = network.config.depths
    if len(depths) != len(before) or any(new < old for new, old in zip(depths, before, strict=True)):
        raise ValueError(f"blocks can be added to the stages, which have {before}; asked for {tuple(depths)}")
    deeper = TinySam(replace(network.config, depths=tuple(depths))).resize(network.image_size)
    weights, known = deeper.state_dict(), network.state_dict()
    new = [name for name in weights.keys() - known.keys() if name.endswith("layer.1.normalization.weight")]
    deeper.load_weights(weights | known | {name: torch.zeros_like(weights[name]) for name in new})
    deeper.history = network.history
    return deeper


class Average:
    """An exponential moving average of a model's weights and statistics, with a warm-up of its decay."""

    def __init__(self, model: TinySam, decay: float = 0.999) -> None:
        self.decay = decay
        self.steps = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average a step towards `model`."""
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        ours, theirs = [], []
        for mine, new in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                ours.append(mine)
                theirs.append(new.detach())
            else:
                mine.copy_(new)
        torch._foreach_lerp_(ours, theirs, weight)


def save_checkpoint(
    path: str | Path, model: TinySam, average: Average, optimiser: torch.optim.Optimizer, progress: dict[str, Any]
) -> None:
    """Write everything that `resume` needs; atomic."""
    partial = Path(f"{path}.part")
    content = {
        "config": asdict(model.config),
        "model": model.state_dict(),
        "ema": average.model.state_dict(),
        "ema_steps": average.steps,
        "optimiser": optimiser.state_dict(),
        "progress": progress,
        "history": model.history,
    }
    torch.save(content, partial)
    partial.replace(path)


def resume(path: str | Path, model: TinySam, average: Average, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Take over a checkpoint of `save_checkpoint`, in place; returns its progress."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    model.load_weights(content["model"])
    average.model.load_weights(content["ema"])
    average.steps = content["ema_steps"]
    optimiser.load_state_dict(content["optimiser"])
    model.history = content["history"]
    progress: dict[str, Any] = content["progress"]
    return progress
