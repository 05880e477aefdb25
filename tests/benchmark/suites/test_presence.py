"""Presence: every thing in every photo, and what the table tells of scores with and without fitted numbers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.benchmark.conftest import write_data_sets

from persam.benchmark.suites.presence import ask_presence
from persam.benchmark.suites.suite import PhotoSet, Trial, read_photos
from persam.errors import UsageError
from persam.models.loading import load_model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Not to be changed: all tests share it, and what is found in it."""
    return write_data_sets(tmp_path_factory.mktemp("presence") / "data")


@pytest.fixture(scope="module")
def found(data):
    return ask_presence(Trial(read_photos(data), load_model()))


def test_every_thing_is_looked_for_in_every_photo(found, data):
    photos = read_photos(data)
    things = len({(each.data_set, each.object) for each in photos.episodes})
    for row in found.rows:
        assert row["with_object"] == photos.count
        assert row["with_object"] + row["without"] == photos.count * things


def test_fitted_scores_are_probabilities_and_the_others_are_not(found):
    calibrated = {row["method"]: row["calibration"] is not None for row in found.rows}
    assert calibrated == {
        "persam PerSAM": True, "persam PerSAM-F": True, "similarity alone": False, "official PerSAM": False,
    }  # fmt: skip
    assert all(0 <= row["auroc"] <= 1 and 0 <= row["right"] <= 1 for row in found.rows)
    json.dumps(found.to_dict())
    assert found.plots["reliability.png"]().startswith(b"\x89PNG")


def test_what_is_told_of_intervals_is_of_these_figures(found):
    assert found.about["intervals"].endswith("over things for searches")
    assert "mIoU" not in "".join(found.below())
    assert found.tables[1].columns[-2:] == ("mAP by chance", "P@5 at most")


def test_one_thing_alone_is_refused(data):
    photos = read_photos(data)
    one = replace(photos, episodes=photos.episodes[:1])
    assert isinstance(one, PhotoSet)
    with pytest.raises(UsageError, match="one object alone"):
        ask_presence(Trial(one, load_model()))
