"""Finds as further shots: which are taken, and how the table compares them with the reference alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.fakes import ColourModel

from persam.benchmark.suites import finds as suite
from persam.benchmark.suites.finds import COUNTS, Find, finds_of, learn_from_finds, row_of
from persam.benchmark.suites.one_album import Looked, albums
from persam.benchmark.suites.suite import Missed, Trial, read_photos
from persam.errors import PersamError, UsageError


def find(place: int, score: float, leads_back: float) -> Find:
    return Find(place, score, None, leads_back)  # type: ignore[arg-type]


def test_which_finds_are_taken():
    finds = [find(0, 0.95, 0.2), find(1, 0.9, 0.8), find(2, 0.74, 1.0), find(3, 0.5, 0.9)]
    chosen = {way: [one.place for one in choose(finds)] for way, choose in suite._CHOICES.items()}
    assert chosen == {"by score": [0, 1], "leads back": [2, 1, 3]}


def looked(score: float, assumed: float | None) -> Looked:
    present = score >= 0.5
    kept = (assumed or 0.0) if present else float(assumed is None)
    return Looked({"score": score, "present": present}, assumed, kept)


def test_a_row():
    before = {"a": [looked(0.9, 0.8), looked(0.4, 0.4), looked(0.6, None)], "b": [looked(0.8, 0.6), looked(0.1, None)]}
    after = {"a": [looked(0.9, 0.9), looked(0.7, 0.6), looked(0.2, None)], "b": before["b"]}
    row = row_of("by score", 1, before, after, {"a": [2], "b": [0]})
    assert (row["shots"], row["wrong_shots"]) == (2, 1)  # the first album's shot does not show it
    assert row["iou"] == pytest.approx(0.7)
    assert row["change"]["difference"] == pytest.approx(0.1)
    assert row["change"]["units"] == 2  # albums
    assert row["change_elsewhere"]["difference"] == pytest.approx(0.15)  # the second album's shot is left out
    assert (row["auroc"], row["auroc_change"]["difference"]) == (1.0, pytest.approx(1 / 6))
    assert row["right_change"]["difference"] == pytest.approx(2 / 5)


def test_of_the_suite(data):
    photos = read_photos(data / "perseg", "perseg")
    found = learn_from_finds(Trial(photos, ColourModel()), photos=2)
    assert [(row["way"], row["finds"]) for row in found.rows] == [
        ("the reference alone", 0),
        *(("by score", count) for count in COUNTS),
        *(("leads back", count) for count in COUNTS),
    ]
    assert found.rows[0]["change"]["difference"] == 0
    (table,) = found.tables
    assert table.rows[0][1] == "–"
    assert len(table.rows) == 7
    json.dumps(found.to_dict())


def test_finds_are_learned_from_as_they_were_found(data):
    photos = read_photos(data / "perseg", "perseg")
    album = next(albums(Trial(photos, ColourModel()), "persam", 2, Missed()))
    masks = {place: each.mask for place, each in enumerate(album.found(album.first))}
    for one in finds_of(album, Missed()):
        (record,) = one.concept.references
        assert record.coverage == pytest.approx(float(masks[one.place].mean()), abs=1e-5)
        assert 0 <= one.leads_back <= 1


def test_photos_and_albums_that_cannot_be_read_are_left_out_and_told(data):
    photos = read_photos(data / "perseg", "perseg")
    toy, mug = photos.episodes
    toy.references[0].photo.write_bytes(b"")
    mug.tests[0].photo.write_bytes(b"")
    steps = []
    found = learn_from_finds(Trial(photos, ColourModel(), progress=lambda: steps.append(1)))
    assert {row["albums"] for row in found.rows} == {1}
    assert len(steps) == photos.count
    assert found.notes[-1].startswith("2 albums, photos or finds could not be measured and are left out, such as")


def test_where_no_album_can_be_read_it_is_said_why(data):
    photos = read_photos(data / "perseg", "perseg")
    for episode in photos.episodes:
        episode.references[0].photo.write_bytes(b"")
    with pytest.raises(PersamError, match=r"No album could be measured; perseg/dog toy: .*00.jpg"):
        learn_from_finds(Trial(photos, ColourModel()))


def test_a_find_that_cannot_be_learned_from_is_not_taken(data):
    photos, missed = read_photos(data / "perseg", "perseg"), Missed()
    album = next(albums(Trial(photos, ColourModel()), "persam", 2, missed))
    every = [one.place for one in finds_of(album, missed)]
    learned, odd = album.learned, every[0]

    def but_one(place, mask):
        if place == odd:
            raise ValueError("too odd.")
        return learned(place, mask)

    album.learned = but_one
    assert [one.place for one in finds_of(album, missed)] == every[1:]
    assert missed.reasons == [f"find {odd + 1} in the album {album.name}: too odd"]


def test_photos_in_which_every_object_may_be_are_refused(data):
    photos = read_photos(data / "perseg", "perseg")
    everything = frozenset(sample.photo for each in photos.episodes for sample in each.tests)
    unsure = replace(photos, episodes=tuple(replace(each, not_asked=everything) for each in photos.episodes))
    with pytest.raises(UsageError, match="Each object may be in every photo"):
        learn_from_finds(Trial(unsure, ColourModel()))


def test_without_photos_of_others_there_is_no_auroc():
    before = {"a": [looked(0.9, 0.8), looked(0.4, 0.4)]}
    after = {"a": [looked(0.9, 0.9), looked(0.7, 0.6)]}
    row = row_of("by score", 1, before, after, {"a": [0]})
    assert (row["auroc"], row["auroc_change"]) == (None, None)
    (cells,) = suite.find_table([row], "").rows
    assert cells[5:7] == ("–", "–")
