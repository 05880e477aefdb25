"""What a frame itself says of every pixel, beside the decoder's mask: log odds of its cells, its colours, its edges.

The decoder draws what its prompts lead to, and leaves out a swan's neck or takes the fence behind a camel; what it does
wrong it does wrong in every frame.  The reference knows the object's cells and colours, and those of its background.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from persam.instance import mask_box
from persam.method.cues import CueFeatures, colour_ratios, nearest_cells
from persam.method.segment import cut_out
from persam.models.base import EncodedImage

# Chosen with the bundled model on the clips of DAVIS.
MOST_ODDS = 4.0  # log odds beyond which a pixel is not surer
CELLS, MOST_CELLS = 10.0, 2.0  # log odds by unit of cosine, and of a cell at most
COLOURS = 0.3  # by unit of a colour's log ratio
CLOSE = 0.2  # how far from where an object is expected its colours speak for it, as a share of its size
BAND = 0.08  # how far edges may move its outline, likewise


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


def colour_odds(pixels: np.ndarray, cues: Sequence[CueFeatures], expected: np.ndarray) -> np.ndarray:
    """Of colours that are rather the object's than anything else's: pixels (h, w, 3) uint8 -> (h, w) float32.

    Far from where it is expected, (h, w) bool, they only speak against it: much else has its colours, too.
    """
    if not cues:
        return np.zeros(expected.shape, np.float32)
    ratios = np.mean([colour_ratios(pixels, each.colour_ratio) for each in cues], 0)
    far = cv2.distanceTransform((~expected).astype(np.uint8), cv2.DIST_L2, 3) > CLOSE * math.sqrt(expected.sum())
    return COLOURS * np.where(far, np.minimum(ratios, 0), cv2.blur(ratios, (3, 3)))


def edges_of(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """A mask (h, w) bool, its outline moved to edges of the picture near it, which are looked for there alone.

    Returns:
        (h, w) bool; None where there are no edges.
    """
    box = mask_box(mask)
    if box is None:
        return None
    band = max(2, round(BAND * math.sqrt(mask.sum())))
    x0, y0, x1, y1 = box
    rows = slice(max(0, y0 - 3 * band), y1 + 3 * band)
    columns = slice(max(0, x0 - 3 * band), x1 + 3 * band)
    cut = cut_out(pixels[rows, columns], mask[rows, columns], band)
    if cut is None:
        return None
    whole = np.zeros(mask.shape, bool)
    whole[rows, columns] = cut
    return whole


def clipped(odds: np.ndarray) -> np.ndarray:
    """Log odds within `MOST_ODDS`."""
    return np.clip(odds, -MOST_ODDS, MOST_ODDS)
