"""Each thing is a search: what is ranked, what counts, and what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.benchmark.records_for_tests import record

from persam.benchmark.absence.ranking import ranking_table, summarise_rankings
from persam.benchmark.records import Record


def answer(thing: str, photo: int, there: bool, score: float | None, method: str = "m") -> Record:
    asked = record(thing, photo, 0, 1, 9 if there else 0, method=method)
    return replace(asked, score=score, failure=None if score is not None else "damaged")


SEARCHES = [
    *(answer("mug", *each) for each in [(1, True, 0.9), (2, False, 0.8), (3, True, 0.7), (4, False, 0.1)]),
    *(answer("cat", *each) for each in [(1, False, 0.5), (2, True, None), (3, True, 0.4), (4, False, 0.3)]),
    *(answer("owl", *each) for each in [(1, False, 0.5), (2, False, 0.4)]),  # in no photo
    *(answer("dog", *each) for each in [(1, True, 0.5), (2, True, 0.4)]),  # in all
]


def test_means_over_things_by_hand():
    (found,) = summarise_rankings(SEARCHES)
    assert list(found.things) == ["mug", "cat"]
    mug, cat = found.things.values()
    assert (mug.photos, mug.shown, mug.average_precision) == (4, 2, pytest.approx((1 + 2 / 3) / 2))
    assert cat.average_precision == pytest.approx((1 / 2 + 2 / 4) / 2)  # what has no score comes last
    assert (mug.at_1, cat.at_1) == (1, 0)
    assert (mug.at_5, mug.at_5_at_most, mug.r_precision) == (0.4, 0.4, 0.5)
    assert found.means["average_precision"] == pytest.approx((mug.average_precision + cat.average_precision) / 2)
    low, high = found.intervals["average_precision"]
    assert (low, high) == (pytest.approx(cat.average_precision), pytest.approx(mug.average_precision))


def test_table():
    (row,) = ranking_table(summarise_rankings(SEARCHES), "t").rows
    assert row == (
        "m", "2", "4", "2.0", "66.7 [50.0, 83.3]", "50.0 [0.0, 100.0]", "40.0 [40.0, 40.0]", "50.0 [50.0, 50.0]",
        "68.1", "40.0",
    )  # fmt: skip


def test_nothing_to_rank():
    (found,) = summarise_rankings([each for each in SEARCHES if each.object in ("owl", "dog")])
    assert (found.things, found.means) == ({}, {})
    assert ranking_table([found], "t").rows == (("m", "0", *["–"] * 8),)


def test_a_row_a_method():
    searches = [replace(each, method=name) for name in "ab" for each in SEARCHES]
    assert [each.method for each in summarise_rankings(searches)] == ["a", "b"]
