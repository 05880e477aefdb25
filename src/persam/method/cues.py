"""Cues: all that a reference says about where the object is, not its mean alone.

The paper compares every cell with the mean of the object's features (Eq. 5-6) and throws the rest of the reference
away.  Here every cue is a small pure function that gives a map, and all maps are fused to one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from persam.geometry import Frame, fit_mask, shrink
from persam.instance import mask_box
from persam.method.learn import Learned, cells_beside
from persam.method.settings import Settings
from persam.models.base import EncodedImage
from persam.models.fitted import Fitted, photo_colours
from persam.models.identity.network import CHANNELS, LENGTH, SIDE, identity_network
from persam.models.sam import PIXEL_MEAN, PIXEL_STD

if TYPE_CHECKING:
    from persam.concept import Concept

NEIGHBOURS = 3  # cells that a nearest-cell cue averages, lest one cell decide
FADES = 0.2  # cosine by which a cell has to differ from the background's to be a third as much like it
MOST_CELLS = 384  # kept of the object, and of its background: a large photo of a large model has thousands

BINS = 16  # of the Lab histograms, each axis
SMOOTHING = 1.0  # of the histograms, bins
GENERAL = 0.6  # share of photos in general in what stands against the object's colours; the rest is its own background
RARE = 1e-4  # added to every bin: a colour that was never seen is not impossible
FARTHEST = 3.0  # log ratio beyond which colour says no more
COLOUR_SIDE = 128  # pixels of the longest side at which colours are counted

FILLS = 0.85  # share of its square's side that a thing takes, cut out
TURNS = 4  # quarter turns in which a reference's thing is looked at


@dataclass(frozen=True)
class CueFeatures:
    """What the cues keep of one reference.

    Attributes:
        object_cells: unit features of the object's cells, (n, D), n at most `MOST_CELLS`.
        background_cells: the same of the rest of the photo, (m, D); m may be 0.
        colours: the object's share of every Lab bin, (BINS, BINS, BINS), sums to 1; zeros where no pixels were seen.
        colour_ratio: log of the object's share over that of everything else, within +-`FARTHEST`; zeros likewise.
        identity: unit vector of the object cut out, (LENGTH,), see `identity_of`; zeros where no numbers ask for it.
    """

    object_cells: Tensor
    background_cells: Tensor
    colours: Tensor
    colour_ratio: Tensor
    identity: Tensor = field(default_factory=lambda: torch.zeros(LENGTH))


def cues_of(learned: Learned, fitted: Fitted | None = None) -> CueFeatures:
    """Take from a reference that was learned what the cues compare with, and its identity if the numbers ask for it."""
    image, mask = learned.image, learned.mask
    kept = cue_features(image.other or image, mask, learned.cells, image.pixels)
    if image.pixels is None or fitted is None or not fitted.compares_identities:
        return kept
    return replace(kept, identity=identity_of(image.pixels, fit_mask(mask.cpu().numpy(), image.pixels), TURNS))


def cue_features(matching: EncodedImage, mask: Tensor, cells: Tensor, pixels: np.ndarray | None) -> CueFeatures:
    """Take from a reference what the cues compare with.

    Args:
        matching: the reference as the encoder of the confidence map sees it.
        mask: (H, W) bool, of the object.
        cells: which cells of `matching` show the object, (rows, columns) bool.
        pixels: the reference, small, (h, w, 3) uint8 RGB, or None: then colour says nothing.
    """
    features = F.normalize(matching.features[0], dim=0)
    beside = cells_beside(matching.frame, matching.frame.cover(mask), cells)
    own, ratio = np.zeros((BINS,) * 3, np.float32), np.zeros((BINS,) * 3, np.float32)
    if pixels is not None:
        own, ratio = _colour_ratio(pixels, mask.cpu().numpy())
    return CueFeatures(
        _some(features[:, cells].T), _some(features[:, beside].T), torch.from_numpy(own), torch.from_numpy(ratio)
    )


def _some(cells: Tensor) -> Tensor:
    """At most `MOST_CELLS` of the cells (n, D), evenly spread."""
    if len(cells) <= MOST_CELLS:
        return cells.contiguous()
    return cells[torch.linspace(0, len(cells) - 1, MOST_CELLS, device=cells.device).round().long()].contiguous()


# ------------------------------------------------------------------------------ the cues, each a map of the cells


def nearest_cells(features: Tensor, cells: Tensor) -> Tensor:
    """Mean cosine of every cell of a photo with the `NEIGHBOURS` cells of a reference that are most like it.

    Args:
        features: unit features of the photo, (D, rows, columns).
        cells: unit features of the reference, (n, D).

    Returns:
        (rows, columns) in [-1, 1]; 0 if there is nothing to compare with.
    """
    if len(cells) == 0:
        return features.new_zeros(features.shape[1:])
    cosines = torch.einsum("nd,dhw->nhw", cells.to(features), features)
    return cosines.topk(min(NEIGHBOURS, len(cells)), dim=0).values.mean(0)


def nearly_the_same(cosines: Tensor) -> Tensor:
    """How nearly a cell is one that was seen: 1 for the same one, and next to nothing for one that is a little like it.

    Of the reference's background: all that photos show is a little like it, and that tells nothing; but what is the
    same table is no cup.

        exp((cosine - 1) / FADES)

    `FADES` is about where cells of training photos are told apart best (of 0.05 to 1).
    """
    return torch.exp((cosines - 1) / FADES)


def colour_cells(pixels: np.ndarray | None, ratio: Tensor, frame: Frame) -> Tensor:
    """How much more the colours of every cell are the object's than anything else's: mean log ratio of its pixels.

    Of a cell on the photo's edge those of its part in the photo.

    Args:
        pixels: the photo, small, (h, w, 3) uint8 RGB, or None: then 0 everywhere.
        ratio: `CueFeatures.colour_ratio`.
        frame: of the map.

    Returns:
        (rows, columns) within +-`FARTHEST`; 0 in the padding.
    """
    if pixels is None:
        return torch.zeros(frame.grid)
    ratios = torch.from_numpy(colour_ratios(shrink(pixels, COLOUR_SIDE), ratio))
    return frame.cover(ratios) / frame.cover(torch.ones_like(ratios)).clamp(min=1e-3)


def colour_ratios(pixels: np.ndarray, ratio: Tensor) -> np.ndarray:
    """The same of every pixel of (h, w, 3) uint8 RGB: (h, w) float32 within +-`FARTHEST`."""
    return np.asarray(ratio.cpu().numpy().ravel()[_lab_bins(pixels)], np.float32)


def cue_maps(
    matching: EncodedImage, similarity: Tensor, kept: CueFeatures, settings: Settings, pixels: np.ndarray | None
) -> dict[str, Tensor]:
    """Every cue that the settings ask for, by name, each (rows, columns).

    Of `background` and `beside`, which say the same in two ways, numbers have the one that they were fitted for.

    Args:
        matching: the photo as the encoder of the confidence map sees it.
        similarity: the paper's map of the same reference, (rows, columns); itself a cue.
        kept: of the reference.
        settings: which cues.
        pixels: the photo, small, (h, w, 3) uint8 RGB, or None.
    """
    features = F.normalize(matching.features[0], dim=0)
    maps = {"similarity": similarity}
    if settings.nearest_cue:
        maps["nearest"] = nearest_cells(features, kept.object_cells)
    if settings.background_cue:
        maps["background"] = nearest_cells(features, kept.background_cells)
        maps["beside"] = nearly_the_same(maps["background"])
    if settings.colour_cue:
        maps["colour"] = colour_cells(pixels, kept.colour_ratio, matching.frame).to(similarity)
    return maps


# ------------------------------------------------------------------------------ all of them, fused to one map


def fuses_cues(settings: Settings) -> bool:
    """Whether there is any cue beside the similarity, and a map that takes them."""
    return settings.map == "cells" and (settings.nearest_cue or settings.background_cue or settings.colour_cue)


def fused_confidence(
    matching: EncodedImage, similarities: Tensor, concept: Concept, settings: Settings, pixels: np.ndarray | None
) -> tuple[Tensor, Tensor | None]:
    """All cues of all references as log odds that a cell shows the object, (rows, columns); and `Prior.nearer`.

    A weighted sum turns the maps into log odds:

        log p / (1 - p)  =  offset + sum of weight * cue

    The weights are fitted on pairs of photos, encoder by encoder (`models/fitted/`).  Without them, and in the modes
    `official` and `paper`, the confidence map is the paper's.

    Args:
        matching: the photo as the encoder of the confidence map sees it.
        similarities: the paper's map of every reference, (references, rows, columns).
        concept: what is looked for, with fitted weights.
        settings: which cues.
        pixels: the photo, small, (h, w, 3) uint8 RGB, or None.
    """
    assert concept.fitted is not None
    maps = [
        cue_maps(matching, similarity, kept, settings, pixels)
        for similarity, kept in zip(similarities, concept.cues, strict=True)
    ]
    nearer = [
        each["nearest"] - each["background"]
        for each, kept in zip(maps, concept.cues, strict=True)
        if len(kept.background_cells) and {"nearest", "background"} <= each.keys()  # all is nearer than nothing
    ]
    return fused(maps, concept.fitted.cues, concept.fitted.offset), torch.stack(nearer).mean(0) if nearer else None


def log_odds(maps: Mapping[str, Tensor], weights: Mapping[str, float], offset: float) -> Tensor:
    """The maps fused: log odds that a cell shows the object, (rows, columns); a cue without a weight is silent."""
    return offset + torch.stack([weights.get(name, 0.0) * values for name, values in maps.items()]).sum(0)


def fused(maps: Sequence[Mapping[str, Tensor]], weights: Mapping[str, float], offset: float) -> Tensor:
    """Log odds by several references, (rows, columns): a cell is as likely as the reference it resembles most says."""
    return torch.stack([log_odds(each, weights, offset) for each in maps]).amax(0)


# ---------------------------------------------------------------------------------------------------- colour


def histogram(pixels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Smoothed share of every Lab bin, (BINS, BINS, BINS) float32, sums to 1; zeros if nothing has a weight.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        weights: of every pixel, (h, w); all 1 by default.
    """
    flat = None if weights is None else weights.ravel()
    counts: np.ndarray = np.bincount(_lab_bins(pixels).ravel(), weights=flat, minlength=BINS**3).astype(np.float32)
    counts = counts.reshape((BINS,) * 3)
    for axis in range(3):  # OpenCV blurs in two dimensions: the others are laid beside one another
        lines = np.moveaxis(counts, axis, 0).reshape(BINS, -1)
        blurred = cv2.GaussianBlur(lines, (1, 9), sigmaX=SMOOTHING, borderType=cv2.BORDER_CONSTANT)
        counts = np.moveaxis(blurred.reshape((BINS,) * 3), 0, axis)
    total = float(counts.sum())
    return (counts / total if total > 0 else counts).astype(np.float32)


def object_colours(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Histogram of what a mask covers: pixels (h, w, 3) uint8 RGB, mask (H, W) bool; zeros for an empty one."""
    small, share = _with_share(pixels, mask)
    return histogram(small, share * (share >= min(0.5, float(share.max()))))


def _colour_ratio(pixels: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The object's histogram and its log ratio over the background's and that of photos in general."""
    small, share = _with_share(pixels, mask)
    own, beside = object_colours(pixels, mask), histogram(small, (share <= 0.02).astype(np.float32))
    general = photo_colours()
    others = GENERAL * general + (1 - GENERAL) * (beside if beside.any() else general)
    ratio = np.log((own + RARE) / (others + RARE)).clip(-FARTHEST, FARTHEST)
    return own, ratio.astype(np.float32)


def _with_share(pixels: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture at the size at which colours are counted, (h, w, 3), and the mask's share of its pixels, (h, w)."""
    small = shrink(pixels, COLOUR_SIDE)
    return small, cv2.resize(mask.astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_AREA)


def _lab_bins(pixels: np.ndarray) -> np.ndarray:
    """Index of every pixel's Lab bin: (h, w, 3) uint8 RGB -> (h, w)."""
    light, red, blue = np.moveaxis(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB) // (256 // BINS), -1, 0).astype(np.int64)
    return np.asarray((light * BINS + red) * BINS + blue)


# ---------------------------------------------------------------------------------- which thing: it alone, as a whole


def identity_of(pixels: np.ndarray, mask: np.ndarray, turns: int = 1) -> Tensor:
    """Which thing it is that a mask covers, (LENGTH,) of length 1; near to that of the same thing elsewhere.

    No map of the photo, and no cue for where the thing is: it tells whether what was found is the thing.

    Args:
        pixels: the photo, small, (h, w, 3) uint8 RGB.
        mask: (h, w) bool; of an empty one the vector is 0.
        turns: quarter turns in which it is looked at, 1 to 4; their mean counts.
    """
    alone = cut_alone(pixels, mask)
    if alone is None:
        return torch.zeros(LENGTH)
    every = np.stack([np.rot90(alone, each) for each in range(turns)]).transpose(0, 3, 1, 2)
    return F.normalize(identity_network()(torch.from_numpy(np.ascontiguousarray(every))).mean(0), dim=0)


def cut_alone(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """What a mask covers in the middle of a square, `FILLS` of its side large, on nothing (arguments: `identity_of`).

    Returns:
        (SIDE, SIDE, CHANNELS) float32: its colours normalised as for SAM, times its share of the pixels, and that
        share. None for an empty mask.
    """
    box = mask_box(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    scale = FILLS * SIDE / max(x1 - x0, y1 - y0)
    width, height = (max(1, round(scale * side)) for side in (x1 - x0, y1 - y0))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(pixels[y0:y1, x0:x1], (width, height), interpolation=way)
    share = cv2.resize(mask[y0:y1, x0:x1].astype(np.float32), (width, height), interpolation=way)
    square = np.zeros((SIDE, SIDE, CHANNELS), np.float32)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    square[top : top + height, left : left + width] = on_nothing(small, share)
    return square


def on_nothing(pixels: np.ndarray, share: np.ndarray) -> np.ndarray:
    """A thing as the identity network sees it: pixels (h, w, 3) uint8 RGB and its share of them (h, w) 0..1 -> (h, w,
    CHANNELS) float32, the colours normalised as for SAM."""
    mean, deviation = np.array(PIXEL_MEAN, np.float32), np.array(PIXEL_STD, np.float32)
    return np.dstack([(pixels - mean) / deviation * share[..., None], share])
