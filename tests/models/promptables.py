"""Tiny random networks of every promptable kind, of transformers' real classes, and folders with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tests.fakes import random_network, sam_config
from tests.video.memories import HIERA, REPVIT, SIDE, SIDE_3, VIT

from persam.models.repvit import with_repvit

CHANNELS = 32
STRETCHED = ("sam2", "edgetam", "sam3_tracker")
KINDS = ("sam_hq", *STRETCHED)

_DECODER = {"hidden_size": CHANNELS, "mlp_dim": 48, "num_attention_heads": 4, "iou_head_hidden_dim": 32}


def _randomise(network: Any) -> Any:
    """Make every weight random, so that no path is dead; many are 0 in transformers, or almost."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" not in name:
                parameter.normal_(0, 0.1 if parameter.ndim < 2 else parameter[0].numel() ** -0.5)
    return network.eval()


def random_promptable(kind: str, seed: int = 0) -> Any:
    """A network of `sam`, or one of `KINDS`."""
    torch.manual_seed(seed)
    if kind == "sam":
        return random_network(seed)
    if kind == "sam_hq":
        small = sam_config().to_dict()
        parts = {part: small[part] for part in ("vision_config", "prompt_encoder_config")}
        config = transformers.SamHQConfig(
            **{part: {k: v for k, v in values.items() if k != "model_type"} for part, values in parts.items()},
            mask_decoder_config={**_DECODER, "vit_dim": 24},
        )
        return _randomise(transformers.SamHQModel(config))
    family, vision, side, patch = {
        "sam2": ("Sam2", HIERA, SIDE, 16),
        "edgetam": ("EdgeTam", REPVIT, SIDE, 16),
        "sam3_tracker": ("Sam3Tracker", VIT, SIDE_3, 14),
    }[kind]
    config = getattr(transformers, f"{family}Config")(
        vision_config={**vision, "fpn_hidden_size": CHANNELS},
        prompt_encoder_config={
            "hidden_size": CHANNELS,
            "image_size": side,
            "patch_size": patch,
            "mask_input_channels": 4,
        },
        mask_decoder_config=_DECODER,
    )
    if kind == "edgetam":
        config = with_repvit(config)
    return _randomise(getattr(transformers, f"{family}Model")(config))


def saved_promptable(kind: str, folder: Path, seed: int = 0) -> str:
    """The same in a folder, as transformers saves it."""
    random_promptable(kind, seed).save_pretrained(folder)
    return str(folder)
