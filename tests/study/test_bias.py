"""Bias: who marks too little, who too much."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import draw_scene
from tests.study.people import CAREFUL, DILATOR, ERODER, Habit, drawn

from persam.study.agreement import bias

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
