"""Several people's masks: how far they agree, what they make together, and who marks too little or too much."""

from __future__ import annotations

import sys
from itertools import permutations

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.conftest import draw_scene
from tests.study.people import CAREFUL, CARELESS, DILATOR, ERODER, Habit, drawn

from persam.errors import PersamError
from persam.metrics import iou
from persam.study.agreement import Coincidences, bias, majority, pairwise_iou, staple

Photos = list[list[np.ndarray]]
photos_of_masks = st.lists(st.lists(arrays(bool, (3, 4)), min_size=0, max_size=4), min_size=1, max_size=3)


def krippendorff_alpha(photos: Photos) -> float | None:
    return sum((Coincidences.of(masks) for masks in photos), Coincidences()).alpha


def alpha_by_definition(photos: Photos) -> float | None:
    """Build the coincidence matrix pair by pair, then 1 - D_o / D_e with D_e from all pairs of values."""
    matrix = np.zeros((2, 2))
    for masks in photos:
        for unit in zip(*(mask.reshape(-1) for mask in masks), strict=True):
            for one, other in permutations(range(len(unit)), 2):
                matrix[int(unit[one]), int(unit[other])] += 1 / (len(unit) - 1)
    totals = matrix.sum(axis=1)
    count = totals.sum()
    if count == 0 or (totals == 0).any():
        return None
    observed = (matrix[0, 1] + matrix[1, 0]) / count
    expected = 2 * totals[0] * totals[1] / (count * (count - 1))
    return 1 - observed / expected


@given(photos_of_masks)
def test_alpha_by_its_definition(photos: Photos) -> None:
    expected, found = alpha_by_definition(photos), krippendorff_alpha(photos)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-9))


@given(st.lists(arrays(bool, (5, 6)), min_size=2, max_size=5))
def test_alpha_as_the_library_krippendorff_has_it(masks: list[np.ndarray]) -> None:
    values = np.array([mask.reshape(-1) for mask in masks]).astype(float)
    if values.min() == values.max():
        assert krippendorff_alpha([masks]) is None
    else:
        expected = krippendorff.alpha(reliability_data=values, level_of_measurement="nominal")
        assert krippendorff_alpha([masks]) == pytest.approx(expected, abs=1e-9)


def test_photos_with_different_people_as_the_library_has_them() -> None:
    rng = np.random.default_rng(0)
    first, second = [rng.random((6, 7)) < 0.4 for _ in range(3)], [rng.random((4, 5)) < 0.6 for _ in range(2)]
    missing = np.full(20, np.nan)
    values = [np.concatenate([first[n].reshape(-1), second[n].reshape(-1) if n < 2 else missing]) for n in range(3)]
    expected = krippendorff.alpha(reliability_data=np.array(values, float), level_of_measurement="nominal")
    assert krippendorff_alpha([first, second]) == pytest.approx(expected, abs=1e-12)


def test_known_ends() -> None:
    rng = np.random.default_rng(1)
    mask = rng.random((200, 200)) < 0.3
    assert krippendorff_alpha([[mask, mask, mask]]) == 1
    assert krippendorff_alpha([[mask, ~mask]]) < 0
    assert krippendorff_alpha([[rng.random((300, 300)) < 0.3 for _ in range(3)]]) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("value", [False, True])
def test_constant_ratings_have_no_alpha(value: bool) -> None:
    assert krippendorff_alpha([[np.full((3, 3), value)] * 3]) is None


def test_one_person_has_no_alpha() -> None:
    mask = np.eye(3, dtype=bool)
    assert krippendorff_alpha([[mask], []]) is None
    assert Coincidences.of([mask]) == Coincidences()


def test_more_than_255_people_do_not_overflow() -> None:
    mask = np.zeros((100, 100), bool)
    mask[:50] = True
    found = Coincidences.of([mask] * 300)
    assert (found.background, found.disputed, found.object) == pytest.approx((1.5e6, 0, 1.5e6))


def test_pairwise_iou_is_symmetric_and_names_each_pair_once() -> None:
    rng = np.random.default_rng(2)
    masks = {name: rng.random((9, 9)) < 0.5 for name in ("cleo", "anna", "ben")}
    found = pairwise_iou(masks)
    assert list(found) == [("anna", "ben"), ("anna", "cleo"), ("ben", "cleo")]
    for (one, other), value in found.items():
        assert value == iou(masks[one], masks[other]) == iou(masks[other], masks[one])
    assert found == pairwise_iou(dict(reversed(masks.items())))
    assert pairwise_iou({"anna": masks["anna"]}) == {}


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


areas = st.lists(st.tuples(st.integers(1, 10_000), st.integers(1, 10_000)), min_size=1, max_size=12)


@given(areas)
def test_the_ratio_is_the_geometric_mean_and_turns_round(pairs: list[tuple[int, int]]) -> None:
    found, turned = bias(pairs), bias([(other, own) for own, other in pairs])
    assert found is not None
    assert turned is not None
    product = np.prod([own / other for own, other in pairs], dtype=np.longdouble)
    assert found.ratio == pytest.approx(float(product ** (1 / len(pairs))))
    assert found.ratio * turned.ratio == pytest.approx(1)
    assert found.low - 1e-9 <= found.ratio <= found.high + 1e-9


@pytest.mark.parametrize(
    ("habit", "verdict"), [(ERODER, "under-segments"), (DILATOR, "over-segments"), (CAREFUL, "even")]
)
def test_habits_are_told_apart(habit: Habit, verdict: str) -> None:
    rng = np.random.default_rng(4)
    truths = [draw_scene(center=(50 + 5 * n, 60), radius=28 + n)[1] for n in range(12)]
    found = bias([(int(drawn(truth, habit, rng).sum()), int(truth.sum())) for truth in truths])
    assert found is not None
    assert found.verdict == verdict


def test_empty_areas_have_no_ratio() -> None:
    assert bias([(0, 5), (5, 0)]) is None
    assert bias([]) is None
    found = bias([(10, 5), (0, 5)])
    assert found is not None
    assert (found.ratio, found.photos) == (pytest.approx(2), 1)


def test_few_photos_and_tiny_differences_are_no_verdict() -> None:
    few, tiny = bias([(1, 2)] * 4), bias([(101, 100)] * 50)
    assert few is not None
    assert few.verdict == "too few photos"
    assert tiny is not None
    assert tiny.low > 1
    assert tiny.verdict == "even"
