"""`persam album`: the user's path, and what is said of bad input."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO


def results(folder: Path) -> list[dict]:
    return [json.loads(row) for row in (folder / "results.jsonl").read_text().split("\n")[:-1]]


class TestUsersPath:
    def test_filled_twice_then_one_more_photo(self, run, learned, album, tmp_path):
        first = run("album", learned, album, "-o", "out", "--cache", "10MB")
        assert first.exit_code == 0, first.output
        assert "my disc" in first.stdout
        assert "3 photos done" in first.stderr
        assert len(results(tmp_path / "out")) == 3
        assert "0 photos done, 3 were done before" in run("album", learned, album, "-o", "out").stderr
        shutil.copy(album / "0.jpg", album / "copy.jpg")
        again = run("album", learned, album, "-o", "out", "--json")
        told = json.loads(again.stdout)
        assert (told["done_now"], told["done_before"], told["known"]) == (1, 3, 1)
        assert sum(told["verdicts"]["my disc"].values()) == 4
        assert told["failed"] == []

    def test_a_corrected_mask(self, run, learned, album, tmp_path):
        run("album", learned, album, "-o", "out")
        mask = tmp_path / "out" / "masks" / "my disc" / "1.png"
        Image.new("L", (180, 120)).save(mask)
        fixed = run("album", "fix", "out", learned, "-o", "better.safetensors")
        assert fixed.exit_code == 0, fixed.output
        assert "Corrected: 1;" in fixed.stderr
        assert (tmp_path / "better.safetensors").exists()
        run("album", "better.safetensors", album, "-o", "out")
        assert not results(tmp_path / "out")[1]["present"]
        assert run("album", "fix", "out", learned, "-o", "better.safetensors").exit_code == 2  # it exists

    def test_what_is_not_there_teaches_nothing(self, run, learned, album, tmp_path):
        run("album", learned, album, "-o", "out")
        Image.new("L", (180, 120)).save(tmp_path / "black.png")
        fixed = run("album", "fix", "out", learned, "1.jpg", "black.png")  # its name is enough where there is one of it
        assert fixed.exit_code == 0, fixed.output
        assert f"teaches nothing, so the concept stays as it is -> {learned}" in fixed.stderr
        assert not list(tmp_path.rglob("*-fixed.safetensors"))
        assert not results(tmp_path / "out")[1]["present"]

    def test_a_mask_that_is_scaled_is_called_so_and_the_model_can_be_named(
        self, run, refused, learned, album, tmp_path
    ):
        run("album", learned, album, "-o", "out")
        half = Image.new("L", (90, 60))
        half.paste(255, (20, 15, 50, 45))
        half.save(tmp_path / "half.png")
        fixing = ("album", "fix", "out", learned, "1.jpg", "half.png", "-o", "better", "--model")
        assert "none.pth" in refused(*fixing, "none.pth", code=1)
        fixed = run(*fixing, "tiny")
        assert fixed.exit_code == 0, fixed.output
        said = " ".join(fixed.stderr.split())
        assert "The mask half.png is 90 x 60 pixels, the photo 180 x 120, so it is scaled to fit" in said
        with Image.open(tmp_path / "out" / "masks" / "my disc" / "1.png") as kept:
            assert kept.getbbox() == (40, 30, 100, 90)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
    def test_a_mask_that_comes_through_a_pipe(self, run, learned, album, tmp_path):
        run("album", learned, album, "-o", "out")
        drawn = io.BytesIO()
        mask = Image.new("L", (180, 120))
        mask.paste(255, (20, 15, 50, 45))
        mask.save(drawn, "PNG")
        os.mkfifo(tmp_path / "pipe.png")
        writing = threading.Thread(target=(tmp_path / "pipe.png").write_bytes, args=[drawn.getvalue()], daemon=True)
        writing.start()
        fixed = run("album", "fix", "out", learned, "1.jpg", "pipe.png", "-o", "better")
        assert fixed.exit_code == 0, fixed.output
        assert (tmp_path / "better.safetensors").exists()

    def test_a_tuned_concept_says_what_it_lacks_to_be_corrected(self, run, photo_file, mask_file, album):
        for more, lacks in ([], True), (["--keep-reference"], False):
            made = run("learn", photo_file, mask_file, "--tune", "-o", "tuned.safetensors", "--overwrite", *more)
            assert made.exit_code == 0, made.output
            with Image.open(album / "1.jpg") as photo:
                photo.convert("L").save(album / f"grey{len(more)}.jpg")
            said = run("album", "tuned.safetensors", album, "-o", f"out{len(more)}").stderr
            assert "Most worth correcting next" in said
            assert ("learn it again with --keep-reference" in said) == lacks

    def test_what_is_most_worth_correcting_is_said_and_can_be_done(self, run, learned, album, tmp_path):
        (album / "grey.jpg").write_bytes((album / "0.jpg").read_bytes())
        with Image.open(album / "1.jpg") as photo:
            photo.convert("L").save(album / "grey.jpg")
        said = run("album", learned, album, "-o", "out").stderr
        (line,) = [line for line in said.splitlines() if line.startswith("Most worth correcting next: ")]
        first = (tmp_path / "out" / "correct.csv").read_text().splitlines()[1].split(",")
        assert first[0] in line
        assert f"correct out/{first[-1]} and run persam album fix out {learned}." in line
        Image.new("L", (180, 120)).save(tmp_path / "out" / first[-1])
        fixed = run("album", "fix", "out", learned, "-o", "better.safetensors")
        assert fixed.exit_code == 0, fixed.output
        assert first[0] not in fixed.stderr
        told = json.loads(run("album", learned, album, "-o", "out", "--json").stdout)
        assert first[0] not in {one["image"] for one in told["worth_correcting"]}

    def test_for_other_tools(self, run, learned, album, tmp_path):
        done = run("album", learned, album, "-o", "out", "--format", "coco", "--format", "csv")
        assert done.exit_code == 0, done.output
        with contextlib.redirect_stdout(io.StringIO()):
            assert len(COCO(str(tmp_path / "out" / "coco.json")).getImgIds()) == 3
        assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 4
        later = run("album", "export", "out", "--format", "yolo", "--format", "blur")
        assert later.exit_code == 0, later.output
        assert (tmp_path / "out" / "yolo" / "data.yaml").exists()
        assert len(list((tmp_path / "out" / "blurred").rglob("*.jpg"))) == 3

    def test_find(self, run, learned, album, tmp_path):
        run("album", learned, album, "-o", "out")
        ranked = run("album", "find", learned, "out", "--top", 2)
        assert ranked.exit_code == 0, ranked.output
        assert ranked.stdout.count(".jpg") == 2
        told = json.loads(run("album", "find", learned, "out", "--json").stdout)
        assert len(told["ranked"]) == 3
        assert told["ranked"][0]["score"] >= told["ranked"][-1]["score"]

    def test_find_names_photos_that_are_away(self, run, learned, album, tmp_path):
        run("album", learned, album, "-o", "out")
        gone = next(album.glob("*.jpg"))
        gone.unlink()
        found = run("album", "find", learned, "out", "--json")
        assert found.exit_code == 1
        told = json.loads(found.stdout)
        assert [Path(each["image"]).name for each in told["failed"]] == [gone.name]
        assert len(told["ranked"]) == 2
        assert "1 of 3 photos could not be segmented" in found.stderr.splitlines()[-1]

    def test_a_bad_photo_is_counted_and_the_rest_is_done(self, run, learned, album, damaged, tmp_path):
        for name, file in damaged.items():
            if file.is_file():
                shutil.copy(file, album / f"{name}.jpg")
        result = run("album", learned, album, "-o", "out")
        assert result.exit_code == 1
        assert len(results(tmp_path / "out")) == 3
        assert "could not be segmented" in result.stderr.splitlines()[-1]

    def test_help_names_the_commands(self, run):
        shown = run("album", "--help").output
        assert "find" in shown
        assert "run" in shown


class TestRefused:
    @pytest.mark.parametrize("amount", ["20 apples", "", "-1GB", "GB"])
    def test_an_amount_that_is_none(self, refused, learned, album, amount):
        assert "--cache takes an amount" in refused("album", learned, album, "-o", "out", f"--cache={amount}", code=2)

    def test_no_concept(self, refused, album):
        assert "No concept was named" in refused("album", album, "-o", "out", code=2)

    def test_a_folder_of_segment(self, run, refused, learned, album):
        run("segment", learned, album, "-o", "out")
        assert "results.jsonl" in refused("album", learned, album, "-o", "out", code=2)

    def test_an_album_is_no_folder_of_segment(self, run, refused, learned, album):
        run("album", learned, album, "-o", "out")
        assert "persam album" in refused("segment", learned, album, "-o", "out", code=2)

    def test_a_format_that_is_none(self, refused, learned, album, tmp_path):
        assert "did you mean yolo" in refused("album", learned, album, "-o", "out", "--format", "yollo", code=2)
        assert not (tmp_path / "out").exists()
        assert "--format" in refused("album", "export", "out", code=2)

    def test_find_in_what_is_no_album(self, refused, learned, tmp_path):
        (tmp_path / "other").mkdir()
        assert "is no album" in refused("album", "find", learned, "other", code=2)
        assert list((tmp_path / "other").iterdir()) == []
