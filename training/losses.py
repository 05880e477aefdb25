"""The losses: masks (focal and dice, best of the outputs), predicted IoU, and the confidence map (contrastive)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

FOREIGN_WEIGHT = 0.5  # beside the loss within the photo (1): the score "is it there at all" lives on this part alone


@dataclass(frozen=True, eq=False)
class MaskLoss:
    """Per item of a batch: the loss of the best output and of the predicted IoUs, and the IoU reached.

    Attributes:
        mask: 20 * focal + dice of the output with the lowest, (B,).
        quality: squared error of the predicted IoUs, mean over the outputs, (B,).
        chosen_iou: IoU of the output with the best predicted IoU, (B,).
    """

    mask: Tensor
    quality: Tensor
    chosen_iou: Tensor


def mask_loss(logits: Tensor, predicted_iou: Tensor, target: Tensor, valid: Tensor) -> MaskLoss:
    """Losses of K mask outputs: logits (B, K, h, w), predicted_iou (B, K), target and valid in 0..1 (B, h, w).

    What is not valid (padding, ignored) counts nowhere.
    """
    logits, predicted_iou = logits.float(), predicted_iou.float()
    target, valid = target[:, None].float(), valid[:, None].float()
    pixels = valid.sum((-1, -2)).clamp(min=1)
    entropy = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    chance = logits.sigmoid()
    right = chance * target + (1 - chance) * (1 - target)
    focal = (entropy * (1 - right) ** 2 * valid).sum((-1, -2)) / pixels
    overlap = (chance * target * valid).sum((-1, -2))
    dice = 1 - (2 * overlap + 1) / ((chance * valid).sum((-1, -2)) + (target * valid).sum((-1, -2)) + 1)
    with torch.no_grad():
        iou = mask_iou(logits > 0, target > 0.5, valid > 0.5)
    each = 20 * focal + dice
    quality = ((predicted_iou - iou) ** 2).mean(-1)
    chosen = predicted_iou.argmax(-1, keepdim=True)
    return MaskLoss(each.amin(-1), quality, iou.gather(-1, chosen)[:, 0])


def mask_iou(masks: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """IoU over valid pixels of boolean masks (..., h, w); 1 where both are empty."""
    both = (masks & target & valid).sum((-1, -2)).float()
    either = ((masks | target) & valid).sum((-1, -2)).float()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(either))


def contrastive_loss(
    similarity: Tensor, positive: Tensor, negative: Tensor, foreign: Tensor | None = None, tau: float = 0.1
) -> Tensor:
    """How far the object's cells are from beating all others in the confidence map; mean over images that have both.

    Args:
        similarity: cosine of the target embedding with every cell, (B, N).
        positive: cells on the object, boolean (B, N).
        negative: cells of the same image beside the object, boolean (B, N).
        foreign: cosine of the target embedding with every cell of K images without the object, (B, K * N); counts
            `FOREIGN_WEIGHT`.
        tau: temperature.

    Half of the loss asks every positive cell to beat all negatives, half only the highest ones.
    """
    scaled = similarity.float() / tau
    others = scaled.masked_fill(~negative, -torch.inf)
    usable = positive.any(1) & negative.any(1)
    if not usable.any():
        return similarity.sum() * 0
    scaled, others, positive = scaled[usable], others[usable], positive[usable]
    rivals = torch.logsumexp(others, 1)
    count = positive.sum(1)
    every = (F.softplus(rivals[:, None] - scaled) * positive).sum(1) / count
    highest = F.softplus(rivals - torch.logsumexp(scaled.masked_fill(~positive, -torch.inf), 1) + count.log())
    loss = (every + highest).mean() / 2
    if foreign is not None and foreign.shape[1]:
        strangers = torch.logsumexp(foreign[usable].float() / tau, 1)
        loss = loss + FOREIGN_WEIGHT * ((F.softplus(strangers[:, None] - scaled) * positive).sum(1) / count).mean()
    return loss
