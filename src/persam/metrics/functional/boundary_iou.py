"""Boundary IoU (arXiv 2103.16562): IoU of the bands along the inside of two masks' edges.

The masks are taken at their own size; on resized ones the figure is another.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from persam.metrics.functional.masks import ArrayLike, as_mask, as_masks
from persam.metrics.functional.overlap import Counts, count_bool

DILATION = 0.02  # of the image's diagonal: the band's width, as in the paper
_SQUARE = np.ones((3, 3), np.uint8)


def boundary_width(shape: tuple[int, ...], dilation: float = DILATION) -> int:
    """Width of the band in pixels: max(1, round(dilation x diagonal)) of an (H, W) image.

    Raises:
        ValueError: `dilation` is not above 0.

    >>> boundary_width((480, 854)), boundary_width((10, 10))
    (20, 1)
    """
    if not dilation > 0:
        raise ValueError(f"A dilation of {dilation} leaves no boundary; give a share of the diagonal, such as 0.02.")
    return max(1, round(dilation * math.hypot(*shape)))


def boundary(mask: ArrayLike, dilation: float = DILATION) -> np.ndarray:
    """Pixels of a mask within `boundary_width` (chessboard distance) of its outside, (H, W) bool.

    What lies beyond the picture is outside, so that an object cut off by the border has a boundary there: the mask,
    padded by a pixel of 0, less its erosion by a 3 x 3 square, as many times as the width.

    Args:
        mask: (H, W) bool, or all 0 and 1, or all 0 and 255.
        dilation: share of the diagonal.

    Raises:
        ValueError: it is no mask, or `dilation` is not above 0.

    >>> boundary(np.ones((5, 5), bool)).astype(int)
    array([[1, 1, 1, 1, 1],
           [1, 0, 0, 0, 1],
           [1, 0, 0, 0, 1],
           [1, 0, 0, 0, 1],
           [1, 1, 1, 1, 1]])
    """
    mask = as_mask(mask)
    width = boundary_width(mask.shape, dilation)
    band = mask.copy()
    # All that matters lies in the mask's box: outside of it is background, as beyond the picture.
    pixels = mask.astype(np.uint8)
    x, y, w, h = cv2.boundingRect(pixels)
    if w and h:
        box = slice(y, y + h), slice(x, x + w)
        padded = np.pad(pixels[box], 1)
        band[box] &= cv2.erode(padded, _SQUARE, iterations=width)[1:-1, 1:-1] == 0
    return band


def boundary_counts(
    prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None = None, dilation: float = DILATION
) -> Counts:
    """Count the boundaries of two masks; counts add up over images, for a pooled boundary IoU.

    Args:
        prediction: (H, W) bool, or all 0 and 1, or all 0 and 255; None, if missing, counts as empty.
        target: likewise.
        ignore: likewise, 1 on pixels that do not count. The boundaries are those of the whole masks: the edge of an
            ignored region is none.
        dilation: share of the diagonal.

    Raises:
        ValueError: Their sizes differ, one is no mask, or `dilation` is not above 0.

    >>> full, left = np.ones((4, 4), bool), np.tile([True, True, False, False], (4, 1))
    >>> boundary_counts(left, full)
    Counts(intersection=6, predicted=8, target=12, total=16)
    """
    found, true, ignored = as_masks(prediction, target, ignore)
    return count_bool(boundary(found, dilation), boundary(true, dilation), ignored)


def boundary_iou(
    prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None = None, dilation: float = DILATION
) -> float:
    """IoU of two masks' boundaries, in [0, 1]; 1 if both are empty. Takes and raises what `boundary_counts` does.

    >>> full, left = np.ones((4, 4), bool), np.tile([True, True, False, False], (4, 1))
    >>> round(boundary_iou(left, full), 6)
    0.428571
    """
    return boundary_counts(prediction, target, ignore, dilation).iou
