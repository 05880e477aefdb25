"""One person at work: the order of photos, what is next, what is saved, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.study.people import write_photos
from tests.study.test_times import a_time

from persam import PersamError, UsageError
from persam.masks import read_mask
from persam.study import Annotation, Study, add_annotator, check, new, photo_order, read, shuffle
from persam.study.times import NOTHING, read_times


@pytest.fixture
def blank(tmp_path: Path) -> tuple[Study, dict[str, np.ndarray]]:
    """A study of one category of six photos, still without masks; and what is to be marked."""
    truth = write_photos(tmp_path / "photos", 6)
    return new(tmp_path / "study", {"disc": tmp_path / "photos"}, ["anna", "ben"]), truth


def test_from_the_first_photo_to_the_last(blank: tuple[Study, dict[str, np.ndarray]]) -> None:
    study, truth = blank
    for who in ("anna", "ben"):
        work = Annotation.of(study, "disc", who)
        assert work.next_open() == 0
        for photo in work.photos:
            work.save(photo, truth[photo.stem], a_time("of another", "somebody else"))
        assert work.next_open() is None
        times = read_times(work.category.times_file(who), "disc", who).times
        assert [(time.photo, time.place) for time in times] == [(f"{n:02}", n + 1) for n in range(6)]
    assert check(read(study.folder)).complete
    file = study.categories[0].mask_file("ben", study.categories[0].photos[3])
    assert (read_mask(file) == truth["03"]).all()
    picture = Image.open(file)
    assert (picture.mode, set(np.unique(np.asarray(picture)))) == ("L", {0, 255})


def test_one_goes_on_where_one_stopped(blank: tuple[Study, dict[str, np.ndarray]]) -> None:
    study, truth = blank
    work = Annotation.of(study, "disc", "anna")
    for place in (0, 1, 4):
        work.save(work.photos[place], truth[work.photos[place].stem], a_time())
    assert work.done() == {work.photos[place] for place in (0, 1, 4)}
    assert [work.next_open(after) for after in (-1, 1, 3, 5)] == [2, 2, 5, 2]
    assert Annotation.of(study, "disc", "ben").done() == set()


def test_nothing_to_mark_is_said_not_drawn(blank: tuple[Study, dict[str, np.ndarray]]) -> None:
    study, truth = blank
    work = Annotation.of(study, "disc", "anna")
    photo = work.photos[2]
    work.save(photo, truth["02"], a_time())
    assert work.save_nothing(photo, a_time()).made == NOTHING
    assert not work.mask_file(photo).exists()
    assert photo in work.done()
    sentences = [problem.sentence for problem in check(study).problems if problem.photo == "02"]
    assert "by anna, who says that the object is not in it" in sentences[0]
    work.save(photo, truth["02"], a_time())  # after another look
    assert "object is not in it" not in "".join(problem.sentence for problem in check(study).problems)


def test_what_is_refused_leaves_nothing(blank: tuple[Study, dict[str, np.ndarray]]) -> None:
    study, _ = blank
    work = Annotation.of(study, "disc", "anna")
    photo = work.photos[0]
    for mask, words in (
        (np.zeros((60, 80), bool), "Nothing is marked in 00.png"),
        (np.ones((60, 80), bool), "All of 00.png is marked"),
        (np.eye(30, 40, dtype=bool), "The mask is 40 x 30 pixels and 00.png 80 x 60"),
    ):
        with pytest.raises(UsageError, match=words):
            work.save(photo, mask, a_time())
    assert list(work.mask_file(photo).parent.iterdir()) == []


def test_a_foreign_times_file_does_not_cost_the_mask(blank: tuple[Study, dict[str, np.ndarray]]) -> None:
    study, truth = blank
    work = Annotation.of(study, "disc", "anna")
    work.category.times_file("anna").write_text("mine")
    with pytest.raises(PersamError, match="is no table of times"):
        work.save(work.photos[0], truth["00"], a_time())
    assert work.mask_file(work.photos[0]).is_file()


def test_unknown_names(blank: tuple[Study, dict[str, np.ndarray]]) -> None:
    study, _ = blank
    with pytest.raises(UsageError, match="no category 'plate'"):
        Annotation.of(study, "plate", "anna")
    with pytest.raises(UsageError, match="Nobody is called 'zoe'"):
        Annotation.of(study, "disc", "zoe")


# ---------------------------------------------------------------------------------------------------- the order


def test_shuffled_photos_stay_in_their_order(blank: tuple[Study, dict[str, np.ndarray]]) -> None:
    study, _ = blank
    assert photo_order(study).seed is None
    assert Annotation.of(study, "disc", "anna").photos == study.categories[0].photos
    order = shuffle(study, 7)
    assert json.loads((study.folder / "order.json").read_text()) == {"seed": 7}
    assert photo_order(read(study.folder)) == shuffle(study) == order
    anna, ben = (Annotation.of(study, "disc", who) for who in ("anna", "ben"))
    assert [photo.stem for photo in anna.photos] == ["04", "02", "05", "03", "00", "01"]  # on every machine
    assert set(anna.photos) == set(ben.photos) == set(study.categories[0].photos)
    assert anna.photos != ben.photos
    assert anna.reference == study.categories[0].photos[0]
    assert [problem for problem in check(study).problems if problem.kind != "missing"] == []


def test_a_study_keeps_its_order(blank: tuple[Study, dict[str, np.ndarray]]) -> None:
    study, truth = blank
    work = Annotation.of(study, "disc", "anna")
    work.save(work.photos[0], truth["00"], a_time())
    with pytest.raises(UsageError, match="made in another order already"):
        shuffle(study)
    assert not (study.folder / "order.json").exists()


@pytest.mark.parametrize("content", ["", "[1]", '{"seed": "x"}', "{"])
def test_a_damaged_order(blank: tuple[Study, dict[str, np.ndarray]], content: str) -> None:
    study, _ = blank
    (study.folder / "order.json").write_text(content)
    with pytest.raises(PersamError, match=r"order\.json is damaged"):
        Annotation.of(study, "disc", "anna")


# ------------------------------------------------------------------------------------------------------- people


def test_somebody_new(blank: tuple[Study, dict[str, np.ndarray]]) -> None:
    study, _ = blank
    grown, name = add_annotator(study, " zoë/..\\x ")
    assert name == "zoë_.._x"
    assert grown.annotators == ("anna", "ben", name)
    assert (study.folder / "disc" / "annotators" / name).is_dir()
    assert add_annotator(grown, "ANNA")[1] == "anna"
    assert add_annotator(grown, "anna")[0].annotators == grown.annotators


@pytest.mark.parametrize("name", ["", "  ", "...", "gold", "Gold "])
def test_names_that_nobody_can_have(blank: tuple[Study, dict[str, np.ndarray]], name: str) -> None:
    study, _ = blank
    with pytest.raises(UsageError):
        add_annotator(study, name)
    assert read(study.folder).annotators == ("anna", "ben")
