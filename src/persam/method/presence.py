"""Is it there at all?  What was found is compared with the reference from several sides, and the answer is a number.

Eq. 11 and the cascade give a mask whether or not the thing is in the photo.  The score, 0..1, says how sure it is:

    log score / (1 - score)  =  offset + sum of weight * (sign - its usual value)

where the signs are those of `signs_of`, and the numbers are fitted, encoder by encoder (`models/fitted/`), on as many
photos with the thing as without.  The score is for an album in which `USUAL` of the photos show it.  Where nothing was
fitted: `method.segment.similarity_score`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from persam.geometry import fit_mask
from persam.method.cues import CueFeatures, object_colours
from persam.method.learn import covered_cells
from persam.method.prior import NEAR, Prior
from persam.models.base import EncodedImage

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.models.fitted import Fitted

SIGNS = ("likeness", "explained", "colour")  # what a fitted score follows from, see `signs_of`
USUAL = 0.25  # share of an album's photos in which a thing is, before one has looked
MOST_ODDS = 60.0  # log odds beyond which a float's exponential says nothing new


def probability(odds: float) -> float:
    """The logistic function: of log odds, 0..1."""
    return 1 / (1 + math.exp(-max(-MOST_ODDS, min(MOST_ODDS, odds))))


def score_of(signs: Mapping[str, float], fitted: Fitted) -> float:
    """How probable it is that the concept is what was found, 0..1.

    Args:
        signs: of `signs_of`; one that is missing speaks neither for nor against.
        fitted: the numbers of the concept's encoder.
    """
    odds = fitted.presence_offset + math.log(USUAL / (1 - USUAL))
    for name, (weight, usual) in fitted.presence.items():
        odds += weight * (signs.get(name, usual) - usual)
    return probability(odds)


def signs_of(image: EncodedImage, concept: Concept, prior: Prior, mask: np.ndarray) -> dict[str, float]:
    """What speaks for and against the concept being what was found.

    Args:
        image: the photo.
        concept: what was looked for.
        prior: where it is thought to be.
        mask: what was found, (H, W) bool.

    Returns:
        `similarity` at the peak; and for a concept with cues: `likeness`, it as a share of the reference's own;
        `explained`, how well the object's cells find their like under the mask; `colour`, overlap of the colours of
        both (missing without the photo's pixels). With several references the one that was met best counts.

    Also measured, and left out: the decoder's predicted IoU, the mask's agreement with the confidence map, and how well
    the mask's cells find their like on the object. They made no difference, or it was worse on photos of another sort.
    """
    signs = {"similarity": prior.similarity}
    if not concept.cues:
        return signs
    matching = image.other or image
    features = F.normalize(matching.features[0], dim=0)
    if image.pixels is not None:  # as small as they are, which is fine enough for cells and colours
        mask = fit_mask(mask, image.pixels)
        colours = object_colours(image.pixels, mask)
        signs["colour"] = max(float(np.sqrt(colours * kept.colours.cpu().numpy()).sum()) for kept in concept.cues)
    cells = _cells_under(mask, matching, prior)
    signs["likeness"] = prior.similarity * NEAR / max(concept.threshold, 1e-3)
    signs["explained"] = max(_explained(features[:, cells], kept) for kept in concept.cues)
    return signs


def _explained(found: Tensor, kept: CueFeatures) -> float:
    """Mean over the object's cells of the highest cosine with a cell that was found, (D, n) unit features."""
    return float((kept.object_cells.to(found) @ found).amax(1).mean())


def _cells_under(mask: np.ndarray, matching: EncodedImage, prior: Prior) -> Tensor:
    """Cells at least half under a mask (h, w); the most covered one if there is none; the peak for an empty mask."""
    if not mask.any():
        cells = prior.cells
        if matching.frame != prior.frame:
            cells = prior.frame.transfer(cells[None, None], matching.frame, matching.frame.grid)[0, 0]
        return cells == cells.max()
    frame = replace(matching.frame, photo=(mask.shape[0], mask.shape[1]))
    return covered_cells(frame.cover(torch.from_numpy(mask)).to(prior.cells.device))
