"""Learn: what a reference says about the object (paper Eq. 3-5). Its threshold: `method.threshold.levels_of`.

M_R is the reference mask, F_R the reference's features (C, rows, columns).  The published code takes the mean of the
un-normalised features under the mask; the paper keeps every normalised one.  A mean of cosines with n unit vectors is
the dot product with the mean of these vectors, so one vector holds either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from persam.errors import PersamError
from persam.geometry import Frame, covered_cells
from persam.method.settings import Settings
from persam.models.base import EncodedImage, PromptableModel, Prompts

LITTLE = 0.08  # from this share on a cell belongs to the object for the background's sake (REBASE)


@dataclass(frozen=True)
class TargetFeatures:
    """One reference of a concept, as vectors.

    Attributes:
        embedding: T, what target-semantic prompting adds to the decoder's tokens, (C,).
        direction: the confidence map is this times the unit features of an image, (D,).
        tuned_direction: the same once the concept is tuned (the published PerSAM-F compares with another vector), (D,).
        background: orthonormal basis of the background's subspace, (D, s); s may be 0.
    """

    embedding: Tensor
    direction: Tensor
    tuned_direction: Tensor
    background: Tensor


@dataclass(frozen=True)
class Learned:
    """One reference, learned; tuning needs all of it, a concept keeps the target alone.

    Attributes:
        target: its target features.
        image: its encoding.
        mask: (H, W) bool.
        cells: feature cells of the confidence map that show the object, (rows, columns) bool.
    """

    target: TargetFeatures
    image: EncodedImage
    mask: Tensor
    cells: Tensor


def learn_reference(
    model: PromptableModel,
    image: EncodedImage,
    mask: Tensor,
    settings: Settings,
    mask_values: np.ndarray | None = None,
) -> Learned:
    """Take the target features of a reference.

    Args:
        model: the promptable model.
        image: the photo's encoding.
        mask: (H, W) bool, of the object.
        settings: the form of every technique.
        mask_values: the raw values of the mask's file, (h, w, 3) uint8, which mode official looks at.

    Raises:
        PersamError: mode official finds no cell under the mask.
        UsageError: mode official, and a model that has not SAM's preprocessing.
    """
    matching = image.other or image
    coverage = matching.frame.cover(mask)
    matching_cells = covered_cells(coverage)
    cells = matching_cells if matching is image else image.frame.cells_under(mask)
    if settings.reference_cells == "published":
        cells = published_cells(model, image, mask, mask_values)
        matching_cells = cells if matching is image else matching_cells
    background = cells_beside(matching.frame, coverage, matching_cells)
    target = target_features(image.features[0], cells, matching.features[0], matching_cells, background, settings)
    return Learned(target, image, mask, matching_cells)


# ------------------------------------------------- which cells show the object: M_R on the feature grid (Eq. 3)


def cells_beside(frame: Frame, coverage: Tensor, cells: Tensor) -> Tensor:
    """Cells that show the photo without the object, (rows, columns) bool; there may be none.

    Args:
        frame: of the photo.
        coverage: share of every cell that the object covers.
        cells: that count as the object's, bool.
    """
    return frame.inside(device=cells.device) & (coverage < LITTLE) & ~cells


def published_cells(
    model: PromptableModel, image: EncodedImage, mask: Tensor, values: np.ndarray | None = None
) -> Tensor:
    """The cells that the published code takes as foreground, (rows, columns) bool.

    It resizes, normalises and pads the mask like a picture, and takes what is above 0 in the red channel; so the same
    mask stored with 128 or with 255 selects other cells. Without the file's `values`, (H, W, 3) uint8, it is 128.

    Raises:
        PersamError: no cell is chosen; the published code would go on with NaN.
    """
    if values is None or values.shape[:2] != tuple(mask.shape):
        values = np.repeat((mask.cpu().numpy()[..., None] * 128).astype(np.uint8), 3, axis=2)
    prepared = model.prepare(values, image.frame)
    cells = F.interpolate(prepared, image.frame.grid, mode="bilinear", align_corners=False)[0, 0] > 0
    if not bool(cells.any()):
        raise PersamError(
            "Mode official finds no object in this mask, because it normalises the mask like a picture, so that small "
            "masks and values near 0 vanish; store the mask with 255, or use mode persam."
        )
    return cells


# ------------------------------------------------------------------- what they say: T_R and the direction (Eq. 4-5)


def target_features(
    features: Tensor, cells: Tensor, matching: Tensor, matching_cells: Tensor, background: Tensor, settings: Settings
) -> TargetFeatures:
    """Everything that is kept of one reference.

    Args:
        features: the decoder's features of the reference, (C, rows, columns).
        cells: target cells among them, bool, at least one.
        matching: features for the confidence map, (D, r, c): the same ones, or another encoder's.
        matching_cells: target cells among them, bool, at least one.
        background: cells of `matching` that show the photo without the object, bool; may be empty.
        settings: the form of every technique.
    """
    foreground = features[:, cells]
    if settings.semantic == "unit":
        embedding = F.normalize(foreground, dim=0).mean(1)
    else:
        embedding = foreground.mean(1)
    basis = background_basis(matching, background, settings.background_subspace)
    target = without_background(matching, basis)[:, matching_cells]
    return TargetFeatures(
        embedding, direction_of(target, settings.target), direction_of(target, settings.tuned_target), basis
    )


def direction_of(target: Tensor, kind: str) -> Tensor:
    """One vector (C,) from target cells (C, n): see `Settings.target`."""
    if kind == "mean":
        return F.normalize(target.mean(1), dim=0)
    if kind == "max-mean":
        return F.normalize(target.max(1).values / 2 + target.mean(1) / 2, dim=0)
    return F.normalize(target, dim=0).mean(1)


def background_basis(features: Tensor, background: Tensor, share: float) -> Tensor:
    """Main directions of the reference's background, (C, s), s = ceil(share * number of background cells).

    REBASE's B: the top right singular vectors of the unit background features. Features are (C, rows, columns).
    """
    channels = features.shape[0]
    count = int(background.sum())
    rank = min(-int(-share * count // 1), channels - 1) if share > 0 else 0
    if rank == 0:
        return features.new_zeros(channels, 0)
    unit = F.normalize(features[:, background].T, dim=1)
    return torch.linalg.svd(unit, full_matrices=False).Vh[:rank].T.contiguous()


def without_background(features: Tensor, basis: Tensor) -> Tensor:
    """Features (C, ...) less their part in the background's subspace: F (I - B B^T)."""
    if basis.shape[1] == 0:
        return features
    flat = features.flatten(1)
    return (flat - basis @ (basis.T @ flat)).view_as(features)


# ------------------------------------------------------------------------------- a mask, where there is only a prompt


def prompted_mask(
    model: PromptableModel,
    image: EncodedImage,
    *,
    box: Any = None,
    points: Any = None,
    labels: Any = None,
    logits: Tensor | None = None,
) -> Tensor:
    """The mask that the model itself makes under a box and/or points, (H, W) bool, in two passes.

    Args:
        model: the promptable model.
        image: the photo's encoding.
        box: (x0, y0, x1, y1) in photo pixels.
        points: (N, 2) as (x, y) in photo pixels.
        labels: (N,), 1 on the object, 0 off it; all 1 by default.
        logits: a mask to begin with, (1, 1, h, w) as `models.base.Prompts` has it.

    Raises:
        PersamError: the model finds nothing there.
    """
    frame = image.frame

    def tensor(values: Any, shape: tuple[int, ...]) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=model.device).reshape(shape)

    if points is not None and labels is None:
        labels = np.ones(len(points))
    prompts = Prompts(
        None if points is None else tensor(frame.to_canvas(np.asarray(points)), (1, -1, 2)),
        None if labels is None else tensor(labels, (1, -1)),
        None if box is None else tensor(frame.to_canvas(np.reshape(box, (2, 2))), (1, 4)),
        logits,
    )
    first = model.decode(image, prompts, multimask=True)
    refined = model.decode(image, replace(prompts, logits=first.best()), multimask=True)
    mask = frame.to_photo_mask(refined.best()[0, 0])
    if not bool(mask.any()):
        raise PersamError("The model finds no object at the given place; give a larger box, more points, or a mask.")
    return mask
