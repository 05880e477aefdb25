"""Photos are prepared: with masks that are there, by a model, more than once; and nothing is left of what failed."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.dreambooth.drawn_subjects import SMALL, pixels_of, prepared, write_photos

from persam import Concept, PerSAM, dreambooth
from persam.dreambooth import Framing, prepare, prepare_masked, read_prepared
from persam.errors import PersamError, UsageError
from persam.metrics import iou


@pytest.fixture(scope="module")
def model() -> PerSAM:
    return PerSAM.from_pretrained()


@pytest.fixture(scope="module")
def disc(model: PerSAM) -> Concept:
    return model.learn(*draw_scene(), name="disc")


@pytest.fixture(scope="module")
def beach(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of the disc, and one without it."""
    home = write_photos(tmp_path_factory.mktemp("beach"))
    Image.fromarray(np.full((120, 160, 3), (90, 110, 140), np.uint8)).save(home / "photos" / "nothing.jpg")
    return home


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_masks_are_found_by_the_model(model: PerSAM, disc: Concept, beach: Path, tmp_path: Path) -> None:
    done = prepare(model, beach / "photos", disc, tmp_path / "ready", framing=Framing("whole", 512))
    (subject,) = read_prepared(tmp_path / "ready")
    assert (subject.name, subject.identifier, subject.class_word) == ("disc", "t@y", "disc")
    assert [photo.image.name for photo in subject.photos] == ["0.png", "1.png", "2.png"]
    for number, photo in enumerate(subject.photos):
        _, truth = draw_scene(120, 160, center=(60 + 10 * number, 60), radius=24 + 4 * number, seed=number)
        assert iou(pixels_of(photo.mask) > 0, truth) > 0.9
        assert pixels_of(photo.mask).dtype == np.uint8
        assert set(np.unique(pixels_of(photo.mask))) == {0, 255}
        assert photo.caption == "a photo of t@y disc"
        assert photo.score is not None
        assert photo.score > 0.5
        assert photo.source == str(beach / "photos" / f"{number}.jpg")
    (left,) = done.left_out
    assert Path(left.photo).name == "nothing.jpg"
    assert "does not think that it is there" in left.why
    page = done.sheet.read_text(encoding="utf-8")
    for told in (
        "0.png",
        "a photo of t@y disc",
        "disc/masks",
        "nothing.jpg",
        f"persam dreambooth prepare {done.folder}",
    ):
        assert told in page
    assert (tmp_path / "ready" / "contact-sheet.png").is_file()


def test_several_subjects_each_have_a_word(model: PerSAM, disc: Concept, beach: Path, tmp_path: Path) -> None:
    other = model.learn(*draw_scene(seed=7), name="plate")
    words = ["disc", "big plate"]
    done = prepare(model, [beach / "photos"], [disc, other], tmp_path / "ready", class_words=words, framing=SMALL)
    assert [subject.prompt for subject in done.subjects] == ["a photo of t@y disc", "a photo of s@z big plate"]
    assert [len(subject.photos) for subject in done.subjects] == [3, 3]


def test_a_subject_that_is_nowhere_leaves_nothing(model: PerSAM, disc: Concept, beach: Path, tmp_path: Path) -> None:
    with pytest.raises(
        PersamError, match=r"disc was found in none of 1 photos \(the best score is 0\.\d\d, in nothing"
    ):
        prepare(model, [beach / "photos" / "nothing.jpg"], disc, tmp_path / "ready")
    assert not (tmp_path / "ready").exists()


def test_what_is_no_concept_is_refused(model: PerSAM, beach: Path, tmp_path: Path) -> None:
    for wrong, said in (("disc.safetensors", "read a file with Concept.load"), ([], "No concept was given")):
        with pytest.raises(UsageError, match=said):
            prepare(model, beach / "photos", wrong, tmp_path / "ready")
    assert not (tmp_path / "ready").exists()


def test_a_stop_leaves_nothing(model: PerSAM, disc: Concept, beach: Path, tmp_path: Path) -> None:
    def stop(*seen: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(model, [beach / "photos"], disc, tmp_path / "new" / "ready", on_photo=stop)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("fitting", [0, 3, 11, 19])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fitting: int) -> None:
    """Photos and masks are files 1 to 6, then come the layouts, the sheet and the list."""
    left = iter(range(fitting))

    def fill(file: Path) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")

    write_photos(tmp_path / "disc")
    monkeypatch.setattr("persam.files._to_disk", fill)
    with pytest.raises(PersamError, match="no room left on the disk"):
        prepared(tmp_path)
    assert not (tmp_path / "ready").exists()


def test_masks_that_are_there_need_no_model(tmp_path: Path) -> None:
    home = write_photos(tmp_path)
    Image.fromarray(np.zeros((120, 160), np.uint8)).save(home / "masks" / "1.png")
    (home / "masks" / "2.png").unlink()
    done = prepare_masked([home / "photos"], home / "masks", tmp_path / "ready", name="my mug", framing=SMALL)
    (subject,) = done.subjects
    assert subject.prompt == "a photo of t@y my mug"
    assert [photo.image.name for photo in subject.photos] == ["0.png"]
    assert [left.why for left in done.left_out] == [
        "Its mask is black: the subject is not there.",
        f"There is no mask of that name in {home / 'masks'}.",
    ]


def test_photos_none_of_which_has_a_mask_leave_nothing(tmp_path: Path) -> None:
    home = write_photos(tmp_path)
    (home / "others").mkdir()
    Image.new("L", (8, 8)).save(home / "others" / "x.png")
    for masks, said in (("others", "None of the 3 photos has a mask"), ("photos", "can be used: The mask .* a photo")):
        with pytest.raises(PersamError, match=said):
            prepare_masked(home / "photos", home / masks, tmp_path / "ready", name="disc")
    assert not (tmp_path / "ready").exists()


def test_a_turned_photo_takes_its_mask_along(tmp_path: Path) -> None:
    """A photo that is stored on its side is shown, and written, upright; so is a mask that was drawn as it is shown."""
    photo, mask = draw_scene(120, 160, center=(40, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.rot90(photo).copy()).save(tmp_path / "photos" / "a.png", exif=exif)
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    framing = Framing("whole", 512)
    done = prepare_masked([tmp_path / "photos"], tmp_path / "masks", tmp_path / "ready", name="disc", framing=framing)
    (written,) = done.subjects[0].photos
    assert np.array_equal(pixels_of(written.image), photo)
    assert np.array_equal(pixels_of(written.mask) > 0, mask)


def test_masks_of_an_albums_folder_are_found(tmp_path: Path) -> None:
    home = write_photos(tmp_path)
    (home / "found" / "masks").mkdir(parents=True)
    shutil.move(home / "masks", home / "found" / "masks" / "disc")
    done = prepare_masked([home / "photos"], home / "found", tmp_path / "ready", name="disc", framing=SMALL)
    assert len(done.subjects[0].photos) == 3
    (home / "found" / "masks" / "cat").mkdir()
    with pytest.raises(UsageError, match="masks of several concepts; give one folder, such as .*cat"):
        prepare_masked([home / "photos"], home / "found", tmp_path / "ready", name="disc")


def test_two_photos_of_one_name_are_both_kept(tmp_path: Path) -> None:
    for day in ("a", "b"):
        write_photos(tmp_path / day, 1)
    photos = [tmp_path / day / "photos" for day in ("b", "a")]
    done = prepare_masked(photos, tmp_path / "a" / "masks", tmp_path / "ready", name="disc", framing=SMALL)
    assert [photo.image.name for photo in done.subjects[0].photos] == ["0.png", "0_2.png"]
    again = prepare_masked(photos[1:], tmp_path / "a" / "masks", tmp_path / "ready", name="disc", framing=SMALL)
    assert again.subjects == done.subjects


def test_photos_and_subjects_are_added_to_a_folder(tmp_path: Path) -> None:
    first = prepared(tmp_path, "disc", identifier="sks")
    write_photos(tmp_path / "disc", 4)
    more = prepared(tmp_path, "plate")
    assert [subject.identifier for subject in more.subjects] == ["sks", "t@y"]
    assert more.subjects[0] == first.subjects[0]
    home = tmp_path / "disc"
    added = prepare_masked([home / "photos" / "3.jpg"], home / "masks", tmp_path / "ready", name="disc", framing=SMALL)
    assert [len(subject.photos) for subject in added.subjects] == [4, 3]
    assert added.subjects[0].photos[3].caption == "a photo of sks disc"
    with pytest.raises(UsageError, match="have one identifier"):
        prepared(tmp_path, "cup", identifier="SKS")


def test_the_same_again_changes_nothing(tmp_path: Path) -> None:
    prepared(tmp_path)
    before = files_in(tmp_path / "ready")
    prepared(tmp_path)
    after = files_in(tmp_path / "ready")
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {".persam/files.jsonl"}


def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    theirs = tmp_path / "ready" / "disc" / "images" / "0.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    with pytest.raises(UsageError, match=r"0.png was not written by persam and would be lost; move it away"):
        prepared(tmp_path)
    assert files_in(tmp_path / "ready") == {"disc/images/0.png": b"theirs"}
    assert len(prepared(tmp_path, overwrite=True).subjects[0].photos) == 3


@pytest.mark.parametrize("name", ["kohya", "Diffusers"])
def test_a_subject_cannot_have_the_name_of_a_layout(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        prepared(tmp_path, name)


def test_photos_that_cannot_be_read_are_told_and_the_others_go_on(tmp_path: Path) -> None:
    home = write_photos(tmp_path)
    (home / "photos" / "1.jpg").write_bytes(b"no photo")
    done = prepare_masked([home / "photos"], home / "masks", tmp_path / "ready", name="disc", framing=SMALL)
    assert [Path(photo).name for photo, _ in done.failures] == ["1.jpg"]
    assert len(done.subjects[0].photos) == 2


def test_every_public_name_is_there() -> None:
    assert sorted(dir(dreambooth)) == sorted(dreambooth.__all__)
    for name in dreambooth.__all__:
        assert getattr(dreambooth, name).__module__.startswith("persam.dreambooth.")
