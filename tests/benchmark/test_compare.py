"""Two runs against each other: a hand-made pair."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.benchmark.methods_for_tests import ByColour, drawn_episodes
from tests.benchmark.records_for_tests import record

from persam.benchmark.compare import compare, compare_runs, pairs_of_methods
from persam.benchmark.running.run import run
from persam.benchmark.running.run_folder import RunFolder
from persam.errors import UsageError


def test_by_hand():
    first = [record("mug", 1, 50, 50, 100), record("mug", 2, 60, 60, 100), record("cat", 1, 70, 70, 100)]
    second = [record("mug", 1, 60, 60, 100), record("mug", 2, 70, 70, 100), record("cat", 1, 80, 80, 100)]
    found = compare(first, second)
    assert found.means == pytest.approx((0.6, 0.7))
    assert found.over_photos.difference == pytest.approx(0.1)
    assert found.over_photos.p_value == pytest.approx(2 / 8)  # of 8 ways to flip the signs 2 are as extreme
    assert found.over_objects is not None
    assert found.over_objects.p_value == pytest.approx(2 / 4)
    assert found.over_objects.units == 2
    assert found.photos == 3


def test_no_difference():
    records = [record("mug", n, n, 10, 10) for n in range(5)]
    found = compare(records, records)
    assert found.over_photos.difference == 0
    assert found.over_photos.p_value == 1
    assert found.most_different == ()
    assert found.over_objects is None


def test_the_most_different_photos_come_first():
    first = [record("mug", n, 50, 50, 100) for n in range(14)]
    second = [record("mug", n, 50 + n * (-1) ** n, 50 + n * (-1) ** n, 100) for n in range(14)]
    found = compare(first, second)
    assert [name for name, _, _ in found.most_different[:3]] == ["mug/13", "mug/12", "mug/11"]
    assert len(found.most_different) == 10
    assert found.most_different[0][1:] == pytest.approx((0.5, 0.37))


def test_photos_that_one_run_has_alone_are_named_and_left_out():
    first = [record("mug", n, 1, 2, 2) for n in (1, 2)]
    second = [record("mug", n, 2, 2, 2) for n in (2, 3)]
    found = compare(first, second)
    assert (found.only_first, found.only_second, found.photos) == (("mug/1",), ("mug/3",), 1)
    with pytest.raises(UsageError, match="no photo in common"):
        compare(first[:1], second)


def test_photos_that_changed_are_left_out():
    first = [replace(record("mug", n, 1, 2, 2), digest="old") for n in (1, 2)]
    second = [replace(record("mug", 1, 1, 2, 2), digest="new"), replace(record("mug", 2, 1, 2, 2), digest="old")]
    found = compare(first, second)
    assert (found.changed, found.photos) == (("mug/1",), 1)


def test_which_method_with_which():
    a, b, c = ([record("mug", 1, 1, 2, 2, method=name)] for name in "abc")
    assert pairs_of_methods(a + b, b + c) == [(b, b)]
    assert pairs_of_methods(a, c) == [(a, c)]
    with pytest.raises(UsageError, match="share no method: a, b and c; name one of each with --methods A,B"):
        pairs_of_methods(a + b, c)


def test_folders(tmp_path):
    episodes = drawn_episodes(tmp_path / "data")
    for name, shift in (("one", 0), ("two", 8)):
        run(episodes, [ByColour("m", shift), ByColour(name)], store=RunFolder(tmp_path / name, {}))
    (found,) = compare_runs(tmp_path / "one", tmp_path / "two")
    assert (found.first, found.second, found.photos) == ("m", "m", 4)
    assert found.over_photos.difference < -0.1
    (same,) = compare_runs(tmp_path / "one", tmp_path / "two", ("one", "two"))
    assert same.over_photos.difference == 0
    with pytest.raises(UsageError, match="has no method x; it has m, one"):
        compare_runs(tmp_path / "one", tmp_path / "two", ("x", "two"))
    with pytest.raises(UsageError, match="holds no run"):
        compare_runs(tmp_path / "data", tmp_path / "two")
