"""What is written: whole or not at all, under names that never collide."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from persam.album.formats.coco import write_coco
from persam.album.outputs import OutputFolder
from persam.errors import PersamError, UsageError
from persam.files import atomic_path, safe_name, write_bytes, write_text
from persam.instance import Instance
from persam.ledger import Ledger
from persam.reports.contact_sheet import ContactSheet
from persam.reports.pictures import mask_file, write_image, write_mask
from persam.segmentation import Segmentation


def segmentation(mask: np.ndarray, image: str = "a.jpg", concept: str = "mug", **more: object) -> Segmentation:
    return Segmentation(concept=concept, image=image, mask=mask, score=0.75, **more)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def files(folder: Path) -> list[str]:
    """All files but the hidden list of them and the lock."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.parts[0] != ".persam")


class TestAtomic:
    def test_a_failure_leaves_what_was_there(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("old")
        with pytest.raises(RuntimeError), atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError
        assert path.read_text() == "old"
        assert files(tmp_path) == ["a.txt"]

    def test_stopping_leaves_nothing_behind(self, tmp_path):
        with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "deep/a.txt") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt
        assert files(tmp_path) == []

    @pytest.mark.parametrize(
        ("number", "words"),
        [
            (errno.ENOSPC, "there is no room left on the disk"),
            (errno.EDQUOT, "quota is used up"),
            (errno.EACCES, "not allowed"),
            (errno.EROFS, "read-only"),
            (errno.EIO, "the system says"),
        ],
    )
    def test_reasons(self, tmp_path, monkeypatch, number, words):
        def refuse(self: Path, data: bytes) -> int:
            raise OSError(number, "the reason")

        monkeypatch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(PersamError, match=words) as caught:
            write_text(tmp_path / "a.txt", "x")
        assert str(tmp_path / "a.txt") in str(caught.value)
        assert files(tmp_path) == []

    def test_it_is_on_the_disk_before_it_gets_its_name(self, tmp_path, monkeypatch):
        """Otherwise a loss of power leaves an empty file, of which the list and the line say that it is done."""
        steps = []
        fsync, replace = os.fsync, Path.replace

        def synced(number: int) -> None:
            steps.append(os.path.basename(os.readlink(f"/proc/self/fd/{number}")))  # noqa: PTH115, PTH119
            fsync(number)

        def named(self: Path, target: Path) -> Path:
            steps.append(target.name)
            return replace(self, target)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(Path, "replace", named)
        with Ledger(tmp_path) as ledger:
            write_text(ledger.folder / "a.txt", "x")
        assert [re.sub(r"\d+-\d+", "N", step) for step in steps] == [".N.tmp.txt", "files.jsonl", "a.txt"]

    def test_a_copy_that_nobody_may_write(self, tmp_path, monkeypatch):
        def refuse(self: Path, mode: str) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")  # also where the tests are run by root

        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
            monkeypatch.setattr(Path, "open", refuse)
        monkeypatch.undo()
        assert (tmp_path / "a.txt").read_text() == "x"

    def test_target_is_a_folder(self, tmp_path):
        with pytest.raises(PersamError, match="that is a folder"):
            write_text(tmp_path, "x")

    def test_a_part_of_the_path_is_a_file(self, tmp_path):
        (tmp_path / "a").write_text("x")
        with pytest.raises(PersamError, match="in the way|is a file, not a folder"):
            write_text(tmp_path / "a/b.txt", "x")


class TestNames:
    @given(name=st.text(st.characters(codec=None)))
    def test_safe_names(self, name):
        safe = safe_name(name)
        assert safe
        assert len(safe.encode()) <= 200
        assert not re.search(r'[\x00-\x1f/\\:*?"<>|\x85\u2028\ud800-\udfff]', safe)
        safe.encode()
        assert safe not in (".", "..")

    def test_unicode_stays(self):
        assert safe_name("Größe 猫 ☕") == "Größe 猫 ☕"

    def test_equal_stems_never_collide(self, tmp_path):
        output = OutputFolder(tmp_path / "out")
        given = ["a/1.jpg", "b/1.jpg", "b/1.png", "B/1.JPG", "c/b/1.png", "d/b/1.png", "e/b/1.jpg"]
        names = [output.name_of(name) for name in given]
        assert names[0] == "1"
        assert len({name.casefold() for name in names}) == len(given)
        assert names == [output.name_of(name) for name in given]

    def test_a_later_run_keeps_names_and_avoids_those_of_others(self, tmp_path, scene):
        with contextlib.closing(OutputFolder(tmp_path)) as first:
            first.write(segmentation(scene[1], "a/1.jpg"))
        second = OutputFolder(tmp_path)
        assert second.name_of("b/1.jpg") != "1"
        assert second.name_of("a/1.jpg") == "1"


class TestOutputFolder:
    @pytest.mark.parametrize("stop", [PermissionError, KeyboardInterrupt])
    def test_a_close_that_fails_lets_others_write(self, tmp_path, scene, monkeypatch, stop):
        def fail(*_: object) -> None:
            raise stop

        output = OutputFolder(tmp_path)
        for _ in range(2):
            output.write(segmentation(scene[1]))
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr("persam.ledger.Ledger.adopt", fail)
            output.close()
        with contextlib.closing(OutputFolder(tmp_path)) as again:
            assert len(list(again.lines)) == 1

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, PersamError])
    def test_a_line_is_forgotten_if_only_its_mask_was_replaced(self, tmp_path, scene, monkeypatch, stop):
        image, mask = scene

        def write_some(path: Path, picture: Any, *, write: Callable[..., None], stops_at: str) -> None:
            if path.parts[-3] == stops_at:
                raise stop
            write(path, picture)

        with contextlib.closing(OutputFolder(tmp_path)) as output:
            for concept in ("mug", "cat"):
                output.write(segmentation(mask, concept=concept), image, overlay=True)
        for stops_at, left in (("masks", ["mug", "cat"]), ("overlays", ["cat"])):
            with contextlib.closing(OutputFolder(tmp_path)) as output, monkeypatch.context() as patch:
                for name, write in (("write_image", write_image), ("write_bytes", write_bytes)):
                    patch.setattr(f"persam.album.outputs.{name}", partial(write_some, write=write, stops_at=stops_at))
                with pytest.raises(stop):
                    output.write(segmentation(mask & False, present=False), image, overlay=True)
            assert [line["concept"] for line in lines(tmp_path)] == left
            there = {file.split("/")[1] for file in files(tmp_path) if "/" in file}
            assert there == set(left)

    def test_an_empty_mask_file_is_to_be_done_again(self, tmp_path, scene):
        with contextlib.closing(OutputFolder(tmp_path)) as output:
            made = {"outputs": ["mask"]}
            output.write(segmentation(scene[1]), made=made)
            assert output.is_done("a.jpg", "mug", made)
            (tmp_path / "masks/mug/a.png").write_bytes(b"")
            assert not output.is_done("a.jpg", "mug", made)

    def test_all_forms(self, tmp_path, scene):
        image, mask = scene
        output = OutputFolder(tmp_path / "out")
        line = output.write(segmentation(mask, "photos/猫.jpg", "my mug"), image, overlay=True, cutout=True)
        output.close()
        assert files(tmp_path / "out") == [
            "cutouts/my mug/猫.png",
            "masks/my mug/猫.png",
            "overlays/my mug/猫.jpg",
            "results.jsonl",
        ]
        written = Image.open(tmp_path / "out/masks/my mug/猫.png")
        assert written.mode == "L"
        np.testing.assert_array_equal(np.asarray(written), mask * 255)
        assert Image.open(tmp_path / "out/cutouts/my mug/猫.png").mode == "RGBA"
        assert lines(tmp_path / "out") == [line]
        assert line["image"] == str(Path("photos/猫.jpg").absolute())
        assert line["files"]["mask"] == "masks/my mug/猫.png"

    def test_absent_object_gets_a_black_mask_and_no_cutout(self, tmp_path, scene):
        output = OutputFolder(tmp_path)
        output.write(segmentation(scene[1] & False, present=False), scene[0], overlay=True, cutout=True)
        assert files(tmp_path) == ["masks/mug/a.png", "overlays/mug/a.jpg", "results.jsonl"]

    def test_lines_are_there_at_once(self, tmp_path, scene):
        output = OutputFolder(tmp_path)
        for count in (1, 2, 3):
            output.write(segmentation(scene[1], f"{count}.jpg"))
            assert len(lines(tmp_path)) == count

    def test_a_later_run_replaces_its_lines_and_keeps_the_others(self, tmp_path, scene):
        (tmp_path / "mine.txt").write_text("keep")
        with contextlib.closing(OutputFolder(tmp_path)) as output:
            output.write(segmentation(scene[1], "a.jpg"))
            output.write(segmentation(scene[1], "b.jpg"))
        with (tmp_path / "results.jsonl").open("a") as stream:
            stream.write('{"image": "cut sho')
        with contextlib.closing(OutputFolder(tmp_path)) as output:
            output.write(segmentation(~scene[1], "b.jpg"))
            output.write(segmentation(scene[1], "b.jpg", "cup"))
        assert [(Path(line["image"]).name, line["concept"]) for line in lines(tmp_path)] == [
            ("a.jpg", "mug"),
            ("b.jpg", "mug"),
            ("b.jpg", "cup"),
        ]
        assert lines(tmp_path)[1]["box"] == [0, 0, 160, 120]
        assert (tmp_path / "mine.txt").read_text() == "keep"

    def test_results_of_something_else(self, tmp_path, scene):
        """Also a link, through which lines would go elsewhere."""
        far = tmp_path / "far.jsonl"
        far.write_text('{"id": 7}\n')
        for folder in (tmp_path / "linked", tmp_path / "copied"):
            folder.mkdir()
        (tmp_path / "linked/results.jsonl").symlink_to(far)
        (tmp_path / "copied/results.jsonl").write_bytes(far.read_bytes())
        for folder in (tmp_path / "linked", tmp_path / "copied"):
            with pytest.raises(UsageError, match=r"results.jsonl was not written by persam"):
                OutputFolder(folder)
            with OutputFolder(folder, overwrite=True) as output:
                output.write(segmentation(scene[1]))
            assert [line["concept"] for line in lines(folder)] == ["mug"]
        assert far.read_text() == '{"id": 7}\n'

    def test_lines_that_point_elsewhere_are_no_lines(self, tmp_path, scene):
        """A folder that came from somewhere may say anything: nothing outside of it is looked at, or removed."""
        with OutputFolder(tmp_path / "out") as output:
            line = output.write(segmentation(scene[1]))
        (tmp_path / "mine.png").write_text("mine")
        for wrong in (
            {"files": {"mask": "masks/mug/../../../mine.png"}},
            {"files": {"mask": "/masks/mug"}},
            {"files": {"mask": "masks/mug/a.png", "cutout": 3}},
            {"files": {}},
            {"name": "../../mine"},
            {"image": None},
        ):
            (tmp_path / "out/results.jsonl").write_text(json.dumps(line | wrong) + "\n" + json.dumps(line) + "\n")
            with OutputFolder(tmp_path / "out") as again:
                assert again.lines == [line]
                again.write(segmentation(~scene[1]))
        assert (tmp_path / "mine.png").read_text() == "mine"

    def test_folder_that_cannot_be(self, tmp_path):
        (tmp_path / "out").write_text("a file")
        with pytest.raises(PersamError, match="Cannot write .*out"):
            OutputFolder(tmp_path / "out")

    @pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp"])
    def test_formats(self, tmp_path, scene, suffix):
        write_image(tmp_path / f"a.{suffix}", scene[0])
        assert Image.open(tmp_path / f"a.{suffix}").size == (160, 120)

    def test_one_pixel(self, tmp_path):
        write_mask(tmp_path / "a.png", np.ones((1, 1), bool))
        assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[255]]


class TestCoco:
    def test_pycocotools_loads_it(self, tmp_path, scene):
        mask = scene[1]
        left, right = mask.copy(), mask.copy()
        left[:, 60:], right[:, :60] = False, False
        with OutputFolder(tmp_path) as output:
            output.write(segmentation(mask, "album/猫.jpg"))
            output.write(segmentation(mask, "album/b/two.jpg", instances=(Instance(left, 0.9), Instance(right, 0.8))))
            output.write(segmentation(mask & False, "album/none.jpg", present=False))
            output.write(segmentation(mask, "album/b/two.jpg", "cup"))
            write_coco(tmp_path / "coco.json", output.lines)
        assert json.loads((tmp_path / "coco.json").read_bytes())["info"]["photos"] == str(Path("album").absolute())
        with contextlib.redirect_stdout(io.StringIO()):
            loaded = COCO(str(tmp_path / "coco.json"))
        assert [image["file_name"] for image in loaded.loadImgs(loaded.getImgIds())] == [
            "猫.jpg",
            "b/two.jpg",
            "none.jpg",
        ]
        assert [category["name"] for category in loaded.loadCats(loaded.getCatIds())] == ["mug", "cup"]
        assert len(loaded.getAnnIds(imgIds=[2])) == 3
        annotation = loaded.loadAnns(loaded.getAnnIds(imgIds=[1]))[0]
        np.testing.assert_array_equal(loaded.annToMask(annotation), mask)
        assert annotation["bbox"] == [32, 42, 57, 57]
        assert annotation["area"] == mask.sum()


class TestContactSheet:
    @pytest.fixture
    def sheet(self, scene) -> ContactSheet:
        sheet = ContactSheet("<b>Tom & Jerry's</b>")
        sheet.add(segmentation(scene[1], "x/<script>alert(1)</script>.jpg"), scene[0])
        sheet.add(segmentation(scene[1], "a very long name " * 9 + ".jpg", present=False), scene[0])
        sheet.add(segmentation(np.ones((1, 1), bool), "one.png"), np.zeros((1, 1, 3), np.uint8))
        return sheet

    def test_png(self, tmp_path, sheet):
        assert sheet.write_png(tmp_path / "sheet.png") == [tmp_path / "sheet.png"]
        picture = np.asarray(Image.open(tmp_path / "sheet.png"))
        assert picture.shape[0] > 150
        assert picture.std() > 20

    def test_html_holds_everything_and_escapes_names(self, tmp_path, sheet):
        sheet.write_html(tmp_path / "sheet.html")
        text = (tmp_path / "sheet.html").read_text(encoding="utf-8")
        assert "<script" not in text
        assert "<b>Tom" not in text
        assert "&lt;/script&gt;" in text or "script&gt;.jpg" in text
        assert text.count("data:image/jpeg;base64,") == 3
        assert not re.search(r'(src|href)="(?!data:)', text)
        assert "Found in 2 of 3 pictures." in text

    def test_lines_are_drawn_from_the_photos_and_masks_of_the_folder(self, tmp_path, scene):
        """Two instances keep their own outlines; a photo or mask that is gone since is told, not missed."""
        left, right = scene[1].copy(), scene[1].copy()
        left[:, 60:], right[:, :60] = False, False
        for name in ("two.jpg", "gone.jpg", "turned.jpg"):
            exif = Image.Exif()
            exif[0x0112] = 6 if name == "turned.jpg" else 1
            Image.fromarray(scene[0] if name != "turned.jpg" else np.rot90(scene[0])).save(tmp_path / name, exif=exif)
        both = (Instance(left, 0.9), Instance(right, 0.8))
        with OutputFolder(tmp_path / "out") as output:
            for name in ("two.jpg", "gone.jpg", "turned.jpg"):
                output.write(segmentation(scene[1], str(tmp_path / name), instances=both))
        (tmp_path / "gone.jpg").unlink()
        sheet, direct = ContactSheet(), ContactSheet()
        for line in output.lines:
            sheet.add_line(line, output.folder)
        direct.add(segmentation(scene[1], instances=both), np.asarray(Image.open(tmp_path / "two.jpg")))
        assert sheet.entries[0].jpeg == direct.entries[0].jpeg
        assert [entry.note.endswith("· the photo is gone") for entry in sheet.entries] == [False, True, False]
        with OutputFolder(tmp_path / "out") as output:
            Image.fromarray(scene[0]).save(tmp_path / "p.png")
            ContactSheet().add_line(output.write(segmentation(scene[1], str(tmp_path / "p.png"))), output.folder)
        assert [entry.tile().picture.shape[:2] for entry in sheet.entries][::2] == [(120, 160)] * 2
        (output.folder / output.lines[0]["files"]["mask"]).unlink()
        sheet.add_line(output.lines[0], output.folder)
        assert not sheet.entries[-1].found

    def test_its_memory_does_not_grow_with_the_photos(self, tmp_path, scene):
        """Photos of 6 million pixels are read small, one after the other, and tiles go to the disk."""
        large = np.asarray(Image.fromarray(scene[0]).resize((3000, 2000)))
        Image.fromarray(large).save(tmp_path / "large.jpg")
        with OutputFolder(tmp_path / "out") as output:
            output.write(segmentation(np.ones((2000, 3000), bool), str(tmp_path / "large.jpg")))
        sheet = ContactSheet()
        sheet.add_line(output.lines[0], output.folder)
        tracemalloc.start()
        for _ in range(5):
            sheet.add_line(output.lines[0], output.folder)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2 * large.size // 3 + 6_000_000  # the mask, twice

    def test_many_pictures_make_pages(self, tmp_path):
        sheet = ContactSheet()
        for number in range(61):
            sheet.add_picture(np.zeros((9, 9, 3), np.uint8), str(number))
        assert [path.name for path in sheet.write_png(tmp_path / "s.png")] == ["s.png", "s-2.png"]

    def test_empty(self, tmp_path):
        ContactSheet().write_png(tmp_path / "s.png")
        ContactSheet().write_html(tmp_path / "s.html")
        assert files(tmp_path) == ["s.html", "s.png"]


@pytest.mark.parametrize("score", [0.9, 0.6, 0.3, 0.1])  # there, unsure twice, not there
def test_what_was_found_elsewhere_is_written_as_what_is_found_here(tmp_path, score):
    mask = np.zeros((6, 8), bool)
    mask[1:3, 2:7] = True
    points, labels = np.array([[2.25, 1.5]], np.float32), np.array([1])
    others = (Instance(mask, score, 0.7, 0.8), Instance(np.roll(mask, 3, 0), 0.55, 0.6, 0.7))
    found = Segmentation.of("mug", "a.jpg", others[: 1 + (score > 0.8)], 0.5, points, labels)
    made = {"content": "c", "find": "f", "rivals": "r", "outputs": ["mask"]}
    with OutputFolder(tmp_path / "here") as here:
        here.write(found, made=made)
    with OutputFolder(tmp_path / "elsewhere") as elsewhere:
        find = json.loads(json.dumps(found.to_dict()))
        elsewhere.write_as_found(find | {"image": None}, "a.jpg", mask_file(found.mask), made)
    assert files(tmp_path / "elsewhere") == files(tmp_path / "here")
    for file in files(tmp_path / "here"):
        assert (tmp_path / "elsewhere" / file).read_bytes() == (tmp_path / "here" / file).read_bytes()
