"""Target features: what a reference's cells say about the object (paper Eq. 3-5).

M_R is the reference mask, F_R the reference's features (C, rows, columns).  The published code takes the mean of the
un-normalised features under the mask; the paper keeps every normalised one.  A mean of cosines with n unit vectors is
the dot product with the mean of these vectors, so one vector holds either.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from persam.method.settings import Settings


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


def published_cells(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """The cells that the published code takes as foreground, (rows, columns) bool; may be empty.

    `values` is the mask preprocessed like a picture, normalised and padded, (1, 3, S, S). The red channel decides, so
    the same mask stored with 128 or with 255 selects other cells.
    """
    return F.interpolate(values, grid, mode="bilinear", align_corners=False)[0, 0] > 0


def covered_cells(coverage: Tensor) -> Tensor:
    """Cells at least half covered by the mask; if there is none, the most covered one. (rows, columns) -> bool."""
    cells = coverage >= 0.5
    return cells if bool(cells.any()) else coverage == coverage.max()


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
