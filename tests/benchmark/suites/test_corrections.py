"""Orders of correction: what a correction does in an album, the order that is followed, and what is told of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.fakes import ColourModel

from persam.benchmark.suites.corrections import (
    AT_RANDOM,
    OURS,
    Course,
    by_lot,
    by_worth,
    draw_courses,
    follow,
    order_corrections,
    rows_of,
)
from persam.benchmark.suites.one_album import Looked, albums
from persam.benchmark.suites.suite import Missed, Trial, read_photos
from persam.errors import UsageError


class Scripted:
    """An album of four photos, the last without the thing; every shot makes all others right by a tenth more."""

    name = "set/mug"
    START = (0.5, 0.2, 0.8, 1.0)

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __len__(self) -> int:
        return 4

    def looked(self, corrected):
        self.asked.append(list(corrected))
        gain = 0.1 * len([place for place in corrected if place != 3])
        kept = [min(1.0, value + gain) for value in self.START]
        return [Looked({"score": value}, None if place == 3 else value, value) for place, value in enumerate(kept)]


class TestFollowing:
    def test_the_worst_first(self):
        album = Scripted()
        course = follow(album, by_worth(lambda found: -found["score"]), 2)
        assert album.asked == [[], [1], [1, 0]]
        np.testing.assert_allclose(course.kept, [(0.5, 0.2, 0.8, 1), (0.6, 1, 0.9, 1), (1, 1, 1, 1)])
        np.testing.assert_array_equal(course.left.sum(1), [4, 3, 2])
        np.testing.assert_allclose(course.own, [0.8, 0.4])
        np.testing.assert_allclose(course.others, [0.2, 0.1])

    def test_an_album_that_is_wholly_corrected_stays_as_it_is(self):
        course = follow(Scripted(), by_worth(lambda found: found["score"]), 6)
        assert course.kept.shape == (7, 4)
        assert (course.kept[4:] == 1).all()
        assert not course.left[4:].any()
        assert (course.own[4:] == 0).all()

    def test_a_lot_is_the_same_with_the_same_seed(self):
        first, again = (follow(Scripted(), by_lot(np.random.default_rng(3)), 3) for _ in range(2))
        np.testing.assert_array_equal(first.left, again.left)


def course(*kept: tuple[float, ...]) -> Course:
    """Of an album whose photos are corrected from the left."""
    values = np.array(kept)
    left = np.arange(values.shape[1]) >= np.arange(len(values))[:, None]
    return Course(values, left, 1 - np.diag(values)[: len(values) - 1])


def test_rows():
    courses = {
        OURS: {"a": [course((0.2, 0.5), (1.0, 0.7))], "b": [course((0.0, 0.5), (1.0, 0.5))]},
        AT_RANDOM: {
            "a": [course((0.2, 0.5), (1.0, 0.5)), course((0.2, 0.5), (1.0, 0.3))],
            "b": [course((0.0, 0.5), (1.0, 0.1))],
        },
    }
    ours, random = rows_of(courses, 1)
    assert ours["iou"] == [pytest.approx(0.3), pytest.approx(0.8)]
    assert ours["iou_of_left"] == [pytest.approx(0.3), pytest.approx(0.6)]
    assert ours["on_the_way"] == pytest.approx(0.8)
    assert random["on_the_way"] == pytest.approx((1 + 0.4 + 1 + 0.1) / 4)
    assert random["ours_ahead"]["difference"] == pytest.approx(0.8 - 0.625)
    assert random["ours_ahead"]["units"] == 2  # albums
    assert ours["ours_ahead"] is None
    assert (ours["own"], ours["others"]) == (pytest.approx(0.9), pytest.approx(0.1))
    assert draw_courses([ours, random], "two albums").startswith(b"\x89PNG")


def test_of_the_suite(data):
    turns = []
    photos = read_photos(data)
    trial = Trial(photos, ColourModel(), progress=lambda: turns.append(1))
    found = order_corrections(trial, corrections=2, photos=2, seeds=1)
    assert len(turns) == photos.count
    assert [row["order"] for row in found.rows] == [OURS, "most unsure", "lowest score", AT_RANDOM]
    for row in found.rows:
        assert row["albums"] == len(photos.episodes)
        assert len(row["iou"]) == 3
        assert row["iou"][0] == found.rows[0]["iou"][0]  # before the first correction all are the same
    assert found.tables[1].columns == ("corrections", "0", "1", "2")
    json.dumps(found.to_dict())


def test_a_photo_that_cannot_be_read_is_left_out_and_told(data):
    photos = read_photos(data / "perseg", "perseg")
    toy, mug = photos.episodes
    mug.references[0].photo.write_bytes(b"")
    toy.tests[0].photo.write_bytes(b"")
    found = order_corrections(Trial(photos, ColourModel()), corrections=1, photos=2, seeds=1)
    assert {row["albums"] for row in found.rows} == {1}
    assert found.notes[-1].startswith("2 albums or photos could not be measured and are left out, such as")
    assert "whole albums" in found.below()[2]
    assert "mIoU" not in "".join(found.below())


class TestAlbum:
    def test_photos_with_the_thing_and_as_many_without(self, data):
        photos = read_photos(data / "perseg", "perseg")
        first, _ = albums(Trial(photos, ColourModel()), "persam", 8, Missed())
        assert [first.shows(place) for place in range(len(first))] == [True, True, False, False]

    def test_a_correction_of_a_photo_without_the_thing_is_no_shot(self, data):
        photos = read_photos(data / "perseg", "perseg")
        album = next(albums(Trial(photos, ColourModel()), "persam", 8, Missed()))
        before = album.looked([])
        assert album.looked([2]) is before
        assert album.looked([0]) is not before
        assert album.looked([0, 3]) is album.looked([3, 0])

    def test_what_is_right(self, data):
        photos = read_photos(data / "perseg", "perseg")
        album = next(albums(Trial(photos, ColourModel()), "persam", 8, Missed()))
        for place, each in enumerate(album.looked()):
            assert (each.assumed is not None) == album.shows(place)
            if not album.shows(place):
                assert each.kept == (not each.figures["present"])

    def test_one_object_alone_is_refused(self, data):
        photos = read_photos(data / "perseg", "perseg")
        one = replace(photos, episodes=photos.episodes[:1])
        with pytest.raises(UsageError, match="one object alone"):
            order_corrections(Trial(one, ColourModel()))
