"""Scale-aware tuning: PerSAM-F's two numbers (paper Eq. 11), fitted on the reference.

M = w_1 M_1 + w_2 M_2 + w_3 M_3 with w_1 + w_2 + w_3 = 1, over the logits of the decoder's three scales.  These logits
do not change while the weights are fitted, so they are computed once; what is left is a problem in two variables.
Loss: dice + focal (alpha 0.25, gamma 2), weight 1 : 1, on the weighted logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

PUBLISHED_EPOCHS = 1000
REACH = 0.6  # the published learning rates sum to 0.5, and momentum carries a weight a little further than that
MOST_PIXELS = 64 * 64  # the direct solver's resolution


@dataclass(frozen=True)
class Shot:
    """One reference to tune on: logits of the three scales (3, h, w) and the mask's share of every pixel (h, w)."""

    logits: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Tuned:
    """Fitted weights (3,) in the decoder's order, and the losses on the way (one for the direct solver: the last)."""

    weights: Tensor
    losses: tuple[float, ...]


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1), p = sigmoid(logits); over the last two axes."""
    p = logits.sigmoid()
    return 1 - (2 * (p * mask).sum((-2, -1)) + 1) / (p.sum((-2, -1)) + mask.sum((-2, -1)) + 1)


def focal_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean focal loss with alpha 0.25 and gamma 2 over the last two axes."""
    target = mask.expand_as(logits)
    p = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    missed = 1 - (p * target + (1 - p) * (1 - target))
    balance = 0.25 * target + 0.75 * (1 - target)
    return (balance * entropy * missed**2).mean((-2, -1))


def tuning_loss(weights: Tensor, shots: Sequence[Shot]) -> Tensor:
    """Loss of the weights (..., 3), mean over the references: (...)."""
    losses = []
    for shot in shots:
        combined = torch.einsum("...m,mhw->...hw", weights, shot.logits)
        losses.append(dice_loss(combined, shot.mask) + focal_loss(combined, shot.mask))
    return torch.stack(losses).mean(0)


def tune_as_published(
    shots: Sequence[Shot], epochs: int = PUBLISHED_EPOCHS, progress: Callable[[int], object] | None = None
) -> Tuned:
    """The published procedure: AdamW (lr 1e-3, eps 1e-4), cosine schedule, on (1 - w1 - w2, w1, w2) from 1/3 each.

    `losses` holds the loss before every epoch. Several references are averaged (published: one).
    """
    # The facade runs under inference mode, where nothing can be learned.
    with torch.inference_mode(False), torch.enable_grad():
        shots = [Shot(s.logits.detach().clone(), s.mask.detach().clone()) for s in shots]
        free = torch.full((2,), 1 / 3, device=shots[0].logits.device, requires_grad=True)
        optimiser = torch.optim.AdamW([free], lr=1e-3, eps=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
        losses = []
        for epoch in range(epochs):
            loss = tuning_loss(_all_three(free), shots)
            losses.append(float(loss.detach()))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if progress is not None:
                progress(epoch + 1)
        return Tuned(_all_three(free).detach(), tuple(losses))


def tune_directly(shots: Sequence[Shot]) -> Tuned:
    """The optimum of the same loss over all weights that the published procedure can reach (|w - 1/3| <= REACH).

    Two variables and one smooth function: a coarse grid finds the valley, then a paraboloid through a 3 x 3 stencil
    tells where its bottom is, and the stencil shrinks around it. Runs at a resolution of at most `MOST_PIXELS`.
    """
    small = [_reduce(shot) for shot in shots]
    device = small[0].logits.device

    def losses_at(candidates: Tensor) -> Tensor:
        return tuning_loss(_all_three(candidates.to(device)), small).cpu()

    lowest, highest = 1 / 3 - REACH, 1 / 3 + REACH
    side = torch.linspace(lowest, highest, 5)
    best, loss, _ = _lowest(torch.cartesian_prod(side, side), losses_at)
    step = REACH / 4
    for _ in range(6):
        stencil = (best + step * _STENCIL).clamp(lowest, highest)
        values = losses_at(stencil)
        guess = _bottom(stencil, values).clamp(lowest, highest)
        best, loss, _ = _lowest(torch.cat([stencil, guess[None]]), losses_at, values)
        step *= 0.4
    return Tuned(_all_three(best).to(device), (float(loss),))


_STENCIL = torch.cartesian_prod(torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0]))


def _lowest(
    candidates: Tensor, losses_at: Callable[[Tensor], Tensor], known: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The candidate (N, 2) with the lowest loss, its loss, and all losses; the first of them may be known already."""
    known = candidates.new_zeros(0) if known is None else known
    losses = torch.cat([known, losses_at(candidates[len(known) :])])
    return candidates[losses.argmin()], losses.min(), losses


def _bottom(points: Tensor, values: Tensor) -> Tensor:
    """Where the paraboloid through values (9,) at points (9, 2) is lowest, (2,); the best point if it has no bottom."""
    x, y = (points - points.mean(0)).double().T
    columns = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], dim=1)
    _, bx, by, xx, xy, yy = torch.linalg.pinv(columns) @ values.double()
    curvature = torch.stack([torch.stack([2 * xx, xy]), torch.stack([xy, 2 * yy])])
    if not bool((torch.linalg.eigvalsh(curvature) > 1e-9).all()):
        return points[values.argmin()]
    return points.mean(0) - torch.linalg.solve(curvature, torch.stack([bx, by])).to(points.dtype)


def _all_three(free: Tensor) -> Tensor:
    """(..., 2) -> (..., 3): the remainder goes to the first scale, as published."""
    return torch.cat([1 - free.sum(-1, keepdim=True), free], dim=-1)


def _reduce(shot: Shot) -> Shot:
    height, width = shot.mask.shape
    shrink = (MOST_PIXELS / (height * width)) ** 0.5
    if shrink >= 1:
        return shot
    size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    return Shot(
        F.interpolate(shot.logits[None], size, mode="bilinear", align_corners=False)[0],
        F.interpolate(shot.mask.float()[None, None], size, mode="area")[0, 0],
    )
