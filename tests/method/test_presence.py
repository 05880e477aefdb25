"""Is it there: the threshold of an unfitted encoder, the score with and without fitted numbers, and the signs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import draw_scene
from tests.fakes import random_sam

from persam import Concept, PerSAM, Settings
from persam.geometry import Frame
from persam.method.find import USUAL, _contrast, probability, score_of, signs_of, similarity_score
from persam.method.learn import learn_reference
from persam.method.prior import Prior, confidence_cells
from persam.method.threshold import NEAR, threshold_of
from persam.models.fitted import Fitted
from persam.models.identity.network import identity_fingerprint
from persam.models.loading import load_model

hundredths = st.integers(-100, 100).map(lambda n: n / 100)
NUMBERS = Fitted(
    {"similarity": 4.0, "nearest": 4.0, "background": -4.0, "colour": 0.3},
    0.0,
    refine=False,
    presence={"likeness": (4.0, 0.8), "explained": (6.0, 0.7), "colour": (1.0, 0.5)},
    presence_offset=-0.25,
)


@pytest.fixture(scope="module")
def finder() -> PerSAM:
    return PerSAM(load_model(), fitted=NUMBERS)


@pytest.fixture(scope="module")
def known(finder):
    image, mask = draw_scene()
    return image, mask, finder.learn(image, mask)


def signs_in(finder: PerSAM, image: np.ndarray, concept, mask: np.ndarray | None = None) -> dict[str, float]:
    """The signs for what is found in a photo, or for another `mask`."""
    photo = finder.encode(image)
    trace = finder.segment(photo, concept, explain=True).trace
    return signs_of(photo, concept, trace.prior, trace.mask if mask is None else mask)


def with_identity(finder: PerSAM, image: np.ndarray, mask: np.ndarray) -> Concept:
    """Learned with numbers that ask which thing it is."""
    return PerSAM(finder.model, fitted=replace(NUMBERS, identity=identity_fingerprint())).learn(image, mask)


class TestWithoutNumbers:
    def test_threshold_is_a_share_of_the_references_own_peak(self, scene):
        model = random_sam()
        learned = learn_reference(model, model.encode(scene[0]), torch.as_tensor(scene[1]), Settings.of("persam"))
        own = confidence_cells(learned.image.features, [learned.target])[learned.cells].max()
        assert threshold_of(learned) == pytest.approx(NEAR * float(own))

    @given(similarity=hundredths, other=hundredths, threshold=hundredths)
    def test_score_is_a_probability_that_rises_with_the_similarity(self, similarity, other, threshold):
        low, high = sorted((similarity, other))
        assert 0 <= similarity_score(low, threshold) <= similarity_score(high, threshold) <= 1
        assert similarity_score(threshold, threshold) == 0.5
        assert (similarity_score(similarity, threshold) >= 0.5) == (similarity >= threshold)

    def test_score_of_the_reference_itself(self):
        assert similarity_score(0.8, NEAR * 0.8) == pytest.approx(0.935, abs=0.001)

    def test_a_concept_without_numbers_is_scored_by_the_similarity_alone(self, finder, known):
        bare = replace(known[2], fitted=None, cues=())
        found = finder.segment(known[0], bare)
        assert found.score == similarity_score(found.similarity, bare.threshold)


class TestScore:
    def test_is_the_logistic_function_of_the_weighted_signs(self, known):
        signs = {"similarity": 0.5, "likeness": 0.9, "explained": 0.6, "colour": 0.8}
        odds = -0.25 + np.log(USUAL / (1 - USUAL)) + 4 * (0.9 - 0.8) + 6 * (0.6 - 0.7) + 1 * (0.8 - 0.5)
        assert score_of(signs, NUMBERS) == pytest.approx(1 / (1 + np.exp(-odds)))

    def test_a_sign_that_is_missing_says_nothing(self, known):
        signs = {"similarity": 0.5, "likeness": 0.9, "explained": 0.6}
        assert score_of(signs, NUMBERS) == pytest.approx(score_of(signs | {"colour": 0.5}, NUMBERS))

    @given(odds=st.floats(-1e6, 1e6))
    def test_stays_finite(self, odds):
        assert 0 <= probability(odds) <= 1
        assert probability(odds) == pytest.approx(1 - probability(-odds))


class TestSigns:
    def test_of_the_reference_itself_under_its_own_mask(self, finder, known):
        image, mask, concept = known
        signs = signs_in(finder, image, concept, mask)
        assert signs["explained"] == pytest.approx(1, abs=1e-5)  # every cell is there again
        assert signs["colour"] == pytest.approx(1, abs=0.02)
        assert signs["likeness"] == pytest.approx(1, abs=0.1)

    def test_of_something_else_are_worse(self, finder, known):
        image, mask, concept = known
        own, other = signs_in(finder, image, concept, mask), signs_in(finder, image, concept, ~mask)
        for name in ("explained", "colour"):
            assert other[name] < own[name]

    @pytest.mark.parametrize("pixels", [0, 1])
    def test_an_empty_and_a_one_pixel_mask(self, finder, known, pixels):
        image, mask, concept = known
        tiny = np.zeros_like(mask)
        tiny.flat[:pixels] = True
        assert all(np.isfinite(value) for value in signs_in(finder, image, concept, tiny).values())

    def test_which_thing_it_is_counts_with_numbers_for_it_alone(self, finder, known):
        image, mask, concept = known
        assert "identity" not in signs_in(finder, image, concept, mask)  # nothing was fitted for it
        asked = with_identity(finder, image, mask)
        of_another = replace(asked, fitted=replace(NUMBERS, identity="0123456789ab"))
        assert "identity" not in signs_in(finder, image, of_another, mask)  # network: the vectors say nothing
        own, other = signs_in(finder, image, asked, mask), signs_in(finder, image, asked, ~mask)
        assert own["identity"] > 0.95  # the reference is looked at from four sides
        assert "identity" not in signs_in(
            finder, image, replace(asked, settings=concept.settings.but(identity=False)), mask
        )
        assert other["identity"] < own["identity"]

    def test_the_nearest_of_several_references_tells_which_thing_it_is(self, finder, known):
        image, mask, _ = known
        one = with_identity(finder, image, mask)
        (kept,) = one.cues
        away = replace(kept, identity=-kept.identity)
        both = replace(one, cues=(away, kept), targets=one.targets * 2)
        assert signs_in(finder, image, both, mask)["identity"] == signs_in(finder, image, one, mask)["identity"]

    def test_without_the_photos_pixels_colour_is_missing(self, finder, known):
        image, mask, _ = known
        concept = with_identity(finder, image, mask)
        photo = replace(finder.encode(image), pixels=None)
        trace = finder.segment(photo, concept, explain=True).trace
        signs = signs_of(photo, concept, trace.prior, mask)
        assert signs.keys().isdisjoint({"colour", "identity"})
        assert {"explained", "likeness"} <= set(signs)

    def test_how_many_cells_the_object_has_and_how_alike_they_are(self, finder, known):
        image, mask, concept = known
        (kept,) = concept.cues
        signs = signs_in(finder, image, concept, ~mask)
        assert signs["cells"] == pytest.approx(np.log(len(kept.object_cells)))
        assert signs["explained_cells"] == pytest.approx(signs["explained"] * signs["cells"])
        mean = kept.object_cells.mean(0)
        cosines = torch.nn.functional.cosine_similarity(kept.object_cells, mean[None])
        assert signs["unity"] == pytest.approx(float(cosines.mean()), abs=1e-6)
        alike = replace(kept, object_cells=kept.object_cells[:1].expand(5, -1))
        signs = signs_in(finder, image, replace(concept, cues=(alike,)), mask)
        assert signs["unity"] == pytest.approx(1, abs=1e-6)
        assert signs["cells"] == pytest.approx(np.log(5))

    @pytest.mark.parametrize("first", [True, False])
    def test_what_is_said_of_the_cells_is_of_the_reference_that_is_explained_best(self, finder, known, first):
        image, mask, concept = known
        (kept,) = concept.cues
        worse = replace(kept, object_cells=-kept.object_cells[:2])
        cues = (kept, worse) if first else (worse, kept)
        signs = signs_in(finder, image, replace(concept, targets=concept.targets * 2, cues=cues), mask)
        alone = signs_in(finder, image, concept, mask)
        for name in ("explained", "cells", "explained_cells", "unity"):
            assert signs[name] == pytest.approx(alone[name], abs=1e-6)

    def test_of_several_references_the_one_met_best_counts(self, finder, known):
        image, mask, concept = known
        other = finder.learn(255 - image, mask)
        both = replace(concept, targets=concept.targets + other.targets, cues=concept.cues + other.cues)
        signs, alone = signs_in(finder, image, both, mask), signs_in(finder, image, concept, mask)
        for name in ("explained", "colour"):
            assert signs[name] >= alone[name] - 1e-6


class TestContrast:
    """How much higher the map is under a mask than right beside it."""

    FRAME = Frame.padded((96, 128), 128, (16, 16))  # cells of 8 pixels; the last four rows are padding

    def told(self, cells: torch.Tensor, mask: np.ndarray, **more) -> float:
        return _contrast(Prior(self.FRAME, cells, cells, cells, None, 0.5, None, None, **more), mask)

    def hill(self, height: float = 3.0) -> tuple[torch.Tensor, np.ndarray]:
        cells = torch.full((16, 16), -1.0)
        cells[4:7, 4:8] = height
        cells[12:] = 50.0  # padding says nothing
        mask = np.zeros((96, 128), bool)
        mask[32:56, 32:64] = True
        return cells, mask

    def test_is_the_difference_to_the_cells_around_it(self):
        cells, mask = self.hill()
        assert self.told(cells, mask) == pytest.approx(4.0)
        assert self.told(cells + 7, mask) == pytest.approx(4.0)
        assert self.told(torch.zeros(16, 16), mask) == 0.0

    def test_what_is_far_away_makes_no_difference(self):
        cells, mask = self.hill()
        cells[0, 15] = cells[11, 0] = 100.0
        assert self.told(cells, mask) == pytest.approx(4.0)
        cells[7, 4] = 100.0
        assert self.told(cells, mask) < 4.0

    def test_is_the_same_in_the_mirror(self):
        generator = torch.Generator().manual_seed(0)
        cells, (_, mask) = torch.randn(16, 16, generator=generator), self.hill()
        assert self.told(cells.flip(1), np.ascontiguousarray(mask[:, ::-1])) == pytest.approx(self.told(cells, mask))

    def test_a_mask_of_all_or_nothing(self):
        cells, mask = self.hill()
        assert self.told(cells, np.ones_like(mask)) == 0.0
        cells[12:] = -1.0
        cells[5, 5] = 9.0
        nothing = self.told(cells, np.zeros_like(mask))  # the peak stands for it
        assert 5.0 < nothing < 10.0

    def test_what_was_found_before_is_still_in_the_map(self):
        """Taken out, it would leave a hole beside which everything stands out."""
        cells, mask = self.hill()
        holed = cells.clone()
        holed[7:9, 4:8] = -20.0
        assert self.told(holed, mask, whole=cells) == pytest.approx(4.0)
        assert self.told(holed, mask) > 4.0

    def test_is_told_of_log_odds_alone(self, finder, known):
        image, _, concept = known
        assert "contrast" in signs_in(finder, image, concept)
        alike = finder.settings.but(nearest_cue=False, background_cue=False, colour_cue=False)
        assert "contrast" not in signs_in(finder, image, replace(concept, settings=alike))
