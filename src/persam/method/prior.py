"""The location prior: where is it alike (Eq. 5-6), which points follow (Eq. 7), what steers the decoder (Eq. 8-10).

Every function but the picking of points and box lets gradients through, so that training runs the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from persam.geometry import Frame, Size
from persam.instance import mask_box
from persam.method.cues import fused_confidence, fuses_cues
from persam.method.learn import TargetFeatures, without_background
from persam.method.settings import Settings
from persam.models.base import EncodedImage, Guidance

if TYPE_CHECKING:
    from persam.concept import Concept

OUTSIDE_LOGIT = -2.0  # of the map as a mask prompt, in the padding (REBASE)
NEARLY = 2.0  # log odds below the peak's, down to which a place still belongs to what lies there


@dataclass(frozen=True)
class Prior:
    """Where the concept is thought to be in one image, and what steers the decoder there.

    Attributes:
        frame: the image's place on the decoder's canvas.
        cells: confidence map on the decoder's feature grid, (rows, columns): similarity in [-1, 1], or, where cues are
            fused, log odds.
        canvas: the same at the decoder's low resolution, (h, w).
        standard: that one z-scored over the photo, and `OUTSIDE_LOGIT` in the padding, (h, w).
        photo: the same at the photo's size, (H, W), where the settings read it there; otherwise None.
        similarity: to the mean of the reference, at the peak of the map, in [-1, 1].
        points: (N, 2) as (x, y) on the canvas; the first is the peak.
        labels: (N,) 1 positive, 0 negative.
        dense: `standard` as a mask prompt (REBASE), (1, 1, h, w), or None.
        guidance: target-guided attention and target-semantic prompting of the first pass, or None.
        alike: the similarity at the decoder's low resolution, (h, w), where cues are fused; otherwise None, as the map
            is the similarity.
        box: box prompt of the first pass, canvas pixels (4,), or None.
        nearer: how much more alike a cell is to the nearest cells of the object than to those of its background, mean
            of the references, (rows, columns) in [-2, 2]; None where these cues are off.
        peak: the map there where it is highest in the photo.
        whole: `cells` with the places of earlier instances in it; None where none was taken out.
    """

    frame: Frame
    cells: Tensor
    canvas: Tensor
    standard: Tensor
    photo: Tensor | None
    similarity: float
    points: np.ndarray
    labels: np.ndarray
    dense: Tensor | None = None
    guidance: Guidance | None = None
    alike: Tensor | None = None
    box: np.ndarray | None = None
    nearer: Tensor | None = None
    peak: float = 0.0
    whole: Tensor | None = None


def prior_of(image: EncodedImage, concept: Concept, low_resolution: Size, *, tuned: bool) -> Prior:
    """The prior of a concept in an image.

    Args:
        image: encoded.
        concept: what is looked for.
        low_resolution: size (h, w) of the decoder's logits.
        tuned: as a tuned concept has it (another direction; the published PerSAM-F has positive points alone).
    """
    matching = image.other or image
    settings = _settings_of(concept, tuned)
    similarities = similarity_maps(matching.features, concept.targets, tuned)
    cells = similarity = similarities[concept.views].amax(0)
    alike = nearer = None
    if concept.fitted is not None and fuses_cues(settings):
        cells, nearer = fused_confidence(matching, similarities, concept, settings, image.pixels)
        alike = canvas_confidence(similarity, matching.frame, image.frame, low_resolution)
    canvas = canvas_confidence(cells, matching.frame, image.frame, low_resolution)
    photo = photo_confidence(cells, matching.frame) if settings.map == "photo" else None
    if matching.frame != image.frame:
        cells = _on_grid(cells, matching.frame, image.frame)
        nearer = None if nearer is None else _on_grid(nearer, matching.frame, image.frame)
    return prior_from(cells, canvas, photo, image.frame, settings, concept.targets, alike, nearer)


def prior_from(
    cells: Tensor,
    canvas: Tensor,
    photo: Tensor | None,
    frame: Frame,
    settings: Settings,
    targets: Sequence[TargetFeatures],
    alike: Tensor | None = None,
    nearer: Tensor | None = None,
) -> Prior:
    """Points, box and guidance for a confidence map at its resolutions (see `Prior`)."""
    pick, confidence = (canvas_points, canvas) if photo is None else (photo_points, photo)
    points, labels = pick(confidence, frame, settings.negative_point, settings.positive_points)
    inside = frame.inside_of(canvas)
    standard = standard_map(canvas, inside)
    guidance = guidance_for(settings, cells, frame.inside_of(cells), photo, frame, targets)
    if photo is not None:
        highest = similarity = float(photo.detach().max())
        dense = None
    else:
        peak = canvas.detach().masked_fill(~inside, -torch.inf).argmax()
        highest = float(canvas.detach().flatten()[peak])
        similarity = highest if alike is None else float(alike.detach().flatten()[peak])
        dense = standard[None, None] if settings.dense_prior else None
    box = confident_box(canvas, frame) if settings.prior_box and alike is not None else None
    return Prior(
        frame, cells, canvas, standard, photo, similarity, points, labels, dense, guidance, alike, box, nearer, highest
    )


# ------------------------------------------------------------------------------ Eq. 5-6: the confidence map S


def similarity_maps(features: Tensor, targets: Sequence[TargetFeatures], tuned: bool = False) -> Tensor:
    """Similarity of every cell to each reference, (references, rows, columns) in [-1, 1].

    Args:
        features: of the image, (1, D, rows, columns).
        targets: one for each reference.
        tuned: compare with the direction that a tuned concept uses.
    """
    maps = []
    for target in targets:
        direction, basis = (target.tuned_direction if tuned else target.direction), target.background.to(features)
        unit = F.normalize(without_background(features[0], basis) if basis.numel() else features[0], dim=0)
        maps.append(torch.einsum("c,chw->hw", direction.to(features), unit))
    return torch.stack(maps)


def confidence_cells(features: Tensor, targets: Sequence[TargetFeatures], tuned: bool = False) -> Tensor:
    """Confidence of every cell, (rows, columns) in [-1, 1]; several references are pooled by maximum.

    The arguments are those of `similarity_maps`.
    """
    return similarity_maps(features, targets, tuned).amax(0)


def _on_grid(cells: Tensor, frame: Frame, to: Frame) -> Tensor:
    """A map of the cells of one encoder on the grid of another, (rows, columns) each."""
    return frame.transfer(cells[None, None], to, to.grid)[0, 0]


def photo_confidence(cells: Tensor, frame: Frame) -> Tensor:
    """The published map at the photo's size, (H, W): four times the cells, then the canvas, then the photo."""
    enlarged = F.interpolate(cells[None, None], scale_factor=4, mode="bilinear", align_corners=False)
    return frame.to_photo_size(enlarged)[0, 0]


def canvas_confidence(cells: Tensor, frame: Frame, to: Frame, size: Size) -> Tensor:
    """The map on the canvas of the decoder at its low resolution, (h, w); `frame` is the one that the cells lie in."""
    if frame == to:
        return F.interpolate(cells[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    return frame.transfer(cells[None, None], to, size)[0, 0]


def z_score(values: Tensor, inside: Tensor | None = None) -> Tensor:
    """(x - mean) / std over the places `inside` (all by default); unbiased std, as the published code has it."""
    among = values if inside is None else values[inside]
    spread = among.std() if among.numel() > 1 else among.new_tensor(0.0)
    return (values - among.mean()) / spread.clamp(min=1e-6)  # a flat map is flat, not its rounding errors enlarged


def standard_map(confidence: Tensor, inside: Tensor) -> Tensor:
    """The map (h, w) z-scored over the places `inside` the photo, `OUTSIDE_LOGIT` beside it; REBASE's mask prompt."""
    return z_score(confidence, inside).masked_fill(~inside, OUTSIDE_LOGIT)


# ------------------------------------------------------- Eq. 7: points from the map, and the map as a mask prompt


def photo_points(confidence: Tensor, frame: Frame, negative: bool, positives: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The published points, (N, 2) on the canvas, and their labels (N,): the highest and the lowest pixel of the
    photo-sized map (H, W), first one on ties."""
    width = confidence.shape[1]
    flat = confidence.flatten()
    order = flat.topk(positives).indices
    if negative:
        order = torch.cat([order, flat.topk(1, largest=False).indices])
    indices = order.cpu().numpy()
    xy = np.stack([indices % width, indices // width], axis=-1)
    return frame.to_canvas(xy), np.array([1] * positives + [0] * (len(xy) - positives))


def canvas_points(
    confidence: Tensor, frame: Frame, negative: bool, positives: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 2) on the canvas and their labels (N,), from the map on the canvas (h, w), the padding left out.

    At most `positives` positive ones: the peak, then others spread over the confident region around it. `negative`:
    also the least confident place.
    """
    size = _size(confidence)
    inside = frame.inside_of(confidence)
    values = confidence.detach().masked_fill(~inside, -torch.inf)
    picked = [int(values.argmax())] if positives <= 1 else _spread(values, positives)
    labels = [1] * len(picked)
    if negative:
        picked.append(int(confidence.masked_fill(~inside, torch.inf).flatten().argmin()))
        labels.append(0)
    return frame.cell_centres(torch.tensor(picked), size), np.array(labels)


def _spread(values: Tensor, count: int) -> list[int]:
    """Flat indices of up to `count` places of the confident region around the peak, far from one another.

    Similarity-weighted farthest-point sampling (REBASE, alpha = 0.5): the next place maximises
    sqrt(confidence above the region's floor * distance to the nearest one taken). The region is where the confidence
    exceeds mean + std / 2 of its positive values; only the part connected with the peak counts, since another part may
    be another object.
    """
    flat = values.flatten()
    peak = int(flat.argmax())
    positive = flat[(flat > 0) & flat.isfinite()]
    if positive.numel() < 2:
        return [peak]
    floor = float(positive.mean() + positive.std() / 2)
    grid = values.cpu().numpy()
    y, x = np.nonzero(_connected(grid >= min(floor, float(flat[peak])), peak))
    weight = np.maximum(grid[y, x] - floor, 0)
    taken = [peak]
    nearest = np.full(len(y), np.inf)
    while len(taken) < min(count, len(y)):
        last_y, last_x = divmod(taken[-1], grid.shape[1])
        nearest = np.minimum(nearest, np.hypot(y - last_y, x - last_x))
        gain = np.sqrt(weight * nearest)
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        taken.append(int(y[best]) * grid.shape[1] + int(x[best]))
    return taken


def _connected(places: np.ndarray, peak: int) -> np.ndarray:
    """Those of the places (h, w) bool that are connected with the one of this flat index."""
    _, parts = cv2.connectedComponents(places.astype(np.uint8))
    return np.asarray(parts == parts.flat[peak])


def box_around(places: np.ndarray, frame: Frame) -> np.ndarray | None:
    """The smallest box around places of a map over the canvas, (h, w) bool, to their outer edges within the photo.

    Returns:
        Canvas pixels (x0, y0, x1, y1); None if there are no places.
    """
    box = mask_box(places)
    if box is None:
        return None
    step = np.array([frame.canvas[1] / places.shape[1], frame.canvas[0] / places.shape[0]])
    return (np.minimum(np.reshape(box, (2, 2)) * step, frame.content[::-1]) - 0.5).reshape(4)


def confident_box(confidence: Tensor, frame: Frame) -> np.ndarray | None:
    """The box around the places that are nearly as confident as the peak, `NEARLY`, and connected with it.

    A point alone leaves open how large the thing is, and a decoder that has to guess draws the table under the cup.

    Args:
        confidence: log odds on the canvas, (h, w).
        frame: of the photo.

    Returns:
        Canvas pixels (x0, y0, x1, y1).
    """
    values = confidence.detach().masked_fill(~frame.inside_of(confidence), -torch.inf)
    peak = int(values.argmax())
    near = (values > values.flatten()[peak] - NEARLY).cpu().numpy()
    return box_around(_connected(near, peak), frame)


# ------------------------------------------- Eq. 8: target-guided attention; Eq. 9-10: target-semantic prompting


def guidance_for(
    settings: Settings,
    cells: Tensor,
    inside: Tensor,
    photo: Tensor | None,
    frame: Frame,
    targets: Sequence[TargetFeatures],
) -> Guidance | None:
    """What steers the first decoder pass, or None.

    Args:
        settings: which form.
        cells: confidence map on the decoder's grid, (rows, columns).
        inside: which cells show the photo, (rows, columns) bool.
        photo: the map at the photo's size, (H, W), or None.
        frame: of the decoder.
        targets: of the concept; the mean of their embeddings is T.
    """
    attention = None
    if settings.attention == "sigmoid":
        photo_map = photo if photo is not None else frame.to_photo_size(cells[None, None])[0, 0]
        attention = published_attention(photo_map, frame.grid)
    elif settings.attention == "softmax":
        attention = printed_attention(cells, inside, settings.alpha)
    elif settings.attention == "logits":
        attention = logit_attention(cells, inside, settings.alpha)
    semantic = None
    if settings.semantic != "off":
        semantic = torch.stack([target.embedding for target in targets]).mean(0).to(cells.device)
    if attention is None and semantic is None:
        return None
    return Guidance(attention, "before" if settings.attention == "logits" else "after", semantic)


def published_attention(photo_map: Tensor, grid: Size) -> Tensor:
    """sigmoid(z-score) of the photo-sized map (H, W), resized straight to the grid: (1, 1, 1, cells).

    The grid of the keys lies over the padded canvas, this one over the photo alone; for a photo that is not square the
    published guidance is therefore misplaced. Kept as it is.
    """
    stretched = F.interpolate(z_score(photo_map)[None, None], grid, mode="bilinear", align_corners=False)
    return stretched.sigmoid().flatten(2)[:, :, None]


def printed_attention(cells: Tensor, inside: Tensor, alpha: float) -> Tensor:
    """Softmax of S times alpha over the cells `inside` the photo (rows, columns), 0 beside it: (1, 1, 1, cells)."""
    weights = torch.softmax(cells.masked_fill(~inside, -torch.inf).flatten(), dim=0)
    return alpha * weights[None, None, None]


def logit_attention(cells: Tensor, inside: Tensor, alpha: float) -> Tensor:
    """The z-score of S times alpha over the cells `inside` the photo (rows, columns); beside it the lowest value."""
    scores = z_score(cells, inside)
    scores = torch.where(inside, scores, scores[inside].min())
    return alpha * scores.flatten()[None, None, None]


# ------------------------------------------------------- App. E.5: what was found is taken out of the map


def suppressed(prior: Prior, logits: Tensor, concept: Concept, *, tuned: bool) -> Prior:
    """The prior with the place of a mask (its logits, (h, w)) set to zero confidence, and not higher than it was (E.5).

    One feature cell more on every side: so far the confidence of a cell reaches when it is interpolated, and left there
    it would outshine the next object.
    """
    reach = logits.shape[0] // prior.cells.shape[0]
    taken = F.max_pool2d((logits > 0).float()[None, None], 2 * reach + 1, stride=1, padding=reach)
    share = F.adaptive_avg_pool2d(taken, _size(prior.cells))[0, 0]

    def zeroed(values: Tensor, mask: Tensor) -> Tensor:
        lowest = 0.0 if prior.alike is None else float(values.min())  # log odds have no zero that means nothing
        return torch.where(mask, values.clamp(max=lowest), values)

    photo = prior.photo
    if photo is not None:
        photo = zeroed(photo, prior.frame.to_photo_size(taken)[0, 0] > 0.5)
    rest = prior_from(
        zeroed(prior.cells, share > 0.5),
        zeroed(prior.canvas, taken[0, 0] > 0),
        photo,
        prior.frame,
        _settings_of(concept, tuned),
        concept.targets,
        prior.alike,
        prior.nearer,
    )
    return replace(rest, whole=prior.cells if prior.whole is None else prior.whole)


def _settings_of(concept: Concept, tuned: bool) -> Settings:
    """A tuned concept's prior may have positive points alone (`Settings.tuned_prior`), as published."""
    if not tuned or concept.settings.tuned_prior:
        return concept.settings
    return concept.settings.but(
        negative_point=False, attention="off", semantic="off", dense_prior=False, prior_box=False
    )


def _size(values: Tensor) -> Size:
    return values.shape[-2], values.shape[-1]
