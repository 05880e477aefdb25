"""From a map of how likely every pixel is the object's to an answer."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from persam.benchmark.methods.base import Prediction


def answer(probability: np.ndarray, ranking: np.ndarray | None = None) -> Prediction:
    """The pixels above one half, how sure they are, and the likeliest of all.

    Args:
        probability: (H, W) in [0, 1].
        ranking: (H, W), what the likeliest pixel is chosen by; the same map before it was clipped, for instance.

    Returns:
        Its score is the mean probability of the mask's pixels, above 0.5, or, if the mask is empty, the highest
        probability there is.
    """
    mask = probability > 0.5
    score = probability[mask].mean() if mask.any() else probability.max()
    row, column = np.unravel_index(int((probability if ranking is None else ranking).argmax()), probability.shape)
    return Prediction(mask, float(score), bool(mask.any()), (float(column), float(row)))


def to_size(values: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """A map (h, w) resized to (H, W)."""
    options = {"align_corners": False} if mode == "bilinear" else {}
    return F.interpolate(values[None, None].to(torch.float32), size, mode=mode, **options)[0, 0]
