"""The last refinement: the decoder's mask has few pixels, the photo has many, and its edges say where a thing ends.

GrabCut (Rother, Kolmogorov, Blake 2004; OpenCV's): two colour models, of the inside and of what is around, and the
cheapest cut between them.  It starts from the decoder's mask and may move its outline by no more than a band.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from torch import Tensor

from persam.geometry import Frame, Size

SIDE = 256  # pixels of the photo's longest side at which the outline is looked for
BAND = 10  # pixels at that size by which the outline may move
ROUNDS = 2
FEWEST = 20  # pixels that a colour model needs
LEAST, MOST = 0.33, 3.0  # area after over area before, beyond which the cut has gone wrong
GIVEN_UP = 0.15  # share of the inner half of the band below which the cut has found no edge in it


def refined_mask(logits: Tensor, frame: Frame, pixels: np.ndarray) -> np.ndarray:
    """The mask at the photo's size, its outline drawn to the edges of the photo.

    Args:
        logits: of the mask, (h, w) over the canvas.
        frame: of the photo.
        pixels: the photo, small, (h', w', 3) uint8 RGB.

    Returns:
        (H, W) bool. The mask as it was where there is too little to learn colours from, or the cut goes wrong.
    """
    height, width = pixels.shape[:2]
    small = replace(frame, photo=(height, width)).to_photo_mask(logits).cpu().numpy()
    cut = cut_out(pixels, small)
    if cut is None:
        return frame.to_photo_mask(logits).cpu().numpy()
    return enlarged(cut, frame.photo)


def enlarged(mask: np.ndarray, size: Size) -> np.ndarray:
    """A small mask (h, w) bool at the photo's size (H, W)."""
    # Blurred by less than a pixel, so that enlarging gives a line and no stairs; a wire would get lost by it.
    hard = mask.astype(np.float32)
    soft = _enlarged(cv2.GaussianBlur(hard, (0, 0), 0.8), size)
    return soft if soft.mean() > 0.9 * hard.mean() else _enlarged(hard, size)


def _enlarged(shares: np.ndarray, size: Size) -> np.ndarray:
    """Shares of small pixels (h, w) as a mask at the photo's size, (H, W) bool."""
    return np.asarray(cv2.resize(shares, size[::-1], interpolation=cv2.INTER_LINEAR) > 0.5)


def cut_out(pixels: np.ndarray, mask: np.ndarray, band: int = BAND) -> np.ndarray | None:
    """GrabCut from a mask: pixels (h, w, 3) uint8, mask (h, w) bool -> (h, w) bool, or None where it cannot work.

    Deeper inside than `band` is sure to be object, farther outside is sure to be background. A cut that gives
    up the whole band has found no edge: so it ends on a photo without contrast.
    """
    start = mask.astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    inside, outside = cv2.erode(start, disc) > 0, cv2.dilate(start, disc) == 0
    if min(int(mask.sum()), int(outside.sum())) < FEWEST:
        return None
    labels = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[inside], labels[outside] = cv2.GC_FGD, cv2.GC_BGD
    cv2.setRNGSeed(0)  # the colour models start from k-means: the same photo gives the same mask
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(pixels), labels, (0, 0, 1, 1), *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    cut = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    rim = mask & ~inside
    kept = (cut & rim).sum() / max(1, rim.sum())
    return cut if LEAST <= cut.sum() / mask.sum() <= MOST and kept >= GIVEN_UP else None
