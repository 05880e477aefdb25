"""Consensus masks: majority by brute force, STAPLE by what it is known to find."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.conftest import draw_scene
from tests.study.people import CARELESS, Habit, drawn

from persam.errors import PersamError
from persam.metrics.functional.overlap import iou
from persam.study.agreement import majority, staple


@given(st.lists(arrays(bool, (3, 4)), min_size=1, max_size=7))
def test_majority_by_counting(masks: list[np.ndarray]) -> None:
    found = majority(masks)
    for row in range(3):
        for column in range(4):
            votes = [bool(mask[row, column]) for mask in masks]
            assert found[row, column] == (votes.count(True) > votes.count(False))


def test_a_tie_is_background() -> None:
    one, other = np.array([[True, True, False]]), np.array([[True, False, False]])
    assert majority([one, other]).tolist() == [[True, False, False]]
    assert majority([one, one, other, other]).tolist() == [[True, False, False]]


def test_majority_of_very_many() -> None:
    assert majority([np.ones((1, 1), bool)] * 151 + [np.zeros((1, 1), bool)] * 150).all()


def test_staple_finds_the_careless_annotator() -> None:
    truth = draw_scene()[1]
    rng = np.random.default_rng(5)
    careful = Habit(roughness=0.4)
    masks = {name: drawn(truth, careful, rng) for name in ("anna", "ben", "dora")}
    masks["cleo"] = drawn(truth, CARELESS, rng)
    found = staple(masks)
    assert min(found.sensitivity, key=found.sensitivity.__getitem__) == "cleo"
    assert found.sensitivity["cleo"] < min(found.sensitivity[name] for name in ("anna", "ben", "dora")) - 0.05
    assert iou(found.mask, truth) > iou(masks["cleo"], truth)
    assert found.mask.dtype == bool
    assert found.mask.shape == truth.shape


def test_staple_where_all_agree() -> None:
    truth = draw_scene()[1]
    found = staple({"anna": truth, "ben": truth})
    assert (found.mask == truth).all()
    assert list(found.sensitivity.values()) == list(found.specificity.values()) == pytest.approx([1, 1])


def test_staple_names_people_right_whatever_their_order() -> None:
    truth = draw_scene()[1]
    small = drawn(truth, Habit(outward=-3), np.random.default_rng(0))
    found = staple({"zoe": truth, "anna": small, "max": truth})
    assert found.sensitivity["anna"] == pytest.approx((small & truth).sum() / truth.sum(), abs=1e-6)
    assert found.sensitivity["zoe"] == found.sensitivity["max"] == pytest.approx(1)


def test_without_simpleitk_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(PersamError, match=r"STAPLE needs SimpleITK.*pip install 'persam\[study\]'"):
        staple({"anna": np.eye(3, dtype=bool), "ben": np.eye(3, dtype=bool)})
