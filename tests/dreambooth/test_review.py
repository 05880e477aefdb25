"""What a person corrects in a prepared folder counts, stays, and is checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.dreambooth.drawn_subjects import SMALL, pixels_of, prepared

from persam.dreambooth import Prepared, prepare_masked, read_prepared, recheck
from persam.errors import PersamError, UsageError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared(tmp_path_factory.mktemp("made"))


@pytest.fixture
def ready(made: Prepared, tmp_path: Path) -> Path:
    """A prepared folder, to be changed."""
    shutil.copytree(made.folder, tmp_path / "ready")
    return tmp_path / "ready"


def paint(file: Path, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    painted = change(pixels_of(file).copy())
    Image.fromarray(painted).save(file)
    return painted


def turned(file: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels_of(file)).save(file, exif=exif)


def more(mask: np.ndarray) -> np.ndarray:
    mask[:20, :20] = 255
    return mask


def test_a_mask_that_is_painted_over_is_corrected_and_stays(ready: Path, made: Prepared) -> None:
    file = ready / "disc" / "masks" / "0.png"
    painted = paint(file, more)
    done = recheck(ready)
    assert [photo.corrected for photo in done.subjects[0].photos] == [True, False, False]
    assert "corrected" in done.sheet.read_text(encoding="utf-8")
    home = made.folder.parent / "disc"
    for again in (recheck(ready), prepare_masked([home / "photos"], home / "masks", ready, name="disc", framing=SMALL)):
        assert read_prepared(ready) == again.subjects
        assert again.subjects[0].photos[0].corrected
        assert np.array_equal(pixels_of(file), painted)
    assert again.kept == [file]
    anew = prepare_masked([home / "photos"], home / "masks", ready, name="disc", framing=SMALL, overwrite=True)
    assert not anew.subjects[0].photos[0].corrected
    assert np.array_equal(pixels_of(file), pixels_of(made.subjects[0].photos[0].mask))


def test_a_correction_is_known_without_reading_again(ready: Path, made: Prepared) -> None:
    file = ready / "disc" / "masks" / "1.png"
    painted = paint(file, more)
    home = made.folder.parent / "disc"
    done = prepare_masked([home / "photos"], home / "masks", ready, name="disc", framing=SMALL)
    assert done.kept == [file]
    assert np.array_equal(pixels_of(file), painted)


@pytest.mark.parametrize(
    "painted",
    [
        lambda mask: np.dstack([0 * mask, mask, 0 * mask]),  # green on black: kohya's scripts read the red channel
        lambda mask: mask // 255,  # 0 and 1
        lambda mask: np.dstack([np.full_like(mask, 90)] * 3 + [mask]),  # transparent
    ],
)
def test_a_mask_in_any_form_becomes_white_on_black(ready: Path, painted: Callable[[np.ndarray], np.ndarray]) -> None:
    file = ready / "disc" / "masks" / "0.png"
    meant = pixels_of(file)
    paint(file, painted)
    assert recheck(ready).subjects[0].photos[0].corrected
    assert np.array_equal(pixels_of(file), meant)


def test_a_photo_that_is_retouched_in_place_is_new_everywhere_and_stays(ready: Path, made: Prepared) -> None:
    file = ready / "disc" / "images" / "0.png"
    with file.open("rb+") as stream:  # as programs do that keep the file and write its bytes
        retouched = 255 - pixels_of(made.subjects[0].photos[0].image)
        Image.fromarray(retouched).save(stream, "PNG")
        stream.truncate()
    done = recheck(ready)
    assert [photo.corrected for photo in done.subjects[0].photos] == [True, False, False]
    home = made.folder.parent / "disc"
    again = prepare_masked([home / "photos"], home / "masks", ready, name="disc", framing=SMALL)
    assert again.kept == [ready / "disc" / "masks" / "0.png"]
    for place in ("disc/images/0.png", "kohya/disc/0.png", "diffusers/train/0000.png"):
        assert np.array_equal(pixels_of(ready / place), retouched)


def test_soft_edges_stay(ready: Path) -> None:
    file = ready / "disc" / "masks" / "0.png"
    with Image.open(file) as mask:
        soft = np.asarray(mask.resize((16, 16)).resize((64, 64), Image.Resampling.BILINEAR))
    Image.fromarray(soft).save(file)
    assert soft.max() == 255
    assert recheck(ready).problems == []
    assert np.array_equal(pixels_of(file), soft)


def test_a_photo_that_is_removed_is_out_everywhere(ready: Path) -> None:
    (ready / "disc" / "images" / "1.png").unlink()
    with pytest.raises(PersamError, match="not there: put it back, or say persam dreambooth prepare"):
        read_prepared(ready)
    done = recheck(ready)
    assert done.gone == ["disc/images/1.png"]
    assert [photo.image.stem for photo in read_prepared(ready)[0].photos] == ["0", "2"]
    assert not (ready / "disc" / "masks" / "1.png").exists()
    assert sorted(file.name for file in (ready / "kohya" / "disc").iterdir()) == ["0.png", "0.txt", "2.png", "2.txt"]
    assert sorted(file.name for file in (ready / "diffusers" / "train").glob("*.png")) == ["0000.png", "0001.png"]


def test_a_photo_that_is_put_in_with_its_mask_is_in(ready: Path) -> None:
    Image.fromarray(np.full((80, 100, 3), 90, np.uint8)).save(ready / "disc" / "images" / "own.jpg")
    mask = np.zeros((80, 100), np.uint8)
    mask[20:60, 20:60] = 255
    Image.fromarray(mask).save(ready / "disc" / "masks" / "own.png")
    photo = recheck(ready).subjects[0].photos[3]
    assert (photo.image.name, photo.caption, photo.score, photo.corrected) == (
        "own.jpg",
        "a photo of t@y disc",
        None,
        True,
    )
    assert (ready / "kohya" / "disc" / "own.txt").read_text() == "a photo of t@y disc\n"
    assert (ready / "diffusers" / "train" / "0003.jpg").is_file()


def test_a_caption_for_all_is_that_of_photos_put_in_too(ready: Path) -> None:
    for folder in ("images", "masks"):
        shutil.copy(ready / "disc" / folder / "0.png", ready / "disc" / folder / "own.png")
    done = recheck(ready, caption="{identifier} by the sea")
    assert [photo.caption for photo in done.subjects[0].photos] == ["t@y by the sea"] * 4


def test_captions_are_changed_in_the_list_or_by_words(ready: Path) -> None:
    file = ready / "dreambooth.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    told["subjects"][0]["photos"][1]["caption"] = "t@y disc at the café"
    told["subjects"][0]["photos"][2]["caption"] = "a disc"
    file.write_text(json.dumps(told), encoding="utf-8")
    done = recheck(ready)
    assert (ready / "kohya" / "disc" / "1.txt").read_text(encoding="utf-8") == "t@y disc at the café\n"
    assert "Its caption does not name t@y." in done.doubts[ready / "disc" / "images" / "2.png"]
    recheck(ready, identifiers=["sks"], class_words=["plate"])
    lines = (ready / "diffusers" / "train" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["a photo of sks plate", "sks plate at the café", "a disc"]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda home: Image.new("L", (64, 60), 255).save(home / "masks/0.png"), "covers everything"),
        (lambda home: Image.new("L", (64, 64), 0).save(home / "masks/0.png"), "has no object"),
        (lambda home: paint(home / "masks/0.png", lambda mask: mask[:60]), "is 64 x 60 pixels, its photo 64 x 64"),
        (lambda home: (home / "masks/0.png").unlink(), "has no mask: looked for"),
        (lambda home: (home / "masks/0.png").write_bytes(b"x"), "masks/0.png"),
        (lambda home: (home / "images/0.png").write_bytes(b""), "is empty (0 bytes)"),
        (lambda home: (home / "images/.DS_Store").touch(), "some trainers open every file there"),
        (lambda home: (home / "images/notes.txt").touch(), "is no photo"),
        (lambda home: Image.new("RGB", (64, 64)).save(home / "images/0.jpg"), "would have one mask"),
        (lambda home: turned(home / "images/0.png"), "is turned when it is shown (EXIF)"),
    ],
)
def test_what_cannot_be_trained_on_is_said_and_nothing_is_changed(
    ready: Path, harm: Callable[[Path], object], said: str
) -> None:
    paint(ready / "disc" / "masks" / "1.png", lambda mask: mask // 255)  # would be written as white on black
    harm(ready / "disc")
    before = {file: file.stat().st_mtime_ns for file in ready.rglob("*.*") if ".persam" not in file.parts}
    done = recheck(ready)
    (problem,) = done.problems
    assert said in problem
    assert before == {file: file.stat().st_mtime_ns for file in before}


def change_list(ready: Path, change: Callable[[dict[str, Any]], object]) -> None:
    told = json.loads((ready / "dreambooth.json").read_text(encoding="utf-8"))
    change(told["subjects"][0])
    (ready / "dreambooth.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda subject: subject["photos"][0].update(mask=None), "'mask' is null, not a text in quotes"),
        (lambda subject: subject["photos"][0].update(caption=3), "'caption' is 3, not a text"),
        (lambda subject: subject["photos"][0].update(image="../x.png"), "'../x.png' leads out of the folder"),
        (lambda subject: subject.pop("photos"), "there is no 'photos' in one of its entries"),
        (lambda subject: subject.update(photos=3), "correct that entry"),
        (lambda subject: subject.update(name="../../out"), "a subject cannot be called '../../out'"),
        (lambda subject: subject.update(name="Kohya"), "a subject cannot be called 'Kohya'"),
    ],
)
def test_a_mistake_in_the_list_is_said(ready: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    change_list(ready, change)
    for read in (recheck, read_prepared):
        with pytest.raises(PersamError, match="is damaged") as refusal:
            read(ready)
        assert said in str(refusal.value)


def test_a_slip_in_the_list_is_said_with_its_line(ready: Path) -> None:
    file = ready / "dreambooth.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"class_word": "disc",', '"class_word": "disc"'), encoding="utf-8")
    with pytest.raises(PersamError, match=r"cannot be read \(.* line 8 column \d+ .*\): correct that line, or"):
        recheck(ready)
    file.write_text(text, encoding="utf-8-sig")  # as an editor saves it that marks UTF-8
    assert recheck(ready).problems == []
    told = json.loads(file.read_text(encoding="utf-8"))
    told["subjects"].append(told["subjects"][0] | {"name": "DISC"})
    file.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(PersamError, match="two subjects have one name: disc, DISC"):
        read_prepared(ready)


def test_what_other_trainers_were_given_is_not_lost_if_it_was_changed(ready: Path) -> None:
    caption = ready / "kohya" / "disc" / "0.txt"
    caption.write_text("mine")
    with pytest.raises(UsageError, match=r"0.txt was changed after persam wrote it"):
        recheck(ready)
    assert caption.read_text() == "mine"
    recheck(ready, overwrite=True)
    assert caption.read_text() == "a photo of t@y disc\n"


def test_a_copy_without_what_is_hidden_in_it_is_known(ready: Path) -> None:
    paint(ready / "disc" / "masks" / "0.png", more)
    recheck(ready)
    shutil.rmtree(ready / ".persam")
    assert [photo.corrected for photo in recheck(ready).subjects[0].photos] == [True, False, False]


def test_what_a_killed_run_left_half_written_goes(ready: Path) -> None:
    for folder in ("disc/images", "disc/masks", "kohya/disc", "diffusers/train"):
        (ready / folder / ".123-4560007.tmp.png").write_bytes(b"half")
    assert recheck(ready).problems == []
    assert not list(ready.rglob("*.tmp*"))


def test_a_folder_without_photos_or_list(ready: Path, tmp_path: Path) -> None:
    for photo in (ready / "disc" / "images").iterdir():
        photo.unlink()
    with pytest.raises(PersamError, match="No photo is left"):
        recheck(ready)
    (ready / "dreambooth.json").write_text('{"format": 1, "subjects": [{}]}')
    with pytest.raises(PersamError, match="is damaged"):
        recheck(ready)
    with pytest.raises(UsageError, match="There is no folder"):
        recheck(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()
