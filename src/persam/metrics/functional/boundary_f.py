"""DAVIS' F: how well the contour of a mask follows the true one, as precision and recall of contour pixels.

Source: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016, with
the rules of the DAVIS 2017 evaluation.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from persam.metrics.functional.masks import ArrayLike, as_mask, as_masks

BOUND = 0.008  # of the image's diagonal: how far off a contour may be


def contour(mask: ArrayLike) -> np.ndarray:
    """One-pixel contour of a mask, (H, W) bool: pixels that differ from their right, lower or lower right neighbour.

    In the last row only the right neighbour counts, in the last column only the lower one; the last pixel is never
    contour. Unlike `boundary`, the picture's border is no edge: a mask that covers everything has no contour.

    Args:
        mask: (H, W) bool, or all 0 and 1, or all 0 and 255.

    Raises:
        ValueError: it is no mask.

    >>> contour(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])).astype(int)
    array([[1, 1, 0],
           [1, 1, 0],
           [0, 0, 0]])
    """
    mask = as_mask(mask)
    edge = np.zeros_like(mask)
    edge[:, :-1] = mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge


def boundary_f(
    prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None = None, bound: float = BOUND
) -> float:
    """DAVIS' F of two masks, 2PR / (P + R), in [0, 1].

    P is the share of the predicted contour's pixels within `bound` of the true contour, R that of the true contour's
    pixels within `bound` of the predicted one. If one of the masks has no contour F is 0, if neither has it is 1.

    Args:
        prediction: (H, W) bool, or all 0 and 1, or all 0 and 255; None, if missing, counts as empty.
        target: likewise.
        ignore: likewise; both masks are made empty there before their contours are drawn, as DAVIS does.
        bound: tolerated distance, below 1 as a share of the diagonal (rounded up to whole pixels), else in pixels.

    Raises:
        ValueError: Their sizes differ, one is no mask, or `bound` is negative.

    >>> mask = np.zeros((40, 40), bool)
    >>> mask[10:30, 10:30] = True
    >>> boundary_f(np.roll(mask, 1, axis=1), mask)
    1.0
    >>> boundary_f(mask, np.zeros_like(mask))
    0.0
    """
    if not bound >= 0:
        raise ValueError(f"A contour cannot be {bound} off; give a share of the diagonal, such as 0.008, or pixels.")
    mask, true_mask, ignored = as_masks(prediction, target, ignore)
    if ignored is not None:
        mask, true_mask = mask & ~ignored, true_mask & ~ignored
    found, true = contour(mask), contour(true_mask)
    if not found.any() or not true.any():
        return float(found.any() == true.any())
    pixels = math.floor(bound) if bound >= 1 else math.ceil(bound * math.hypot(*mask.shape))
    # Every distance is one between contour pixels, so that the box of both contours holds all that matters.
    x, y, w, h = cv2.boundingRect((found | true).astype(np.uint8))
    found, true = found[y : y + h, x : x + w], true[y : y + h, x : x + w]
    precision = _share_near(found, true, pixels)
    recall = _share_near(true, found, pixels)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _share_near(some: np.ndarray, others: np.ndarray, radius: int) -> float:
    """Share of `some` within a disk of that radius around `others`: both (H, W) bool, `some` not empty."""
    offsets = np.arange(-radius, radius + 1)
    disk = (offsets**2 + offsets[:, None] ** 2 <= radius**2).astype(np.uint8)
    return float(cv2.dilate(others.astype(np.uint8), disk)[some].mean())
