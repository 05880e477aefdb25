"""Target-guided attention (paper Eq. 8) and target-semantic prompting (Eq. 9-10), in the form that the mode wants."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from persam.geometry import Frame, Size
from persam.method.confidence import ConfidenceMaps, z_score
from persam.method.settings import Settings
from persam.models.guidance import Guidance


def published_attention(photo_map: Tensor, grid: Size) -> Tensor:
    """sigmoid(z-score) of the photo-sized map (H, W), resized straight to the grid: (1, 1, 1, cells).

    The grid of the keys lies over the padded canvas, this one over the photo alone; for a photo that is not square the
    published guidance is therefore misplaced. Kept as it is.
    """
    stretched = F.interpolate(z_score(photo_map)[None, None], grid, mode="bilinear", align_corners=False)
    return stretched.sigmoid().flatten(2)[:, :, None]


def printed_attention(cells: Tensor, frame: Frame, alpha: float) -> Tensor:
    """Softmax of S times alpha over the cells of the photo (rows, columns), 0 in the padding: (1, 1, 1, cells)."""
    inside = frame.inside((cells.shape[0], cells.shape[1]), cells.device)
    weights = torch.softmax(cells.masked_fill(~inside, -torch.inf).flatten(), dim=0)
    return alpha * weights[None, None, None]


def logit_attention(cells: Tensor, frame: Frame, alpha: float) -> Tensor:
    """The z-score of S times alpha (rows, columns) over the cells of the photo; the padding gets the lowest value."""
    inside = frame.inside((cells.shape[0], cells.shape[1]), cells.device)
    scores = z_score(cells, inside)
    scores = torch.where(inside, scores, scores[inside].min())
    return alpha * scores.flatten()[None, None, None]


def guidance_for(settings: Settings, maps: ConfidenceMaps, frame: Frame, embedding: Tensor) -> Guidance | None:
    """What steers the first decoder pass, or None.

    Args:
        settings: which form.
        maps: the confidence map.
        frame: of the decoder.
        embedding: T, (C,).
    """
    attention = None
    if settings.attention == "sigmoid":
        photo_map = maps.photo if maps.photo is not None else frame.to_photo_size(maps.cells[None, None])[0, 0]
        attention = published_attention(photo_map, frame.grid)
    elif settings.attention == "softmax":
        attention = printed_attention(maps.cells, frame, settings.alpha)
    elif settings.attention == "logits":
        attention = logit_attention(maps.cells, frame, settings.alpha)
    semantic = None if settings.semantic == "off" else embedding
    if attention is None and semantic is None:
        return None
    return Guidance(attention, "before" if settings.attention == "logits" else "after", semantic)
