"""Words beside the photo: which candidate is taken, what happens to scores, and what stays as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import draw_scene
from tests.fakes import ColourModel
from tests.finders import ScriptedFinder

from persam import Concept, PerSAM, PersamError, Reference, Segmentation, UsageError
from persam.method.words import NAMED, UNNAMED, join, weighed
from persam.models.words import Named
from persam.text_and_photo import with_finder

Share = tuple[float, float, float, float]
SIZE = (120, 240)
LEFT, RIGHT = (60, 60), (180, 60)  # centres of two discs that look the same
RADIUS = 24


def box_of(center: tuple[int, int]) -> Share:
    (x, y), (height, width) = center, SIZE
    return (x - RADIUS) / width, (y - RADIUS) / height, (x + RADIUS) / width, (y + RADIUS) / height


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.fixture(scope="module")
def model() -> PerSAM:
    return PerSAM.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def concept(model: PerSAM) -> Concept:
    return model.learn(Reference.read(*draw_scene(), text="disc"))


@pytest.fixture(scope="module")
def two() -> tuple[np.ndarray, list[np.ndarray]]:
    """Two discs, and the truth of each, left and right."""
    image, left = draw_scene(*SIZE, center=LEFT, radius=RADIUS)
    other, right = draw_scene(*SIZE, center=RIGHT, radius=RADIUS)
    image[right] = other[right]
    return image, [left, right]


def side_of(found: Segmentation, truths: list[np.ndarray]) -> int:
    return int(np.argmax([iou(found.mask, truth) for truth in truths]))


class TestWhichOne:
    @pytest.mark.parametrize("side", [0, 1])
    def test_of_two_that_look_alike_the_one_that_is_named(self, model, concept, two, side) -> None:
        image, truths = two
        finder = ScriptedFinder((box_of((LEFT, RIGHT)[side]), 0.9))
        found = with_finder(model, finder).segment(image, concept)
        assert side_of(found, truths) == side
        assert iou(found.mask, truths[side]) > 0.6  # a box is what the finder drew
        assert finder.asked == [(SIZE, "disc")]
        x, y = found.points[0]
        assert truths[side][int(y), int(x)]

    def test_of_many_that_are_named_the_one_that_looks_like_it(self, model, concept) -> None:
        image, truth = draw_scene(*SIZE, center=RIGHT, radius=RADIUS)
        finder = ScriptedFinder((box_of(LEFT), 0.99), (box_of(RIGHT), 0.6))  # at the left is nothing but ground
        found = with_finder(model, finder).segment(image, concept)
        assert iou(found.mask, truth) > 0.6
        assert found.present

    def test_where_too_much_is_named_the_thing_in_it(self, model, concept) -> None:
        image, truth = draw_scene(*SIZE, center=LEFT, radius=RADIUS)
        found = with_finder(model, ScriptedFinder(((0.0, 0.0, 0.6, 1.0), 0.9))).segment(image, concept)
        assert iou(found.mask, truth) > 0.9
        assert found.score > model.segment(image, concept).score

    def test_of_two_masks_of_one_thing_the_better_one_alone(self, model, concept, two) -> None:
        image, truths = two
        finder = ScriptedFinder((box_of(LEFT), 0.9), (box_of(RIGHT), 0.9))
        found = with_finder(model, finder).segment(image, concept, max_instances=5)
        assert sorted(side_of_one(each.mask, truths) for each in found.instances) == [0, 1]
        assert [each.score for each in found.instances] == sorted((e.score for e in found.instances), reverse=True)
        assert all(each.prior is None for each in found.instances)

    @pytest.mark.parametrize(("score", "kept"), [(0.5, 2), (0.1, 1)])
    def test_one_mask_over_two_things_takes_neither_away(self, model, concept, two, score, kept) -> None:
        """Though it is the surest of all; of what the features are not sure of it is a candidate as any other."""
        photo = model.encode(two[0])
        found = model.segment(photo, concept, max_instances=2, explain=True).instances
        both = Named(np.logical_or(*two[1])[None], np.ones(1, np.float32))
        unsure = [replace(each, score=score) for each in found]
        size = model.model.low_resolution
        joined = join(unsure, both, photo, concept, size, most=5, threshold=0.3)
        assert len(found) == 2
        assert len(joined) == kept
        masks = [each.mask for each in found] if kept == 2 else [both.masks[0]]
        assert all(iou(one.mask, mask) > 0.95 for one, mask in zip(joined, masks, strict=True))


def side_of_one(mask: np.ndarray, truths: list[np.ndarray]) -> int:
    return int(np.argmax([iou(mask, truth) for truth in truths]))


class TestScores:
    def test_named_it_is_surer_and_unnamed_less_sure(self, model, concept) -> None:
        image, _ = draw_scene(*SIZE, center=LEFT, radius=RADIUS)
        alone = model.segment(image, concept).score
        named = with_finder(model, ScriptedFinder((box_of(LEFT), 1.0))).segment(image, concept).score
        unnamed = with_finder(model, ScriptedFinder()).segment(image, concept).score
        assert unnamed == pytest.approx(weighed(alone, 0.0))
        assert unnamed < alone < named

    def test_what_is_not_there_does_not_come_by_its_name(self, model, concept) -> None:
        image, _ = draw_scene(*SIZE, center=(900, 900))
        found = with_finder(model, ScriptedFinder((box_of(LEFT), 1.0))).segment(image, concept)
        assert not found.present
        assert found.score < 0.05

    @pytest.mark.parametrize(("logit", "place", "vetoed"), [(-9, LEFT, True), (9, LEFT, False), (-9, RIGHT, False)])
    def test_what_the_decoder_does_not_see_its_name_does_not_bring(self, logit, place, vetoed) -> None:
        """Of a model without fitted numbers that says whether it sees an object, where the features had it look."""
        plain = PerSAM(ColourModel())
        concept = plain.learn(*draw_scene())
        photo = plain.encode(draw_scene(*SIZE, center=LEFT, radius=RADIUS)[0])
        (one,) = plain.segment(photo, concept, explain=True).instances
        told = replace(one, score=0.01, steps=tuple(replace(step, presence=float(logit)) for step in one.steps))
        named = ScriptedFinder((box_of(place), 1.0)).find_words(np.zeros((*SIZE, 3), np.uint8), "disc")
        size = plain.model.low_resolution
        with_veto, without = (
            max(each.score for each in join([given], named, photo, concept, size, most=2, threshold=0.0))
            for given in (told, replace(one, score=0.01))
        )
        assert (with_veto < without) == vetoed
        assert not vetoed or with_veto < 0.02

    @given(score=st.floats(0, 1), likely=st.floats(0, 1))
    def test_odds(self, score, likely) -> None:
        weight = UNNAMED + (NAMED - UNNAMED) * likely
        found = weighed(score, likely)
        assert 0 <= found <= 1
        assert found * (1 - score) == pytest.approx(weight * score * (1 - found), abs=1e-9)

    def test_odds_at_the_ends(self) -> None:
        assert (weighed(0.0, 1.0), weighed(1.0, 0.0)) == (0.0, 1.0)
        assert weighed(0.5, 1.0) == pytest.approx(2 / 3)
        assert weighed(0.5, 0.0) == pytest.approx(1 / 6)


class TestWhatStays:
    def test_a_concept_without_words_is_found_as_ever(self, model) -> None:
        """Also where it is small in a large photo, so that it is cut out of a copy and looked at closer."""
        concept = model.learn(*draw_scene())
        finder = ScriptedFinder((box_of(RIGHT), 0.9))
        image, _ = draw_scene(900, 1200, center=(420, 310), radius=22)
        one, other = (each.segment(image, concept, explain=True) for each in (with_finder(model, finder), model))
        assert other.trace.closer is not None
        np.testing.assert_array_equal(one.mask, other.mask)
        assert one.score == other.score
        assert finder.asked == []

    def test_what_is_kept_of_a_photo_is_as_ever_beside_the_finders_copy(self, model) -> None:
        photo = draw_scene(900, 1200)[0]
        one, other = with_finder(model, ScriptedFinder()).encode(photo), model.encode(photo)
        np.testing.assert_array_equal(one.detail, other.detail)
        assert one.for_finder.shape == (768, 1024, 3)
        assert other.for_finder is None

    def test_a_large_photo_is_seen_smaller_and_its_mask_is_large(self, model, concept) -> None:
        image, truth = draw_scene(800, 1200, center=(500, 400), radius=200)
        finder = ScriptedFinder(((0.25, 0.25, 700 / 1200, 0.75), 0.9))
        found = with_finder(model, finder).segment(image, concept)
        assert finder.asked == [((683, 1024), "disc")]
        assert found.mask.shape == (800, 1200)
        assert iou(found.mask, truth) > 0.6

    def test_no_way_is_shown(self, model, concept, two) -> None:
        with pytest.raises(UsageError, match="segment without a finder to see it"):
            with_finder(model, ScriptedFinder()).segment(two[0], concept, explain=True)

    def test_a_photo_that_the_plain_model_encoded(self, model, concept, two) -> None:
        encoded = model.encode(two[0])
        with pytest.raises(PersamError, match="was encoded by a model without a finder"):
            with_finder(model, ScriptedFinder()).segment(encoded, concept)
