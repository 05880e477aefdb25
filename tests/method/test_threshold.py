"""The threshold of an encoder that nothing was fitted for: from the reference itself, whatever the encoder's level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam import Concept, PerSAM
from persam.method.threshold import NEAR, threshold_between
from persam.models.base import EncodedImage
from persam.models.loading import load_model

cosines = st.lists(st.integers(-100, 100).map(lambda n: n / 100), min_size=2, max_size=40).map(torch.tensor)


class LevelEncoder(ColourModel):
    """Colours of cells, as an encoder whose cosines lie at another level.

    Args:
        shared: length of what all cells have in common: with much of it all cosines are near 1.
        noise: length of what every cell has to itself: with much of it all cosines are near 0.
    """

    def __init__(self, shared: float, noise: float) -> None:
        super().__init__()
        self.name = f"level {shared} {noise}"
        self.fingerprint = f"{shared:06.2f}{noise:06.2f}"
        self.shared, self.noise = shared, noise

    def encode(self, image: np.ndarray) -> EncodedImage:
        encoded = super().encode(image)
        colours = F.normalize(encoded.features, dim=1)
        rows, columns = self.grid
        own = torch.randn(1, 512, rows, columns, generator=torch.Generator().manual_seed(int(image.sum()) % 2**31))
        common = torch.full((1, 1, rows, columns), self.shared)
        features = torch.cat([colours, common, self.noise * F.normalize(own, dim=1)], dim=1)
        return EncodedImage(features, encoded.frame)


LEVELS = {"low": LevelEncoder(0, 1.6), "usual": LevelEncoder(0.5, 0.5), "high": LevelEncoder(4, 0.3)}


def blue_scene(seed: int) -> np.ndarray:
    """What `draw_scene` draws, with a blue disc in the place of the red one."""
    image, mask = draw_scene(seed=seed)
    image[mask] = image[mask][:, ::-1]
    return image


@pytest.mark.parametrize("level", LEVELS)
def test_presence_is_right_at_every_level(level):
    persam = PerSAM(ColourModel(), encoder=LEVELS[level])
    concept = persam.learn(*draw_scene())
    there = [persam.segment(draw_scene(center=(70, 40 + 20 * k), seed=k)[0], concept) for k in range(4)]
    elsewhere = [persam.segment(blue_scene(k), concept) for k in range(4)]
    similarity = [each.similarity for each in there + elsewhere]
    if level == "high":
        assert min(similarity) > 0.9
    if level == "low":
        assert max(similarity) < 0.5
    assert all(each.present for each in there)
    assert not any(each.present for each in elsewhere)
    assert min(each.score for each in there) > 0.6
    assert max(each.score for each in elsewhere) < 0.4


@pytest.mark.parametrize("level", LEVELS)
def test_the_reference_itself_gets_a_like_score_at_every_level(level):
    photo, mask = draw_scene()
    persam = PerSAM(ColourModel(), encoder=LEVELS[level])
    concept = persam.learn(photo, mask)
    assert concept.own_similarity is not None
    assert concept.threshold < concept.own_similarity
    assert persam.segment(photo, concept).score == pytest.approx(0.92, abs=0.02)


@given(own=cosines, beside=cosines, share=st.floats(0.05, 1))
def test_follows_the_level_of_an_encoder(own, beside, share):
    """Whoever adds the same to all features draws all cosines towards 1."""
    threshold = threshold_between(own, beside)
    lifted = threshold_between(1 - share * (1 - own), 1 - share * (1 - beside))
    assert lifted == pytest.approx(1 - share * (1 - threshold), abs=1e-4)


@given(own=cosines, beside=cosines)
def test_lies_among_the_objects_own_cells_and_rises_with_the_background(own, beside):
    others = (len(own) * own - 1) / (len(own) - 1)
    threshold = threshold_between(own, beside)
    assert others.min() - 1e-5 <= threshold <= own.max() + 1e-5
    assert threshold_between(own, beside + 0.1) >= threshold - 1e-5


def test_half_way_between_both():
    own = torch.linspace(0.5, 0.9, 1001)
    assert threshold_between(own, torch.full((500,), 0.5)) == pytest.approx(0.7, abs=2e-3)


def test_of_the_background_few_cells_do_not_count():
    own, beside = torch.linspace(0.5, 0.9, 101), torch.full((500,), 0.5)
    beside[:5] = 0.9
    assert threshold_between(own, beside) == pytest.approx(threshold_between(own, beside[5:]), abs=1e-3)


def test_a_blank_background_does_not_let_everything_pass():
    own = torch.linspace(0.6, 0.9, 101)
    assert threshold_between(own, torch.full((500,), -0.5)) == pytest.approx(0.675, abs=0.01)
    assert threshold_between(own, torch.zeros(0)) == pytest.approx(0.675, abs=0.01)


def test_a_background_full_of_the_like_leaves_something_to_be_found():
    own = torch.linspace(0.6, 0.9, 101)
    assert threshold_between(own, own) < float(own.max())


def test_one_cell():
    one = torch.tensor([1.0])
    assert threshold_between(one, torch.tensor([0.2, 0.2])) == pytest.approx(0.6)
    assert threshold_between(one, torch.zeros(0)) == NEAR


def test_the_bundled_models_threshold_is_the_measured_one():
    concept = PerSAM(load_model()).learn(*draw_scene())
    assert concept.own_similarity is None


def test_a_file_keeps_both_and_one_without_is_scored_as_before(tmp_path):
    persam = PerSAM(ColourModel(), encoder=LEVELS["usual"])
    photo, mask = draw_scene()
    concept = persam.learn(photo, mask)
    loaded = Concept.load(concept.save(tmp_path / "c.safetensors"))
    assert loaded.own_similarity == pytest.approx(concept.own_similarity, abs=1e-6)
    assert persam.segment(photo, loaded).score == pytest.approx(persam.segment(photo, concept).score, abs=1e-4)
    old = replace(concept, own_similarity=None)
    assert "own_similarity" not in old.metadata()
    found = persam.segment(photo, old)
    odds = 8 * (found.similarity - old.threshold) / old.threshold
    assert found.score == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-6)


def test_more_references_and_tuning_keep_it_calibrated():
    persam = PerSAM(ColourModel(), encoder=LEVELS["high"])
    first = persam.learn(*draw_scene())
    both = persam.learn(*draw_scene(seed=1), base=first)
    assert first.own_similarity is not None
    assert both.own_similarity is not None
    second = persam.learn(*draw_scene(seed=1))
    assert both.threshold == pytest.approx((first.threshold + second.threshold) / 2)
    assert persam.tune(first).own_similarity == pytest.approx(first.own_similarity)
