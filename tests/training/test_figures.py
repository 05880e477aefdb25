from __future__ import annotations

import math
from random import Random

import pytest

from training.figures import over_sets, presence, score


def test_the_mean_is_over_sets_whatever_their_size() -> None:
    random = Random(0)
    values = {name: [random.random() for _ in range(size)] for name, size in (("a", 40), ("b", 25), ("c", 150))}
    mean, low, high, count = over_sets(values)
    means = {name: sum(each) / len(each) for name, each in values.items()}
    assert mean == pytest.approx(sum(means.values()) / 3)
    assert count == 215
    spread = math.sqrt(sum(sum((v - means[n]) ** 2 for v in each) / len(each) ** 2 for n, each in values.items())) / 3
    assert low == pytest.approx(mean - 1.96 * spread, abs=0.15 * spread)
    assert high == pytest.approx(mean + 1.96 * spread, abs=0.15 * spread)


def test_sets_that_differ_from_each_other_do_not_widen_the_interval() -> None:
    assert over_sets({"easy": [1.0] * 90, "hard": [0.0, 0.0]}) == [0.5, 0.5, 0.5, 92]


def test_presence_is_how_often_a_view_with_the_thing_scores_higher() -> None:
    random = Random(1)
    with_it, without = ([random.gauss(middle, 0.2) for _ in range(60)] for middle in (0.6, 0.5))
    without[0] = with_it[0]
    wins = sum((a > b) + 0.5 * (a == b) for a in with_it for b in without)
    pairs = [number // 2 for number in range(60)]
    mean, low, high, count = presence(with_it + without, [True] * 60 + [False] * 60, pairs * 2)
    assert mean == pytest.approx(wins / 3600)
    assert low < mean < high
    assert count == 30


def test_the_score_is_the_mean_of_the_figures() -> None:
    assert score({"a": [0.2, 0.1, 0.3, 5], "b": [0.6, 0.5, 0.7, 900]}) == pytest.approx(0.4)
