"""Concepts that compete for pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persam.album.disjoint import disjoint, rivals
from persam.instance import Instance
from persam.segmentation import Segmentation


def square(top: int, left: int, side: int = 10, size: int = 40) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def found(concept: str, *objects: tuple[np.ndarray, float]) -> Segmentation:
    instances = tuple(sorted((Instance(mask, score) for mask, score in objects), key=lambda one: -one.score))
    whole = np.logical_or.reduce([one.mask for one in instances])
    return Segmentation(concept, None, whole, instances[0].score, threshold=0.5, instances=instances)


def absent(concept: str) -> Segmentation:
    return Segmentation(concept, None, np.zeros((40, 40), bool), 0.1, present=False)


@st.composite
def photos(draw: st.DrawFn) -> list[Segmentation]:
    """Up to four concepts with up to three squares each, every score another."""
    scores = draw(st.permutations([n / 20 for n in range(10, 20)]))
    result = []
    for concept in "abcd"[: draw(st.integers(1, 4))]:
        objects = [
            (square(draw(st.integers(0, 25)), draw(st.integers(0, 25)), draw(st.integers(1, 14))), scores.pop())
            for _ in range(draw(st.integers(0, min(3, len(scores)))))
        ]
        result.append(found(concept, *objects) if objects else absent(concept))
    return result


def masks_of(segmentations: list[Segmentation]) -> dict[str, bytes]:
    return {each.concept: each.mask.tobytes() + str(round(each.score, 9)).encode() for each in segmentations}


@given(photos())
def test_no_pixel_has_two_concepts_and_none_is_invented(before):
    after = disjoint(before)
    assert sum(each.mask.astype(int) for each in after).max() <= 1
    for one, other in zip(before, after, strict=True):
        assert other.concept == one.concept
        assert not (other.mask & ~one.mask).any()
        assert other.present == bool(other.instances)
        for instance in other.instances:
            assert instance.mask.any()


@given(photos(), st.randoms())
def test_the_order_of_the_concepts_does_not_matter(before, random):
    shuffled = list(before)
    random.shuffle(shuffled)
    assert masks_of(disjoint(shuffled)) == masks_of(disjoint(before))


@given(photos())
def test_twice_is_as_once(before):
    once = disjoint(before)
    assert masks_of(disjoint(once)) == masks_of(once)


def test_the_surer_one_gets_the_pixels():
    cup, cat = disjoint([found("cup", (square(0, 0), 0.6)), found("cat", (square(0, 7), 0.9))])
    assert cat.mask.sum() == 100
    assert cup.mask.sum() == 70
    assert (cup.box, cup.score) == ((0, 0, 7, 10), 0.6)


def test_what_is_left_stays_there():
    cup, cat = disjoint([found("cup", (square(0, 0), 0.6)), found("cat", (square(0, 3), 0.9))])
    assert (cup.present, cup.mask.sum(), cup.score) == (True, 30, 0.6)
    assert cat.mask.sum() == 100


def test_what_loses_all_of_its_mask_was_the_other_thing():
    cup, cat = disjoint([found("cup", (square(0, 0), 0.6)), found("cat", (square(0, 0), 0.9))])
    assert not cup.present
    assert cup.box is None
    assert cup.candidate is not None
    assert cup.candidate.mask.sum() == 100
    assert cup.score == pytest.approx(0.6 * 0.1 / (1 - 0.6 * 0.9))  # it and not the cat, given not both
    assert cat.present
    assert cat.score == 0.9


def test_rivals_are_those_whose_boxes_hang_together():
    boxes = {"a": (0, 0, 10, 10), "b": (9, 9, 20, 20), "c": (19, 19, 30, 30), "d": (30, 0, 40, 10), "e": None}
    groups = rivals(boxes)
    assert groups["a"] == groups["b"] == groups["c"] == {"a", "b", "c"}
    assert groups["d"] == {"d"}
    assert groups["e"] == {"e"}


def test_twins_of_one_concept_may_touch():
    twins = found("cup", (square(0, 0), 0.9), (square(0, 8), 0.8))
    other = found("cat", (square(30, 30), 0.7))
    assert disjoint([twins, other])[0] is not None
    assert [one.mask.sum() for one in disjoint([twins, other])[0].instances] == [100, 100]


def test_one_of_two_instances_may_go():
    gone, left = Instance(square(0, 0), 0.8, 0.7, 0.9), Instance(square(20, 20), 0.65, 0.5, 0.6)
    whole = gone.mask | left.mask
    both = Segmentation("cup", None, whole, 0.8, similarity=0.7, predicted_iou=0.9, instances=(gone, left))
    cup, _ = disjoint([both, found("cat", (square(0, 0), 0.9))])
    assert [one.score for one in cup.instances] == [0.65]
    assert cup.mask.sum() == 100
    assert (cup.score, cup.similarity, cup.predicted_iou) == (0.65, 0.5, 0.6)
    assert (both.verdict, cup.verdict) == ("present", "unsure")


def test_one_concept_or_none_stays_as_it_is():
    one, none = found("cup", (square(0, 0), 0.9)), absent("cat")
    assert disjoint([one, none]) == [one, none]
    assert disjoint([]) == []
    assert disjoint([replace(one, present=False), none])[0].concept == "cup"
