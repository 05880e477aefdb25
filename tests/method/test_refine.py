"""The last refinement: it follows edges, moves no farther than its band, and knows when to leave a mask alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from persam.geometry import Frame
from persam.method.cues import BINS, CueFeatures
from persam.method.prior import Prior
from persam.method.segment import (
    BAND,
    CLOSE,
    CONFIDENCE_MOST,
    DRAWN_MOST,
    NEARER_MOST,
    OUTLINE_SIDE,
    colour_odds,
    cut_out,
    photo_mask,
    pixel_odds,
)
from persam.metrics import iou


def disc(shape: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def prior_in(frame: Frame, nearer: torch.Tensor | None = None, cells: torch.Tensor | None = None) -> Prior:
    """A prior of which only what pixels are judged by counts."""
    flat = torch.zeros(frame.grid)
    return Prior(frame, flat if cells is None else cells, flat, flat, None, 0.5, np.zeros((1, 2)), np.ones(1),
                 nearer=nearer)  # fmt: skip


def cues_of(ratio: float) -> CueFeatures:
    """Of a reference of which all colours speak alike."""
    cube = torch.full((BINS,) * 3, ratio)
    return CueFeatures(torch.ones(1, 4), torch.ones(1, 4), cube.clamp(min=0), cube)


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
    found, plain = photo_mask(logits, prior_in(frame), photo), frame.to_photo_mask(logits).numpy()
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
    found = photo_mask(logits, prior_in(frame), small)
    assert found.shape == size
    assert found.dtype == bool
    assert iou(found, truth) > max(0.95, iou(rough, truth))


def test_an_empty_mask_stays_empty():
    frame = Frame.padded((60, 80), 64, (8, 8))
    pixels = np.zeros((60, 80, 3), np.uint8)
    sure = prior_in(frame, nearer=torch.full((8, 8), 2.0), cells=torch.full((8, 8), 9.0))
    assert not photo_mask(torch.full((16, 16), -1.0), sure, pixels, [cues_of(1.0)]).any()


class TestEvidence:
    """A square canvas of 8 x 8 cells; the decoder drew the left half of a thing that fills the upper half."""

    frame = Frame.padded((64, 64), 64, (8, 8))
    pixels = np.full((64, 64, 3), 90, np.uint8)
    drawn = torch.full((16, 16), -1.0)
    drawn[:8, :8] = 1.0

    def test_what_is_nearer_the_object_is_added_and_what_is_nearer_its_background_taken_away(self):
        nearer = torch.full((8, 8), -1.0)
        nearer[:4] = 1.0
        odds = pixel_odds(self.drawn, prior_in(self.frame, nearer), self.pixels, [cues_of(0.0)])
        assert (odds[:30] > 0).all()
        assert (odds[34:] < 0).all()

    def test_the_confidence_map_speaks_too(self):
        cells = torch.full((8, 8), -9.0)
        cells[:4] = 9.0
        prior = prior_in(self.frame, torch.zeros(8, 8), cells)
        odds = pixel_odds(self.drawn, prior, self.pixels, [cues_of(0.0)])
        assert (odds[:30] > 0).all()
        assert (odds[34:] < 0).all()

    def test_a_sure_decoder_is_not_overruled(self):
        """All other evidence together says less than what was drawn clearly."""
        against = prior_in(self.frame, torch.full((8, 8), -2.0), torch.full((8, 8), -99.0))
        odds = pixel_odds(9 * self.drawn, against, self.pixels, [cues_of(0.0)])
        assert DRAWN_MOST > NEARER_MOST + CONFIDENCE_MOST
        assert (odds[self.frame.to_photo_mask(9 * self.drawn - DRAWN_MOST).numpy()] > 0).all()

    @given(st.floats(-2, 2), st.floats(-20, 20), st.floats(-3, 3))
    @settings(max_examples=20, deadline=None)
    def test_more_evidence_never_takes_a_pixel_away(self, nearer, confidence, colour):
        def odds(more: float) -> np.ndarray | None:
            prior = prior_in(self.frame, torch.full((8, 8), nearer + more), torch.full((8, 8), confidence + more))
            return pixel_odds(self.drawn, prior, self.pixels, [cues_of(colour)])

        less, more = odds(0.0), odds(0.5)
        if less is not None and more is not None:  # which it is not where it would run away
            assert (more >= less - 1e-6).all()

    def test_evidence_that_would_more_than_double_what_was_drawn_is_not_taken(self):
        everywhere = prior_in(self.frame, torch.full((8, 8), 2.0), torch.full((8, 8), 20.0))
        assert pixel_odds(self.drawn, everywhere, self.pixels, [cues_of(3.0)]) is None
        drawn = torch.full_like(self.drawn, 4.0)
        drawn[:, : drawn.shape[1] // 3] = -1.0
        odds = pixel_odds(drawn, everywhere, self.pixels, [cues_of(3.0)])
        assert odds is not None
        assert (odds > 0).all()  # it adds a third of the photo to two thirds

    @pytest.mark.parametrize("none", ["no cues", "no nearer cells"])
    def test_without_evidence_it_is_what_the_decoder_drew(self, none):
        prior = prior_in(self.frame, None if none == "no nearer cells" else torch.ones(8, 8))
        assert pixel_odds(self.drawn, prior, self.pixels, [] if none == "no cues" else [cues_of(3.0)]) is None

    def test_where_everything_speaks_against_it_what_was_drawn_stays(self):
        against = prior_in(self.frame, torch.full((8, 8), -2.0), torch.full((8, 8), -99.0))
        assert pixel_odds(self.drawn, against, self.pixels, [cues_of(-3.0)]) is None

    def test_far_away_colours_only_speak_against(self):
        expected = disc((64, 64), 16, 16, 10)
        near, far = (16, 16), (60, 60)
        reach = CLOSE * np.sqrt(expected.sum())
        assert np.hypot(60 - 16, 60 - 16) > 10 + reach
        speaks_for, against = (
            colour_odds(self.pixels, [cues_of(2.0)], expected),
            colour_odds(self.pixels, [cues_of(-2.0)], expected),
        )
        assert speaks_for[near] > 0 == speaks_for[far]
        assert against[near] < 0 > against[far]

    def test_a_part_of_which_nothing_was_drawn_is_another_thing(self):
        nearer = torch.full((8, 8), -1.0)
        nearer[:3, :5] = nearer[6:, 6:] = 1.0
        odds = pixel_odds(self.drawn, prior_in(self.frame, nearer), self.pixels, [cues_of(0.0)])
        assert (odds[:20, :36] > 0).all()  # more than was drawn
        assert (odds[40:] <= 0).all()

    def test_several_references_are_averaged(self):
        expected = disc((64, 64), 32, 32, 20)
        one, other = cues_of(2.0), cues_of(-1.0)
        both = colour_odds(self.pixels, [one, other], expected)
        np.testing.assert_array_equal(both, colour_odds(self.pixels, [other, one], expected))
        np.testing.assert_allclose(both[32, 32], colour_odds(self.pixels, [cues_of(0.5)], expected)[32, 32], rtol=1e-5)

    def test_a_mask_of_a_few_pixels_stays_as_it_was_drawn(self):
        """Enlarged from the small photo it could be lost, or grow."""
        frame, logits = Frame.padded((1200, 1600), 1024, (64, 64)), torch.full((256, 256), -5.0)
        logits[100, 100] = 5.0
        drawn = frame.to_photo_mask(logits).numpy()
        prior = prior_in(frame, torch.ones(64, 64), torch.full((64, 64), 5.0))
        pixels = np.full((192, 256, 3), 90, np.uint8)
        np.testing.assert_array_equal(photo_mask(logits, prior, pixels, [cues_of(3.0)]), drawn)

    def test_the_outline_alone_can_be_switched_off(self):
        nearer = torch.full((8, 8), -1.0)
        nearer[:4] = 1.0
        prior = prior_in(self.frame, nearer)
        found = photo_mask(self.drawn, prior, self.pixels, [cues_of(0.0)], outline=False)
        assert found[:28].all()
        assert not found[36:].any()
