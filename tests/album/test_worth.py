"""What is most worth correcting: by what was found, without what was corrected, and as the album tells it."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image
from tests.album.test_album import disc, draw, fill
from tests.fakes import ColourModel

from persam import PerSAM
from persam.album.album import Album
from persam.album.worth import Worth, expected_gain
from persam.errors import UsageError


def found(score: float, predicted_iou: float | None = 0.9) -> dict:
    return {"score": score, "present": score >= 0.5, "predicted_iou": predicted_iou}


class TestExpectedGain:
    def test_a_sure_and_good_find_is_worth_least_of_what_is_there(self):
        assert expected_gain(found(0.95)) < expected_gain(found(0.6)) < expected_gain(found(0.95, 0.3))

    def test_what_is_surely_not_there_is_worth_nothing(self):
        assert expected_gain(found(0.0)) == 0
        assert expected_gain(found(0.1)) < expected_gain(found(0.4)) < expected_gain(found(0.6))

    @pytest.mark.parametrize("score", [0.0, 0.3, 0.5, 0.8, 1.0])
    @pytest.mark.parametrize("predicted", [None, -0.2, 0.0, 0.7, 1.3])
    def test_it_lies_between_0_and_1(self, score, predicted):
        assert 0 <= expected_gain(found(score, predicted)) <= 1


@pytest.fixture
def model() -> PerSAM:
    return PerSAM(ColourModel())


@pytest.fixture
def red(model):
    return model.learn(draw(red=(40, 60)), disc(40, 60), name="red")


@pytest.fixture
def filled(tmp_path, model, red):
    """An album of red discs, one in three in a colour that is only nearly red."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(6):
        photo = draw(red=(40 + 15 * number, 60))
        if number % 3 == 2:
            photo[disc(40 + 15 * number, 60)] = (170, 80, 60)
        Image.fromarray(photo).save(photos / f"{number}.png")
    fill(tmp_path / "out", model, red, photos)
    return tmp_path / "out"


def listed(folder) -> list[dict[str, str]]:
    with (folder / "correct.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


class TestAlbum:
    def test_the_best_first_and_the_same_in_the_list(self, filled):
        with Album(filled) as album:
            worth = album.worth_correcting("red")
            lines = {line["image"]: line for line in album.lines()}
        assert [one.gain for one in worth] == sorted((one.gain for one in worth), reverse=True)
        assert {one.image for one in worth} == lines.keys()
        for one in worth:
            assert one.gain == pytest.approx(expected_gain(lines[one.image]), abs=1e-4)
            assert (filled / one.mask).is_file()
        rows = listed(filled)
        assert list(rows[0]) == ["photo", "concept", "score", "verdict", "predicted_iou", "gain", "mask"]
        assert [row["photo"] for row in rows] == [one.image for one in worth]

    def test_what_was_corrected_is_left_out_before_and_after_it_is_learned_from(self, filled, model, red):
        with Album(filled) as album:
            first, second, *_ = album.worth_correcting(red)
            Image.fromarray(disc(90, 60)).save(filled / first.mask)
            assert album.worth_correcting(red)[0].image == second.image
            fixed = album.fix(model, red)
            assert fixed.corrected == [first.image]
            assert first.image not in {one.image for one in album.worth_correcting(red)}
            assert first.image not in {one.image for one in fixed.report.worth}
        assert first.image not in {row["photo"] for row in listed(filled)}

    def test_a_reference_in_the_album_is_left_out(self, filled, model, tmp_path, monkeypatch):
        shot, twin = tmp_path / "photos" / "1.png", tmp_path / "photos" / "more" / "1.png"
        twin.parent.mkdir()
        Image.fromarray(draw(red=(100, 80))).save(twin)  # of the same name, and another photo
        monkeypatch.chdir(tmp_path)
        again = model.learn("photos/1.png", disc(55, 60), name="red")
        report = fill(filled, model, again, [shot.parent, twin.parent])
        assert str(shot) not in {one.image for one in report.worth}
        assert str(twin) in {one.image for one in report.worth}
        with Album(filled) as album:
            assert album.worth_correcting(again) == report.worth
            assert len(album.worth_correcting("red")) == len(report.worth) + 1  # its references are not known

    def test_of_one_concept_or_of_all(self, filled, model, tmp_path):
        green = model.learn(draw(green=(40, 60)), disc(40, 60), name="green")
        fill(filled, model, green, tmp_path / "photos")
        with Album(filled) as album:
            assert {one.concept for one in album.worth_correcting()} == {"red", "green"}
            assert {one.concept for one in album.worth_correcting(green)} == {"green"}
            assert len(album.worth_correcting(most=3)) == 3

    def test_refused(self, filled):
        with Album(filled) as album:
            with pytest.raises(UsageError, match='no concept "blue"'):
                album.worth_correcting("blue")
            with pytest.raises(UsageError, match="at least 1"):
                album.worth_correcting(most=0)

    def test_a_stranger_s_list_is_not_replaced(self, tmp_path, model, red):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "correct.csv").write_text("mine")
        Image.fromarray(draw(red=(50, 50))).save(tmp_path / "a.png")
        with pytest.raises(UsageError, match=r"correct.csv"):
            fill(tmp_path / "out", model, red, tmp_path / "a.png")
        assert (tmp_path / "out" / "correct.csv").read_text() == "mine"


def test_nothing_found_is_an_album_of_nothing_to_correct(tmp_path, model, red):
    Image.fromarray(np.full((60, 80, 3), 120, np.uint8)).save(tmp_path / "grey.png")
    report = fill(tmp_path / "out", model, red, tmp_path / "grey.png")
    (only,) = report.worth
    assert isinstance(only, Worth)
    assert only.gain < 0.25
