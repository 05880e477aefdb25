"""Cascaded refinement: the decoder's passes from the location prior to the final mask (paper Fig. 3, published order).

Pass 1: points and guidance. Pass 2: the same points and the mask so far. Pass 3: also its tight box.
A tuned concept's pass 1 gives the weighted sum of the three scales, and its pass 2 already has the box (published).
Mode persam then looks back: a refinement may have left the object, and a mask of an earlier pass may be the better one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from persam.geometry import Frame
from persam.method.confidence import z_score
from persam.method.location import Location
from persam.method.settings import Settings
from persam.method.trace import Step
from persam.models.base import Decoded, Encoding, PromptableModel, Prompts
from persam.models.guidance import Guidance

LOOK_BACK = "best of all passes"  # name of the step that is no pass of the decoder
RUNAWAY = 0.95  # share of the photo that a refined mask may newly fill before it counts as run away


@dataclass(frozen=True)
class Scene:
    """What stays the same over the passes for one concept in one image.

    Attributes:
        encoding: of the image.
        confidence: map on the canvas at the decoder's low resolution, (h, w).
        location: the prior.
    """

    encoding: Encoding
    confidence: Tensor
    location: Location


def run_cascade(
    model: PromptableModel,
    scene: Scene,
    settings: Settings,
    guidance: Guidance | None = None,
    scale_weights: Tensor | None = None,
) -> list[Step]:
    """All passes; the last step that was not dropped holds the mask.

    Args:
        model: the promptable model.
        scene: image, confidence map and location prior.
        settings: which techniques run.
        guidance: for the first pass.
        scale_weights: PerSAM-F's weights of the three scales (3,), or None.
    """
    location = scene.location
    first = model.decode(
        scene.encoding,
        prompts_at(model, location, logits=location.dense),
        multimask=scale_weights is not None or settings.first_pass == "scales",
        guidance=guidance,
    )
    if scale_weights is not None:
        taken = torch.einsum("m,mhw->hw", scale_weights.to(first.logits), first.logits[0])
        if settings.fallback and not _good(taken, scene, None):
            steps = [_choose("first pass, best scale", first, scene, settings)]
        else:
            steps = [Step("first pass, weighted scales", first.logits[0], first.scores[0], -1, taken)]
    else:
        steps = [_choose("first pass", first, scene, settings)]
    if settings.cascade:
        steps += _refine(model, scene, settings, guidance, steps[0], boxed=scale_weights is not None)
    if settings.final_agreement:
        best = _look_back(steps, scene, settings.final_agreement, scale_weights)
        steps += [] if best is None else [best]
    return steps


def _refine(
    model: PromptableModel,
    scene: Scene,
    settings: Settings,
    guidance: Guidance | None,
    first: Step,
    *,
    boxed: bool,
) -> list[Step]:
    """Passes 2 and 3; `boxed`: pass 2 has a box already."""
    again = None
    if settings.guided_cascade and guidance is not None and guidance.semantic is not None:
        again = Guidance(semantic=guidance.semantic)
    steps: list[Step] = []
    for name, with_box in (("refined", boxed), ("refined with box", True)):
        before = last_good([first, *steps])
        box = tight_box(before.taken, scene.encoding.frame, settings.map == "photo") if with_box else None
        if with_box and box is None:  # nothing to refine
            break
        decoded = model.decode(
            scene.encoding,
            prompts_at(model, scene.location, box, before.taken[None, None]),
            multimask=True,
            guidance=again,
        )
        steps.append(_choose(name, decoded, scene, settings, before.taken, box))
    return steps


def _look_back(steps: list[Step], scene: Scene, weight: float, scale_weights: Tensor | None) -> Step | None:
    """The mask of all passes with the highest predicted IoU + weight * agreement; None if it is the last one anyway.

    The weighted sum of a tuned concept's first pass counts with the IoU predicted for its parts, weighted by size.
    """
    masks, scores = [step.logits for step in steps], [step.scores for step in steps]
    if scale_weights is not None and steps[0].best < 0:
        share = scale_weights.to(scores[0]).abs()
        masks.append(steps[0].taken[None])
        scores.append((share * scores[0]).sum()[None] / share.sum())
    every, predicted = torch.cat(masks), torch.cat(scores)
    ranking = predicted + weight * agreement(every, scene)
    best = int(ranking.argmax())
    if torch.equal(every[best], last_good(steps).taken):
        return None
    return Step(LOOK_BACK, every[best : best + 1], predicted[best : best + 1], 0, every[best])


def last_good(steps: list[Step]) -> Step:
    """The step whose mask counts."""
    return next((step for step in reversed(steps) if not step.dropped), steps[0])


def tight_box(logits: Tensor, frame: Frame, photo: bool) -> np.ndarray | None:
    """Smallest box around a mask given by its logits (h, w), as canvas pixels (x0, y0, x1, y1); None if it is empty.

    With `photo` it is measured on the photo's pixels, inclusive indices, as published; otherwise on the low-resolution
    mask itself, to the outer edges of its pixels.
    """
    if photo:
        mask = frame.to_photo_size(logits[None, None])[0, 0] > 0
    else:
        mask = (logits > 0) & frame.inside((logits.shape[0], logits.shape[1]), logits.device)
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if len(rows) == 0:
        return None
    corners = np.array([[int(columns[0]), int(rows[0])], [int(columns[-1]), int(rows[-1])]], dtype=np.float64)
    if photo:
        return frame.to_canvas(corners).reshape(4)
    step = np.array([frame.canvas[1] / logits.shape[1], frame.canvas[0] / logits.shape[0]])
    corners[1] += 1
    limit = np.array([frame.content[1], frame.content[0]])
    return (np.minimum(corners * step, limit) - 0.5).reshape(4)


def prompts_at(
    model: PromptableModel, location: Location, box: np.ndarray | None = None, logits: Tensor | None = None
) -> Prompts:
    """What a pass is asked: the points of the prior, with a box (canvas pixels) and a mask's logits (1, 1, h, w)."""

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=model.device)[None]

    return Prompts(tensor(location.points), tensor(location.labels), None if box is None else tensor(box), logits)


def _choose(
    name: str,
    decoded: Decoded,
    scene: Scene,
    settings: Settings,
    before: Tensor | None = None,
    box: np.ndarray | None = None,
) -> Step:
    """Take the mask with the highest predicted IoU, or, if so set, also with the best agreement with the map."""
    logits, scores = decoded.logits[0], decoded.scores[0]
    ranking = scores
    if settings.agreement:
        ranking = scores + settings.agreement * agreement(logits, scene)
    best = int(ranking.argmax())
    dropped = settings.fallback and before is not None and not _good(logits[best], scene, before)
    return Step(name, logits, scores, best, logits[best], box, dropped)


def agreement(logits: Tensor, scene: Scene) -> Tensor:
    """How well masks (..., h, w) and the confidence map tell the same story: (...) in [-1, 1].

    Correlation within the photo of what a mask covers with the map; -1 for a mask of nothing or of everything.
    """
    inside = scene.encoding.frame.inside((logits.shape[-2], logits.shape[-1]), logits.device)
    covered = (logits > 0)[..., inside].float()  # (..., places)
    map_scores = z_score(scene.confidence[inside])
    share = covered.mean(-1)
    spread = (share * (1 - share)).sqrt()  # of zeros and ones
    correlation = (covered @ map_scores) / covered.shape[-1] / spread.clamp(min=1e-6)
    return torch.where(spread > 0, correlation, -1.0)


def _good(logits: Tensor, scene: Scene, before: Tensor | None) -> bool:
    """Neither empty nor run away over (almost) the whole photo, unless the mask before was as large already."""
    inside = scene.encoding.frame.inside((logits.shape[0], logits.shape[1]), logits.device)
    share = float((logits > 0)[inside].float().mean())
    share_before = 0.0 if before is None else float((before > 0)[inside].float().mean())
    return share > 0 and (share < RUNAWAY or share_before >= RUNAWAY)
