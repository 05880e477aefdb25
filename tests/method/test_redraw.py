"""Drawn again from close by: where the window lies, when there is one, and that it only makes masks better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import ColourModel, random_sam

from persam import Concept, EncodedImage, PerSAM, Reference, Settings
from persam.explain import explain
from persam.geometry import cut, window_at
from persam.instance import Instance
from persam.method.find import _unless_known
from persam.method.redraw import LIKELY, MOST_OF_PHOTO, redrawn, window_of
from persam.metrics import boundary_f, iou
from persam.models.base import Decoded, Prompts
from persam.segmentation import UNSURE

HEIGHT, WIDTH = 900, 1200


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A disc in a large photo, (H, W, 3), and its mask."""
    return draw_scene(HEIGHT, WIDTH, center=(800, 400), radius=110, seed=1)


def once(concept: Concept) -> Concept:
    """The same, drawn once."""
    return replace(concept, settings=concept.settings.but(redraw=False))


@pytest.fixture(scope="module")
def first(model: PerSAM, concept: Concept, scene: tuple[np.ndarray, np.ndarray]) -> Instance:
    trace = model.segment(scene[0], once(concept), explain=True).trace
    assert trace is not None
    return trace


def found_at(box: tuple[int, int, int, int], first: Instance, photo: tuple[int, int] = (HEIGHT, WIDTH)) -> Instance:
    """Something that fills a box (x0, y0, x1, y1) of a photo, whose peak lies in its middle."""
    x0, y0, x1, y1 = box
    mask = np.zeros(photo, bool)
    mask[y0:y1, x0:x1] = True
    assert first.prior is not None
    frame = replace(first.prior.frame, photo=photo)
    middle = frame.to_canvas(np.array([[(x0 + x1) / 2, (y0 + y1) / 2]]))
    return replace(first, mask=mask, prior=replace(first.prior, frame=frame, points=middle))


class TestWindow:
    def test_lies_around_the_box_with_a_margin(self, first):
        assert window_of(found_at((400, 300, 600, 400), first), (900, 1200), 224) == (360, 210, 640, 490)

    def test_has_no_fewer_pixels_of_the_copy_than_the_canvas(self, first):
        one = found_at((500, 400, 520, 410), first)
        x0, y0, x1, y1 = window_of(one, (900, 1200), 224)
        assert (x1 - x0, y1 - y0) == (224, 224)
        x0, y0, x1, y1 = window_of(one, (450, 600), 224)  # of which the photo has twice as many
        assert (x1 - x0, y1 - y0) == (448, 448)

    def test_is_moved_to_lie_within_the_photo(self, first):
        assert window_of(found_at((0, 0, 200, 200), first), (900, 1200), 224) == (0, 0, 280, 280)
        assert window_of(found_at((1000, 100, 1200, 900), first), (1200, 1200), 224) is None  # it would be too large
        assert window_of(found_at((1150, 500, 1200, 900), first), (900, 1200), 224) == (640, 340, 1200, 900)

    def test_there_is_none_where_it_would_show_the_photo_again(self, first):
        assert window_of(found_at((0, 0, 800, 300), first), (900, 1200), 224) is None
        assert window_of(found_at((100, 100, 110, 110), first, (256, 256)), (256, 256), 224) is None

    def test_there_is_none_around_nothing(self, first):
        assert window_of(found_at((0, 0, 0, 0), first), (900, 1200), 224) is None

    def test_there_is_none_that_does_not_show_what_led_to_the_mask(self, first):
        one = found_at((400, 300, 600, 400), first)
        assert one.prior is not None
        elsewhere = replace(one.prior, points=one.prior.frame.to_canvas(np.array([[1100.0, 800.0]])))
        assert window_of(replace(one, prior=elsewhere), (900, 1200), 224) is None

    @pytest.mark.parametrize("place", [(0, 0), (99, 49), (50, 25), (-10, 70)])
    @pytest.mark.parametrize("side", [1, 30, 49.6, 80, 500])
    def test_any_window_lies_within_the_photo(self, place, side):
        x0, y0, x1, y1 = window_at(place, side, (50, 100))
        assert 0 <= x0 < x1 <= 100
        assert 0 <= y0 < y1 <= 50
        assert (x1 - x0, y1 - y0) == (min(100, round(side)), min(50, round(side)))

    def test_its_pixels_are_those_of_the_copy(self):
        copy = np.arange(50 * 100 * 3, dtype=np.uint8).reshape(50, 100, 3)
        np.testing.assert_array_equal(cut(copy, (20, 10, 60, 40), (100, 200)), copy[5:20, 10:30])
        assert cut(copy, (0, 0, 1, 1), (5000, 10000)).shape == (1, 1, 3)


class TestDrawnAgain:
    def test_the_mask_gets_better_and_all_else_stays(self, model, concept, scene):
        image, truth = scene
        before = model.segment(image, once(concept), explain=True)
        found = model.segment(image, concept, explain=True)
        assert (before.trace.redrawn, found.trace.redrawn is None) == (None, False)
        assert (found.score, found.similarity) == (before.score, before.similarity)
        np.testing.assert_array_equal(found.points, before.points)
        assert iou(found.mask, truth) >= iou(before.mask, truth)
        assert boundary_f(found.mask, truth, bound=2) > boundary_f(before.mask, truth, bound=2)
        x0, y0, x1, y1 = found.trace.redrawn
        assert found.mask[y0:y1, x0:x1].sum() == found.mask.sum()

    def test_a_tuned_concept_too(self, model, concept, scene):
        image, truth = scene
        tuned = model.tune(concept)
        before = model.segment(image, once(tuned))
        found = model.segment(image, tuned, explain=True)
        assert found.trace.redrawn is not None
        assert iou(found.mask, truth) >= iou(before.mask, truth)

    def test_where_another_encoder_makes_the_map(self, model, scene):
        """The window is encoded by both, and the evidence of its pixels is the other's."""
        both = PerSAM(model.model, encoder=ColourModel(), fitted=model.fitted)
        image, truth = scene
        concept = both.learn(*draw_scene())
        before = both.segment(image, once(concept))
        found = both.segment(image, concept, explain=True)
        assert found.trace.redrawn is not None
        assert iou(found.mask, truth) >= iou(before.mask, truth) > 0.8

    def test_each_of_several(self, model, concept, scene):
        image, one = scene
        second, other = draw_scene(HEIGHT, WIDTH, center=(250, 600), radius=90, seed=1)
        both = np.where(other[..., None], second, image)
        found = model.segment(both, concept, max_instances=2, threshold=0.05, explain=True)
        assert len(found.instances) == 2
        assert all(each.redrawn for each in found.instances)
        for truth in (one, other):
            assert max(iou(each.mask, truth) for each in found.instances) > 0.8

    def test_by_what_several_references_say(self, model, scene):
        image, truth = scene
        concept = model.learn([Reference(*draw_scene(radius=radius, seed=seed)) for radius, seed in ((30, 0), (50, 2))])
        assert len(concept.cues) >= 2
        before, found = (model.segment(image, each, explain=True) for each in (once(concept), concept))
        assert found.trace.redrawn is not None
        assert iou(found.mask, truth) >= iou(before.mask, truth)

    @pytest.mark.parametrize("size", [(1200, 500), (500, 1200)])
    def test_photos_that_are_not_square(self, model, concept, size):
        height, width = size
        image, truth = draw_scene(height, width, center=(width // 3, height // 3), radius=70, seed=1)
        found = model.segment(image, concept, explain=True)
        x0, y0, x1, y1 = found.trace.redrawn
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert iou(found.mask, truth) > 0.9

    def test_a_small_photo_stays_as_it_was(self, model, concept):
        image, _ = draw_scene(190, 256, center=(150, 90), radius=30, seed=1)
        found, before = (model.segment(image, each, explain=True) for each in (concept, once(concept)))
        assert found.trace.redrawn is None
        np.testing.assert_array_equal(found.mask, before.mask)

    def test_an_encoded_copy_gives_the_same(self, model, concept, scene):
        image, truth = scene
        half = np.ascontiguousarray(image[::2, ::2])
        found = model.segment(model.encode(half, size=(HEIGHT, WIDTH)), concept, explain=True)
        whole = model.segment(image, concept)
        x0, _, x1, _ = found.trace.redrawn
        assert x1 - x0 == 2 * 224  # of the copy's pixels no fewer than the model sees
        np.testing.assert_allclose(found.box, whole.box, atol=8)
        assert found.mask.shape == truth.shape
        assert iou(found.mask, truth) > 0.9

    def test_the_window_is_kept_only_where_the_way_is_asked_for(self, model, concept, scene):
        assert model.segment(scene[0], concept).instances[0].redrawn is None

    @pytest.mark.parametrize(("mode", "on"), [("official", False), ("paper", False), ("persam", True)])
    def test_the_published_modes_draw_once_also_in_files_of_an_older_persam(self, mode, on):
        values = Settings.of(mode).to_dict()
        assert values.pop("redraw") is on
        assert Settings.from_dict(values).redraw is on


class TestWhatStays:
    """As it was found at first: the same record, and nothing is encoded in vain."""

    def never(self, _: np.ndarray) -> EncodedImage:
        raise AssertionError("it was encoded")

    @pytest.mark.parametrize("lacks", ["detail", "numbers", "refinement", "setting", "score", "mask"])
    def test_where_there_is_nothing_to_draw(self, model, concept, scene, first, lacks):
        photo, one = model.encode(scene[0]), first
        if lacks == "detail":
            photo = replace(photo, detail=None)
        elif lacks == "score":
            one = replace(one, score=LIKELY - 0.01)
        elif lacks == "mask":
            one = replace(one, mask=np.zeros_like(one.mask))
        elif lacks == "setting":
            concept = once(concept)
        else:
            fitted = None if lacks == "numbers" else replace(concept.fitted, refine=False)
            concept = replace(concept, fitted=fitted)
        assert redrawn(one, model.model, self.never, photo, concept, tuned=False) is one

    def test_where_a_closer_look_counts(self, model, concept):
        found = model.segment(draw_scene(HEIGHT, WIDTH, center=(800, 300), radius=22, seed=1)[0], concept, explain=True)
        assert found.trace.closer is not None
        assert found.trace.redrawn is None

    def test_where_the_decoder_draws_something_else(self, model, concept, scene, first):
        class Astray:
            low_resolution = model.model.low_resolution

            def decode(self, image: EncodedImage, prompts: Prompts, *, multimask: bool) -> Decoded:
                logits = torch.full((1, 3, *self.low_resolution), -5.0)
                logits[..., :3, :3] = 5.0
                return Decoded(logits, torch.ones(1, 3))

        photo = model.encode(scene[0])
        assert redrawn(first, Astray(), model.encode, photo, concept, tuned=False) is first

    def test_a_model_without_fitted_numbers_draws_once(self, scene):
        bare = PerSAM(random_sam())
        found = bare.segment(scene[0], bare.learn(*draw_scene()), explain=True)
        assert found.trace.redrawn is None


def test_a_mask_that_runs_into_what_was_found_earlier_is_not_taken(first):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    left, right, both = mask.copy(), mask.copy(), mask.copy()
    left[100:200, 100:200], right[100:200, 300:400], both[100:200, 100:400] = True, True, True
    earlier, one, again = (replace(first, mask=each) for each in (left, right, both))
    assert _unless_known(again, one, [earlier]) is one
    assert _unless_known(again, one, []) is again
    assert _unless_known(one, one, [earlier]) is one
    assert _unless_known(again, replace(first, mask=both), [earlier]) is again  # the first one lay there, too


def test_what_is_not_likely_is_what_is_called_absent():
    assert UNSURE[0] == LIKELY


def test_the_explanation_shows_the_window(model, concept, scene):
    image, _ = scene
    found = model.segment(image, concept, explain=True)
    x0, y0, x1, y1 = found.trace.redrawn
    assert max(x1 - x0, y1 - y0) <= MOST_OF_PHOTO * WIDTH
    made, plain = (
        explain(image, replace(found, instances=(each,)), concept=concept).panels[-1].picture
        for each in (found.trace, replace(found.trace, redrawn=None))
    )
    changed = np.argwhere((np.asarray(made) != np.asarray(plain)).any(-1)) * WIDTH / np.asarray(made).shape[1]
    np.testing.assert_allclose(changed.min(0), (y0, x0), atol=12)
    np.testing.assert_allclose(changed.max(0), (y1, x1), atol=12)
