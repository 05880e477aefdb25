"""Agreement of people: pairwise IoU, and Krippendorff's alpha against its definition and against the library."""

from __future__ import annotations

from itertools import permutations

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from persam.metrics import iou
from persam.study.agreement import Coincidences, krippendorff_alpha, pairwise_iou

Photos = list[list[np.ndarray]]
photos_of_masks = st.lists(st.lists(arrays(bool, (3, 4)), min_size=0, max_size=4), min_size=1, max_size=3)


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
