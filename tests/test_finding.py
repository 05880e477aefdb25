"""Which photos files, folders and globs name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from persam import finding
from persam.album.formats.sheet import PICTURES
from persam.errors import PersamError, PersamWarning, UsageError
from persam.files import write_bytes
from persam.finding import find_images
from persam.ledger import Ledger


@pytest.fixture
def album(tmp_path) -> Path:
    for name in ("b.JPG", "a.png", ".hidden.png", "notes.txt", "deep/c.webp", "[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(album: Path, *given: str) -> list[str]:
    return [str(path.relative_to(album)) for path in find_images([str(album / name) for name in given])]


def test_folder_is_sorted_without_hidden_and_other_files(album):
    assert names(album, "") == ["[1].png", "a.png", "b.JPG"]


def test_glob(album):
    assert names(album, "*.png") == ["[1].png", "a.png"]
    assert names(album, "**/*") == ["[1].png", "a.png", "b.JPG", "deep/c.webp"]


def test_name_that_looks_like_a_glob(album):
    assert names(album, "[1].png") == ["[1].png"]


def test_each_once_in_the_order_given(album):
    assert names(album, "b.JPG", "*.png", "b.JPG") == ["b.JPG", "[1].png", "a.png"]


def test_named_files_stay_whatever_they_are(album):
    assert names(album, "notes.txt", "gone.jpg") == ["notes.txt", "gone.jpg"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nothing", r"no pictures in the folder .*nothing; for those in its subfolders give '.*nothing/\*\*/\*.jpg'\."),
        ("*.tiff", "No picture matches"),
    ],
)
def test_nothing_found(album, given, words):
    (album / "nothing").mkdir()
    with pytest.raises(UsageError, match=words):
        names(album, given)


def test_nothing_named():
    with pytest.raises(UsageError, match="No photos were named"):
        find_images([])


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


class TestEachOnce:
    def test_several_links_to_a_file(self, tmp_path):
        make(tmp_path, "b.jpg", "deep/c.jpg")
        (tmp_path / "a.jpg").symlink_to("b.jpg")
        (tmp_path / "d.jpg").symlink_to("deep/c.jpg")
        assert names(tmp_path, "*.jpg") == ["a.jpg", "d.jpg"]
        assert names(tmp_path, "**/*.jpg") == ["a.jpg", "d.jpg"]
        assert names(tmp_path, "b.jpg", "a.jpg", "deep") == ["b.jpg", "deep/c.jpg"]

    def test_folders_that_hold_themselves(self, tmp_path):
        make(tmp_path, "1.jpg", "deep/2.jpg", "deep/.hidden/3.jpg")
        for number in range(3):  # a glob of Python would go through them in 3 ** 40 ways
            (tmp_path / f"deep/{number}").symlink_to("..")
        assert names(tmp_path, "**/*.jpg") == ["1.jpg", "deep/2.jpg"]
        assert names(tmp_path, "**") == ["1.jpg", "deep/2.jpg"]
        assert names(tmp_path, "**/deep/**/*.jpg") == ["deep/0/1.jpg", "deep/2.jpg"]

    def test_a_link_to_a_folder_is_followed(self, tmp_path):
        make(tmp_path, "elsewhere/1.jpg")
        (tmp_path / "album").mkdir()
        (tmp_path / "album/holiday").symlink_to("../elsewhere")
        assert names(tmp_path, "album/**/*.jpg") == ["album/holiday/1.jpg"]


class TestOwnResults:
    WRITTEN = ("masks/mug/1.png", "overlays/mug/1.jpg", "cutouts/mug/1.png", "explain/mug/1.png", "sheet.png")

    @pytest.fixture
    def album(self, tmp_path) -> Path:
        make(tmp_path, "1.jpg", *(f"found/{name}" for name in (*self.WRITTEN, "sheet-2.png", "1.jpg", "masks.jpg")))
        (tmp_path / "found/results.jsonl").write_text('{"image": "1.jpg", "concept": "mug"}\n')
        return tmp_path

    def test_are_left_out_of_a_glob_and_told(self, album):
        with pytest.warns(PersamWarning, match="6 pictures that persam wrote"):
            assert names(album, "**/*.*") == ["1.jpg", "found/1.jpg", "found/masks.jpg"]

    def test_of_a_run_into_the_album(self, album):
        with pytest.warns(PersamWarning, match=r"2 pictures that persam wrote \(sheet-2.png, sheet.png\)"):
            assert names(album, "found") == ["found/1.jpg", "found/masks.jpg"]

    @pytest.mark.parametrize("given", ["found/overlays/mug", "found/overlays/mug/*.jpg", "found/overlays/**/*.jpg"])
    def test_are_taken_where_they_are_named(self, album, given):
        assert names(album, given) == ["found/overlays/mug/1.jpg"]
        assert names(album, "found/sheet.png") == ["found/sheet.png"]

    def test_results_of_another_program(self, album):
        (album / "found/results.jsonl").write_text('{"text": "hello"}\n')
        assert len(names(album, "**/*.*")) == 9

    def test_whatever_a_command_noted(self, tmp_path):
        make(tmp_path, "photo.jpg", "demo/mine.jpg")
        with Ledger(tmp_path / "demo"):
            write_bytes(tmp_path / "demo/cup/album/1.jpg", b"...")
        with pytest.warns(PersamWarning, match=r"1 picture that persam wrote \(1.jpg\)"):
            assert names(tmp_path, "**/*.jpg") == ["demo/mine.jpg", "photo.jpg"]
        assert names(tmp_path, "demo/cup/album") == ["demo/cup/album/1.jpg"]


class TestLeftOut:
    def test_is_counted_and_named_once(self, tmp_path, monkeypatch):
        monkeypatch.setattr(finding, "find_spec", lambda name: None)
        make(tmp_path, "a.jpg", *(f"{number}.CR2" for number in range(5)), "b.heic", "c.psd", "d.mov")
        make(tmp_path, "notes.txt", "Thumbs.db", "a.json", ".hidden.nef", "._1.CR2")
        (tmp_path / "e.jpg").symlink_to("nowhere")
        with pytest.warns(PersamWarning) as told:
            assert names(tmp_path, "") == ["a.jpg"]
        sentence = (
            f"Left out of {tmp_path}: 5 RAW photos (0.CR2, 1.CR2, 2.CR2, ...; export as JPEG or TIFF first), "
            "1 HEIC photo (b.heic; first pip install 'persam[heic]'), "
            "1 picture of another format (c.psd; save as JPEG, PNG or TIFF first), "
            "1 video (d.mov; persam video takes it), 1 link to nothing (e.jpg)."
        )
        assert [str(each.message) for each in told] == [sentence]

    def test_the_same_photo_in_two_forms_is_no_word_worth(self, tmp_path, recwarn):
        make(tmp_path, "IMG_1.JPG", "IMG_1.CR2", "IMG_1.MOV", "notes.txt")
        assert names(tmp_path, "") == ["IMG_1.JPG"]
        assert not recwarn

    def test_nothing_else(self, tmp_path):
        make(tmp_path, "album/1.nef", "album/2.dng")
        words = r"that persam can take; left out: 2 RAW photos \(1.nef, 2.dng; export as JPEG or TIFF first\)\.$"
        for given in ("album", "album/*", "**/*"):
            with pytest.raises(UsageError, match=words):
                names(tmp_path, given)

    def test_folder_that_may_not_be_read(self, tmp_path, monkeypatch):
        make(tmp_path, "open/1.jpg", "shut/2.jpg")
        listed = Path.iterdir

        def guarded(folder: Path) -> object:
            if folder.name == "shut":
                raise PermissionError(13, "Permission denied", str(folder))
            return listed(folder)

        monkeypatch.setattr(Path, "iterdir", guarded)  # root, as whom some run tests, may read everything
        with pytest.raises(PersamError, match=r"shut cannot be read \(Permission denied\); change its permissions"):
            names(tmp_path, "shut")
        with pytest.warns(PersamWarning, match="shut may not be read and was left out"):
            assert names(tmp_path, "**/*.jpg") == ["open/1.jpg"]


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names are unicode there")
def test_names_that_are_no_text(tmp_path):
    for name in (b"a.jpg", b"m\xffg\n.jpg", b"z.jpg"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    assert [os.fsencode(path.name) for path in find_images([tmp_path])] == [b"a.jpg", b"m\xffg\n.jpg", b"z.jpg"]
    assert len(find_images([tmp_path / "**/*.jpg"])) == 3


def test_a_name_that_is_too_long():
    path = Path("a" * 5000 + ".jpg")
    assert find_images([path]) == [path]  # reading it says what is wrong


def test_where_pictures_of_persam_may_be_elsewhere():
    """The names are spelled out, for formats stand above what finds photos."""
    from persam.album.formats import FORMATS
    from persam.album.outputs import PLACES

    without_pictures = {"labelme"}
    folders = {form.place for form in FORMATS.values() if "." not in form.place} | {PICTURES}
    assert folders - without_pictures | {place for place, _ in PLACES.values()} == finding._OWN_ELSEWHERE
