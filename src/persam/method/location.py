"""The location prior: points picked from the confidence map (paper Eq. 7), and the map itself as a mask prompt."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from persam.geometry import Frame
from persam.method.confidence import z_score

OUTSIDE_LOGIT = -2.0  # of the dense prior in the padding (REBASE)


@dataclass(frozen=True)
class Location:
    """Where the concept is thought to be.

    Attributes:
        points: (N, 2) as (x, y) on the canvas; the first is the peak.
        labels: (N,) 1 positive, 0 negative.
        confidence: the map's highest value, in [-1, 1].
        dense: mask prompt, (1, 1, h, w), or None.
    """

    points: np.ndarray
    labels: np.ndarray
    confidence: float
    dense: Tensor | None = None


def photo_location(confidence: Tensor, frame: Frame, negative: bool, positives: int = 1) -> Location:
    """The published prior: the highest and the lowest pixel of the photo-sized map (H, W), first one on ties."""
    width = confidence.shape[1]
    flat = confidence.flatten()
    order = flat.topk(positives).indices
    if negative:
        order = torch.cat([order, flat.topk(1, largest=False).indices])
    indices = order.cpu().numpy()
    xy = np.stack([indices % width, indices // width], axis=-1)
    labels = np.array([1] * positives + [0] * (len(xy) - positives))
    return Location(frame.to_canvas(xy), labels, float(flat.max()))


def canvas_location(
    confidence: Tensor, frame: Frame, *, positives: int = 1, negative: bool = True, dense: bool = False
) -> Location:
    """The prior from the map on the canvas (h, w), the padding left out.

    Args:
        confidence: the map at the decoder's low resolution.
        frame: of the decoder.
        positives: at most so many positive points: the peak, then others spread over the confident region around it.
        negative: also the least confident place.
        dense: also the z-scored map as a mask prompt.
    """
    size = (confidence.shape[0], confidence.shape[1])
    inside = frame.inside(size, confidence.device)
    values = confidence.masked_fill(~inside, -torch.inf)
    picked = _spread(values, positives)
    labels = [1] * len(picked)
    if negative:
        lowest = confidence.masked_fill(~inside, torch.inf).flatten().argmin()
        picked.append(int(lowest))
        labels.append(0)
    points = frame.cell_centres(torch.tensor(picked), size)
    prompt = None
    if dense:
        prompt = z_score(confidence, inside).masked_fill(~inside, OUTSIDE_LOGIT)[None, None]
    return Location(points, np.array(labels), float(values.max()), prompt)


def _spread(values: Tensor, count: int) -> list[int]:
    """Flat indices of up to `count` places of the confident region around the peak, far from one another.

    Similarity-weighted farthest-point sampling (REBASE, alpha = 0.5): the next place maximises
    sqrt(confidence above the region's floor * distance to the nearest one taken). The region is where the confidence
    exceeds mean + std / 2 of its positive values; only the part connected with the peak counts, since another part may
    be another object.
    """
    flat = values.flatten()
    peak = int(flat.argmax())
    if count <= 1:
        return [peak]
    positive = flat[(flat > 0) & flat.isfinite()]
    if positive.numel() < 2:
        return [peak]
    floor = float(positive.mean() + positive.std() / 2)
    grid = values.cpu().numpy()
    _, parts = cv2.connectedComponents((grid >= min(floor, float(flat[peak]))).astype(np.uint8))
    y, x = np.nonzero(parts == parts.flat[peak])
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
