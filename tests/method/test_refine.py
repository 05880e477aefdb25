"""The last refinement: it follows edges, moves no farther than its band, and knows when to leave a mask alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from persam.geometry import Frame
from persam.method.segment import BAND, OUTLINE_SIDE, cut_out, photo_mask
from persam.metrics import iou


def disc(shape: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def photo_of(mask: np.ndarray, noise: int = 12, seed: int = 0) -> np.ndarray:
    """The mask in red on green, with noise."""
    image = np.where(mask[..., None], (190, 50, 40), (60, 130, 70)).astype(float)
    return (image + np.random.default_rng(seed).normal(0, noise, image.shape)).clip(0, 255).astype(np.uint8)


@given(
    x=st.integers(60, 190), y=st.integers(50, 130), radius=st.integers(22, 45), dx=st.integers(-6, 6),
    dy=st.integers(-6, 6), grown=st.integers(-7, 7),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_a_rough_mask_finds_the_edge(x, y, radius, dx, dy, grown):
    truth = disc((180, OUTLINE_SIDE), x, y, radius)
    rough = disc((180, OUTLINE_SIDE), x + dx / 2, y + dy / 2, radius + grown / 2)
    found = cut_out(photo_of(truth), rough)
    assert found is not None
    assert iou(found, truth) >= iou(rough, truth) - 0.01
    assert iou(found, truth) > 0.95


def test_it_moves_no_farther_than_its_band():
    """The rough mask lies on one of two equal discs: the other one is too far away, and stays out."""
    first, second = disc((180, OUTLINE_SIDE), 60, 90, 30), disc((180, OUTLINE_SIDE), 190, 90, 30)
    found = cut_out(photo_of(first | second), disc((180, OUTLINE_SIDE), 60, 90, 27))
    reach = cv2.dilate(first.astype(np.uint8), np.ones((2 * BAND + 1,) * 2, np.uint8)) > 0
    assert found is not None
    assert not (found & ~reach).any()


def test_the_same_photo_gives_the_same_mask():
    photo, rough = photo_of(disc((180, OUTLINE_SIDE), 100, 90, 40)), disc((180, OUTLINE_SIDE), 104, 88, 36)
    cv2.setRNGSeed(5)
    first = cut_out(photo, rough)
    cv2.setRNGSeed(99)
    np.testing.assert_array_equal(first, cut_out(photo, rough))


@pytest.mark.parametrize("mask", [np.zeros((64, 80), bool), np.ones((64, 80), bool), disc((64, 80), 40, 30, 1.5)])
def test_where_there_is_too_little_to_learn_from_nothing_is_cut(mask):
    assert cut_out(photo_of(mask), mask) is None


@pytest.mark.parametrize("shade", [0, 90, 255])
def test_a_flat_photo_has_no_edge_to_follow(shade):
    assert cut_out(np.full((120, 160, 3), shade, np.uint8), disc((120, 160), 80, 60, 40)) is None


def test_a_wire_is_not_lost():
    """One pixel wide at the size of the cut: blurred before it is enlarged, it would be gone."""
    photo, truth = np.full((192, OUTLINE_SIDE, 3), 200, np.uint8), np.zeros((768, 1024), bool)
    truth[380:386, 120:900] = True
    wire = cv2.resize(truth.astype(np.uint8), (OUTLINE_SIDE, 192), interpolation=cv2.INTER_NEAREST) > 0
    photo[wire] = (20, 20, 120)
    frame = Frame.padded((768, 1024), 256, (32, 32))
    logits = frame.cover(torch.from_numpy(truth), (256, 256)) - 0.3
    found, plain = photo_mask(logits, frame, photo), frame.to_photo_mask(logits).numpy()
    assert found.sum() > 0.4 * plain.sum()


@pytest.mark.parametrize("size", [(400, 640), (640, 400), (90, 90)])
def test_the_mask_has_the_photos_size(size):
    """From 16 x 16 logits to the photo, padding and all."""
    frame = Frame.padded(size, 64, (8, 8))
    truth = disc(size, size[1] * 0.5, size[0] * 0.5, min(size) * 0.3)
    scale = OUTLINE_SIDE / max(size)
    small = cv2.resize(photo_of(truth), (round(size[1] * scale), round(size[0] * scale)), interpolation=cv2.INTER_AREA)
    logits = frame.cover(torch.from_numpy(truth), (16, 16)) - 0.5
    rough = frame.to_photo_mask(logits).numpy()
    found = photo_mask(logits, frame, small)
    assert found.shape == size
    assert found.dtype == bool
    assert iou(found, truth) > max(0.95, iou(rough, truth))


def test_an_empty_mask_stays_empty():
    frame = Frame.padded((60, 80), 64, (8, 8))
    assert not photo_mask(torch.full((16, 16), -1.0), frame, np.zeros((60, 80, 3), np.uint8)).any()
