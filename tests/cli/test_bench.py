"""`persam bench DATASET`, `score` and `compare`: the user's path, the kill, and what is said of bad input."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.conftest import write_pair
from tests.fakes import ColourModel

from persam.benchmark.datasets.catalog import DATASETS
from persam.ledger import Ledger

ROOT = Path(__file__).parents[2]
# The real command line with a model that answers at once.
PERSAM = """
import sys; sys.path.insert(0, {root!r})
import persam.models.loading as loading
from tests.fakes import ColourModel
loading.load_model = lambda *names, **options: ColourModel()
from persam.cli.main import app
app()
"""
# It stops for good at a photo, so that it cannot get to its end before it is killed.
WAITS = """
import time
from persam.benchmark.methods.ours import PersamMethod
find, photos = PersamMethod.find, []
def find_or_wait(self, photo, learned):
    photos.append(photo)
    time.sleep(3600 if len(photos) > 20 else 0)
    return find(self, photo, learned)
PersamMethod.find = find_or_wait
"""


def kill_when(records: Path, lines: int, command: list[str], before: str) -> int:
    """Run `persam` after a script, kill it (-9) as soon as its records have so many lines, and count them."""
    script = PERSAM.format(root=str(ROOT)).replace("from persam.cli.main", f"{before}\nfrom persam.cli.main")
    with (
        tempfile.TemporaryFile() as said,  # nobody reads while it runs: a pipe could fill up
        subprocess.Popen([sys.executable, "-c", script, *command], stdout=subprocess.DEVNULL, stderr=said) as process,
    ):
        try:
            deadline = time.monotonic() + 200
            while not (records.exists() and records.read_bytes().count(b"\n") >= lines):
                assert process.poll() is None, _all_of(said)
                assert time.monotonic() < deadline, _all_of(said)
                time.sleep(0.01)
        finally:
            process.kill()
    return records.read_bytes().count(b"\n")


def _all_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


@pytest.fixture(autouse=True)
def colours(monkeypatch):
    """Every model is the one that finds things by colour."""
    monkeypatch.setattr("persam.models.loading.load_model", lambda *names, **options: ColourModel())


@pytest.fixture
def perseg(tmp_path):
    """PerSeg in small: 2 objects, 2 tests each."""
    root = tmp_path / "PerSeg"
    for thing in ("mug", "dog_toy"):
        for number in range(3):
            write_pair(root / f"Images/{thing}/{number:02}.jpg", root / f"Annotations/{thing}/{number:02}.png", number)
    return root


@pytest.fixture
def data(tmp_path):
    """fss/ (1 class, 2 tests) and davis/ (1 sequence, 10 frames)."""
    root = tmp_path / "data"
    for number in range(3):
        write_pair(root / f"fss/abacus/images/{number}.jpg", root / f"fss/abacus/masks/{number}.png", number, 255)
    for number in range(10):
        frame = f"480p/bear/{number:05}"
        write_pair(root / f"davis/JPEGImages/{frame}.jpg", root / f"davis/Annotations/{frame}.png", number % 4)
    return root


def metrics(folder: Path) -> dict:
    values = json.loads((folder / "metrics.json").read_text())
    assert values.pop("times")
    return values


class TestUsersPath:
    def test_everything_that_is_written(self, run, perseg, tmp_path):
        result = run("bench", "perseg", "--data", perseg, "--output", "out", "--device", "cpu")
        assert result.exit_code == 0, result.output
        out = tmp_path / "out"
        for name in ("table.md", "table.tex", "worst.png", "iou.png", "report.html", "settings.json", "records.jsonl"):
            assert (out / name).stat().st_size > 0
        for method in ("persam", "persam-f"):
            for query in ("mug/01", "dog_toy/02"):
                assert Image.open(out / "predictions" / method / f"{query}.png").size == (80, 60)
        values = metrics(out)
        assert values["photos"] == 4
        assert values["objects"] == 2
        assert values["references"] == {"mug": ["mug/00"], "dog_toy": ["dog_toy/00"]}
        settings = values["settings"]
        assert settings["model"] == "tiny"
        assert settings["methods"]["persam"]["fingerprint"] == ColourModel.fingerprint
        assert settings["methods"]["persam"]["settings"]["mode"] == "persam"
        assert set(settings["versions"]) >= {"persam", "torch", "transformers", "numpy", "python"}
        assert len(settings["hash of the data"]) == 64
        assert "pooled over an object's photos" in values["protocol"]["sentence"]
        assert {row["value"] for row in values["published"]} >= {89.32, 95.33}
        rows = list(csv.DictReader((out / "per_image.csv").open()))
        assert len(rows) == 8
        for method, summary in values["methods"].items():
            ious = [float(row["iou"]) for row in rows if row["method"] == method]
            assert summary["figures"]["iou"]["value"] == pytest.approx(np.mean(ious), abs=1e-5)
            low, high = summary["figures"]["iou"]["over_images"]
            assert low <= summary["figures"]["iou"]["value"] <= high
            objects = list(csv.DictReader((out / "per_object.csv").open()))
            pooled = [float(row["iou_pooled"]) for row in objects if row["method"] == method]
            assert summary["figures"]["miou"]["value"] == pytest.approx(np.mean(pooled), abs=1e-5)
        for words in (
            "persam-f",
            "mIoU",
            "95.33",
            "SAM ViT-H",
            "40 objects, reference 00",
            "Protocol:",
            "Mode: persam ",
        ):
            assert words in result.stdout
            assert words in (out / "table.md").read_text()
            assert words in (out / "table.tex").read_text()
        assert r"dog_toy" not in (out / "table.tex").read_text().replace(r"dog\_toy", "")
        assert result.stderr.splitlines()[-1].startswith("All of it is in out/: report.html, metrics.json")

    def test_the_numbers_are_those_of_the_predictions(self, run, perseg, tmp_path):
        """The masks, scored as if another tool had made them, give the same figures."""
        assert run("bench", "perseg", "--data", perseg, "--output", "out", "--method", "persam").exit_code == 0
        result = run(
            "bench", "score", "perseg", "--data", perseg, "--predictions", "out/predictions/persam", "--json"
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        scored, ours = json.loads(result.stdout)["methods"]["persam"], metrics(tmp_path / "out")["methods"]["persam"]
        for key in ("miou", "macc", "biou", "iou", "biou_image"):
            assert scored["figures"][key] == ours["figures"][key]

    def test_without_out_nothing_is_kept(self, run, perseg, tmp_path):
        before = sorted(tmp_path.iterdir())
        result = run("bench", "perseg", "--data", perseg, "--method", "persam", "--limit", 1)
        assert result.exit_code == 0, result.output
        assert "a quick look" in result.stdout
        assert sorted(tmp_path.iterdir()) == before
        assert result.stderr == ""

    def test_json(self, run, perseg):
        result = run("bench", "perseg", "--data", perseg, "--method", "persam", "--limit", 2, "--json", "--shots", 2)
        values = json.loads(result.stdout)
        assert values["photos"] == 2
        assert values["settings"]["shots"] == 2
        assert values["references"]["mug"] == ["mug/00", "mug/01"]

    def test_davis_without_the_last_frame(self, run, data):
        result = run("bench", "davis", "--data", data / "davis", "--method", "persam", "--json")
        values = json.loads(result.stdout)
        assert values["photos"] == 8  # ten frames without the first and the last
        assert {"jf", "j_mean", "f_decay"} <= set(values["methods"]["persam"]["figures"])
        assert "segmented on its own" in values["protocol"]["sentence"]

    def test_fss_and_folder(self, run, data):
        result = run("bench", "fss", "--data", data / "fss", "--method", "persam", "--json", "--split", "all")
        assert {"miou", "fb_iou"} <= set(json.loads(result.stdout)["methods"]["persam"]["figures"])
        result = run("bench", "folder", "--data", data / "fss", "--method", "persam", "--reference", "1")
        assert "IoU per image" in result.stdout
        assert "2 photos" not in result.stdout.split("Protocol")[0]

    def test_help_tells_where_each_is_had(self, run):
        text = " ".join(run("bench", "--help").stdout.replace("│", " ").split())
        for entry in DATASETS.values():
            assert entry.title in text
        assert "github.com/ZrrSkywalker/Personalize-SAM" in text
        assert "Images/OBJECT/NN.jpg" in text
        one = " ".join(run("bench", "davis", "--help").stdout.split())
        for words in ("davischallenge.org", "JPEGImages/480p/SEQUENCE", "--step", "--year", "Protocol"):
            assert words in one

    def test_absent(self, run, perseg, tmp_path):
        arguments = ("bench", "perseg", "--data", perseg, "--absent", "--output", "out")
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        assert "AUROC" in result.stdout
        assert "Mode: persam " in result.stdout
        assert "predictions" not in result.stderr  # there are none
        values = metrics(tmp_path / "out")
        summary = values["methods"]["persam"]
        assert (summary["with_object"], summary["without"]) == (4, 4)
        assert 0 <= summary["auroc"] <= 1
        assert summary["own_thresholds"] is not None
        assert Image.open(tmp_path / "out/scores.png").width > 500
        assert "is it there at all?" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
        assert len((tmp_path / "out/absent.jsonl").read_text().splitlines()) == 16
        assert run(*arguments).exit_code == 0
        assert metrics(tmp_path / "out") == values
        assert len((tmp_path / "out/absent.jsonl").read_text().splitlines()) == 16

    def test_named_things(self, run, perseg, tmp_path):
        """PerSeg's photos in another form give what they give as PerSeg."""
        items = {}
        for number, (name, photo) in enumerate((name, n) for name in ("mug", "dog_toy") for n in range(3)):
            at = tmp_path / f"things/desk/{number}__0"
            at.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(perseg / f"Images/{name}/{photo:02}.jpg", at.with_suffix(".jpg"))
            mask = np.asarray(Image.open(perseg / f"Annotations/{name}/{photo:02}.png"))[:, :, 0] > 0
            Image.fromarray(mask.astype(np.uint8)).save(at.with_suffix(".png"))
            items[at.name] = {"part": "val", "objects": [name]}
        (tmp_path / "names.json").write_text(json.dumps({"desk": {"items": items}}))
        arguments = ("bench", "things", "--data", tmp_path / "things", "--objects", tmp_path / "names.json", "--json")
        values = json.loads(run(*arguments, "--part", "val", "--method", "persam").stdout)
        assert (values["photos"], values["objects"]) == (4, 2)
        same = json.loads(run("bench", "perseg", "--data", perseg, "--method", "persam", "--json").stdout)
        ours, theirs = (each["methods"]["persam"]["figures"]["iou"]["value"] for each in (values, same))
        assert ours == pytest.approx(theirs)
        summary = json.loads(run(*arguments, "--absent").stdout)["methods"]["persam"]
        assert (summary["with_object"], summary["without"]) == (4, 4)
        result = run(*arguments, "--part", "test")
        assert result.exit_code == 2
        assert "no part test" in result.output

    def test_compare(self, run, perseg):
        for name, mode in (("a", "persam"), ("b", "paper")):
            run("bench", "perseg", "--data", perseg, "--method", "persam", "--mode", mode, "--output", name)
        result = run("bench", "compare", "a", "b")
        assert result.exit_code == 0, result.output
        assert "b: paper-persam less a: persam, IoU per image, 4 photos" in result.stdout
        (values,) = json.loads(run("bench", "compare", "a", "b", "--json").stdout)
        assert values["photos"] == 4
        assert 0 < values["over_photos"][3] <= 1


class TestKill:
    def test_killed_half_way_and_started_again(self, run, tmp_path):
        """`kill -9` in the midst, and the same command again: the numbers are those of a run that was left alone."""
        root = tmp_path / "PerSeg"
        for thing in ("mug", "cat", "owl"):
            for number in range(10):
                photo, mask = root / f"Images/{thing}/{number:02}.jpg", root / f"Annotations/{thing}/{number:02}.png"
                if number < 4:
                    write_pair(photo, mask, number)
                else:
                    shutil.copy(photo.with_name(f"{number % 4:02}.jpg"), photo)
                    shutil.copy(mask.with_name(f"{number % 4:02}.png"), mask)
        command = ["bench", "perseg", "--data", str(root), "--method", "persam", "--device", "cpu"]
        records = tmp_path / "killed/records.jsonl"
        done = kill_when(records, 12, [*command, "--output", str(tmp_path / "killed")], WAITS)
        assert 12 <= done <= 20
        assert not (tmp_path / "killed/metrics.json").exists()
        with records.open("ab") as stream:
            stream.write(b'{"method": "persam", "data_s')  # and its last line was cut short
        assert run(*command, "--output", tmp_path / "killed").exit_code == 0
        assert run(*command, "--output", tmp_path / "whole").exit_code == 0
        assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
        assert len(records.read_text().splitlines()) == 27
        for name in ("table.md", "per_object.csv", "worst.png", "predictions/persam/owl/09.png"):
            assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    def test_ctrl_c_says_how_to_go_on(self, run, perseg, monkeypatch):
        calls = []

        def interrupted(self, photo, learned):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return original(self, photo, learned)

        from persam.benchmark.methods.ours import PersamMethod

        original = PersamMethod.find
        monkeypatch.setattr(PersamMethod, "find", interrupted)
        command = ("bench", "perseg", "--data", perseg, "--method", "persam")
        result = run(*command, "--output", "out")
        assert result.exit_code == 130
        assert "2 of 4 photos are done and kept in out; run the same command again to go on." in result.stderr
        calls.clear()
        assert "Nothing was kept; with --output" in run(*command).stderr


class TestFilesOfOthers:
    @pytest.mark.parametrize("file", ["metrics.json", "table.md", "report.html", "per_image.csv"])
    def test_are_named_before_the_work_and_stay(self, refused, perseg, tmp_path, file):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / file).write_text("theirs")
        for command in (("perseg",), ("score", "perseg", "--predictions", perseg / "Annotations")):
            sentence = refused("bench", *command, "--data", perseg, "--output", "out", code=2)
            assert sentence == (
                f"out/{file} was not written by persam and would be lost; choose another --output, or move it away."
            )
        assert [path.name for path in (tmp_path / "out").iterdir()] == [file]
        assert (tmp_path / "out" / file).read_text() == "theirs"

    def test_two_at_once(self, refused, perseg, tmp_path):
        with Ledger(tmp_path / "out"):
            assert "Another persam is writing into out" in refused(
                "bench", "perseg", "--data", perseg, "--output", "out", code=1
            )

    def test_a_run_of_a_persam_that_kept_no_list_goes_on(self, run, perseg, tmp_path):
        command = ("bench", "perseg", "--data", perseg, "--method", "persam", "--output", "out")
        assert run(*command).exit_code == 0
        shutil.rmtree(tmp_path / "out/.persam")
        records = tmp_path / "out/records.jsonl"
        records.write_bytes(b"".join(records.read_bytes().splitlines(keepends=True)[:2]))  # killed before the third
        assert run(*command).exit_code == 0
        assert len(records.read_bytes().splitlines()) == 4


class TestBadInput:
    def test_changed_settings(self, run, refused, perseg):
        assert run("bench", "perseg", "--data", perseg, "--method", "persam", "--output", "out").exit_code == 0
        sentence = refused(
            "bench", "perseg", "--data", perseg, "--method", "persam", "--shots", 2, "--output", "out", code=2
        )
        assert (
            "out holds a run with shots = 1, now it is 2; choose another --output, or start over with --fresh."
            in sentence
        )
        sentence = refused("bench", "perseg", "--data", perseg, "--method", "persam-f", "--output", "out", code=2)
        assert "method = persam, now it is persam-f" in sentence
        result = run(
            "bench", "perseg", "--data", perseg, "--method", "persam", "--shots", 2, "--output", "out", "--fresh"
        )
        assert result.exit_code == 0, result.output

    def test_changed_data(self, run, refused, perseg):
        command = ("bench", "perseg", "--data", perseg, "--method", "persam", "--output", "out")
        assert run(*command).exit_code == 0
        write_pair(perseg / "Images/mug/01.jpg", perseg / "Annotations/mug/01.png", 3)
        assert "hash of the data" in refused(*command, code=2)

    def test_a_photo_that_cannot_be_read(self, run, perseg, tmp_path):
        (perseg / "Images/mug/01.jpg").write_bytes(b"no picture")
        result = run("bench", "perseg", "--data", perseg, "--method", "persam", "--output", "out")
        assert result.exit_code == 1
        assert "1 answer is missing and counts as none: mug/01 (The photo" in result.stderr
        values = metrics(tmp_path / "out")["methods"]["persam"]
        assert list(values["missing"]) == ["mug/01"]
        assert values["photos"] == 4
        assert "persam has no answer for 1 of 4 photos (mug/01)" in (tmp_path / "out/table.md").read_text()

    def test_an_empty_photo(self, run, perseg):
        (perseg / "Images/mug/01.jpg").write_bytes(b"")
        result = run("bench", "perseg", "--data", perseg, "--method", "persam")
        assert result.exit_code == 1
        assert "mug/01 (The photo" in result.stderr

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--data", "empty"), "is not laid out as"),
            (("--data", "gone"), "There is no folder gone"),
            (("--data", "PerSeg", "--method", "magic"), 'There is no method "magic"; use persam, persam-f'),
            (("--data", "PerSeg", "--mode", "magic"), 'There is no mode "magic"'),
            (("--data", "PerSeg", "--solver", "magic"), 'There is no solver "magic"'),
            (("--data", "PerSeg", "--device", "magic"), 'There is no device "magic"'),
            (("--data", "PerSeg", "--reference", "77"), "77"),
            (("--data", "PerSeg", "--checkpoint", "x"), "--checkpoint takes METHOD=WEIGHTS"),
            (("--data", "PerSeg", "--checkpoint", "unet=x"), "add --method unet"),
        ],
    )
    def test_calls(self, refused, perseg, tmp_path, arguments, words):
        (tmp_path / "empty").mkdir()
        assert words in refused("bench", "perseg", *arguments, code=2)

    @pytest.mark.parametrize(
        ("call", "words"),
        [
            (("davis", "--year", 2015), "DAVIS has no year 2015; choose 2016, 2017."),
            (("fss", "--protocol", "best"), "FSS-1000 has no protocol best; choose first, episodes."),
            (("coco20i", "--fold", 4), "COCO-20i has no fold 4; choose 0, 1, 2, 3."),
        ],
    )
    def test_options_of_data_sets(self, run, refused, data, call, words):
        assert words in refused("bench", *call, "--data", data, code=2)
        assert words in refused("bench", "score", *call, "--data", data, "--predictions", data, code=2)
        assert run("bench", call[0], "--data", data, "--no-such-option").exit_code == 2
        assert run("bench", call[0], "--data", data, "--out", "x").exit_code == 2  # it is --output everywhere
        assert run("bench", "perseg", "--data", data, "--shots", 0).exit_code == 2

    def test_an_unwritable_out(self, refused, perseg, tmp_path):
        (tmp_path / "file").write_text("")
        sentence = refused("bench", "perseg", "--data", perseg, "--method", "persam", "--output", "file", code=1)
        assert "Cannot write" in sentence

    def test_absent_needs_several_objects_that_are_all_marked(self, refused, perseg, data):
        shutil.rmtree(perseg / "Images/mug")
        assert "one object alone" in refused("bench", "perseg", "--data", perseg, "--absent", code=2)
        sentence = refused("bench", "coco20i", "--data", data, "--absent", code=2)
        assert "Photos of COCO-20i show more than is marked in them" in sentence

    def test_score_and_compare(self, refused, perseg):
        sentence = refused("bench", "score", "perseg", "--data", perseg, "--predictions", "gone", code=2)
        assert "no folder of predictions gone" in sentence
        assert "holds no run" in refused("bench", "compare", "x", "y", code=2)
        assert "--methods takes two names" in refused("bench", "compare", "x", "y", "--methods", "a", code=2)

    def test_missing_predictions(self, run, perseg, tmp_path):
        shutil.copytree(perseg / "Annotations/mug", tmp_path / "theirs/mug")
        result = run("bench", "score", "perseg", "--data", perseg, "--predictions", "theirs", "--output", "out")
        assert result.exit_code == 1
        assert "2 answers are missing and count as none: dog_toy/01 (no prediction), dog_toy/02" in result.stderr
        assert metrics(tmp_path / "out")["methods"]["theirs"]["figures"]["miou"]["value"] == pytest.approx(0.5)
