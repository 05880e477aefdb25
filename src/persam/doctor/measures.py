"""What can be told of one reference before it is used: numbers alone. What they mean: `persam.doctor.findings`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from persam.doubts import border_of, cut_off, pieces_of
from persam.geometry import fit_mask, shrink
from persam.instance import mask_box
from persam.method.cues import COLOUR_SIDE, histogram
from persam.method.learn import LITTLE
from persam.metrics import auroc, iou
from persam.segmentation import Segmentation

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.geometry import Frame
    from persam.models.base import EncodedImage
    from persam.persam import PerSAM
    from persam.reference import Reference

_DARKEST, _BRIGHTEST = 10, 245  # grey values beyond which a pixel shows nothing
EDGE_SIDE = 256  # pixels of the photo's longest side at which edges are looked at
_NEAR = 31  # pixels across, at that size, of what is near an outline
_HALF = 0.5  # share of a cell from which on it belongs to the object


@dataclass(frozen=True)
class Measures:
    """One reference in numbers; shares are 0 to 1.

    Attributes:
        cells: of the encoder's grid that the object covers, parts of cells added up.
        area: share of the photo that the mask covers.
        border: share of the photo's border that the mask covers.
        cut: share of the mask's outline that is the photo's border.
        parts: separate pieces of the mask, each at least `persam.doubts.SMALLEST_PART` of it.
        main_part: share of the mask in the largest one.
        edges: strength of the photo's edges under the mask's outline, in multiples of those near it; 1: it follows
            none of them, or is the photo's border alone.
        sharpness: how much of the photo's edges, around the object and at the size that the model sees, a slight blur
            takes away; a blurred photo has little to lose.
        lost: share of the object's pixels that are black or white.
        colours: overlap of the object's colours with those of the rest of the photo; 1: the same colours.
        own_iou: of the mask with what is found in the photo itself, with the concept learned from it.
        own_size: area of that, as a multiple of the mask's.
        separation: AUROC of the confidence map of the mirrored photo: does it tell the object's cells from the others?
            In the photo itself every cell would find itself again.
        mistaken: share of the other cells there that are as confident as half of the object's cells.
        mirrored_iou: of the mask with what is found in the mirrored photo.
        score: how sure it is there, 0 to 1.
    """

    cells: float
    area: float
    border: float
    cut: float
    parts: int
    main_part: float
    edges: float
    sharpness: float
    lost: float
    colours: float
    own_iou: float
    own_size: float
    separation: float
    mistaken: float
    mirrored_iou: float
    score: float

    @property
    def found_again(self) -> float:
        """IoU of the mask with what is found, in the photo or in its mirror image, whichever is better."""
        return max(self.own_iou, self.mirrored_iou)


@dataclass(frozen=True, eq=False)
class Examined:
    """A reference with what was learned from it and what is found with that.

    Attributes:
        reference: as it was read.
        image: its photo, encoded.
        mask: (H, W) bool, that was learned from.
        concept: learned from this reference alone.
        found: in the photo itself, with its trace.
        measures: of all that.
    """

    reference: Reference
    image: EncodedImage
    mask: np.ndarray
    concept: Concept
    found: Segmentation
    measures: Measures


def examine(model: PerSAM, reference: Reference) -> Examined:
    """Learn from one reference and look for the object in the very photo, and in its mirror image.

    Raises:
        PersamError: nothing can be learned from it.
    """
    concept = model.learn(reference, name="object")
    learned = concept.material[0]
    mask = learned.mask.cpu().numpy()
    found = model.segment(learned.image, concept, explain=True)
    photo, mirrored_mask = np.ascontiguousarray(reference.image[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
    mirrored = model.segment(photo, concept, explain=True)
    separation, mistaken = _told_apart(mirrored, mirrored_mask)
    pieces = pieces_of(mask)
    matching = learned.image.other or learned.image
    measures = Measures(
        cells=float(matching.frame.cover(learned.mask).sum()),
        area=float(mask.mean()),
        border=float(border_of(mask).mean()),
        cut=cut_off(mask),
        parts=len(pieces),
        main_part=pieces[0],
        edges=_edges_under_outline(reference.image, mask),
        sharpness=_sharpness(reference.image, mask, matching.frame),
        lost=_lost(reference.image, mask),
        colours=_colour_overlap(reference.image, mask),
        own_iou=iou(found.assumed_mask, mask),
        own_size=float(found.assumed_mask.sum()) / float(mask.sum()),
        separation=separation,
        mistaken=mistaken,
        mirrored_iou=iou(mirrored.assumed_mask, mirrored_mask),
        score=mirrored.score,
    )
    return Examined(reference, learned.image, mask, concept, found, measures)


# ----------------------------------------------------------------------------------------------------- the photo


def _edges_under_outline(photo: np.ndarray, mask: np.ndarray) -> float:
    """See `Measures.edges`."""
    small = shrink(photo, EDGE_SIDE)
    drawn = fit_mask(mask, small).astype(np.uint8)
    grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    strength = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    outline = cv2.morphologyEx(drawn, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    if not outline.any():  # all of the photo, at this size
        return 1.0
    near = cv2.dilate(outline, np.ones((_NEAR, _NEAR), np.uint8)) > 0
    return float(strength[outline > 0].mean() / max(float(strength[near].mean()), 1e-6))


def _sharpness(photo: np.ndarray, mask: np.ndarray, frame: Frame) -> float:
    """See `Measures.sharpness`; after Crete et al., The blur effect (2007)."""
    grey = cv2.cvtColor(shrink(photo, max(frame.content)), cv2.COLOR_RGB2GRAY).astype(np.float32)
    box = mask_box(mask)
    assert box is not None
    scale = grey.shape[0] / photo.shape[0]
    margin = 4
    x0, y0 = (max(0, int(side * scale) - margin) for side in box[:2])
    x1, y1 = (int(side * scale) + margin + 1 for side in box[2:])
    around = grey[y0:y1, x0:x1]
    edges = [_roughness(each) for each in (around, cv2.GaussianBlur(around, (0, 0), 1.0))]
    return 1 - edges[1] / max(edges[0], 1e-6)


def _roughness(grey: np.ndarray) -> float:
    return float(np.abs(np.diff(grey, axis=0)).sum() + np.abs(np.diff(grey, axis=1)).sum())


def _lost(photo: np.ndarray, mask: np.ndarray) -> float:
    """Share of the object's pixels that are black or white."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[mask]
    return float(((grey < _DARKEST) | (grey > _BRIGHTEST)).mean())


def _colour_overlap(photo: np.ndarray, mask: np.ndarray) -> float:
    """See `Measures.colours`."""
    small = shrink(photo, COLOUR_SIDE)
    share = cv2.resize(mask.astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_AREA)
    own = histogram(small, share)
    beside = histogram(small, 1 - share)
    return float(np.minimum(own, beside).sum())


# ------------------------------------------------------------------------------------- what is found in the mirror


def _told_apart(found: Segmentation, mask: np.ndarray) -> tuple[float, float]:
    """`Measures.separation` and `Measures.mistaken` for a segmentation with its trace; (1, 0) if all is object."""
    assert found.trace is not None
    prior = found.trace.prior
    assert prior is not None
    share = prior.frame.cover(torch.from_numpy(mask)).cpu()
    own = share >= min(_HALF, float(share.max()))
    others = prior.frame.inside() & (share < LITTLE) & ~own
    confidence = prior.cells.float().cpu()
    inside, outside = confidence[own].numpy(), confidence[others].numpy()
    if not len(outside):
        return 1.0, 0.0
    truth = np.concatenate([np.ones(len(inside), bool), np.zeros(len(outside), bool)])
    return auroc(np.concatenate([inside, outside]), truth), float((outside >= np.median(inside)).mean())
