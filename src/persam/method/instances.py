"""From an encoded image to what was found in it: one object, or several of one concept (appendix E.5).

Several: find the best, take its place out of the confidence map, look again, until the map's highest value falls under
the threshold.  The image is encoded once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from persam.geometry import Frame
from persam.method.cascade import Scene, last_good, run_cascade
from persam.method.confidence import ConfidenceMaps
from persam.method.guide import guidance_for
from persam.method.location import Location, canvas_location, photo_location
from persam.method.settings import Settings
from persam.method.trace import Trace
from persam.models.base import Encoding, PromptableModel

SAME = 0.8  # IoU with an earlier instance from which on it is the same one (published)


@dataclass(frozen=True)
class Found:
    """One object on the canvas: logits of its mask (h, w), confidence in [-1, 1], predicted IoU, and how it came."""

    logits: Tensor
    confidence: float
    predicted_iou: float
    trace: Trace


@dataclass(frozen=True)
class Target:
    """What the decoder has to know of a concept: T (C,), the scale weights (3,) or None, and the settings."""

    embedding: Tensor
    scale_weights: Tensor | None
    settings: Settings

    @property
    def prior(self) -> Settings:
        """The settings of the location prior; the published PerSAM-F has only positive points and no guidance."""
        if self.scale_weights is None or self.settings.tuned_prior:
            return self.settings
        return self.settings.but(negative_point=False, attention="off", semantic="off", dense_prior=False)


def locate(maps: ConfidenceMaps, frame: Frame, settings: Settings) -> Location:
    """The location prior, read where the settings say."""
    if maps.photo is not None:
        return photo_location(maps.photo, frame, settings.negative_point, settings.positive_points)
    return canvas_location(
        maps.canvas,
        frame,
        positives=settings.positive_points,
        negative=settings.negative_point,
        dense=settings.dense_prior,
    )


def find_one(model: PromptableModel, encoding: Encoding, maps: ConfidenceMaps, target: Target) -> Found:
    """The one object that fits best."""
    settings = target.prior
    location = locate(maps, encoding.frame, settings)
    guidance = guidance_for(settings, maps, encoding.frame, target.embedding)
    steps = run_cascade(model, Scene(encoding, maps.canvas, location), settings, guidance, target.scale_weights)
    step = last_good(steps)
    attention = None
    if guidance is not None and guidance.attention is not None:
        attention = guidance.attention.reshape(encoding.frame.grid)
    trace = Trace(encoding.frame, maps.canvas, location.points, location.labels, tuple(steps), attention)
    return Found(step.taken, location.confidence, float(step.scores[max(step.best, 0)]), trace)


def find_instances(
    model: PromptableModel, encoding: Encoding, maps: ConfidenceMaps, target: Target, most: int, threshold: float
) -> Iterator[Found]:
    """Up to `most` objects, best first; the first one whatever its confidence."""
    earlier: list[Tensor] = []
    for number in range(most):
        found = find_one(model, encoding, maps, target)
        mask = found.logits > 0
        if number and (found.confidence < threshold or not bool(mask.any()) or _known(mask, earlier)):
            return
        yield found
        earlier.append(mask)
        maps = without(maps, found.logits, encoding.frame)


def without(maps: ConfidenceMaps, logits: Tensor, frame: Frame) -> ConfidenceMaps:
    """The maps with the place of a mask (its logits, (h, w)) set to zero confidence, and not higher than it was.

    One feature cell more on every side: so far the confidence of a cell reaches when it is interpolated, and left there
    it would outshine the next object.
    """
    reach = logits.shape[0] // maps.cells.shape[0]
    taken = F.max_pool2d((logits > 0).float()[None, None], 2 * reach + 1, stride=1, padding=reach)[0, 0]

    def zeroed(values: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask, values.clamp(max=0), values)

    share = F.adaptive_avg_pool2d(taken[None, None], tuple(maps.cells.shape))[0, 0]  # type: ignore[arg-type]
    photo = maps.photo
    if photo is not None:
        photo = zeroed(photo, frame.to_photo_size(taken[None, None])[0, 0] > 0.5)
    return ConfidenceMaps(zeroed(maps.cells, share > 0.5), zeroed(maps.canvas, taken > 0), photo)


def _known(mask: Tensor, earlier: list[Tensor]) -> bool:
    return any(float((mask & other).sum()) >= SAME * float((mask | other).sum()) for other in earlier)
