"""Scale-aware tuning: PerSAM-F's two numbers (paper Eq. 11), fitted on the reference.

M = w_1 M_1 + w_2 M_2 + w_3 M_3 with w_1 = 1 - w_2 - w_3 (as published; printed: w_3 is the remainder), over the
logits of the decoder's three scales.  These logits
do not change while the weights are fitted, so they are computed once; what is left is a problem in two variables.
Loss: dice + focal (alpha 0.25, gamma 2), weight 1 : 1, on the weighted logits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from persam.errors import PersamWarning, UsageError
from persam.geometry import Size
from persam.method.learn import Learned
from persam.method.prior import Prior, prior_of
from persam.method.segment import decode_at_prior
from persam.models.base import PromptableModel

if TYPE_CHECKING:
    from persam.concept import Concept

SOLVERS = ("direct", "adamw")
PUBLISHED_EPOCHS, PUBLISHED_RATE = 1000, 1e-3
REACH = 0.6  # the published learning rates sum to 0.5, and momentum carries a weight a little further than that
MOST_PIXELS = 64 * 64  # the direct solver's resolution
# The published procedure's: a million pixels take half a minute on a CPU core, and a phone's photo has 48.
# It was published with smaller photos, and the decoder's logits, which are weighted, have 256 x 256.
MOST_PUBLISHED_PIXELS = 2**21
_LOSS_DIGITS, _WEIGHT_DIGITS = 11, 6
_STENCIL = torch.cartesian_prod(torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0])).double()


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


def check_solver(name: str) -> None:
    """See that there is such a solver.

    Raises:
        UsageError: there is none.
    """
    if name not in SOLVERS:
        raise UsageError(f'There is no solver "{name}"; use {" or ".join(SOLVERS)}.')


def shot_of(
    model: PromptableModel, learned: Learned, concept: Concept, *, full_size: bool, prior: Prior | None = None
) -> Shot:
    """The decoder's three scales on a reference, from the prompts that the tuned concept will use.

    At the photo's full size as published (up to `MOST_PUBLISHED_PIXELS`, see `published_size`), or on the
    low-resolution canvas without its padding. Where these prompts do not follow from the photo alone, `prior` has them.
    """
    frame, size = learned.image.frame, model.low_resolution
    prior = prior or prior_of(learned.image, concept, size, tuned=True)
    logits = decode_at_prior(model, learned.image, prior, multimask=True).logits
    if full_size:
        reduced = published_size(frame.photo)
        mask = learned.mask.float()
        if reduced != frame.photo:
            _warn_of_size(frame.photo, reduced)
            mask = F.interpolate(mask[None, None], reduced, mode="area")[0, 0]
        return Shot(replace(frame, photo=reduced).to_photo_size(logits)[0], mask)
    used = frame.inside(size)
    rows, columns = int(used.any(1).sum()), int(used.any(0).sum())
    return Shot(logits[0, :, :rows, :columns], frame.cover(learned.mask, size)[:rows, :columns])


def published_size(photo: Size) -> Size:
    """At which size (H, W) a photo of this size is tuned on by `tune_as_published`: its own, unless it is too large."""
    shrink = (MOST_PUBLISHED_PIXELS / (photo[0] * photo[1])) ** 0.5
    return photo if shrink >= 1 else (max(1, int(photo[0] * shrink)), max(1, int(photo[1] * shrink)))


def _warn_of_size(photo: Size, reduced: Size) -> None:
    warnings.warn(
        f"The solver adamw tunes on this photo of {photo[1]} x {photo[0]} pixels at {reduced[1]} x {reduced[0]}, "
        "because its thousand steps at full size take too long; the solver direct needs a second at any size.",
        PersamWarning,
        stacklevel=2,
    )


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1), p = sigmoid(logits); over the last two axes."""
    p = logits.sigmoid()
    return 1 - (2 * (p * mask).sum((-2, -1)) + 1) / (p.sum((-2, -1)) + mask.sum((-2, -1)) + 1)


def focal_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean focal loss with alpha 0.25 and gamma 2 over the last two axes; `mask` may hold shares."""
    p = logits.sigmoid()
    entropy = F.softplus(logits) - logits * mask  # binary cross-entropy, from logits
    missed = p + mask - 2 * p * mask  # 1 - p_t
    balance = 0.75 - 0.5 * mask  # alpha_t
    return (balance * entropy * missed**2).mean((-2, -1))


def tuning_loss(weights: Tensor, shots: Sequence[Shot]) -> Tensor:
    """Loss of the weights (..., 3), mean over the references: (...)."""
    losses = []
    for shot in shots:
        combined = torch.einsum("...m,mhw->...hw", weights, shot.logits)
        losses.append(dice_loss(combined, shot.mask) + focal_loss(combined, shot.mask))
    return torch.stack(losses).mean(0)


def tune_as_published(
    shots: Sequence[Shot],
    epochs: int = PUBLISHED_EPOCHS,
    progress: Callable[[int], object] | None = None,
    rate: float = PUBLISHED_RATE,
) -> Tuned:
    """The published procedure: AdamW (lr 1e-3, eps 1e-4), cosine schedule, on w_2 and w_3 from 1/3 each; w_1 is
    the remainder.

    `losses` holds the loss before every epoch. Several references are averaged (published: one).
    """
    # The facade runs under inference mode, where nothing can be learned.
    with torch.inference_mode(False), torch.enable_grad():
        shots = [Shot(s.logits.detach().clone(), s.mask.detach().clone()) for s in shots]
        free = torch.full((2,), 1 / 3, device=shots[0].logits.device, requires_grad=True)
        optimiser = torch.optim.AdamW([free], lr=rate, eps=1e-4)
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

    The same references give the same weights every time. Sums of floats do not: they depend on where the memory lies,
    and in a flat valley their last digit decides. So it is done in double precision on the CPU, and rounded.
    """
    device = shots[0].logits.device
    small = [Shot(shot.logits.cpu().double(), shot.mask.cpu().double()) for shot in map(_reduce, shots)]

    def losses_at(candidates: Tensor) -> Tensor:
        return tuning_loss(_all_three(candidates), small).round(decimals=_LOSS_DIGITS)

    lowest, highest = 1 / 3 - REACH, 1 / 3 + REACH
    side = torch.linspace(lowest, highest, 5, dtype=torch.float64)
    candidates = torch.cartesian_prod(side, side)
    losses = losses_at(candidates)
    best, loss, step = candidates[losses.argmin()], losses.min(), REACH / 4
    centre = best
    for _ in range(6):
        candidates = (centre + step * _STENCIL).clamp(lowest, highest)
        losses = losses_at(candidates)
        if losses.min() < loss:
            best, loss = candidates[losses.argmin()], losses.min()
        centre = _bottom(candidates, losses).clamp(lowest, highest)
        if (centre - best).abs().max() > 2 * step:  # the paraboloid looked too far away
            centre = best
        step *= 0.4
    return Tuned(_all_three(best.round(decimals=_WEIGHT_DIGITS)).float().to(device), (float(loss),))


def _bottom(points: Tensor, values: Tensor) -> Tensor:
    """Where the paraboloid through values (9,) at points (9, 2) is lowest, (2,); the best point if it has no bottom."""
    middle = points.mean(0)
    x, y = (points - middle).T
    columns = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], dim=1)
    scale = columns.abs().amax(0).clamp(min=1e-12)  # the squares are small beside the 1
    # At the edge of what may be reached points fall together, and there is more than one such paraboloid.
    solved = torch.linalg.lstsq(columns / scale, values[:, None], rcond=1e-9, driver="gelsd").solution[:, 0]
    _, bx, by, xx, xy, yy = (solved / scale).tolist()
    determinant = 4 * xx * yy - xy * xy
    if xx <= 0 or determinant <= 1e-12 * (xx + yy) ** 2:
        return points[values.argmin()]
    return middle + torch.tensor([xy * by - 2 * yy * bx, xy * bx - 2 * xx * by]).double() / determinant


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
