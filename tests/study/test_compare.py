"""Running a study: what is shown, what is measured, and what is left out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.fakes import ColourModel, random_sam
from tests.study.conftest import make_study
from tests.study.people import CAREFUL

from persam import PerSAM, PersamError, UsageError
from persam.images import read_image
from persam.instance import rle_mask
from persam.masks import read_mask
from persam.method.settings import Settings
from persam.metrics import iou
from persam.study import Study, StudyResult, read, run, summarise
from persam.study.agreement import majority


def test_every_number_by_hand(study: Study, persam: PerSAM) -> None:
    """The same with the three verbs, one photo and one person at a time."""
    result = run(study, persam)
    assert len(result.answers) == 2 * 3 * 5
    for answer in result.answers:
        home = study.folder / answer.category
        own = home / "annotators" / answer.annotator
        concept = persam.learn(home / "images" / "00.png", own / "00.png")
        found = persam.segment(home / "images" / f"{answer.photo}.png", concept).mask
        assert (rle_mask(answer.mask) == found).all()
        people = [read_mask(home / "annotators" / who / f"{answer.photo}.png") for who in ("anna", "ben", "cleo")]
        assert answer.iou["own"] == iou(found, read_mask(own / f"{answer.photo}.png"))
        assert answer.iou["gold"] == iou(found, read_mask(home / "gold" / f"{answer.photo}.png"))
        assert answer.iou["majority"] == iou(found, majority(people))


def test_the_model_finds_what_people_masked(result: StudyResult) -> None:
    """A part of the disc at least: its stripe is of another colour, and this model knows colours only."""
    assert np.mean([answer.iou["gold"] for answer in result.answers]) > 0.25


def test_the_reference_is_rated_but_not_measured(result: StudyResult) -> None:
    assert result.references == {"disc": "00", "plate": "00"}
    assert "00" not in {answer.photo for answer in result.answers}
    assert [photo.photo for photo in result.rated if photo.is_reference] == ["00", "00"]
    assert len(result.rated) == 12


def test_each_photo_is_encoded_once_for_all(study: Study) -> None:
    model, steps = ColourModel(), []
    result = run(study, PerSAM(model), progress=lambda: steps.append(1))
    assert model.encoded == len(steps) == study.photo_count == 12
    assert len(result.answers) == 30


def test_an_encoder_of_its_own_is_asked_once_too(study: Study) -> None:
    model, encoder = ColourModel(), ColourModel()
    result = run(study, PerSAM(model, encoder=encoder))
    assert model.encoded == encoder.encoded == 12
    assert result.model["encoder"] == "colours"


def test_another_reference_and_method(study: Study, persam: PerSAM) -> None:
    result = run(study, persam, reference="03", method="persam-f")
    assert result.references == {"disc": "03", "plate": "03"}
    assert {answer.photo for answer in result.answers} == {"00", "01", "02", "04", "05"}
    assert (result.model["method"], result.model["mode"]) == ("PerSAM-F", "persam")


def test_a_wrong_reference_or_method(study: Study, persam: PerSAM) -> None:
    with pytest.raises(UsageError, match="disc has no photo '77' to be the reference"):
        run(study, persam, reference="77")
    with pytest.raises(UsageError, match='no method "sam"; use persam or persam-f'):
        run(study, persam, method="sam")


def test_missing_masks_are_left_out_and_named(folder: Path, persam: PerSAM) -> None:
    (folder / "disc" / "annotators" / "ben" / "03.png").unlink()
    (folder / "plate" / "annotators" / "cleo" / "00.png").unlink()  # a reference: nothing of cleo's can be asked
    result = run(read(folder), persam)
    assert [(p.kind, p.category, p.who, p.photo) for p in result.left_out] == [
        ("missing", "disc", "ben", "03"),
        ("missing", "plate", "cleo", "00"),
    ]
    assert len(result.answers) == 30 - 1 - 5
    summary = summarise(result)
    disc, plate = summary.rows
    assert disc.annotators["ben"] is not None
    assert disc.annotators["ben"].photos == 4
    assert plate.annotators["cleo"] is None
    assert plate.pairs["anna", "cleo"].photos == 5  # the masks are still compared with the others'


def test_what_cannot_be_read_does_not_stop_the_rest(folder: Path, persam: PerSAM) -> None:
    (folder / "disc" / "images" / "02.png").write_bytes(b"")
    (folder / "plate" / "images" / "00.png").write_text("no picture")  # a reference
    result = run(read(folder), persam)
    assert [(p.kind, p.category, p.photo) for p in result.left_out] == [
        ("photo", "disc", "02"),
        ("photo", "plate", "00"),
    ]
    assert len(result.answers) == 12
    assert len(result.rated) == 10


def test_a_category_of_one_photo_is_left_out(folder: Path, persam: PerSAM) -> None:
    for number in range(1, 6):
        (folder / "plate" / "images" / f"{number:02}.png").unlink()
    result = run(read(folder), persam)
    assert [p.sentence.split(" in ")[0] for p in result.left_out] == ["plate has 1 photo"]
    assert {answer.category for answer in result.answers} == {"disc"}


def test_one_person_agrees_with_nobody(tmp_path: Path, persam: PerSAM) -> None:
    make_study(tmp_path, {"anna": CAREFUL})
    result = run(read(tmp_path / "study"), persam)
    summary = summarise(result)
    assert summary.nearness is None
    assert summary.disputed == ()
    assert summary.total.people is summary.total.alpha is summary.total.majority is None
    assert summary.total.model is not None
    assert summary.total.gold is not None
    assert all(not photo.consensus for photo in result.rated)


def test_a_study_without_any_mask(folder: Path, persam: PerSAM) -> None:
    for category in ("disc", "plate"):
        for who in ("anna", "ben", "cleo"):
            for mask in (folder / category / "annotators" / who).iterdir():
                mask.unlink()
    with pytest.raises(PersamError, match="There is no mask in .* that can be used; see `persam study check`"):
        run(read(folder), persam)


def test_official_mode_sees_the_masks_own_values(study: Study) -> None:
    persam = PerSAM(random_sam(), settings=Settings.of("official"))
    answer = run(study, persam).answers[0]
    home = study.folder / answer.category
    own = home / "annotators" / answer.annotator / "00.png"
    found = persam.segment(home / "images" / f"{answer.photo}.png", persam.learn(home / "images" / "00.png", own))
    assert (rle_mask(answer.mask) == found.mask).all()


def test_a_mode_that_the_model_does_not_have_stops_the_run(study: Study) -> None:
    with pytest.raises(UsageError, match="Mode official needs SAM's own preprocessing, which colours does not have"):
        run(study, PerSAM(ColourModel(), settings=Settings.of("official")))


def test_photos_that_lie_on_their_side(tmp_path: Path, persam: PerSAM) -> None:
    """An EXIF rotation turns the photo; masks are drawn on what viewers show."""
    make_study(tmp_path, {"anna": CAREFUL, "ben": CAREFUL}, photos=3, gold=False)
    upright = run(read(tmp_path / "study"), persam)
    exif = Image.Exif()
    exif[0x0112] = 6
    for photo in (tmp_path / "study" / "disc" / "images").iterdir():
        Image.fromarray(np.rot90(read_image(photo), 1)).save(photo, exif=exif)
        assert Image.open(photo).size == (60, 80)
    turned = run(read(tmp_path / "study"), persam)
    assert turned.left_out == ()
    assert [answer.iou for answer in turned.answers] == [answer.iou for answer in upright.answers]


def test_the_result_does_not_depend_on_other_categories(study: Study, persam: PerSAM, tmp_path: Path) -> None:
    whole = run(study, persam)
    shutil.copytree(study.folder / "plate", tmp_path / "alone" / "plate")
    alone = run(read(tmp_path / "alone"), persam)
    assert [a.iou for a in alone.answers] == [a.iou for a in whole.answers if a.category == "plate"]
    assert replace(whole.study, folder=tmp_path) != alone.study
