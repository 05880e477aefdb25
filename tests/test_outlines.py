"""Masks as polygons, and back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from persam.outlines import GOOD_IOU, exact_outlines, filled, in_one_stroke, simple_outlines


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """Noise of many sizes of grain, with holes, islands in them, parts, thin lines and cut by the border."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    noise = rng.random((height, width)).astype(np.float32)
    grain = draw(st.sampled_from([0, 1, 3, 8]))
    smooth = cv2.GaussianBlur(noise, (0, 0), grain) if grain else noise
    return smooth > np.quantile(smooth, draw(st.floats(0.02, 0.98)))


def one(height: int, width: int, *pixels: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    for y, x in pixels:
        mask[y, x] = True
    return mask


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


@given(mask=masks())
@example(mask=np.zeros((5, 5), bool))
@example(mask=np.ones((1, 1), bool))
def test_exact_outlines_give_the_mask_back(mask):
    assert (filled(exact_outlines(mask), mask.shape) == mask).all()


@given(mask=masks())
@example(mask=np.zeros((5, 5), bool))
@example(mask=np.ones((40, 60), bool))
@example(mask=one(9, 9, (4, 4)))
@example(mask=one(9, 9, (0, 0)))
@example(mask=one(9, 9, (8, 8), (8, 7)))
@example(mask=one(9, 9, (1, 1), (2, 2), (3, 3)))
@example(mask=one(4, 6, (0, 1), (1, 0), (1, 3), (2, 2), (3, 0), (3, 1), (3, 3), (3, 5)))  # two small parts
def test_simple_outlines_give_nearly_the_mask_back(mask):
    parts = simple_outlines(mask)
    assert iou(filled(parts, mask.shape), mask) >= (GOOD_IOU if mask.any() else 0)
    assert len(parts) == cv2.connectedComponents(mask.astype(np.uint8))[0] - 1
    for ring in (ring for part in parts for ring in part):
        assert len(ring) >= 3
        assert (ring >= 0).all()
        assert (ring < mask.shape[::-1]).all()
    largest = [cv2.contourArea(part[0]) for part in parts]
    assert not largest or largest[0] >= 0.8 * max(largest)


def test_simple_outlines_have_few_corners():
    mask = cv2.circle(np.zeros((1000, 1000), np.uint8), (500, 500), 400, 1, -1).astype(bool)
    assert len(simple_outlines(mask)[0][0]) < 60 < 500 < len(exact_outlines(mask)[0][0])


def even_odd(polygon: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which pixel centres are inside, by counting crossings of a ray: slow, and of no library."""
    inside = np.zeros(size, bool)
    y, x = np.mgrid[: size[0], : size[1]]
    y, x = y + 0.00113, x + 0.00271  # on no line between two corners, where rounding would decide
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            between = (y0 > y) != (y1 > y)
            inside ^= between & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


@given(mask=masks())
def test_one_stroke_encloses_what_the_rings_enclose(mask):
    for part in exact_outlines(mask)[:3]:
        apart = np.zeros(mask.shape, bool)
        for ring in part:
            apart ^= even_odd(ring, mask.shape)
        assert (even_odd(in_one_stroke(part), mask.shape) == apart).all()


def test_one_stroke_with_a_hole_an_island_in_it_and_another_part():
    mask = np.zeros((100, 200), np.uint8)
    for radius, value in ((45, 1), (30, 0), (10, 1)):
        cv2.circle(mask, (50, 50), radius, value, -1)
    cv2.circle(mask, (150, 50), 30, 1, -1)
    polygon = in_one_stroke([in_one_stroke(part) for part in simple_outlines(mask.astype(bool))])
    drawn = cv2.fillPoly(np.zeros_like(mask), [polygon], 1).astype(bool)
    assert iou(drawn, mask.astype(bool)) > 0.97  # the ways between the parts are one pixel wide


@pytest.mark.parametrize("inside", [0, 0.25])
def test_pillow_fills_a_part_without_holes_alike(inside):
    """As LabelMe does."""
    mask = cv2.circle(np.zeros((60, 80), np.uint8), (40, 30), 22, 1, -1).astype(bool)
    ring = simple_outlines(mask)[0][0]
    drawn = Image.new("L", (80, 60))
    ImageDraw.Draw(drawn).polygon([tuple(corner) for corner in (ring + inside).tolist()], fill=1, outline=1)
    assert iou(np.asarray(drawn) > 0, mask) >= GOOD_IOU
