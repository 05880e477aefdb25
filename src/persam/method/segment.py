"""Segment: from the location prior to the masks (paper Fig. 3), one object or several of one concept (appendix E.5).

Pass 1: points and guidance. Pass 2: the same points and the mask so far. Pass 3: also its tight box.
A tuned concept's pass 1 gives the weighted sum of the three scales (Eq. 11), and its pass 2 already has the box
(published).  Mode persam then looks back: a refinement may have left the object, and a mask of an earlier pass may be
the better one.  Whether it is there at all: `method/presence.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from persam.geometry import Frame
from persam.instance import Instance
from persam.method.presence import score_of, signs_of
from persam.method.prior import Prior, prior_of, suppressed
from persam.method.refine import refined_mask
from persam.method.settings import Settings
from persam.models.base import Decoded, EncodedImage, PromptableModel, Prompts
from persam.models.guidance import Guidance

if TYPE_CHECKING:
    from persam.concept import Concept

LOOK_BACK = "best of all passes"  # name of the step that is no pass of the decoder
RUNAWAY = 0.95  # share of the photo that a refined mask may newly fill before it counts as run away
SAME = 0.8  # IoU with an earlier instance from which on it is the same one (published)
Again = Callable[[Instance, Sequence[Instance]], Instance]
STEEPNESS = 8.0  # of `similarity_score`; the reference itself, 1 / NEAR above its threshold, gets 0.94


@dataclass(frozen=True)
class Step:
    """One decoder pass.

    Attributes:
        name: what the pass was for.
        logits: of the masks that it gave, (M, h, w) over the canvas.
        scores: their predicted IoU, (M,).
        best: index of the one taken; -1 for the weighted sum of a tuned concept.
        taken: logits of the mask that goes on, (h, w).
        predicted_iou: of that mask; for a weighted sum that of its parts, weighted by their size.
        box: box prompt of the pass, canvas pixels (x0, y0, x1, y1), or None.
        dropped: the pass came out empty or ran away, and the one before it counts.
    """

    name: str
    logits: Tensor
    scores: Tensor
    best: int
    taken: Tensor
    predicted_iou: float
    box: np.ndarray | None = None
    dropped: bool = False


# --------------------------------------------------------------------------- Fig. 3: the decoder's passes


def cascade(
    model: PromptableModel,
    image: EncodedImage,
    prior: Prior,
    settings: Settings,
    scale_weights: Tensor | None = None,
    first: Step | None = None,
) -> list[Step]:
    """All passes; the last step that was not dropped holds the mask.

    Args:
        model: the promptable model.
        image: encoded.
        prior: confidence map, points and guidance.
        settings: which techniques run.
        scale_weights: PerSAM-F's weights of the three scales (3,), or None.
        first: the first pass, where it was made another way (as the published scripts for clips do).
    """
    tuned = scale_weights is not None
    steps = [first or _first_step(model, image, prior, settings, scale_weights)]
    passes = (("refined", tuned), ("refined with box", True)) if settings.cascade else ()
    for name, with_box in passes:
        before = last_good(steps).taken
        box = tight_box(before, prior.frame, settings.map == "photo") if with_box else None
        if with_box and box is None:  # nothing to refine
            break
        decoded = model.decode(
            image,
            prompts_at(model, prior, box, before[None, None]),
            multimask=True,
            guidance=_semantic_alone(prior.guidance) if settings.guided_cascade else None,
        )
        steps.append(_choose(name, decoded, prior, settings, before, box))
    if settings.final_agreement:
        steps += _look_back(steps, prior, settings.final_agreement)
    return steps


def _first_step(
    model: PromptableModel, image: EncodedImage, prior: Prior, settings: Settings, weights: Tensor | None
) -> Step:
    multimask = weights is not None or settings.first_pass == "scales"
    decoded = decode_at_prior(model, image, prior, multimask=multimask)
    if weights is None:
        return _choose("first pass", decoded, prior, settings)
    return _weighted(decoded, prior, settings, weights)


def decode_at_prior(model: PromptableModel, image: EncodedImage, prior: Prior, *, multimask: bool) -> Decoded:
    """The first pass: points, dense prior, guidance, and the box where there is one."""
    prompts = prompts_at(model, prior, prior.box, prior.dense)
    return model.decode(image, prompts, multimask=multimask, guidance=prior.guidance)


def prompts_at(
    model: PromptableModel, prior: Prior, box: np.ndarray | None = None, logits: Tensor | None = None
) -> Prompts:
    """What a pass is asked: the points of the prior, with a box (canvas pixels) and a mask's logits (1, 1, h, w)."""

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=model.device)[None]

    return Prompts(tensor(prior.points), tensor(prior.labels), None if box is None else tensor(box), logits)


def tight_box(logits: Tensor, frame: Frame, photo: bool) -> np.ndarray | None:
    """Smallest box around a mask given by its logits (h, w), as canvas pixels (x0, y0, x1, y1); None if it is empty.

    With `photo` it is measured on the photo's pixels, inclusive indices, as published; otherwise on the low-resolution
    mask itself, to the outer edges of its pixels.
    """
    if photo:
        mask = frame.to_photo_mask(logits)
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


def _semantic_alone(guidance: Guidance | None) -> Guidance | None:
    if guidance is None or guidance.semantic is None:
        return None
    return Guidance(semantic=guidance.semantic)


# ------------------------------------------------------- which mask of a pass counts; Eq. 11: the weighted sum


def last_good(steps: list[Step]) -> Step:
    """The step whose mask counts."""
    return next((step for step in reversed(steps) if not step.dropped), steps[0])


def _choose(
    name: str,
    decoded: Decoded,
    prior: Prior,
    settings: Settings,
    before: Tensor | None = None,
    box: np.ndarray | None = None,
) -> Step:
    """Take the mask with the highest predicted IoU, or, if so set, also with the best agreement with the map."""
    logits, scores = decoded.logits[0], decoded.scores[0]
    ranking = scores
    if settings.agreement:
        ranking = scores + settings.agreement * agreement(logits, prior)
    best = int(ranking.argmax())
    dropped = settings.fallback and before is not None and not _good(logits[best], prior.frame, before)
    return Step(name, logits, scores, best, logits[best], float(scores[best]), box, dropped)


def _weighted(first: Decoded, prior: Prior, settings: Settings, weights: Tensor) -> Step:
    """Eq. 11: the weighted sum of the three scales; the best of them where the sum is empty or has run away."""
    taken = torch.einsum("m,mhw->hw", weights.to(first.logits), first.logits[0])
    if settings.fallback and not _good(taken, prior.frame, None):
        return _choose("first pass, best scale", first, prior, settings)
    scores, share = first.scores[0], weights.to(first.scores).abs()
    predicted_iou = float((share * scores).sum() / share.sum())
    return Step("first pass, weighted scales", first.logits[0], scores, -1, taken, predicted_iou)


def _look_back(steps: list[Step], prior: Prior, weight: float) -> list[Step]:
    """The mask of all passes with the highest predicted IoU + weight * agreement; [] if it is the last one anyway."""
    masks, scores = [step.logits for step in steps], [step.scores for step in steps]
    if steps[0].best < 0:  # the weighted sum is none of its pass's masks
        masks.append(steps[0].taken[None])
        scores.append(scores[0].new_tensor([steps[0].predicted_iou]))
    every, predicted = torch.cat(masks), torch.cat(scores)
    best = int((predicted + weight * agreement(every, prior)).argmax())
    if torch.equal(every[best], last_good(steps).taken):
        return []
    one = slice(best, best + 1)
    return [Step(LOOK_BACK, every[one], predicted[one], 0, every[best], float(predicted[best]))]


def agreement(logits: Tensor, prior: Prior) -> Tensor:
    """How well masks (..., h, w) and the confidence map tell the same story: (...) in [-1, 1].

    Correlation within the photo of what a mask covers with the map; -1 for a mask of nothing or of everything.
    """
    inside = prior.frame.inside((logits.shape[-2], logits.shape[-1]), logits.device)
    covered = (logits > 0)[..., inside].float()  # (..., places)
    share = covered.mean(-1)
    spread = (share * (1 - share)).sqrt()  # of zeros and ones
    correlation = (covered @ prior.standard[inside]) / covered.shape[-1] / spread.clamp(min=1e-6)
    return torch.where(spread > 0, correlation, -1.0)


def _good(logits: Tensor, frame: Frame, before: Tensor | None) -> bool:
    """Neither empty nor run away over (almost) the whole photo, unless the mask before was as large already."""
    inside = frame.inside((logits.shape[0], logits.shape[1]), logits.device)
    share = float((logits > 0)[inside].float().mean())
    share_before = 0.0 if before is None else float((before > 0)[inside].float().mean())
    return share > 0 and (share < RUNAWAY or share_before >= RUNAWAY)


# --------------------------------------------------------------------- App. E.5: one object after the other


def find(
    model: PromptableModel,
    image: EncodedImage,
    concept: Concept,
    *,
    most: int = 1,
    threshold: float = 0.0,
    again: Again | None = None,
) -> list[Instance]:
    """Up to `most` objects of a concept, the surest first; the first one found whatever its score.

    Several: find the best, take its place out of the confidence map, look again, until what is found has a score under
    the `threshold`.  The image is encoded once.

    Args:
        model: the promptable model.
        image: encoded.
        concept: what is looked for.
        most: objects.
        threshold: of the score.
        again: takes what was found and what was found before it, and returns it or something better
            (`method/closer.py`).
    """
    weights = None if concept.scale_weights is None else torch.tensor(concept.scale_weights)
    prior = prior_of(image, concept, model.low_resolution, tuned=weights is not None)
    refine = concept.settings.refine and concept.fitted is not None and concept.fitted.refine
    found: list[Instance] = []
    places: list[Tensor] = []
    while True:
        steps = cascade(model, image, prior, concept.settings, weights)
        result = last_good(steps)
        place = result.taken > 0
        if found and (not bool(place.any()) or _known(place, places)):
            break
        if concept.fitted is None:
            score = similarity_score(prior.similarity, concept.threshold)
            mask = prior.frame.to_photo_mask(result.taken).cpu().numpy()
        else:
            mask = _photo_mask(result.taken, prior.frame, image.pixels if refine else None)
            score = score_of(signs_of(image, concept, prior, mask), concept.fitted)
        one = Instance(mask, score, prior.similarity, result.predicted_iou, prior, tuple(steps))
        one = one if again is None else again(one, found)
        if found and one.score < threshold:
            break
        found.append(one)
        if len(found) == most or one.score < threshold:
            break
        taken = result.taken if one.mask is mask else _drawn(one.mask, prior)
        # What a closer look put right is not to be found again as it looked from afar.
        places += [place] if taken is result.taken else [place, taken > 0]
        prior = suppressed(prior, taken, concept, tuned=weights is not None)
    return sorted(found, key=lambda one: -one.score)


def similarity_score(similarity: float, threshold: float) -> float:
    """The score of an encoder that nothing was fitted for: 0.5 where the similarity is the concept's own threshold.

    A logistic function of the similarity's share above the threshold. It ranks; it is not calibrated.
    """
    return 1 / (1 + math.exp(-STEEPNESS * (similarity - threshold) / max(threshold, 0.1)))


def _photo_mask(logits: Tensor, frame: Frame, pixels: np.ndarray | None) -> np.ndarray:
    """The mask at the photo's size, (H, W) bool; with the photo's `pixels` its outline follows their edges."""
    if pixels is None:
        return frame.to_photo_mask(logits).cpu().numpy()
    return refined_mask(logits, frame, pixels)


def _drawn(mask: np.ndarray, prior: Prior) -> Tensor:
    """A mask of the photo, (H, W) bool, as logits at the decoder's low resolution, (h, w): all that it touches."""
    size = prior.canvas.shape[0], prior.canvas.shape[1]
    touched = prior.frame.cover(torch.tensor(mask, device=prior.canvas.device), size) > 0
    return touched.float() * 2 - 1


def _known(mask: Tensor, earlier: list[Tensor]) -> bool:
    return any(float((mask & other).sum()) >= SAME * float((mask | other).sum()) for other in earlier)
