"""The outlines of a mask as polygons, and back: exact, simplified, or drawn in one stroke.

A ring is (N, 2) int32 (x, y), its corners on pixel centres. A part is a list of rings: the outer one, then its holes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from persam.instance import mask_box

Part = list[np.ndarray]

#: Corners are pixels. Written so far inside them, they are the same pixels to readers that round and to those that cut
#: off, whatever is lost on the way through shares of the width and height.
INSIDE = 0.25
GOOD_IOU = 0.98  # of a simplified outline with its mask
_TOLERANCES = (2.0, 1.5, 1.0, 0.75, 0.5)  # pixels that a simplified outline may lie beside the exact one


def exact_outlines(mask: np.ndarray) -> list[Part]:
    """Outline an (H, W) bool mask so that `filled` gives it back to the pixel."""
    # The tree of OpenCV has two levels: outer rings, and below each the rings of its holes.
    contours, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts: dict[int, Part] = {}
    # -1 for an outer ring, else the part that has this hole
    parents = np.reshape(tree, (-1, 4))[:, 3].tolist() if contours else []
    for index, parent in enumerate(parents):
        if parent < 0:
            parts[index] = [contours[index].reshape(-1, 2)]
    for index, parent in enumerate(parents):
        if parent >= 0:
            parts[parent].append(contours[index].reshape(-1, 2))
    return list(parts.values())


def simple_outlines(mask: np.ndarray) -> list[Part]:
    """Outline an (H, W) bool mask with few corners, the largest part first.

    Filled again, the outlines have an IoU of `GOOD_IOU` or more with the mask. No part is dropped; holes are dropped
    where that does no harm. Every ring has three corners or more, as the formats of annotations want it: those of a
    single pixel or of a line are repeated.
    """
    box = mask_box(mask)
    if box is None:
        return []
    left, top, right, bottom = box
    mask = mask[top:bottom, left:right]
    exact = exact_outlines(mask)
    chosen = next((parts for parts in _simplified(exact) if _iou(parts, mask) >= GOOD_IOU), exact)
    # By what they are now: of two small parts simplifying may leave more of the smaller one.
    largest_first = sorted(chosen, key=lambda part: -cv2.contourArea(part[0]))
    return [[_three_corners(ring) + np.array([left, top], np.int32) for ring in part] for part in largest_first]


def filled(parts: Sequence[Part], size: tuple[int, int]) -> np.ndarray:
    """Fill outlines: (H, W) bool."""
    mask = np.zeros(size, np.uint8)
    for part in parts:  # each by itself: what lies in another's hole is no hole
        cv2.fillPoly(mask, part, 1)
    return mask.astype(bool)


def in_one_stroke(rings: Sequence[np.ndarray]) -> np.ndarray:
    """Join rings to one polygon, for formats in which a thing is one polygon.

    Ways of no width lead from each ring to the next and back. By the even-odd rule, with which polygons are filled,
    they enclose nothing, a ring in another is a hole, and a ring in a hole is solid again.

    Args:
        rings: (N, 2) each; the others are joined to the first, each at a near corner. They may be strokes themselves.

    Returns:
        (M, 2), the last corner is not the first one again.
    """
    first, *others = rings
    detours: dict[int, list[np.ndarray]] = {}
    for ring in others:
        here, there = _near_corners(first, ring)
        # Around the ring, and back to the corner from which the way led there.
        detours.setdefault(here, []).append(np.concatenate([ring[there:], ring[: there + 1], first[here : here + 1]]))
    pieces, start = [], 0
    for here in sorted(detours):
        pieces += [first[start : here + 1], *detours[here]]
        start = here + 1
    return np.concatenate([*pieces, first[start:]])


def _near_corners(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Indices of two corners that are near each other.

    Not always the nearest: to compare all with all takes gigabytes for the thousands of specks of a ragged mask.
    """
    here = there = 0
    for _ in range(3):
        here = int(((one - other[there]) ** 2).sum(axis=1).argmin())
        there = int(((other - one[here]) ** 2).sum(axis=1).argmin())
    return here, there


def _simplified(exact: Sequence[Part]) -> Iterator[list[Part]]:
    """The outlines with ever more corners."""
    for by in _TOLERANCES:
        yield [
            [
                ring
                for number, ring in enumerate(cv2.approxPolyDP(each, by, closed=True).reshape(-1, 2) for each in part)
                if number == 0 or len(ring) >= 3
            ]
            for part in exact
        ]


def _iou(parts: Sequence[Part], mask: np.ndarray) -> float:
    again = filled(parts, (mask.shape[0], mask.shape[1]))
    return float((again & mask).sum() / (again | mask).sum())


def _three_corners(ring: np.ndarray) -> np.ndarray:
    return ring if len(ring) >= 3 else np.concatenate([ring, np.repeat(ring[-1:], 3 - len(ring), axis=0)])
