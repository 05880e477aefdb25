"""The tables: means, intervals, bands, rankings, and the model beside the people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
from tests.fakes import ColourModel
from tests.study.conftest import make_study, mask_photos
from tests.study.people import CAREFUL, CARELESS, DILATOR

from persam import PerSAM
from persam.study import StudyResult, read, run, summarise
from persam.study.agreement import Coincidences
from persam.study.results import Mean, band_of


def test_table_one_is_the_mean_over_photos(result: StudyResult) -> None:
    summary = summarise(result)
    for row in (*summary.rows, summary.total):
        mine = [a for a in result.answers if row.name in {a.category, "all"}]
        for name, figure in row.annotators.items():
            assert figure is not None
            assert figure.mean == pytest.approx(mean(a.iou["own"] for a in mine if a.annotator == name))
            assert figure.low <= figure.mean <= figure.high
            assert figure.photos == (10 if row.name == "all" else 5)
        for kind in ("majority", "staple", "gold"):
            figure = getattr(row, kind)
            assert figure.mean == pytest.approx(mean(a.iou[kind] for a in mine))
        photos = [photo for photo in result.rated if row.name in {photo.category, "all"}]
        assert row.people is not None
        assert row.people.mean == pytest.approx(mean(value for photo in photos for value in photo.pairs.values()))
        assert row.alpha == sum((photo.coincidences for photo in photos), Coincidences()).alpha
        assert sum(row.bands) == len({(a.category, a.photo) for a in mine})


def test_photos_are_drawn_with_all_of_their_masks() -> None:
    """Three equal values of each photo are one photo's worth of knowledge."""
    values = [(f"photo {n}", float(n % 2)) for n in range(10)]
    assert Mean.of(values) == Mean.of([value for value in values for _ in range(3)])
    assert Mean.of([]) is None


def test_bands() -> None:
    assert [band_of(value) for value in (1, 0.8, 0.7999, 0.6, 0.5999, 0)] == [0, 0, 1, 1, 2, 2]


def test_people_and_their_habits(result: StudyResult) -> None:
    anna, ben, cleo = summarise(result).people
    assert [person.masks for person in (anna, ben, cleo)] == [12, 12, 12]
    for person, verdict in ((ben, "under-segments"), (cleo, "over-segments")):
        assert person.against_majority is not None
        assert person.against_gold is not None
        assert person.against_majority.verdict == person.against_gold.verdict == verdict
        assert set(person.by_category) == {"disc", "plate"}
    assert ben.sensitivity is not None
    assert cleo.specificity is not None
    assert anna.sensitivity is not None
    assert anna.specificity is not None
    assert ben.sensitivity.mean < anna.sensitivity.mean
    assert cleo.specificity.mean < anna.specificity.mean
    assert anna.gold is not None
    assert ben.gold is not None
    assert anna.gold.mean > ben.gold.mean


def test_disputed_categories_are_ranked(tmp_path: Path) -> None:
    truth = make_study(tmp_path, {"anna": CAREFUL, "ben": CAREFUL}, categories=("a", "b", "c"), photos=3)
    folder = tmp_path / "study"
    mask_photos(folder / "b", truth["b"], {"ben": CARELESS}, 1)
    mask_photos(folder / "c", truth["c"], {"ben": DILATOR}, 1)
    disputed = summarise(run(read(folder), PerSAM(ColourModel()))).disputed
    assert [row.name for row in disputed] == ["b", "c", "a"]
    values = [row.people.mean for row in disputed if row.people is not None]
    assert values == sorted(values)


def with_model(result: StudyResult, by: float) -> StudyResult:
    """The same study with a model that is nearer (or farther) by so much than the people to each other."""
    people = {(photo.category, photo.photo): mean(photo.pairs.values()) for photo in result.rated}
    return replace(
        result,
        answers=tuple(
            replace(answer, iou=answer.iou | {"own": people[answer.category, answer.photo] + by})
            for answer in result.answers
        ),
    )


@pytest.mark.parametrize(("by", "word"), [(-0.2, "No: the model is farther"), (0.1, "Yes: the model is even nearer")])
def test_the_model_beside_the_people(result: StudyResult, by: float, word: str) -> None:
    near = summarise(with_model(result, by)).nearness
    assert near is not None
    assert near.verdict.startswith(word)
    assert near.test.difference == pytest.approx(by)
    assert near.model - near.people == pytest.approx(by)
    assert near.test.units == 10


def test_no_difference_and_too_few_photos(result: StudyResult) -> None:
    near = summarise(with_model(result, 0)).nearness
    assert near is not None
    assert near.verdict.startswith("It may be: no difference")
    few = replace(result, answers=tuple(answer for answer in with_model(result, -0.3).answers if answer.photo == "01"))
    near = summarise(few).nearness
    assert near is not None
    assert near.verdict == "There are too few photos to tell"
