"""Search: against the definition by brute force, and against torchmetrics."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.retrieval import (
    retrieval_average_precision,
    retrieval_precision,
    retrieval_r_precision,
)

from persam.benchmark.absence.ranking import ThingRanking
from persam.metrics import average_precision, precision_at, r_precision

# torchmetrics takes scores above 0 alone.
photos = st.lists(
    st.tuples(st.integers(1, 100), st.booleans()), min_size=1, max_size=12, unique_by=lambda each: each[0]
)


def by_definition(scores: list[float], present: list[bool]) -> float:
    """For each photo that has it: of the photos that score no less, the share that has it; the mean."""
    shares = []
    for score, has_it in zip(scores, present, strict=True):
        if has_it:
            above = [other for place, other in zip(scores, present, strict=True) if place >= score]
            shares.append(sum(above) / len(above))
    return sum(shares) / len(shares)


@given(photos.filter(lambda each: any(has_it for _, has_it in each)))
def test_as_defined_and_as_torchmetrics_has_it(drawn):
    scores, present = [float(score) for score, _ in drawn], [has_it for _, has_it in drawn]
    tensors = torch.tensor(scores), torch.tensor(present)
    found = average_precision(scores, present)
    assert found == pytest.approx(by_definition(scores, present))
    assert found == pytest.approx(float(retrieval_average_precision(*tensors)), abs=1e-6)
    assert r_precision(scores, present) == pytest.approx(float(retrieval_r_precision(*tensors)), abs=1e-6)
    for first in (1, 5):
        assert precision_at(scores, present, first) == pytest.approx(
            float(retrieval_precision(*tensors, top_k=first)), abs=1e-6
        )


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (4, 1), (5, 2), (6, 3), (5, 5)])
def test_by_chance_is_the_mean_over_all_orders(count, shown):
    truth = [number < shown for number in range(count)]
    orders = [average_precision(order, truth) for order in permutations(range(count))]
    assert ThingRanking(count, shown, 0, 0, 0, 0).by_chance == pytest.approx(np.mean(orders))


def test_what_is_left_out_of_a_search_comes_last_and_ties_stay_in_order():
    assert average_precision([-np.inf, 0.1, -3], [True, False, False]) == pytest.approx(1 / 3)
    assert average_precision([1, 1, 1], [True, False, False]) == 1
    assert average_precision([1, 1, 1], [False, False, True]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("scores", "present", "words"),
    [
        ([0.5], [True, False], "shapes"),
        ([np.nan], [True], "not a number"),
        ([0.5], [False], "at least one photo"),
        ([0.5], [2], "Labels"),
        ([], [], "at least one photo"),
    ],
)
def test_refused(scores, present, words):
    with pytest.raises(ValueError, match=words):
        average_precision(scores, present)
    with pytest.raises(ValueError, match="at least 1"):
        precision_at([0.5], [True], 0)
