"""The masked loss (paper, section 2.4): the subject's pixels teach, its background does not.

A latent is a place of 8 x 8 pixels, so a mask becomes the share of each place that the subject covers. The squared
error of each latent is weighted with it:

    w = floor + (1 - floor) * share        loss = sum(w * error) / (channels * sum(w))

The paper says that the background has no gradient and leaves open what the sum is divided by. Here it is the sum of the
weights, which is a mean over the subject: a photo counts alike whether the subject in it is large or small, the loss
keeps its size beside prior preservation's, and with a mask of ones it is the mean squared error of plain DreamBooth.
Other trainers divide by the number of all latents; a subject on a tenth of its photo then counts a tenth, and its class
images outweigh it ten to one.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F


def latent_weights(mask: np.ndarray, size: tuple[int, int], floor: float = 0.0) -> torch.Tensor:
    """What each latent of a photo counts.

    Args:
        mask: (H, W) bool, of the crop that is trained on.
        size: (h, w) of the latents.
        floor: what a latent without the subject counts, 0 to 1; 1 is plain DreamBooth.

    Returns:
        (1, 1, h, w) float32, `floor` to 1; exactly `floor` where no pixel is the subject's.
    """
    share = F.interpolate(torch.from_numpy(mask.astype(np.float32))[None, None], size=size, mode="area")
    return floor + (1 - floor) * share


def weighted_mean(error: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """The mean of an error, (B, C, h, w), over the latents that count.

    Args:
        error: of each latent, such as the squared difference of what was predicted and what is true.
        weights: (B, 1, h, w), not all 0; None: all latents count alike.

    Returns:
        A scalar. Its gradient is exactly 0 where the weight is.
    """
    if weights is None:
        return error.mean()
    return (weights * error).sum() / (weights.sum() * error.shape[1])
