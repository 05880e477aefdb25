"""Cues: each map by brute force, what flips and permutes, what a photo in other light does, and the fusion."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import draw_scene

from persam import PerSAM, Settings
from persam.geometry import Frame
from persam.method.cues import (
    BINS,
    FARTHEST,
    MOST_CELLS,
    colour_cells,
    cue_features,
    cue_maps,
    fused,
    histogram,
    log_odds,
    nearest_cells,
    nearly_the_same,
    object_colours,
)
from persam.models.base import EncodedImage
from persam.models.fitted import Fitted, photo_colours
from persam.models.loading import load_model

seeds = st.integers(0, 2**16)
SQUARE = Frame.padded((64, 64), 64, (8, 8))
WIDE = Frame.padded((32, 64), 64, (8, 8))
NUMBERS = Fitted(
    {"similarity": 4.0, "nearest": 3.5, "beside": -4.5, "colour": 0.3},
    -0.5,
    refine=False,
    presence={},
    presence_offset=0.0,
)


def unit(seed: int, *shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=0)


def cells(seed: int, count: int, channels: int = 6) -> torch.Tensor:
    return unit(seed, channels, count).T


@pytest.fixture(scope="module")
def finder() -> PerSAM:
    return PerSAM(load_model(), fitted=NUMBERS)


class TestNearest:
    @given(seed=seeds, count=st.integers(1, 9))
    def test_by_brute_force(self, seed, count):
        photo, kept = unit(seed, 6, 4, 5), cells(seed + 1, count)
        found = nearest_cells(photo, kept).numpy()
        for y in range(4):
            for x in range(5):
                cosines = sorted((float(photo[:, y, x] @ each) for each in kept), reverse=True)
                assert found[y, x] == pytest.approx(np.mean(cosines[:3]), abs=1e-5)

    @given(seed=seeds)
    def test_the_order_of_the_cells_does_not_matter(self, seed):
        photo, kept = unit(seed, 6, 4, 5), cells(seed + 1, 7)
        torch.testing.assert_close(nearest_cells(photo, kept), nearest_cells(photo, kept.flip(0)))

    def test_nothing_to_compare_with(self):
        assert bool((nearest_cells(unit(0, 6, 4, 5), torch.zeros(0, 6)) == 0).all())


class TestNearlyTheSame:
    def test_is_one_for_the_same_cell_and_little_for_one_that_is_a_little_like_it(self):
        cosines = torch.tensor([1.0, 0.8, 0.5, 0.0])
        expected = torch.tensor([-0.0, -1.0, -2.5, -5.0]).exp()
        torch.testing.assert_close(nearly_the_same(cosines), expected)

    def test_a_place_that_the_reference_showed_beside_the_object_is_told_from_what_is_merely_like_it(self, finder):
        image, mask = draw_scene()
        photo, kept = finder.encode(image), finder.learn(image, mask).cues[0]
        maps = cue_maps(photo, torch.zeros(photo.frame.grid), kept, Settings.of("persam"), photo.pixels)
        torch.testing.assert_close(maps["beside"], nearly_the_same(maps["background"]))
        share = photo.frame.cover(torch.from_numpy(mask))
        on, off = share > 0.95, (share == 0) & photo.frame.inside()
        beside, background = maps["beside"], maps["background"]
        assert float(beside[off].mean()) > float(beside[on].mean())
        assert float(beside[off].mean() / beside[on].mean()) > float(background[off].mean() / background[on].mean())

    def test_numbers_of_before_go_on_with_the_cosine(self):
        maps = {"background": torch.tensor([[0.5]]), "beside": torch.tensor([[0.1]])}
        torch.testing.assert_close(log_odds(maps, {"background": -3.0}, 0.0), torch.tensor([[-1.5]]))
        torch.testing.assert_close(log_odds(maps, {"beside": -3.0}, 0.0), torch.tensor([[-0.3]]))


class TestHistogram:
    @given(seed=seeds)
    def test_is_a_distribution_and_knows_no_places(self, seed):
        photo = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
        found = histogram(photo)
        assert found.shape == (BINS,) * 3
        assert found.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(found, histogram(photo[::-1, ::-1]), atol=1e-7)

    def test_neighbouring_bins_get_a_share_and_far_ones_none(self):
        found = histogram(np.full((4, 4, 3), (200, 40, 40), np.uint8))
        peak = np.unravel_index(found.argmax(), found.shape)
        step = found[(peak[0] - 1, *peak[1:])] / found[peak]
        assert step == pytest.approx(np.exp(-0.5), rel=0.02)  # a Gaussian of one bin
        assert found[(peak[0] - 6, *peak[1:])] == 0

    def test_under_a_mask(self):
        image, mask = draw_scene()
        within, beside = object_colours(image, mask), object_colours(image, ~mask)
        assert np.sqrt(within * beside).sum() < 0.3
        np.testing.assert_allclose(object_colours(image, np.ones_like(mask)), histogram(image), atol=2e-3)

    def test_an_empty_mask_has_no_colours(self):
        image, mask = draw_scene()
        assert object_colours(image, np.zeros_like(mask)).sum() == 0

    def test_one_pixel_has_its_colour(self):
        image, mask = draw_scene()
        one = np.zeros_like(mask)
        one[60, 80] = True
        assert object_colours(image, one).sum() == pytest.approx(1, abs=1e-5)

    def test_of_photos_in_general(self):
        general = photo_colours()
        assert general.shape == (BINS,) * 3
        assert general.sum() == pytest.approx(1, abs=1e-4)
        assert general[:, 8, 8].sum() > general[:, 12, 12].sum()  # more of the world is grey than orange


class TestColour:
    def ratio(self) -> torch.Tensor:
        image, mask = draw_scene()
        photo = EncodedImage(torch.zeros(1, 4, 8, 8), Frame.padded(mask.shape, 64, (8, 8)))
        kept = cue_features(photo, torch.from_numpy(mask), photo.frame.cover(torch.from_numpy(mask)) > 0.5, image)
        return kept.colour_ratio

    def test_is_high_on_the_object_and_low_beside_it(self):
        image, mask = draw_scene()
        frame = Frame.padded(mask.shape, 64, (8, 8))
        found, share = colour_cells(image, self.ratio(), frame), frame.cover(torch.from_numpy(mask))
        inside = frame.inside()
        assert float(found[share > 0.9].min()) > 1
        assert float(found[inside & (share == 0)].max()) < 0
        assert float(found.abs().max()) <= FARTHEST + 1e-5
        assert bool((found[~inside] == 0).all())

    def test_flips_with_the_photo(self):
        image, _ = draw_scene()
        image = image[:, :120]
        frame = Frame.padded(image.shape[:2], 64, (8, 8))
        found = colour_cells(image, self.ratio(), frame)
        flipped = colour_cells(np.ascontiguousarray(image[:, ::-1]), self.ratio(), frame)
        torch.testing.assert_close(found.flip(1), flipped, atol=1e-4, rtol=0)

    def test_without_pixels_it_says_nothing(self):
        assert bool((colour_cells(None, self.ratio(), SQUARE) == 0).all())

    def test_of_a_grey_photo_it_says_the_same_of_every_place(self):
        """A photo of one grey: nothing in it is told apart by colour, so the place of the peak cannot change."""
        found = colour_cells(np.full((64, 64, 3), 128, np.uint8), self.ratio(), SQUARE)
        assert float(found.std()) < 1e-5


class TestFeatures:
    def photo(self, side: int = 8) -> EncodedImage:
        features = torch.randn(1, 5, side, side, generator=torch.Generator().manual_seed(0))
        return EncodedImage(features, Frame.padded((32, 64), 64, (side, side)))

    def test_object_and_background_are_unit_cells_of_the_photo_and_the_padding_is_neither(self):
        photo, mask = self.photo(), torch.zeros(32, 64, dtype=torch.bool)
        mask[:16, :16] = True  # cells of 8 x 8 pixels: 2 x 2 of the 4 x 8 that show the photo
        chosen = photo.frame.cover(mask) > 0.5
        kept = cue_features(photo, mask, chosen, None)
        assert kept.object_cells.shape == (4, 5)
        assert kept.background_cells.shape == (28, 5)
        torch.testing.assert_close(kept.object_cells.norm(dim=1), torch.ones(4))
        expected = F.normalize(photo.features[0], dim=0)[:, chosen].T
        torch.testing.assert_close(kept.object_cells, expected)
        assert float(kept.colours.sum()) == 0

    def test_a_mask_of_everything_leaves_no_background(self):
        photo, mask = self.photo(), torch.ones(32, 64, dtype=torch.bool)
        kept = cue_features(photo, mask, photo.frame.cover(mask) > 0.5, np.zeros((32, 64, 3), np.uint8))
        assert len(kept.background_cells) == 0
        assert bool(kept.colour_ratio.isfinite().all())

    def test_not_more_than_so_many_are_kept(self):
        photo, mask = self.photo(64), torch.ones(32, 64, dtype=torch.bool)
        mask[:, 32:] = False
        kept = cue_features(photo, mask, photo.frame.cover(mask) > 0.5, None)
        assert len(kept.object_cells) == len(kept.background_cells) == MOST_CELLS


class TestFusion:
    @given(seed=seeds)
    def test_is_a_weighted_sum(self, seed):
        maps = {name: unit(seed + n, 3, 4) for n, name in enumerate(("similarity", "nearest"))}
        found = log_odds(maps, {"similarity": 2.0, "nearest": -3.0, "colour": 9.0}, 0.25)
        torch.testing.assert_close(found, 0.25 + 2 * maps["similarity"] - 3 * maps["nearest"])

    def test_of_several_references_the_likeliest_counts_whatever_their_order(self):
        maps = [{"similarity": unit(seed, 3, 4)} for seed in range(3)]
        found = fused(maps, {"similarity": 2.0}, 0.0)
        torch.testing.assert_close(found, fused(maps[::-1], {"similarity": 2.0}, 0.0))
        assert bool((found >= 2 * maps[1]["similarity"]).all())

    def test_only_what_the_settings_ask_for(self, finder):
        image, mask = draw_scene()
        photo, kept = finder.encode(image), finder.learn(image, mask).cues[0]
        similarity = torch.zeros(photo.frame.grid)
        settings = Settings.of("persam").but(background_cue=False)
        assert list(cue_maps(photo, similarity, kept, settings, photo.pixels)) == ["similarity", "nearest", "colour"]


class TestInPersam:
    def test_the_map_is_log_odds_with_numbers_and_the_papers_without(self, finder):
        image, mask = draw_scene()
        concept = finder.learn(image, mask)
        prior = finder.segment(image, concept, explain=True).trace.prior
        paper = finder.segment(image, replace(concept, fitted=None, cues=()), explain=True).trace.prior
        assert paper.alike is None
        assert prior.alike is not None
        torch.testing.assert_close(prior.alike, paper.canvas)
        assert prior.similarity <= paper.similarity + 1e-6
        photo = finder.encode(image)
        maps = cue_maps(photo, paper.cells, concept.cues[0], concept.settings, photo.pixels)
        torch.testing.assert_close(prior.cells, log_odds(maps, NUMBERS.cues, NUMBERS.offset))

    @pytest.mark.parametrize("mode", ["official", "paper"])
    def test_the_other_modes_have_none(self, mode):
        image, mask = draw_scene()
        concept = PerSAM(load_model(), fitted=NUMBERS, settings=Settings.of(mode)).learn(image, mask)
        assert concept.cues == ()
        assert concept.fitted is None

    def test_a_concept_file_keeps_them(self, finder, tmp_path):
        image, mask = draw_scene()
        concept = finder.learn(image, mask)
        read = type(concept).load(concept.save(tmp_path / "disc.safetensors"))
        assert read.fitted == concept.fitted
        for part in vars(concept.cues[0]):
            torch.testing.assert_close(getattr(read.cues[0], part), getattr(concept.cues[0], part))
        again = finder.segment(image, read)
        np.testing.assert_array_equal(again.mask, finder.segment(image, concept).mask)

    def test_an_object_that_was_found_is_taken_out_of_the_map(self, finder):
        image, mask = draw_scene()
        both = np.concatenate([image, image[:, ::-1]], axis=1)
        found = finder.segment(both, finder.learn(image, mask), max_instances=2, threshold=0)
        assert len(found.instances) == 2
        first, second = (each.mask for each in found.instances)
        assert (first & second).sum() < 0.1 * first.sum()

    @pytest.mark.parametrize("light", ["grey", "red", "dark", "bright"])
    def test_in_other_light_the_object_is_still_found(self, finder, light):
        """Colour is one voice of four: what shape and texture say must survive a photo in another light."""
        image, mask = draw_scene()
        shift = {"red": (1.3, 0.9, 0.7), "dark": (0.5, 0.5, 0.5), "bright": (1.5, 1.5, 1.5)}
        if light == "grey":
            lit = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        else:
            lit = (image * np.array(shift[light])).clip(0, 255).astype(np.uint8)
        found = finder.segment(lit, finder.learn(image, mask), explain=True)
        x, y = found.points[0].round().astype(int)
        assert mask[y, x]
