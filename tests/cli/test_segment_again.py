"""`persam segment` into a folder that holds something already: of others, of an earlier run, of another version."""

from __future__ import annotations

import contextlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam import Concept, PerSAM
from persam.ledger import Ledger

ALL = ("--overlay", "--cutout", "--coco", "--sheet", "--explain", "--per-instance")


def results(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_bytes().splitlines()]


def draw(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_scene(seed=seed)[0]).save(path)
    return path


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry for every photo that the model really looked at."""
    looked: list[object] = []
    original = PerSAM.segment

    def counted(self: PerSAM, image: object, *arguments: object, **options: object) -> object:
        looked.append(image)
        return original(self, image, *arguments, **options)

    monkeypatch.setattr(PerSAM, "segment", counted)
    return looked


class TestFilesOfOthers:
    @pytest.mark.parametrize(
        ("file", "option"),
        [
            ("masks/my disc/0.png", None),
            ("overlays/my disc/1.jpg", "--overlay"),
            ("cutouts/my disc/1.png", "--cutout"),
            ("explain/my disc/1.png", "--explain"),
            ("instances/my disc/1-1.png", "--per-instance"),
            ("coco.json", "--coco"),
            ("sheet.png", "--sheet"),
            ("sheet.html", "--sheet"),
            ("results.jsonl", None),
        ],
    )
    def test_stay_and_are_named_before_the_work(self, run, refused, learned, album, tmp_path, segmented, file, option):
        theirs = tmp_path / file
        theirs.parent.mkdir(parents=True, exist_ok=True)
        theirs.write_text("theirs\n")
        options = [option] if option else []
        sentence = refused("segment", learned, album, "-o", ".", *options, code=2)
        assert sentence == (
            f"{file} was not written by persam and would be lost; "
            "choose another --output, or replace it with --overwrite."
        )
        assert segmented == []
        assert theirs.read_text() == "theirs\n"
        assert run("segment", learned, album, "-o", ".", "--overwrite", *options).exit_code == 0
        assert theirs.read_bytes() != b"theirs\n"

    def test_summaries_of_an_earlier_run_tell_of_all_lines_still(self, run, learned, album, tmp_path):
        out = tmp_path / "out"
        assert run("segment", learned, album, "-o", "out", "--coco", "--sheet", "--threshold", 0).exit_code == 0
        pages = [out / name for name in ("sheet.html", "sheet.png", "coco.json")]
        before = [page.read_bytes() for page in pages]
        assert run("segment", learned, album, "-o", "out", "--threshold", 0).exit_code == 0  # nothing to do
        assert [page.read_bytes() for page in pages] == before
        assert run("segment", learned, album, "-o", "out", "--threshold", 1).exit_code == 0
        assert "Found in 0 of 3 pictures." in pages[0].read_text()
        assert pages[1].read_bytes() != before[1]
        assert json.loads(pages[2].read_text())["annotations"] == []
        pages[1].write_text("theirs")
        assert run("segment", learned, album, "-o", "out", "--threshold", 0).exit_code == 0
        assert pages[1].read_text() == "theirs"
        assert "Found in 0 of 3 pictures." in pages[0].read_text()

    def test_in_nobodys_way_they_do_no_harm(self, run, learned, album, tmp_path):
        theirs = [tmp_path / name for name in ("masks/my disc/9.png", "coco.json", "sheet.png")]
        theirs[0].parent.mkdir(parents=True)
        for file in theirs:
            file.write_text("theirs")
        assert run("segment", learned, album, "-o", ".").exit_code == 0
        assert {file.read_text() for file in theirs} == {"theirs"}

    def test_a_mask_that_was_corrected_by_hand(self, run, refused, learned, album, tmp_path):
        """It stays in a rerun, and keeps one with other options from its work."""
        assert run("segment", learned, album, "-o", "out", "--sheet").exit_code == 0
        corrected = tmp_path / "out/masks/my disc/1.png"
        Image.new("L", (180, 120), 255).save(corrected)
        kept = corrected.read_bytes()
        assert run("segment", learned, album, "-o", "out", "--sheet").exit_code == 0
        sentence = refused("segment", learned, album, "-o", "out", "--threshold", "0.4", code=2)
        assert "out/masks/my disc/1.png was changed after persam wrote it" in sentence
        assert corrected.read_bytes() == kept
        assert len(results(tmp_path / "out")) == 3
        assert run("segment", learned, album, "-o", "out", "--overwrite").exit_code == 0
        assert corrected.read_bytes() != kept

    def test_two_at_once(self, run, refused, learned, album, tmp_path):
        with Ledger(tmp_path / "out"):
            sentence = refused("segment", learned, album, "-o", "out", code=1)
        assert sentence.startswith("Another persam is writing into out; wait until it is done")
        assert run("segment", learned, album, "-o", "out").exit_code == 0


class TestGoingOn:
    def test_what_is_done_is_not_done_again(self, run, learned, album, tmp_path, segmented):
        assert run("segment", learned, album / "0.jpg", album / "1.jpg", "-o", "out", *ALL).exit_code == 0
        result = run("segment", learned, album, "-o", "out", *ALL, "--json")
        data = json.loads(result.stdout)
        assert len(segmented) == 3
        assert (data["photos"], data["done_before"], len(data["results"])) == (3, 2, 3)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/masks").rglob("*.png")}
        result = run("segment", learned, album, "-o", "out")
        assert len(segmented) == 3
        assert "found in 3 photos (3 of 3 were done before)" in result.stderr
        assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out/masks").rglob("*.png")}

    @pytest.mark.parametrize(
        "change",
        ["photo", "photo and its time", "threshold", "instances", "dtype", "overlay", "concept", "file", "overwrite"],
    )
    def test_what_is_not_the_same_is_done_again(self, run, learned, album, tmp_path, segmented, scene, change):
        assert run("segment", learned, album / "0.jpg", "-o", "out").exit_code == 0
        options: list[object] = []
        if change == "photo":
            os.utime(album / "0.jpg", ns=(1, 1))
        elif change == "photo and its time":
            time = (album / "0.jpg").stat().st_mtime_ns
            (album / "0.jpg").write_bytes((album / "0.jpg").read_bytes())  # as if another of equal length
            os.utime(album / "0.jpg", ns=(time, time))
        elif change == "file":
            (tmp_path / "out/masks/my disc/0.png").unlink()
        elif change == "concept":
            Image.fromarray(scene[0]).save("photo.png")
            assert run("learn", "photo.png", "--box", "20,30,90,110", "--name", "my disc").exit_code == 0
            learned = tmp_path / "my disc.safetensors"
        else:
            options = {
                "threshold": ["--threshold", 0.4],
                "instances": ["--max-instances", 2],
                "dtype": ["--dtype", "bfloat16"],
            }.get(change, [f"--{change}"])
        assert run("segment", learned, album / "0.jpg", "-o", "out", *options).exit_code == 0
        assert len(segmented) == 2
        assert len(results(tmp_path / "out")) == 1

    def test_a_concept_that_is_new_is_looked_for_alone(self, run, learned, album, tmp_path, segmented):
        replace(Concept.load(learned), name="other").save(tmp_path / "other.safetensors")
        assert run("segment", learned, album / "0.jpg", "-o", "out").exit_code == 0
        data = json.loads(run("segment", learned, "other.safetensors", album / "0.jpg", "-o", "out", "--json").stdout)
        assert [line["concept"] for line in data["results"]] == ["my disc", "other"]
        assert len(segmented) == 2

    def test_old_cutouts_and_pages_go_and_corrected_ones_stay(self, run, learned, album, tmp_path, monkeypatch):
        monkeypatch.setattr("persam.reports.contact_sheet._TILES_PER_PAGE", 5)
        for number in range(3, 6):
            draw(album / f"{number}.jpg", number)
        assert run("segment", learned, album, "-o", "out", "--sheet").exit_code == 0
        out = tmp_path / "out"
        assert {path.name for path in out.glob("sheet*.png")} == {"sheet.png", "sheet-2.png"}
        (out / "results.jsonl").unlink()  # to begin anew
        for number in range(3, 6):
            (album / f"{number}.jpg").unlink()
        assert run("segment", learned, album, "-o", "out", "--cutout", "--sheet", "--threshold", 0).exit_code == 0
        assert {path.name for path in out.glob("sheet*.png")} == {"sheet.png"}
        assert len(list((out / "cutouts/my disc").iterdir())) == 3
        (out / "cutouts/my disc/1.png").write_text("mine")
        assert run("segment", learned, album, "-o", "out", "--sheet", "--threshold", 1).exit_code == 0
        assert [path.name for path in (out / "cutouts/my disc").iterdir()] == ["1.png"]


def test_what_does_not_change_what_a_concept_finds_does_not_change_its_fingerprint(scene, photo_file, mask_file):
    model = PerSAM(ColourModel())
    concept = model.learn(photo_file, mask_file, name="disc")
    same = [
        model.learn(*scene, name="disc", keep_references=True),
        replace(concept, model_name="sam", encoder_name="dino", created="1999-12-31"),
    ]
    others = [
        model.learn(scene[0], scene[1][:, ::-1].copy(), name="disc"),
        replace(concept, name="other"),
        replace(concept, model="0123456789ab"),
        replace(concept, scale_weights=(0.5, 0.25, 0.25)),
    ]
    assert {each.content_hash for each in same} == {concept.content_hash}
    assert len({each.content_hash for each in [concept, *others]}) == 5


class TestAlbums:
    def test_a_second_album_joins_the_first(self, run, learned, tmp_path):
        for album, count in (("A", 2), ("B", 3)):
            for number in range(count):
                draw(tmp_path / album / f"{number}.jpg", number)
            assert run("segment", learned, album, "-o", "out", "--coco", "--sheet").exit_code == 0
        out = tmp_path / "out"
        assert len(results(out)) == 5
        assert "Found in 5 of 5 pictures." in (out / "sheet.html").read_text()
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(out / "coco.json"))
        names = [image["file_name"] for image in coco.loadImgs(coco.getImgIds())]
        assert names == ["A/0.jpg", "A/1.jpg", "B/0.jpg", "B/1.jpg", "B/2.jpg"]
        home = Path(coco.dataset["info"]["photos"])
        assert all((home / name).is_file() for name in names)

    def test_the_same_name_from_another_folder_is_another_photo(self, run, learned, tmp_path, monkeypatch):
        """`cd A; persam segment c 1.jpg -o ../out`, then the same in B."""
        for album in "AB":
            draw(tmp_path / album / "1.jpg", ord(album))
            monkeypatch.chdir(tmp_path / album)
            result = run("segment", learned, "1.jpg", "-o", "../out")
            assert result.exit_code == 0
            assert "\n1.jpg " in result.stdout  # as it was typed
        lines = results(tmp_path / "out")
        assert [line["image"] for line in lines] == [str(tmp_path / album / "1.jpg") for album in "AB"]
        assert len({line["files"]["mask"] for line in lines}) == 2
        assert all((tmp_path / "out" / line["files"]["mask"]).is_file() for line in lines)

    def test_the_same_photo_by_another_path_is_the_same(self, run, learned, tmp_path, monkeypatch, segmented):
        draw(tmp_path / "A/1.jpg")
        (tmp_path / "B").mkdir()
        for folder, photo in ((".", "A/1.jpg"), ("A", "1.jpg"), ("B", "../A/1.jpg"), (".", tmp_path / "A/1.jpg")):
            monkeypatch.chdir(tmp_path / folder)
            assert run("segment", learned, photo, "-o", tmp_path / "out").exit_code == 0
        assert len(segmented) == len(results(tmp_path / "out")) == 1

    @pytest.mark.parametrize("stem", ["a\u2028b", "a\x85b", "a\nb", b"a\xffb", "<b>", "猫 " * 20])
    def test_odd_names(self, run, learned, tmp_path, stem):
        name = os.fsdecode(stem) if isinstance(stem, bytes) else stem
        draw(tmp_path / "album" / f"{name}.jpg")
        draw(tmp_path / "album" / "z.jpg")
        for _ in range(2):
            result = run("segment", learned, "album", "-o", "out", *ALL)
            assert result.exit_code == 0, result.output
        assert {line["image"] for line in results(tmp_path / "out")} == {
            str(tmp_path / "album" / f"{each}.jpg") for each in (name, "z")
        }
        assert len((tmp_path / "out/results.jsonl").read_text(encoding="utf-8").splitlines()) == 2
        assert "2 of 2 were done before" in result.stderr

    def test_concepts_that_differ_in_a_letter_that_no_file_name_has(self, run, learned, album, tmp_path):
        for number, name in enumerate(("a/b", "a:b", "A:B")):
            replace(Concept.load(learned), name=name).save(tmp_path / f"{number}.safetensors")
        files = [f"{number}.safetensors" for number in range(3)]
        assert run("segment", *files[:2], album / "0.jpg", "-o", "out").exit_code == 0
        assert run("segment", *reversed(files), album / "1.jpg", "-o", "out").exit_code == 0
        lines = results(tmp_path / "out")
        folders = {line["concept"]: Path(line["files"]["mask"]).parent.name for line in lines}
        assert folders == {"a/b": "a_b", "a:b": "a_b_2", "A:B": "A_B_3"}
        assert len({line["files"]["mask"] for line in lines}) == 5


class TestOlderVersions:
    def test_lines_of_another_format_are_done_again_and_never_mixed(self, run, learned, album, tmp_path, monkeypatch):
        """A folder as persam 0.1 left it: relative paths, no format, no list of files."""
        out = tmp_path / "out"
        assert run("segment", learned, album, "-o", "out", "--coco", "--sheet").exit_code == 0
        lines = results(out)
        for line in lines:
            del line["format"], line["made"]
            line["image"] = str(Path(line["image"]).relative_to(tmp_path))
        (out / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for file in (out / ".persam").iterdir():
            file.unlink()
        result = run("segment", learned, album / "0.jpg", album / "1.jpg", "-o", "out", "--coco", "--sheet")
        assert result.exit_code == 0, result.output
        assert "photos that another version of persam did, 1 were not named now" in result.stderr
        assert [(line["format"], line["name"]) for line in results(out)] == [(2, "0"), (2, "1")]
        assert (out / "masks/my disc/2.png").is_file()
        assert run("segment", learned, album, "-o", "out").exit_code == 0
        assert [line["name"] for line in results(out)] == ["0", "1", "2"]


class TestInstances:
    def test_a_mask_for_each(self, run, learned, tmp_path):
        photo = draw_scene(120, 240, center=(55, 60), radius=30)[0]
        other = draw_scene(120, 240, center=(180, 60), radius=30)
        photo[other[1]] = other[0][other[1]]
        Image.fromarray(photo).save(tmp_path / "two.png")
        options = ["--max-instances", 3, "--per-instance", "--threshold", 0]
        result = run("segment", learned, "two.png", "-o", "out", *options)
        assert result.exit_code == 0, result.output
        line = results(tmp_path / "out")[0]
        files = line["files"]["instances"]
        assert files == [f"instances/my disc/two-{number}.png" for number in range(1, 1 + len(line["instances"]))]
        assert len(files) >= 2
        each = [np.asarray(Image.open(tmp_path / "out" / file)) > 0 for file in files]
        whole = np.asarray(Image.open(tmp_path / "out" / line["files"]["mask"])) > 0
        np.testing.assert_array_equal(np.logical_or.reduce(each), whole)
        assert [round(float(mask.mean()), 6) for mask in each] == [one["area"] for one in line["instances"]]
        assert run("segment", learned, "two.png", "-o", "out", "--per-instance", "--threshold", 0).exit_code == 0
        assert [path.name for path in (tmp_path / "out/instances/my disc").iterdir()] == ["two-1.png"]
