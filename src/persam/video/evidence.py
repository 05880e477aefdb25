"""What a frame itself says of every pixel, beside the decoder's mask: log odds of its cells, its colours, its edges.

The decoder draws what its prompts lead to, and leaves out a swan's neck or takes the fence behind a camel; what it does
wrong it does wrong in every frame.  The reference knows the object's cells and colours, and those of its background.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from persam.method.cues import CueFeatures, nearest_cells
from persam.method.segment import cut_out
from persam.models.base import EncodedImage

# Chosen with the bundled model on the clips of DAVIS.
MOST_ODDS = 4.0  # log odds beyond which a pixel is not surer
CELLS, MOST_CELLS = 10.0, 2.0  # log odds by unit of cosine, and of a cell at most
BAND = 0.08  # how far edges may move its outline, as a share of its size


def cell_odds(image: EncodedImage, cues: Sequence[CueFeatures], size: tuple[int, int]) -> np.ndarray:
    """Of cells that are more like the object's than like its background's, (h, w) float32; `size` is (w, h).

    Args:
        image: encoded.
        cues: of the references; none: all is 0.
        size: of the picture.
    """
    cues = [each for each in cues if len(each.background_cells)]  # alone, those of the object are like all there is
    if not cues:
        return np.zeros(size[::-1], np.float32)
    matching = image.other or image
    features = F.normalize(matching.features[0], dim=0)
    more = [
        nearest_cells(features, each.object_cells) - nearest_cells(features, each.background_cells) for each in cues
    ]
    frame = replace(matching.frame, photo=size[::-1])
    alike = frame.to_photo_size(torch.stack(more).mean(0)[None, None])[0, 0].cpu().numpy()
    return np.clip(CELLS * alike, -MOST_CELLS, MOST_CELLS)


def edges_of(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """A mask (h, w) bool, its outline moved to edges of the picture near it, which are looked for there alone.

    Returns:
        (h, w) bool; None where there are no edges.
    """
    return cut_out(pixels, mask, max(2, round(BAND * math.sqrt(mask.sum()))))


def clipped(odds: np.ndarray) -> np.ndarray:
    """Log odds within `MOST_ODDS`."""
    return np.clip(odds, -MOST_ODDS, MOST_ODDS)
