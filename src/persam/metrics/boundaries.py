"""How well the edge of a mask follows the true one: boundary IoU, and DAVIS' F.

Boundary IoU (arXiv 2103.16562) is the IoU of the bands along the inside of two masks' edges. The masks are taken at
their own size; on resized ones the figure is another. F (Perazzi et al., "A Benchmark Dataset and Evaluation
Methodology for Video Object Segmentation", CVPR 2016, with the rules of the DAVIS 2017 evaluation) is precision and
recall of contour pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from persam.metrics.base import ImageMean
from persam.metrics.counts import Counts, count
from persam.metrics.masks import ArrayLike, as_mask, as_masks
from persam.metrics.overlap import ObjectIoU

DILATION = 0.02  # of the image's diagonal: the band's width, as in the paper
BOUND = 0.008  # of the image's diagonal: how far off a contour may be
_SQUARE = np.ones((3, 3), np.uint8)


def boundary_width(shape: tuple[int, ...], dilation: float = DILATION) -> int:
    """Width of the band in pixels: max(1, round(dilation x diagonal)) of an (H, W) image; `dilation` is that share.

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

    Takes and raises what `as_mask` and `boundary_width` do.

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

    Takes and raises what `count` and `boundary_width` do. The boundaries are those of the whole masks: the edge of an
    ignored region is none.

    >>> full, left = np.ones((4, 4), bool), np.tile([True, True, False, False], (4, 1))
    >>> boundary_counts(left, full)
    Counts(intersection=6, predicted=8, target=12, total=16)
    """
    found, true, ignored = as_masks(prediction, target, ignore)
    return count(boundary(found, dilation), boundary(true, dilation), ignored)


def boundary_iou(
    prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None = None, dilation: float = DILATION
) -> float:
    """IoU of two masks' boundaries, in [0, 1]; 1 if both are empty. Takes and raises what `boundary_counts` does.

    >>> full, left = np.ones((4, 4), bool), np.tile([True, True, False, False], (4, 1))
    >>> round(boundary_iou(left, full), 6)
    0.428571
    """
    return boundary_counts(prediction, target, ignore, dilation).iou


class BoundaryIoU(ImageMean):
    """Mean over images of `boundary_iou`.

    `update` takes one image as `ImageIoU` does; masks must have their own size.

    Args:
        dilation: width of the boundary, as a share of the diagonal.
        options: of `torchmetrics.Metric`.

    >>> metric = BoundaryIoU()
    >>> metric.update(np.ones((4, 2)), np.ones((4, 2)))
    >>> metric.update(np.ones((4, 2)), np.zeros((4, 2)))
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    _figure = staticmethod(boundary_iou)

    def __init__(self, dilation: float = DILATION, **options: Any) -> None:
        super().__init__(dilation, **options)
        self.dilation = dilation


class ObjectBoundaryIoU(ObjectIoU):
    """Boundary IoU as PerSeg pools IoU: boundaries are counted over each object's images, then objects averaged.

    Made and updated as `ObjectIoU`; `dilation` is that of `BoundaryIoU`.

    >>> metric = ObjectBoundaryIoU(["mug", "cat"])
    >>> metric.update(np.ones((4, 2)), np.ones((4, 2)), "mug")
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    def __init__(self, names: Sequence[str], dilation: float = DILATION, **options: Any) -> None:
        super().__init__(names, f"boundaries {dilation}", **options)
        self.dilation = dilation

    def _count(self, prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None) -> Counts:
        return boundary_counts(prediction, target, ignore, self.dilation)


def contour(mask: ArrayLike) -> np.ndarray:
    """One-pixel contour of a mask, (H, W) bool: pixels that differ from their right, lower or lower right neighbour.

    In the last row only the right neighbour counts, in the last column only the lower one; the last pixel is never
    contour. Unlike `boundary`, the picture's border is no edge: a mask that covers everything has no contour.

    Takes and raises what `as_mask` does.

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
        prediction: as in `count`, like the target.
        target: the truth.
        ignore: both masks are made empty there before their contours are drawn, as DAVIS does.
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


class BoundaryF(ImageMean):
    """Mean over images of DAVIS' F, `boundary_f`; for clips, with recall and decay, see `DavisJF`.

    `update` takes one image as `ImageIoU` does.

    Args:
        bound: how far off a contour may be: below 1 as a share of the diagonal, else in pixels.
        options: of `torchmetrics.Metric`.

    >>> metric = BoundaryF()
    >>> mask = np.zeros((9, 9))
    >>> mask[3:6, 3:6] = 1
    >>> metric.update(mask, mask)
    >>> metric.update(mask, np.zeros((9, 9)))
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    _figure = staticmethod(boundary_f)

    def __init__(self, bound: float = BOUND, **options: Any) -> None:
        super().__init__(bound, **options)
        self.bound = bound


def _share_near(some: np.ndarray, others: np.ndarray, radius: int) -> float:
    """Share of `some` within a disk of that radius around `others`: both (H, W) bool, `some` not empty."""
    offsets = np.arange(-radius, radius + 1)
    disk = (offsets**2 + offsets[:, None] ** 2 <= radius**2).astype(np.uint8)
    return float(cv2.dilate(others.astype(np.uint8), disk)[some].mean())
