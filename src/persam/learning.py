"""From a reference to what a concept keeps of it, and to what tuning needs."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from persam.concept import Concept, ReferenceRecord
from persam.encoded import EncodedImage
from persam.errors import PersamError, UsageError
from persam.method.cascade import prompts_at
from persam.method.confidence import confidence_cells
from persam.method.features import TargetFeatures, covered_cells, published_cells, target_features
from persam.method.guide import guidance_for
from persam.method.instances import Target, locate
from persam.method.presence import threshold_from
from persam.method.scale import Shot
from persam.method.settings import Settings
from persam.models.base import PromptableModel, Prompts
from persam.reference import Reference

THUMBNAIL_SIDE = 96
SCRIBBLE_POINTS = 8
LITTLE = 0.08  # from this share on a cell belongs to the object for the background's sake (REBASE)


@dataclass(frozen=True)
class Learned:
    """One reference, learned.

    Attributes:
        target: its target features.
        record: what the concept remembers of it.
        image: its encoding.
        mask: (H, W) bool.
        cells: feature cells of the confidence map that show the object, (rows, columns) bool.
    """

    target: TargetFeatures
    record: ReferenceRecord
    image: EncodedImage
    mask: Tensor
    cells: Tensor

    def threshold(self, *, tuned: bool = False) -> float:
        """Confidence from which on its object counts as present."""
        return threshold_from(confidence_cells(self.image.matching.features, [self.target], tuned), self.cells)


def learn_reference(
    reference: Reference, image: EncodedImage, model: PromptableModel, settings: Settings, *, own_features: bool
) -> Learned:
    """Take the target features of a reference.

    Args:
        reference: photo and mask, or what a mask is made from.
        image: the photo's encoding.
        model: the promptable model.
        settings: the form of every technique.
        own_features: the confidence map is made of the model's own features, not of another encoder's.

    Raises:
        PersamError: no object under the prompt, or (mode official) no cell under the mask.
    """
    device = image.prompting.features.device
    mask = torch.as_tensor(mask_of(reference, image, model), device=device)
    cells = covered_cells(image.prompting.frame.cover(mask))
    coverage = image.matching.frame.cover(mask)
    matching_cells = covered_cells(coverage)
    if settings.reference_cells == "published":
        cells = cells_as_published(reference, mask, image, model)
        matching_cells = cells if own_features else matching_cells
    background = image.matching.frame.inside(device=device) & (coverage < LITTLE) & ~matching_cells
    target = target_features(
        image.prompting.features[0], cells, image.matching.features[0], matching_cells, background, settings
    )
    record = ReferenceRecord(
        reference.source or "",
        reference.sha256,
        (mask.shape[0], mask.shape[1]),
        round(float(mask.float().mean()), 6),
        int(matching_cells.sum()),
    )
    return Learned(target, record, image, mask, matching_cells)


def cells_as_published(reference: Reference, mask: Tensor, image: EncodedImage, model: PromptableModel) -> Tensor:
    """The published code's choice of cells, which depends on the mask file's red value (128 if there is no file).

    Raises:
        PersamError: no cell is chosen; the published code would go on with NaN.
        UsageError: the model has no preprocessing of SAM's kind.
    """
    values = reference.mask_values
    if values is None or values.shape[:2] != tuple(mask.shape):
        values = np.repeat((mask.cpu().numpy()[..., None] * 128).astype(np.uint8), 3, axis=2)
    frame = image.prompting.frame
    prepare = getattr(model, "prepare", None)
    if prepare is None:
        raise UsageError(f"Mode official needs SAM's own preprocessing, which {model.name} does not have.")
    cells = published_cells(prepare(values, frame), frame.grid)
    if not bool(cells.any()):
        raise PersamError(
            "Mode official finds no object in this mask, because it normalises the mask like a picture, so that small "
            "masks and values near 0 vanish; store the mask with 255, or use mode persam."
        )
    return cells


@torch.inference_mode()
def mask_of(reference: Reference, image: EncodedImage, model: PromptableModel) -> np.ndarray:
    """The mask of a reference, (H, W) bool; from a box, points or a scribble it is made by the model, in two passes.

    Raises:
        PersamError: the model finds nothing under the prompt.
    """
    if reference.mask is not None:
        return reference.mask
    frame = image.prompting.frame

    def tensor(values: Any, shape: tuple[int, ...]) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=model.device).reshape(shape)

    points, labels = reference.points, reference.labels
    if points is None and reference.scribble is not None:
        points = reference.scribble_points(SCRIBBLE_POINTS)
    if points is not None and labels is None:
        labels = np.ones(len(points))
    prompts = Prompts(
        None if points is None else tensor(frame.to_canvas(np.asarray(points)), (1, -1, 2)),
        None if labels is None else tensor(labels, (1, -1)),
        None if reference.box is None else tensor(frame.to_canvas(np.reshape(reference.box, (2, 2))), (1, 4)),
    )
    first = model.decode(image.prompting, prompts, multimask=True)
    best = int(first.scores[0].argmax())
    refined = model.decode(image.prompting, replace(prompts, logits=first.logits[:, best : best + 1]), multimask=True)
    logits = refined.logits[0, int(refined.scores[0].argmax())]
    mask = (frame.to_photo_size(logits[None, None])[0, 0] > 0).cpu().numpy()
    if not mask.any():
        raise PersamError("The model finds no object at the given place; give a larger box, more points, or a mask.")
    return mask


@torch.inference_mode()
def shot_of(learned: Learned, concept: Concept, model: PromptableModel, *, full_size: bool) -> Shot:
    """The decoder's three scales on a reference, from the prompts that the tuned concept will use.

    At the photo's full size as published, or on the low-resolution canvas without its padding.
    """
    image, frame = learned.image, learned.image.prompting.frame
    target = Target(concept.embedding, torch.zeros(3), concept.settings)
    maps = image.maps(concept, model, tuned=True)
    location = locate(maps, frame, target.prior)
    prompts = prompts_at(model, location, logits=location.dense)
    guidance = guidance_for(target.prior, maps, frame, target.embedding)
    decoded = model.decode(image.prompting, prompts, multimask=True, guidance=guidance)
    if full_size:
        return Shot(frame.to_photo_size(decoded.logits)[0], learned.mask.float())
    size = model.low_resolution
    used = frame.inside(size)
    rows, columns = int(used.any(1).sum()), int(used.any(0).sum())
    return Shot(decoded.logits[0, :, :rows, :columns], frame.cover(learned.mask, size)[:rows, :columns])


def thumbnail_of(image: np.ndarray) -> bytes:
    """A small PNG of a photo."""
    small = Image.fromarray(image)
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    out = io.BytesIO()
    small.save(out, "PNG")
    return out.getvalue()
