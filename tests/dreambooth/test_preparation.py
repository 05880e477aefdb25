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

from persam import Concept, PerSAM, Segmentation, dreambooth
from persam.album.outputs import OutputFolder
from persam.dreambooth import Framing, prepare, prepare_masked, read_prepared, recheck
from persam.errors import PersamError, UsageError
from persam.instance import Instance
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


def shown_in(folder: Path) -> dict[str, bytes]:
    """Without persam's own notes."""
    return {name: data for name, data in files_in(folder).items() if not name.startswith(".persam")}


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
    photos, masks = [], []
    for day in ("b", "a"):
        home = write_photos(tmp_path / day, 1)
        photos.append(home / "photos")
        masks.append(home / "masks")
    with pytest.raises(UsageError, match=r"b/photos/0.jpg and .*a/photos/0.jpg have one name, and .*0.png may be of"):
        prepare_masked(photos, masks[0], tmp_path / "ready", name="disc", framing=SMALL)
    assert not (tmp_path / "ready").exists()
    for some, their in zip(photos, masks, strict=True):
        done = prepare_masked(some, their, tmp_path / "ready", name="disc", framing=SMALL)
    assert [photo.image.name for photo in done.subjects[0].photos] == ["0.png", "0_2.png"]
    again = prepare_masked(photos[1], masks[1], tmp_path / "ready", name="disc", framing=SMALL)
    assert again.subjects == done.subjects


def test_results_say_which_photo_a_mask_is_of(model: PerSAM, disc: Concept, tmp_path: Path) -> None:
    """As `persam segment a/ b/` names them, the mask of the second 0.jpg is 0_jpg.png."""
    photos = {}
    for day, center in (("a", (50, 60)), ("b", (100, 50))):
        (tmp_path / day).mkdir()
        photo, mask = draw_scene(120, 160, center=center, radius=30)
        Image.fromarray(photo).save(tmp_path / day / "0.jpg")
        photos[tmp_path / day / "0.jpg"] = mask
    with OutputFolder(tmp_path / "found") as folder:
        for place, mask in photos.items():
            none = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
            folder.write(Segmentation.of("disc", str(place), (Instance(mask, 0.9),), 0.5, *none))
    assert sorted(file.name for file in (tmp_path / "found" / "masks" / "disc").iterdir()) == ["0.png", "0_jpg.png"]
    whole = Framing("whole", 512)
    for masks in ("found", "found/masks/disc"):
        for given in ([tmp_path / "b", tmp_path / "a"], [tmp_path / "b"]):
            done = prepare_masked(
                given, tmp_path / masks, tmp_path / "ready", name="disc", framing=whole, overwrite=True
            )
            for photo in done.subjects[0].photos:
                assert np.array_equal(pixels_of(photo.mask) > 0, photos[Path(photo.source)])
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "b" / "0.jpg", tmp_path / "moved" / "0.jpg")
    with pytest.raises(UsageError, match=r"0.png and .*0_jpg.png may both be of .*moved/0.jpg"):
        prepare_masked(tmp_path / "moved", tmp_path / "found", tmp_path / "other", name="disc")


def test_two_masks_of_one_name_are_refused(tmp_path: Path) -> None:
    home = write_photos(tmp_path, 1)
    Image.new("L", (160, 120)).save(home / "masks" / "0.bmp")
    with pytest.raises(UsageError, match=r"0.bmp and .*0.png may both be of .*0.jpg"):
        prepare_masked(home / "photos", home / "masks", tmp_path / "ready", name="disc")


def test_a_subject_that_fills_its_square_is_left_out(tmp_path: Path) -> None:
    home = write_photos(tmp_path, 2)
    wide = np.zeros((120, 400), np.uint8)
    wide[:, 60:340] = 255
    Image.fromarray(np.dstack([wide] * 3)).save(home / "photos" / "book.jpg")
    Image.fromarray(wide).save(home / "masks" / "book.png")
    Image.new("L", (160, 120), 255).save(home / "masks" / "1.png")
    done = prepare_masked(home / "photos", home / "masks", tmp_path / "ready", name="disc", framing=SMALL)
    assert [photo.image.name for photo in done.subjects[0].photos] == ["0.png"]
    assert [Path(left.photo).name for left in done.left_out] == ["1.jpg", "book.jpg"]
    assert "fills all of what is cut out" in done.left_out[0].why
    assert recheck(tmp_path / "ready").problems == []
    with pytest.raises(PersamError, match="No photo is left to train on, .*book.jpg for one. The subject fills all"):
        prepare_masked(home / "photos" / "book.jpg", home / "masks", tmp_path / "other", name="disc", framing=SMALL)
    whole = Framing("whole", 64)
    kept = prepare_masked(home / "photos" / "book.jpg", home / "masks", tmp_path / "other", name="disc", framing=whole)
    assert len(kept.subjects[0].photos) == 1


def test_what_is_in_the_way_stops_it_before_anything_is_written(tmp_path: Path) -> None:
    prepared(tmp_path)
    caption = tmp_path / "ready" / "kohya" / "disc" / "0.txt"
    caption.write_text("mine")
    (tmp_path / "more").mkdir()
    for folder, name in (("photos", "0.jpg"), ("masks", "0.png")):
        shutil.copy(tmp_path / "disc" / folder / name, tmp_path / "more" / f"n1{name[1:]}")
    before = shown_in(tmp_path / "ready")
    with pytest.raises(UsageError, match="0.txt was changed after persam wrote it"):
        prepare_masked(tmp_path / "more" / "n1.jpg", tmp_path / "more", tmp_path / "ready", name="disc", framing=SMALL)
    assert shown_in(tmp_path / "ready") == before


def test_a_run_that_is_stopped_while_it_adds_photos_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path)
    write_photos(tmp_path / "disc", 4)
    home = tmp_path / "disc"
    add = (home / "photos" / "3.jpg", home / "masks", tmp_path / "ready")
    with monkeypatch.context() as patch:
        patch.setattr("persam.dreambooth.preparation.settle", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare_masked(*add, name="disc", framing=SMALL)
    assert not recheck(shutil.copytree(tmp_path / "ready", tmp_path / "copy")).subjects[0].photos[3].corrected
    done = prepare_masked(*add, name="disc", framing=SMALL)
    assert [photo.image.name for photo in done.subjects[0].photos] == ["0.png", "1.png", "2.png", "3.png"]
    assert not done.subjects[0].photos[3].corrected


def test_a_folder_is_checked_before_photos_are_added(tmp_path: Path) -> None:
    masks = prepared(tmp_path).folder / "disc" / "masks"
    write_photos(tmp_path / "disc", 4)
    home = tmp_path / "disc"
    add = (home / "photos" / "3.jpg", home / "masks", tmp_path / "ready")
    good = masks / "1.png"
    pixels = pixels_of(good)
    good.unlink()  # to be drawn anew
    (masks / "2.png").write_bytes(b"x")
    before = shown_in(tmp_path / "ready")
    with pytest.raises(
        PersamError, match=r"1.png has no mask: looked for .* \(and 1 more, see: persam dreambooth prep"
    ):
        prepare_masked(*add, name="disc", framing=SMALL)
    assert shown_in(tmp_path / "ready") == before
    Image.fromarray(np.dstack([0 * pixels, pixels, 0 * pixels])).save(good)
    (masks / "2.png").unlink()
    (masks.parent / "images" / "2.png").unlink()
    done = prepare_masked(*add, name="disc", framing=SMALL)
    assert done.gone == ["disc/images/2.png"]
    assert [(photo.image.name, photo.corrected) for photo in done.subjects[0].photos] == [
        ("0.png", False),
        ("1.png", True),
        ("3.png", False),
    ]
    assert np.array_equal(pixels_of(good), pixels)  # white, as every trainer reads it


def test_a_mask_that_is_gone_is_made_again(tmp_path: Path) -> None:
    mask = prepared(tmp_path).subjects[0].photos[1].mask
    pixels = pixels_of(mask)
    mask.unlink()
    assert len(prepared(tmp_path).subjects[0].photos) == 3
    assert np.array_equal(pixels_of(mask), pixels)


def test_a_correction_stays_however_the_album_is_named(tmp_path: Path) -> None:
    mask = prepared(tmp_path).subjects[0].photos[0].mask
    painted = pixels_of(mask).copy()
    painted[:9] = 255
    Image.fromarray(painted).save(mask)
    (tmp_path / "link").symlink_to(tmp_path / "disc" / "photos")
    for named in (tmp_path / "disc" / "masks" / ".." / "photos", tmp_path / "link"):
        done = prepare_masked(named, tmp_path / "disc" / "masks", tmp_path / "ready", name="disc", framing=SMALL)
        assert done.kept == [mask]
        assert len(done.subjects[0].photos) == 3
    assert np.array_equal(pixels_of(mask), painted)


def test_a_caption_is_that_of_the_photos_that_are_named(tmp_path: Path) -> None:
    prepared(tmp_path, caption="{identifier}, by hand")
    write_photos(tmp_path / "disc", 4)
    home, told = tmp_path / "disc", {"name": "disc", "framing": SMALL, "caption": "{identifier} at sea"}
    done = prepare_masked(home / "photos" / "3.jpg", home / "masks", tmp_path / "ready", **told)
    assert [photo.caption for photo in done.subjects[0].photos] == ["t@y, by hand"] * 3 + ["t@y at sea"]


def test_photos_that_are_looked_at_again_and_all_dropped_are_refused(
    model: PerSAM, disc: Concept, tmp_path: Path
) -> None:
    home = write_photos(tmp_path, 1)
    prepare(model, home / "photos", disc, tmp_path / "ready", framing=SMALL)
    before = shown_in(tmp_path / "ready")
    with pytest.raises(PersamError, match="disc was found in none of 1 photos"):
        prepare(model, home / "photos", disc, tmp_path / "ready", framing=SMALL, threshold=1.0)
    assert shown_in(tmp_path / "ready") == before


def test_only_the_first_of_many_that_are_left_out_are_kept_as_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persam.dreambooth.preparation.LEFT_OUT_SHOWN", 2)
    home = write_photos(tmp_path, 5)
    for number in range(1, 5):
        Image.new("L", (160, 120)).save(home / "masks" / f"{number}.png")
    done = prepare_masked(home / "photos", home / "masks", tmp_path / "ready", name="disc", framing=SMALL)
    assert [left.image is not None for left in done.left_out] == [True, True, False, False]


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
