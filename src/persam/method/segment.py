"""Segment: from the location prior to one mask of the photo (paper Fig. 3, Eq. 11).

Pass 1: points and guidance. Pass 2: the same points and the mask so far. Pass 3: also its tight box.
A tuned concept's pass 1 gives the weighted sum of the three scales (Eq. 11), and its pass 2 already has the box
(published).  Mode persam then looks back: a refinement may have left the object, and a mask of an earlier pass may be
the better one.  At the end its outline is drawn to the edges of the photo.  Whether it is the thing: `method/find.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from persam.geometry import Frame, Size
from persam.method.prior import Prior
from persam.method.settings import Settings
from persam.models.base import Decoded, EncodedImage, PromptableModel, Prompts
from persam.models.guidance import Guidance

LOOK_BACK = "best of all passes"  # name of the step that is no pass of the decoder
RUNAWAY = 0.95  # share of the photo that a refined mask may newly fill before it counts as run away

OUTLINE_SIDE = 256  # pixels of the photo's longest side at which the outline is looked for
BAND = 10  # pixels at that size by which the outline may move
ROUNDS = 2
FEWEST = 20  # pixels that a colour model needs
LEAST, MOST = 0.33, 3.0  # area after over area before, beyond which the cut has gone wrong
GIVEN_UP = 0.15  # share of the inner half of the band below which the cut has found no edge in it


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


# ------------------------------------------------------------- the outline: drawn to the edges of the photo
#
# The decoder's mask has few pixels, the photo has many, and its edges say where a thing ends. GrabCut (Rother,
# Kolmogorov, Blake 2004; OpenCV's): two colour models, of the inside and of what is around, and the cheapest cut
# between them. It starts from the decoder's mask and may move its outline by no more than a band.


def photo_mask(logits: Tensor, frame: Frame, pixels: np.ndarray | None = None) -> np.ndarray:
    """The mask at the photo's size; with the photo's pixels its outline follows their edges.

    Args:
        logits: of the mask, (h, w) over the canvas.
        frame: of the photo.
        pixels: the photo, small, (h', w', 3) uint8 RGB, or None: then the outline stays the decoder's.

    Returns:
        (H, W) bool. The mask as it was where there is too little to learn colours from, or the cut goes wrong.
    """
    cut = None
    if pixels is not None:
        height, width = pixels.shape[:2]
        cut = cut_out(pixels, replace(frame, photo=(height, width)).to_photo_mask(logits).cpu().numpy())
    return frame.to_photo_mask(logits).cpu().numpy() if cut is None else enlarged(cut, frame.photo)


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
    start = mask.astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    inside, outside = cv2.erode(start, disc) > 0, cv2.dilate(start, disc) == 0
    if min(int(mask.sum()), int(outside.sum())) < FEWEST:
        return None
    labels = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[inside], labels[outside] = cv2.GC_FGD, cv2.GC_BGD
    cv2.setRNGSeed(0)  # the colour models start from k-means: the same photo gives the same mask
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(pixels), labels, (0, 0, 1, 1), *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    cut = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    rim = mask & ~inside
    kept = (cut & rim).sum() / max(1, rim.sum())
    return cut if LEAST <= cut.sum() / mask.sum() <= MOST and kept >= GIVEN_UP else None
