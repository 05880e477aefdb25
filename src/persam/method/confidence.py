"""The confidence map: similarity of every place of an image to the concept (paper Eq. 5-6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from persam.geometry import Frame, Size
from persam.method.features import TargetFeatures, without_background


@dataclass(frozen=True)
class ConfidenceMaps:
    """One confidence map at the resolutions at which it is used.

    Attributes:
        cells: on the decoder's feature grid, (rows, columns): guidance.
        canvas: at the decoder's low resolution, (h, w): points and dense prior.
        photo: at the photo's size, (H, W), where the settings read it there.
    """

    cells: Tensor
    canvas: Tensor
    photo: Tensor | None = None

    @classmethod
    def of(cls, cells: Tensor, frame: Frame, to: Frame, low_resolution: Size, with_photo: bool) -> ConfidenceMaps:
        """From confidence cells in the frame of their encoder, for a decoder that sees the frame `to`."""
        same = frame == to
        return cls(
            cells if same else frame.transfer(cells[None, None], to, to.grid)[0, 0],
            canvas_confidence(cells, frame, to, low_resolution),
            photo_confidence(cells, frame) if with_photo else None,
        )


def confidence_cells(features: Tensor, targets: Sequence[TargetFeatures], tuned: bool = False) -> Tensor:
    """Confidence of every cell, (rows, columns) in [-1, 1]; several references are pooled by maximum.

    Args:
        features: of the image, (1, D, rows, columns).
        targets: one for each reference.
        tuned: compare with the direction that a tuned concept uses.
    """
    maps = []
    for target in targets:
        direction = target.tuned_direction if tuned else target.direction
        unit = F.normalize(without_background(features[0], target.background), dim=0)
        maps.append(torch.einsum("c,chw->hw", direction, unit))
    return torch.stack(maps).amax(0)


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
