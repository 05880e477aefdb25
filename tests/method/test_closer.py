"""A closer look: where the window lies, which answer counts, and that large things stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import draw_scene
from tests.fakes import random_sam

from persam import Concept, EncodedImage, PerSAM, Settings
from persam.explain import explain
from persam.instance import Instance
from persam.method.find import SMALL, WINDOW, look_closer, window_around
from persam.method.segment import OUTLINE_SIDE
from persam.metrics import iou

WIDTH, HEIGHT = 1200, 900


def a_disc(radius: int, centre: tuple[int, int] = (800, 300), seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    return draw_scene(HEIGHT, WIDTH, center=centre, radius=radius, seed=seed)


def without(concept: Concept) -> Concept:
    return replace(concept, settings=concept.settings.but(closer_look="off"))


@pytest.fixture(scope="module")
def first(model: PerSAM, concept: Concept) -> tuple[np.ndarray, Instance]:
    """A photo, and what is found in it at first."""
    image = a_disc(22)[0]
    found = model.segment(image, without(concept), explain=True)
    assert found.trace is not None
    return image, found.trace


class TestWindow:
    def test_lies_around_the_place(self):
        assert window_around(np.array([600, 450]), (900, 1200), (900, 1200), 224) == (400, 250, 800, 650)

    @pytest.mark.parametrize(
        ("place", "window"),
        [((0, 0), (0, 0, 400, 400)), ((1199, 899), (800, 500, 1200, 900)), ((-3, 450), (0, 250, 400, 650))],
    )
    def test_is_moved_to_lie_within_the_photo(self, place, window):
        assert window_around(np.array(place), (900, 1200), (900, 1200), 224) == window

    def test_is_as_high_as_a_flat_photo(self):
        assert window_around(np.array([600, 50]), (100, 1200), (100, 1200), 224) == (400, 0, 800, 100)

    def test_is_told_in_pixels_of_the_photo_where_the_copy_is_smaller(self):
        assert window_around(np.array([2000, 1500]), (750, 1000), (3000, 4000), 224) == (1334, 834, 2667, 2167)

    def test_has_no_fewer_pixels_than_the_canvas(self):
        x0, y0, x1, y1 = window_around(np.array([200, 150]), (300, 400), (300, 400), 224)
        assert (x1 - x0, y1 - y0) == (224, 224)

    def test_there_is_none_where_it_would_show_the_photo_again(self):
        assert window_around(np.array([100, 100]), (300, 300), (300, 300), 224) is None

    def test_what_is_kept_of_a_photo_is_enough_for_it(self, model):
        encoded = model.encode(np.zeros((3000, 4000, 3), np.uint8))
        side = max(*encoded.frame.canvas, OUTLINE_SIDE)
        assert max(encoded.detail.shape) <= model.longest_side
        assert max(encoded.detail.shape) * WINDOW >= side


class TestSmallThings:
    def test_a_small_thing_is_found_better(self, model, concept):
        image, truth = a_disc(22)
        before, found = model.segment(image, without(concept)), model.segment(image, concept, explain=True)
        assert truth.mean() < SMALL
        assert (before.present, found.present) == (False, True)
        assert iou(found.mask, truth) > iou(before.assumed_mask, truth) + 0.05
        x, y = found.points[0].round().astype(int)
        assert truth[y, x]
        x0, y0, x1, y1 = found.trace.closer.window
        assert found.trace.closer.found.mask.shape == (y1 - y0, x1 - x0)
        assert not np.delete(found.mask, np.s_[x0:x1], axis=1).any()

    def test_the_way_is_kept_only_where_it_is_asked_for(self, model, concept):
        found = model.segment(a_disc(22)[0], concept)
        assert [each for each in (*found.instances, found.candidate) if each and (each.closer or each.prior)] == []

    @pytest.mark.parametrize("form", ["small", "always"])
    def test_a_large_thing_stays_as_it_was(self, model, concept, form):
        image, _ = a_disc(200)
        looking = replace(concept, settings=concept.settings.but(closer_look=form))
        before, found = model.segment(image, without(concept)), model.segment(image, looking)
        np.testing.assert_array_equal(found.mask, before.mask)
        assert (found.score, found.points.tolist()) == (before.score, before.points.tolist())

    def test_an_encoded_copy_gives_the_same_thing(self, model, concept):
        image, truth = a_disc(22)
        half = np.ascontiguousarray(image[::2, ::2])
        found = model.segment(model.encode(half, size=(HEIGHT, WIDTH)), concept)
        assert found.assumed_mask.shape == truth.shape
        assert iou(found.assumed_mask, truth) > 0.6

    def test_several_small_things_are_several(self, model, concept):
        first, one = a_disc(22)
        second, other = a_disc(22, (250, 600))
        image = np.where(other[..., None], second, first)
        found = model.segment(image, concept, max_instances=2, threshold=0.05)
        assert len(found.instances) == 2
        assert not (found.instances[0].mask & found.instances[1].mask).any()
        for truth in (one, other):
            assert max(iou(each.mask, truth) for each in found.instances) > 0.5

    @pytest.mark.parametrize(("mode", "form"), [("official", "off"), ("paper", "off"), ("persam", "small")])
    def test_the_published_modes_have_none_also_in_files_of_an_older_persam(self, mode, form):
        values = Settings.of(mode).to_dict()
        assert values.pop("closer_look") == form
        assert Settings.from_dict(values).closer_look == form


class TestWhichAnswerCounts:
    def test_the_first_where_the_window_shows_nothing_better(self, model, concept, first):
        def nothing_in(part: np.ndarray) -> EncodedImage:
            return model.encode(np.full_like(part, 90))

        image, one = first
        sure = replace(one, score=0.99)
        assert look_closer(sure, [], model.model, nothing_in, model.encode(image), concept) is sure

    def test_the_first_where_the_window_shows_what_was_found_before(self, model, concept, first):
        image, one = first
        encoded = model.encode(image)
        better = look_closer(one, [], model.model, model.encode, encoded, concept)
        assert better is not one
        assert look_closer(one, [better], model.model, model.encode, encoded, concept) is one

    @pytest.mark.parametrize("lacks", ["detail", "numbers", "setting"])
    def test_the_first_where_there_can_be_no_other(self, model, concept, first, lacks):
        image, one = first
        encoded = model.encode(image)
        if lacks == "detail":
            encoded = replace(encoded, detail=None)
        else:
            concept = replace(concept, fitted=None) if lacks == "numbers" else without(concept)
        assert look_closer(one, [], model.model, model.encode, encoded, concept) is one

    def test_a_model_without_fitted_numbers_keeps_no_detail(self):
        assert PerSAM(random_sam()).encode(a_disc(22)[0]).detail is None


def test_the_explanation_shows_both_looks(model, concept):
    image, _ = a_disc(22)
    made = explain(image, model.segment(image, concept, explain=True), concept=concept)
    captions = [panel.caption for panel in made.panels]
    assert captions.index("Step 1 · first pass") < captions.index("Closer look, confidence map")
    assert "Closer look, step 1 · first pass" in captions
    assert captions[-1] == "Result"
    made.page()
