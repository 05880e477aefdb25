"""`persam segment`: the user's path, and what is said of bad input."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from safetensors.torch import save_file

from persam import Concept, PerSAM
from persam.files import write_bytes

PERSAM = [sys.executable, "-c", "from persam.cli.main import app; app()"]


def results(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def files_in(folder: Path) -> list[str]:
    """All files but the hidden list of them and the lock."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.parts[0] != ".persam")


class TestUsersPath:
    def test_everything_that_can_be_written(self, run, learned, album, tmp_path):
        result = run("segment", learned, album, "-o", "out", "--overlay", "--cutout", "--coco", "--sheet")
        assert result.exit_code == 0, result.output
        out = tmp_path / "out"
        lines = results(out)
        assert [Path(line["image"]).name for line in lines] == ["0.jpg", "1.jpg", "2.jpg"]
        for line in lines:
            assert line["concept"] == "my disc"
            mask = np.asarray(Image.open(out / line["files"]["mask"]))
            assert mask.shape == (120, 180)
            assert set(np.unique(mask)) <= {0, 255}
            assert (mask.mean() / 255) == pytest.approx(line["area"], abs=1e-5)
            assert Image.open(out / line["files"]["overlay"]).size == (180, 120)
        assert (out / "sheet.png").exists()
        assert (out / "sheet.html").exists()
        with contextlib.redirect_stdout(io.StringIO()):
            assert len(COCO(str(out / "coco.json")).getImgIds()) == 3
        for word in ("photo", "0.jpg", "my disc", "score"):
            assert word in result.stdout
        assert "in 3 photos" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert "\x1b" not in result.output  # no colours where there is no terminal

    def test_sheet_of_photos_that_are_no_jpegs(self, run, learned, photo_file, tmp_path):
        result = run("segment", learned, photo_file, "-o", "out", "--sheet")
        assert result.exit_code == 0, result.output
        assert (tmp_path / "out/sheet.png").exists()

    def test_masks_and_results_alone_by_default(self, run, learned, album, tmp_path):
        assert run("segment", learned, album / "0.jpg", "-o", "out").exit_code == 0
        assert files_in(tmp_path / "out") == ["masks/my disc/0.png", "results.jsonl"]

    def test_again_into_the_same_folder(self, run, learned, album, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine.txt").write_text("keep")
        for _ in range(2):
            assert run("segment", learned, album, "-o", "out").exit_code == 0
        assert len(results(tmp_path / "out")) == 3
        assert (tmp_path / "out/mine.txt").read_text() == "keep"

    def test_several_concepts(self, run, learned, album, tmp_path):
        replace(Concept.load(learned), name="other").save(tmp_path / "other.safetensors")
        data = json.loads(run("segment", learned, "other.safetensors", f"{album}/*.jpg", "--json").stdout)
        assert len(data["results"]) == 6
        assert {line["concept"] for line in data["results"]} == {"my disc", "other"}

    def test_threshold_decides_what_counts_as_present(self, run, learned, album):
        data = json.loads(run("segment", learned, album, "--threshold", "1", "--json").stdout)
        assert data["found"] == 0
        assert not any(line["present"] for line in data["results"])

    @pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGBA", "I;16", "one pixel", "animated", "rotated"])
    def test_every_kind_of_photo(self, run, learned, tmp_path, scene, mode):
        photo, options, name = Image.fromarray(scene[0]), {}, "p.png"
        if mode == "one pixel":
            photo = photo.resize((1, 1))
        elif mode == "animated":
            options, name = {"save_all": True, "append_images": [photo.rotate(90)]}, "p.gif"
        elif mode == "rotated":
            exif = Image.Exif()
            exif[0x0112] = 6
            options, name = {"exif": exif}, "p.jpg"
        elif mode == "I;16":
            photo = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
        else:
            photo, name = photo.convert(mode), "p.tif" if mode == "CMYK" else "p.png"
        photo.save(tmp_path / name, **options)
        result = run("segment", learned, name, "--json")
        assert result.exit_code == 0, result.output
        told = "The photo p.gif has 2 frames; only the first is taken.\n"
        assert result.stderr == (told if mode == "animated" else "")
        line = json.loads(result.stdout)["results"][0]
        expected = {"rotated": (120, 160), "one pixel": (1, 1)}.get(mode, (160, 120))
        assert (line["width"], line["height"]) == expected


class TestBadPhotos:
    def test_what_is_left_out_of_a_folder_is_told(self, run, learned, album):
        (album / "IMG_1.CR2").touch()
        (album / "gone.jpg").symlink_to("nowhere")
        (album / "notes.txt").touch()
        result = run("segment", learned, album, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["photos"] == 3
        assert result.stderr == (
            f"Left out of {album}: 1 RAW photo (IMG_1.CR2; export as JPEG or TIFF first), "
            "1 link to nothing (gone.jpg).\n"
        )

    def test_own_overlays_are_no_photos(self, run, learned, album):
        for _ in range(2):
            result = run("segment", learned, f"{album}/**/*.jpg", "-o", album / "found", "--overlay", "--json")
            assert json.loads(result.stdout)["photos"] == 3
        assert "3 pictures that persam wrote" in result.stderr

    def test_are_reported_and_counted_and_the_others_go_on(self, run, learned, album, damaged, tmp_path):
        bad = [damaged[kind] for kind in ("missing", "empty", "cut", "text", "bomb")]
        result = run("segment", learned, album, *bad, "-o", "out", "--json")
        assert result.exit_code == 1
        assert "Traceback" not in result.stderr
        data = json.loads(result.stdout)
        assert data["photos"] == 8
        assert [failure["image"] for failure in data["failed"]] == [str(path) for path in bad]
        assert len(results(tmp_path / "out")) == 3
        lines = result.stderr.splitlines()
        assert len(lines) == 6
        for line, words in zip(
            lines, ["There is no photo", "is empty", "truncated", "not a picture", "400 million"], strict=False
        ):
            assert words in line
        assert lines[-1].startswith("5 of 8 photos could not be segmented: ")
        assert str(damaged["empty"]) in lines[-1]

    def test_an_odd_failure_of_one_photo_is_counted_too(self, run, learned, album, monkeypatch):
        original = PerSAM.segment

        def fragile(self: PerSAM, image: object, *arguments: object, **options: object) -> object:
            fragile.calls += 1
            if fragile.calls == 2:
                raise RuntimeError("out of memory\nmany lines")
            return original(self, image, *arguments, **options)

        fragile.calls = 0
        monkeypatch.setattr(PerSAM, "segment", fragile)
        result = run("segment", learned, album)
        assert result.exit_code == 1
        assert "1.jpg could not be segmented (RuntimeError: out of memory)." in result.stderr


class TestBadConcepts:
    def test_missing(self, refused, album):
        assert "gone.safetensors" in refused("segment", "gone.safetensors", album, code=1)

    @pytest.mark.parametrize("content", [b"", b"dear diary", b"\xff" * 64])
    def test_damaged(self, refused, album, tmp_path, content):
        (tmp_path / "bad.safetensors").write_bytes(content)
        assert "bad.safetensors is damaged or no safetensors file" in refused(
            "segment", "bad.safetensors", album, code=1
        )

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
    def test_truncated(self, refused, album, learned, tmp_path, share):
        whole = learned.read_bytes()
        (tmp_path / "cut.safetensors").write_bytes(whole[: int(len(whole) * share)])
        assert "cut.safetensors is damaged" in refused("segment", "cut.safetensors", album, code=1)

    def test_foreign(self, refused, album, tmp_path):
        save_file({"weight": torch.zeros(3)}, tmp_path / "lora.safetensors")
        assert "lora.safetensors" in refused("segment", "lora.safetensors", album, code=1)

    def test_made_with_another_model(self, refused, album, learned, tmp_path):
        replace(Concept.load(learned), model="0123456789ab", encoder="0123456789ab").save(tmp_path / "c.safetensors")
        sentence = refused("segment", "c.safetensors", album, code=1)
        assert "was made with the model tiny (0123456789ab)" in sentence
        assert not (tmp_path / "found").exists()

    def test_made_with_a_checkpoint_that_is_elsewhere(self, refused, album, learned, tmp_path):
        replace(Concept.load(learned), model_name="sam_vit_b_01ec64").save(tmp_path / "c.safetensors")
        sentence = refused("segment", "c.safetensors", album, code=2)
        assert "made with the model sam_vit_b_01ec64, a file or folder that is not here; say with --model" in sentence


class TestWrongCalls:
    def test_no_concept(self, refused, album):
        assert "No concept was named" in refused("segment", album, code=2)

    def test_no_photos(self, refused, learned):
        assert "No photos were named" in refused("segment", learned, code=2)

    def test_empty_folder(self, refused, learned, tmp_path):
        (tmp_path / "nothing").mkdir()
        assert "no pictures in the folder nothing" in refused("segment", learned, "nothing", code=2)

    def test_glob_without_a_match(self, refused, learned):
        assert "No picture matches '*.jpg'" in refused("segment", learned, "*.jpg", code=2)

    def test_two_concepts_of_one_name(self, refused, learned, album, tmp_path):
        write_bytes(tmp_path / "copy.safetensors", learned.read_bytes())
        assert "both named 'my disc'" in refused("segment", learned, "copy.safetensors", album, code=2)

    @pytest.mark.parametrize("option", [("--threshold", "2"), ("--max-instances", "0"), ("--threshold", "x")])
    def test_options_out_of_range(self, run, learned, album, option):
        assert run("segment", learned, album, *option).exit_code == 2


class TestStoppingAndWriting:
    def test_stop_keeps_what_was_done(self, run, learned, album, tmp_path, monkeypatch):
        original = PerSAM.segment

        def stopped(self: PerSAM, image: object, *arguments: object, **options: object) -> object:
            if (tmp_path / "out/results.jsonl").exists():
                raise KeyboardInterrupt
            return original(self, image, *arguments, **options)

        monkeypatch.setattr(PerSAM, "segment", stopped)
        result = run("segment", learned, album, "-o", "out", "--coco", "--sheet")
        assert result.exit_code == 130
        assert result.stderr.splitlines()[-1] == (
            "Stopped. 1 of 3 photos are done and kept in out/; run the same command again to go on."
        )
        assert len(results(tmp_path / "out")) == 1
        assert {"coco.json", "sheet.png", "sheet.html"} <= set(files_in(tmp_path / "out"))
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        result = run("segment", learned, album, "-o", "out", "--coco", "--sheet")
        assert result.exit_code == 0
        assert "found in 3 photos (1 of 3 were done before)" in result.stderr
        assert [image["id"] for image in json.loads((tmp_path / "out/coco.json").read_text())["images"]] == [1, 2, 3]

    def test_no_room_on_the_disk(self, run, learned, album, tmp_path, monkeypatch):
        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        result = run("segment", learned, album, "-o", "out")
        assert result.exit_code == 1
        assert "there is no room left on the disk" in result.stderr
        assert "Traceback" not in result.output
        assert files_in(tmp_path / "out") == []

    def test_output_that_is_a_file(self, refused, learned, album, tmp_path):
        (tmp_path / "out").write_text("x")
        assert "Cannot write out" in refused("segment", learned, album, "-o", "out", code=1)


class TestAsAProcess:
    def test_pipes_are_clean(self, learned, album, tmp_path):
        arguments = [*PERSAM, "segment", learned, album, "-o", tmp_path / "out", "--json"]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        assert len(json.loads(done.stdout)["results"]) == 3
        assert done.stderr == ""

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no signals for a child")
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_stopped_by_a_signal(self, learned, tmp_path, photo_file, number, code):
        photos, out = tmp_path / "photos", tmp_path / "out"
        photos.mkdir()
        for name in range(400):
            (photos / f"{name:03}.png").write_bytes(photo_file.read_bytes())
        arguments = [*PERSAM, "segment", learned, photos, "-o", out, "--coco"]
        with subprocess.Popen(
            arguments,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            # A shell starts background jobs deaf to Ctrl-C, and their children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            deadline = time.monotonic() + 240
            while not (out / "results.jsonl").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(number)
            stderr = process.communicate(timeout=60)[1]
        assert process.returncode == code
        assert "Traceback" not in stderr
        assert re.search(r"Stopped. \d+ of 400 photos are done and kept in .*; run the same command again", stderr)
        assert len(json.loads((out / "coco.json").read_text())["images"]) == len(results(out))
        assert 1 <= len(results(out)) < 400
        for line in results(out):
            assert (out / line["files"]["mask"]).exists()
        assert not list(out.rglob(".*.tmp*"))


def test_a_score_is_not_rounded_over_the_threshold():
    from persam.cli.segment import _score_told

    assert [_score_told(score, 0.5) for score in (0.4984, 0.494, 0.5, 0.5001, 0.49999)] == [
        "0.498",
        "0.49",
        "0.50",
        "0.50",
        "0.49999",
    ]


def test_a_folder_that_is_missing_is_not_called_a_photo_alone(run, learned):
    said = run("segment", learned, "nowhere/", "-o", "out")
    assert said.exit_code == 1
    assert "There is no photo or folder at nowhere" in said.stderr
    assert "all of it in" not in said.stderr
