"""How a photo becomes what a network takes, where the network wants it stretched over a square (SAM 2 and its kin)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from persam.errors import PersamError
from persam.models.hub import hub_call

MeanStd = tuple[Sequence[float], Sequence[float]]  # of red, green and blue, of 0..1

IMAGENET: MeanStd = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: MeanStd = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_FILES = ("processor_config.json", "preprocessor_config.json")


def stretched(image: np.ndarray, side: int, mean: Tensor, std: Tensor) -> Tensor:
    """A photo, (H, W, 3) uint8, stretched to a square and normalised: (1, 3, S, S) float32.

    Bilinear with antialias, in uint8, as transformers' processors of these networks do it through torchvision.

    Args:
        image: the photo.
        side: S, of the square.
        mean: of its pixels, (1, 3, 1, 1) of 0..1, on the device where the result is to be.
        std: their deviation, the same.
    """
    resized = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    values = torch.from_numpy(np.array(resized)).to(mean.device).permute(2, 0, 1)[None].float() / 255
    return (values - mean) / std


def pixels_of(name: str, usual: MeanStd) -> MeanStd:
    """Mean and deviation of the pixels that a model wants: what its files say, or what is usual for its kind.

    Raises:
        PersamError: a file says something else.
    """
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        settings, _ = hub_call(name, ImageProcessingMixin.get_image_processor_dict)
    except PersamError:
        if any((Path(name) / file).exists() for file in _FILES):
            raise
        return usual
    wanted = [settings.get(key, usual[place]) for place, key in enumerate(("image_mean", "image_std"))]
    if any(not isinstance(each, (list, tuple)) or len(each) != 3 for each in wanted):
        raise PersamError(f"The preprocessing of {name} is damaged: image_mean and image_std are not three numbers.")
    return wanted[0], wanted[1]


def as_channels(values: Sequence[float], device: torch.device) -> Tensor:
    """Three numbers as (1, 3, 1, 1), to compute with photos."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)
