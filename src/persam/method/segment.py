"""Segment: from the location prior to one mask of the photo (paper Fig. 3, Eq. 11).

Pass 1: points and guidance. Pass 2: the same points and the mask so far. Pass 3: also its tight box.
A tuned concept's pass 1 gives the weighted sum of the three scales (Eq. 11), and its pass 2 already has the box
(published).  Mode persam then looks back: a refinement may have left the object, and a mask of an earlier pass may be
the better one.

Where the prior has a box, so that it is known how large the thing is, there is no cascade.  One pass has all that
steers, another one point and box alone, as decoders are trained.  They err in different ways, so of each the mask is
taken that goes best with one of the other's, and the mean of the two counts.

At the end what the reference knows of every pixel is added, and the outline is drawn to the edges of the photo.
Whether it is the thing: `method/find.py`, which also puts the passes' questions to the decoder, those of several
concepts in one pass.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from persam.geometry import Frame, Size
from persam.instance import mask_box
from persam.method.cues import CueFeatures, colour_ratios
from persam.method.prior import Prior, box_around
from persam.method.settings import Settings
from persam.models.base import Decoded, EncodedImage, Guidance, PromptableModel, Prompts, Question

LOOK_BACK, MEAN = "best of all passes", "mean of both passes"  # names of steps that are no passes of the decoder
CONCORD = 0.3  # how much it counts that the masks of two passes are the same
RUNAWAY = 0.95  # share of the photo that a refined mask may newly fill before it counts as run away

# Log odds of a pixel, and how much each says of it at most. Chosen on training and validation photos.
DRAWN_MOST = 4.0
NEARER, NEARER_MOST = 5.0, 2.0  # by unit of cosine
CONFIDENCE, CONFIDENCE_MOST = 0.2, 1.5  # by unit of the confidence map's log odds
MOSTLY = 0.5  # share of a part that the decoder drew, below which it is another thing
COLOURS = 0.3  # by unit of a colour's log ratio
CLOSE = 0.2  # how far from where a thing is thought to be its colours speak for it, as a share of its size

Passes = Generator[Question, Decoded, "list[Step]"]  # asks the decoder, is sent its answer, ends with the steps

OUTLINE_SIDE = 256  # pixels of the photo's longest side at which the outline is looked for
BAND = 10  # pixels at that size by which the outline may move
AROUND = 3  # bands around the mask that are looked at: what is farther away tells little of its edge, and takes time
FEWEST = 20  # pixels that a colour model needs
LEAST, MOST = 0.33, 3.0  # area after over area before, beyond which the cut has gone wrong
GIVEN_UP = 0.15  # share of the inner half of the band below which the cut has found no edge in it


@dataclass(frozen=True)
class Step:
    """One decoder pass, or what follows from several (`LOOK_BACK`, `MEAN`).

    Attributes:
        name: what the pass was for.
        logits: of the masks that it gave, (M, h, w) over the canvas.
        scores: their predicted IoU, (M,).
        best: index of the one taken; -1 for the weighted sum of a tuned concept.
        taken: logits of the mask that goes on, (h, w).
        predicted_iou: of that mask; for a weighted sum that of its parts, weighted by their size.
        box: box prompt of the pass, canvas pixels (x0, y0, x1, y1), or None.
        dropped: the pass came out empty or ran away, and the one before it counts.
        presence: logit that the object can be seen where the prompts point, of a pass without guidance (which steers
            this answer, too) and a model that has it; otherwise None.
    """

    name: str
    logits: Tensor
    scores: Tensor
    best: int
    taken: Tensor
    predicted_iou: float
    box: np.ndarray | None = None
    dropped: bool = False
    presence: float | None = None


# --------------------------------------------------------------------------- Fig. 3: the decoder's passes


def cascade(prior: Prior, settings: Settings, scale_weights: Tensor | None = None, first: Step | None = None) -> Passes:
    """All passes, the cascade or those by point and box, each a question to the decoder (`find.side_by_side` puts
    them); the last step that was not dropped holds the mask.

    Args:
        prior: confidence map, points and guidance.
        settings: which techniques run.
        scale_weights: PerSAM-F's weights of the three scales (3,), or None.
        first: the first pass, where it was made another way (as the published scripts for clips do).
    """
    tuned = scale_weights is not None
    steps = [first or (yield from _first_step(prior, settings, scale_weights))]
    if settings.prior_box and prior.box is not None:
        return (yield from _point_and_box(steps[0], prior, settings))
    passes = (("refined", tuned), ("refined with box", True)) if settings.cascade else ()
    for name, with_box in passes:
        before = last_good(steps).taken
        box = tight_box(before, prior.frame, settings.map == "photo") if with_box else None
        if with_box and box is None:  # nothing to refine
            break
        guidance = _semantic_alone(prior.guidance) if settings.guided_cascade else None
        decoded = yield prompts_at(prior, box, before[None, None]), True, guidance
        step = _choose(name, decoded, prior, settings, before, box)
        steps.append(step if guidance is None else replace(step, presence=None))
    if settings.final_agreement:
        steps += _look_back(steps, prior, settings.final_agreement)
    return steps


def _first_step(prior: Prior, settings: Settings, weights: Tensor | None) -> Generator[Question, Decoded, Step]:
    decoded = yield question_at(prior, multimask=weights is not None or settings.first_pass == "scales")
    if weights is None:
        step = _choose("first pass", decoded, prior, settings, box=prior.box)
    else:
        step = _weighted(decoded, prior, settings, weights)
    return step if prior.guidance is None else replace(step, presence=None)


def _point_and_box(first: Step, prior: Prior, settings: Settings) -> Passes:
    """The first pass, what the decoder draws by point and box alone, and the mean of both.

    Every pair of masks, one of each pass, is worth the sum of their predicted IoU and agreement with the map, and
    `CONCORD` times the IoU of the two; the best pair is taken.  (Of a weighted sum there is one mask.)
    """
    decoded = yield prompts_at(prior, prior.box), True, None
    logits, scores = decoded.logits[0], decoded.scores[0]
    worth, is_sum = _ranking(logits, scores, prior, settings.final_agreement), first.best < 0
    of_first = first.taken[None] if is_sum else first.logits
    if not is_sum:
        worth = _ranking(first.logits, first.scores, prior, settings.final_agreement)[:, None] + worth
    pairs = worth + CONCORD * overlap(of_first, logits, prior.frame)
    one, other = divmod(int(pairs.argmax()), len(logits))
    if not is_sum:
        first = replace(first, best=one, taken=of_first[one], predicted_iou=float(first.scores[one]))
    is_bad = settings.fallback and not _good(logits[other], prior.frame, first.taken)
    predicted = float(scores[other])
    presence = _presence(decoded)
    alone = Step("point and box alone", logits, scores, other, logits[other], predicted, prior.box, is_bad, presence)
    if is_bad:
        return [first, alone]
    taken = (first.taken + alone.taken) / 2
    is_bad = settings.fallback and not _good(taken, prior.frame, first.taken)
    predicted = (first.predicted_iou + predicted) / 2
    return [first, alone, Step(MEAN, taken[None], scores.new_tensor([predicted]), 0, taken, predicted, dropped=is_bad)]


def question_at(prior: Prior, *, multimask: bool) -> Question:
    """The first pass: points, dense prior, guidance, and the box where there is one."""
    return prompts_at(prior, prior.box, prior.dense), multimask, prior.guidance


def decode_at_prior(model: PromptableModel, image: EncodedImage, prior: Prior, *, multimask: bool) -> Decoded:
    """The first pass alone."""
    prompts, _, guidance = question_at(prior, multimask=multimask)
    return model.decode(image, prompts, multimask=multimask, guidance=guidance)


def prompts_at(prior: Prior, box: np.ndarray | None = None, logits: Tensor | None = None) -> Prompts:
    """The points of the prior, with a box (canvas pixels) and a mask's logits (1, 1, h, w)."""

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=prior.canvas.device)[None]

    return Prompts(tensor(prior.points), tensor(prior.labels), None if box is None else tensor(box), logits)


def tight_box(logits: Tensor, frame: Frame, photo: bool) -> np.ndarray | None:
    """Smallest box around a mask given by its logits (h, w), as canvas pixels (x0, y0, x1, y1); None if it is empty.

    With `photo` it is measured on the photo's pixels, inclusive indices, as published; otherwise on the low-resolution
    mask itself, to the outer edges of its pixels.
    """
    if not photo:
        return box_around(((logits > 0) & frame.inside_of(logits)).cpu().numpy(), frame)
    mask = frame.to_photo_mask(logits)
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if len(rows) == 0:
        return None
    corners = np.array([[int(columns[0]), int(rows[0])], [int(columns[-1]), int(rows[-1])]], dtype=np.float64)
    return frame.to_canvas(corners).reshape(4)


def _semantic_alone(guidance: Guidance | None) -> Guidance | None:
    if guidance is None or guidance.semantic is None:
        return None
    return Guidance(semantic=guidance.semantic)


# ------------------------------------------------------- which mask of a pass counts; Eq. 11: the weighted sum


def last_good(steps: list[Step]) -> Step:
    """The step whose mask counts."""
    return next((step for step in reversed(steps) if not step.dropped), steps[0])


def presence_in(steps: list[Step]) -> float | None:
    """What the last pass that was not dropped says of whether the object can be seen, as a logit; None if none does."""
    told = (step.presence for step in reversed(steps) if not step.dropped and step.presence is not None)
    return next(told, None)


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
    best = int(_ranking(logits, scores, prior, settings.agreement).argmax())
    dropped = settings.fallback and before is not None and not _good(logits[best], prior.frame, before)
    return Step(name, logits, scores, best, logits[best], float(scores[best]), box, dropped, _presence(decoded))


def _ranking(logits: Tensor, scores: Tensor, prior: Prior, weight: float) -> Tensor:
    """What masks (M, h, w) are worth, (M,): their predicted IoU, and `weight` times the agreement with the map."""
    return scores + weight * agreement(logits, prior) if weight else scores


def overlap(ones: Tensor, others: Tensor, frame: Frame) -> Tensor:
    """IoU within the photo of masks (n, h, w) with other masks (m, h, w), each given by its logits: (n, m)."""
    covered, other = ((frame.within(each) > 0).float().flatten(1) for each in (ones, others))
    common = covered @ other.T
    return common / (covered.sum(1)[:, None] + other.sum(1) - common).clamp(min=1)


def _weighted(first: Decoded, prior: Prior, settings: Settings, weights: Tensor) -> Step:
    """Eq. 11: the weighted sum of the three scales; the best of them where the sum is empty or has run away."""
    taken = torch.einsum("m,mhw->hw", weights.to(first.logits), first.logits[0])
    if settings.fallback and not _good(taken, prior.frame, None):
        return _choose("first pass, best scale", first, prior, settings, box=prior.box)
    scores, share = first.scores[0], weights.to(first.scores).abs()
    predicted_iou = float((share * scores).sum() / share.sum())
    name = "first pass, weighted scales"
    return Step(name, first.logits[0], scores, -1, taken, predicted_iou, prior.box, presence=_presence(first))


def _presence(decoded: Decoded) -> float | None:
    return None if decoded.presence is None else float(decoded.presence[0])


def _look_back(steps: list[Step], prior: Prior, weight: float) -> list[Step]:
    """The mask of all passes with the highest predicted IoU + weight * agreement; [] if it is the last one anyway."""
    masks, scores = [step.logits for step in steps], [step.scores for step in steps]
    if steps[0].best < 0:  # the weighted sum is none of its pass's masks
        masks.append(steps[0].taken[None])
        scores.append(scores[0].new_tensor([steps[0].predicted_iou]))
    every, predicted = torch.cat(masks), torch.cat(scores)
    best = int(_ranking(every, predicted, prior, weight).argmax())
    if torch.equal(every[best], last_good(steps).taken):
        return []
    one = slice(best, best + 1)
    return [Step(LOOK_BACK, every[one], predicted[one], 0, every[best], float(predicted[best]))]


def agreement(logits: Tensor, prior: Prior) -> Tensor:
    """How well masks (..., h, w) and the confidence map tell the same story: (...) in [-1, 1].

    Correlation within the photo of what a mask covers with the map; -1 for a mask of nothing or of everything.
    """
    covered = (prior.frame.within(logits) > 0).float().flatten(-2)  # (..., places)
    share = covered.mean(-1)
    spread = (share * (1 - share)).sqrt()  # of zeros and ones
    correlation = (covered @ prior.frame.within(prior.standard).flatten()) / covered.shape[-1] / spread.clamp(min=1e-6)
    return torch.where(spread > 0, correlation, -1.0)


def _good(logits: Tensor, frame: Frame, before: Tensor | None) -> bool:
    """Neither empty nor run away over (almost) the whole photo, unless the mask before was as large already."""
    share = float((frame.within(logits) > 0).float().mean())
    share_before = 0.0 if before is None else float((frame.within(before) > 0).float().mean())
    return share > 0 and (share < RUNAWAY or share_before >= RUNAWAY)


# --------------------------------------------------- every pixel: what the decoder drew and what the reference knows


def photo_mask(
    logits: Tensor,
    prior: Prior,
    pixels: np.ndarray | None = None,
    cues: Sequence[CueFeatures] = (),
    *,
    outline: bool = True,
) -> np.ndarray:
    """The mask at the photo's size; with the photo's pixels, evidence is added and the outline follows their edges.

    Args:
        logits: of the mask, (h, w) over the canvas.
        prior: where the concept is thought to be.
        pixels: the photo, small, (h', w', 3) uint8 RGB, or None: then the mask stays the decoder's.
        cues: of the references; none: no evidence is added.
        outline: draw the outline to the edges.

    Returns:
        (H, W) bool. The outline stays where there is too little to learn colours from, or the cut goes wrong.
    """
    frame, small = prior.frame, None
    if pixels is not None:
        odds = pixel_odds(logits, prior, pixels, cues)
        judged = None if odds is None else odds > 0
        mask = _on_pixels(logits, frame, pixels) > 0 if judged is None else judged
        cut = cut_out(pixels, mask) if outline else None
        small = judged if cut is None else cut
    # Drawn at the photo's size only where it counts: in a large photo that takes long.
    return frame.to_photo_mask(logits).cpu().numpy() if small is None else enlarged(small, frame.photo)


def pixel_odds(logits: Tensor, prior: Prior, pixels: np.ndarray, cues: Sequence[CueFeatures]) -> np.ndarray | None:
    """Log odds that a pixel of the small photo shows the thing, (h', w') float32; the mask is where they exceed 0.
    None where there is no evidence, where of so small a mask nothing certain can be said, or where nothing is left:
    a part of which the decoder drew less than half does not belong to it, with what it drew.

    The decoder draws what its prompts lead to, and leaves out a swan's neck or takes the saucer for a cat; the
    reference knows the object's cells and colours, and those of its background.  Evidence adds up:

        drawn  +  nearer the object's cells than the background's  +  confidence map  +  colours, each within bounds

    The arguments are those of `photo_mask`.
    """
    drawn = _on_pixels(logits, prior.frame, pixels)
    mask = drawn > 0
    if not cues or prior.nearer is None or mask.all() or mask.sum() < FEWEST:
        return None
    odds = np.clip(drawn, -DRAWN_MOST, DRAWN_MOST)
    odds += np.clip(NEARER * _on_pixels(prior.nearer, prior.frame, pixels), -NEARER_MOST, NEARER_MOST)
    odds += np.clip(CONFIDENCE * _on_pixels(prior.cells, prior.frame, pixels), -CONFIDENCE_MOST, CONFIDENCE_MOST)
    odds += colour_odds(pixels, cues, mask)
    count, parts = cv2.connectedComponents((odds > 0).astype(np.uint8))
    belongs = np.bincount(parts[mask], minlength=count) >= MOSTLY * np.bincount(parts.ravel(), minlength=count)
    odds = np.where(belongs[parts], odds, np.minimum(odds, 0))
    return odds if (odds > 0).any() else None


def _on_pixels(values: Tensor, frame: Frame, pixels: np.ndarray) -> np.ndarray:
    """Values over the canvas, (h, w), at the pixels of the small photo, (h', w')."""
    small = replace(frame, photo=(pixels.shape[0], pixels.shape[1]))
    return np.asarray(small.to_photo_size(values[None, None])[0, 0].cpu().numpy())


def colour_odds(pixels: np.ndarray, cues: Sequence[CueFeatures], expected: np.ndarray) -> np.ndarray:
    """Of colours that are rather the object's than anything else's: pixels (h, w, 3) uint8 -> (h, w) float32.

    Far from where it is expected, (h, w) bool, they only speak against it: much else has its colours, too.
    """
    if not cues:
        return np.zeros(expected.shape, np.float32)
    ratios = np.mean([colour_ratios(pixels, each.colour_ratio) for each in cues], 0)
    far = cv2.distanceTransform((~expected).astype(np.uint8), cv2.DIST_L2, 3) > CLOSE * math.sqrt(expected.sum())
    return np.asarray(COLOURS * np.where(far, np.minimum(ratios, 0), cv2.blur(ratios, (3, 3))))


# ------------------------------------------------------------- the outline: drawn to the edges of the photo
#
# The decoder's mask has few pixels, the photo has many, and its edges say where a thing ends. GrabCut (Rother,
# Kolmogorov, Blake 2004; OpenCV's): two colour models, of the inside and of what is around, and the cheapest cut
# between them. It starts from a mask and may move its outline by no more than a band.


def enlarged(mask: np.ndarray, size: Size) -> np.ndarray:
    """A small mask (h, w) bool at the photo's size (H, W)."""
    # Blurred by less than a pixel, so that enlarging gives a line and no stairs; a wire would get lost by it.
    hard = mask.astype(np.float32)
    soft = _enlarged(cv2.GaussianBlur(hard, (0, 0), 0.8), size)
    return soft if soft.mean() > 0.9 * hard.mean() else _enlarged(hard, size)


def _enlarged(shares: np.ndarray, size: Size) -> np.ndarray:
    """Shares of small pixels (h, w) as a mask at the photo's size, (H, W) bool."""
    return np.asarray(cv2.resize(shares, size[::-1], interpolation=cv2.INTER_LINEAR) > 0.5)


def cut_out(pixels: np.ndarray, mask: np.ndarray, band: int = BAND) -> np.ndarray | None:
    """GrabCut from a mask: pixels (h, w, 3) uint8, mask (h, w) bool -> (h, w) bool, or None where it cannot work.

    Deeper inside than `band` is sure to be object, farther outside is sure to be background. A cut that gives
    up the whole band has found no edge: so it ends on a photo without contrast.
    """
    box = mask_box(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    window = np.s_[max(0, y0 - AROUND * band) : y1 + AROUND * band, max(0, x0 - AROUND * band) : x1 + AROUND * band]
    cut = _cut_window(pixels[window], mask[window], band)
    if cut is None:
        return None
    whole = np.zeros(mask.shape, bool)
    whole[window] = cut
    return whole


def _cut_window(pixels: np.ndarray, mask: np.ndarray, band: int) -> np.ndarray | None:
    start = mask.astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    inside, outside = cv2.erode(start, disc) > 0, cv2.dilate(start, disc) == 0
    if min(int(mask.sum()), int(outside.sum())) < FEWEST:
        return None
    labels = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[inside], labels[outside] = cv2.GC_FGD, cv2.GC_BGD
    cv2.setRNGSeed(0)  # the colour models start from k-means: the same photo gives the same mask
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(pixels), labels, (0, 0, 1, 1), *models, 1, cv2.GC_INIT_WITH_MASK)
    cut = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    rim = mask & ~inside
    kept = (cut & rim).sum() / max(1, rim.sum())
    return cut if LEAST <= cut.sum() / mask.sum() <= MOST and kept >= GIVEN_UP else None
