"""How much what is under a mask looks like a concept, wherever the mask comes from."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from persam.concept import Concept
from persam.method.find import score_in
from persam.method.prior import Prior
from persam.models.base import EncodedImage, PromptableModel


def likeness_of(model: PromptableModel, image: EncodedImage, concept: Concept, prior: Prior, mask: np.ndarray) -> float:
    """Log odds that what a mask shows is the concept, as in an album.

    Args:
        model: which encoded the frame.
        image: the frame.
        concept: as it was learned, before the clip's frames were remembered.
        prior: of the frame, by the concept.
        mask: (h, w) bool, of any size.
    """
    values = prior.canvas if prior.alike is None else prior.alike
    frame = replace(prior.frame, photo=mask.shape)
    share = frame.cover(torch.tensor(mask, device=values.device), model.low_resolution)
    # The prior's own is that of its peak, which may be elsewhere.
    prior = replace(prior, similarity=float(values[share >= min(0.5, float(share.max()))].max()))
    score = score_in(image, concept, prior, mask)
    return math.log(max(score, 1e-9) / max(1 - score, 1e-9))
