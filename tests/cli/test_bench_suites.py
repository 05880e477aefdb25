"""The ready questions of `persam bench`, from modes to overhead, as people call them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from click.testing import Result
from PIL import Image
from tests.conftest import draw_scene
from typer.testing import CliRunner

from persam.benchmark.suites import efficiency
from persam.cli.bench_suites import register
from persam.cli.main import Commands

SUITES = ("modes", "ablation", "robustness", "light", "portraits", "encoders")
TIMES = ("efficiency", "tuning", "overhead", "speed")


def app() -> typer.Typer:
    root, bench = typer.Typer(cls=Commands, pretty_exceptions_enable=False), typer.Typer()
    register(bench)
    root.add_typer(bench, name="bench")
    root.callback()(lambda debug=False: None)
    return root


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app(), ["bench", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def refused(*arguments: object, code: int = 2) -> str:
    """The one sentence with which a call is refused."""
    result = run(*arguments, code=code)
    assert result.stdout == ""
    sentence = result.stderr.strip()
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


@pytest.fixture(scope="module")
def perseg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PerSeg of one object with one photo to find it in."""
    root = tmp_path_factory.mktemp("data") / "perseg"
    for number in range(2):
        image, mask = draw_scene(60, 80, center=(30 + 10 * number, 30), radius=16, seed=number)
        for kind, suffix, pixels in (("Images", "jpg", image), ("Annotations", "png", mask.astype(np.uint8) * 128)):
            path = root / kind / "disc" / f"{number:02}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


def measured(suite: str, perseg: Path, *more: object) -> Result:
    return run(suite, "--data", perseg, "--data-set", "perseg", "--device", "cpu", *more)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time on a small photo, and without processes of their own."""
    monkeypatch.setattr(efficiency, "SIDE", 64)
    drawn = efficiency.drawn_scene
    monkeypatch.setattr(efficiency, "drawn_scene", lambda side: drawn(64))


class TestSuites:
    @pytest.mark.parametrize("suite", SUITES)
    def test_json(self, suite, perseg):
        result = measured(suite, perseg, "--json")
        assert result.stderr == ""
        values: dict[str, Any] = json.loads(result.stdout)
        assert values["suite"] == suite
        assert values["photos"] == 1
        assert values["protocol"]
        assert values["data"].startswith("perseg: ")
        assert values["versions"]["persam"]
        for row in values["rows"]:
            assert row["photos"] == 1
            assert 0 <= row["miou"] <= 1
            assert row["miou_interval"] is None  # there is one object
            assert (values | row)["model"] == "tiny"

    def test_references(self, perseg):
        result = measured("references", perseg, "--references", 1, "--damaged", 0, "--json")
        assert result.stderr == ""
        values = json.loads(result.stdout)
        assert values["suite"] == "references"
        (row,) = values["rows"]
        assert (row["reference"], row["damage"], row["photos"]) == ("disc/00", "as it is", 1)
        assert 0 <= row["iou"] <= 1
        assert row["measures"]["cells"] > 1

    @pytest.mark.parametrize("suite", ["corrections", "finds"])
    def test_albums_of_one_object_alone_are_refused(self, suite, perseg):
        assert "one object alone" in refused(suite, "--data", perseg, "--data-set", "perseg", "--device", "cpu")

    def test_instances(self, tmp_path):
        """Two discs in one photo and one in the other, with ids, and their kind."""
        (tmp_path / "set").mkdir()
        left, right = (draw_scene(60, 80, center=(x, 30), radius=14) for x in (22, 58))
        both = np.where(left[1][..., None], left[0], right[0])
        for stem, image, ids in (("one", left[0], left[1] * 1), ("two", both, left[1] + 2 * right[1])):
            Image.fromarray(image).save(tmp_path / "set" / f"{stem}.jpg")
            Image.fromarray(ids.astype(np.uint8)).save(tmp_path / "set" / f"{stem}.png")
        items = {"one": {"classes": ["disc"]}, "two": {"classes": ["disc", "disc"]}}
        (tmp_path / "objects.json").write_text(json.dumps({"set": {"items": items}}))
        result = run("instances", "--data", tmp_path, "--mode", "persam", "--device", "cpu", "--json")
        assert result.stderr == ""
        values = json.loads(result.stdout)
        assert (values["suite"], values["questions"]) == ("instances", 1)
        assert [(row["method"], row["number"], row["true"]) for row in values["rows"]] == [
            ("persam", None, 2), ("persam", "2", 2), ("persam, one object", None, 2), ("persam, one object", "2", 2),
        ]  # fmt: skip
        assert "no mode" in refused("instances", "--data", tmp_path, "--mode", "best")
        assert "names no objects" in refused("instances", "--data", tmp_path, "--names", "objects")

    def test_small_things_are_looked_for_in_photos_of_another_object(self, perseg):
        assert "give photos of two objects" in refused("small", "--data", perseg, "--data-set", "perseg")

    def test_table(self, perseg):
        stdout = measured("modes", perseg).stdout
        assert "official PerSAM-F" in stdout
        assert "1 photos of 1 objects" in stdout
        assert "step 3" in stdout
        assert "95 % bootstrap" in stdout
        assert "\x1b" not in stdout

    def test_out(self, perseg, tmp_path):
        result = measured("robustness", perseg, "--sizes", "0.5", "--output", tmp_path / "rough", "--json")
        assert {path.name for path in (tmp_path / "rough").iterdir()} == {
            ".persam", "metrics.json", "table.md", "robustness.png",
        }  # fmt: skip
        assert json.loads((tmp_path / "rough/metrics.json").read_text()) == json.loads(result.stdout)
        assert "Written: " in result.stderr
        with Image.open(tmp_path / "rough/robustness.png") as picture:
            picture.verify()

    @pytest.mark.parametrize("suite", ["modes", "encoders"])  # one of each way to read the photos
    def test_a_plain_folder_needs_no_name(self, suite, perseg, tmp_path):
        for number in range(2):
            for kind, source in (("images", "Images/disc/{:02}.jpg"), ("masks", "Annotations/disc/{:02}.png")):
                path = tmp_path / "mine" / kind / f"{number}{source[-4:]}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes((perseg / source.format(number)).read_bytes())
        values = json.loads(run(suite, "--data", tmp_path / "mine", "--device", "cpu", "--json").stdout)
        assert values["data"].startswith("folder: 1 object, ")
        (tmp_path / "mine/masks/1.png").unlink()
        assert "1.jpg has no mask: looked for" in refused(suite, "--data", tmp_path / "mine")

    @pytest.mark.parametrize("suite", SUITES)
    def test_a_quick_look(self, suite, perseg):
        run(suite, "--data", perseg, "--data-set", "perseg", "--limit", 0, code=2)

    def test_limit_is_told(self, perseg):
        assert json.loads(measured("encoders", perseg, "--limit", 1, "--json").stdout)["limit"] == 1

    def test_missing_models_are_named(self, perseg):
        result = measured("encoders", perseg, "--model", "tiny", "--model", "nobody/no-such-sam", "--json")
        values = json.loads(result.stdout)
        assert list(values["skipped"]) == ["nobody/no-such-sam"]
        assert [row["model"] for row in values["rows"]] == ["tiny"]

    @pytest.mark.parametrize("suite", SUITES)
    def test_without_data(self, suite, tmp_path):
        assert "holds none of the folders" in refused(suite, "--data", tmp_path)
        assert "imagenet" in refused(suite, "--data", tmp_path, "--data-set", "imagenet")

    @pytest.mark.parametrize(
        ("call", "sentence"),
        [
            (("ablation", "--mode", "best"), 'no mode "best"'),
            (("robustness", "--mode", "best"), 'no mode "best"'),
            (("robustness", "--sizes", "big"), "--sizes takes areas"),
            (("presence",), "one object alone"),
            (("encoders", "--method", "unet"), "use persam or persam-f"),
            (("encoders", "--mode", "best"), 'no mode "best"'),
            (("references", "--mode", "best"), 'no mode "best"'),
            (("modes", "--solver", "magic"), 'no solver "magic"'),
            (("modes", "--device", "abacus"), 'no device "abacus"'),
        ],
    )
    def test_bad_options(self, perseg, call, sentence):
        assert sentence in refused(*call, "--data", perseg, "--data-set", "perseg")

    def test_no_model(self, perseg):
        sentence = refused(
            "encoders", "--data", perseg, "--data-set", "perseg", "--model", "nobody/no-such-sam", code=1
        )
        assert sentence.startswith("None of the models is to be had")

    def test_out_is_a_file(self, perseg, tmp_path):
        (tmp_path / "file").touch()
        for suite in SUITES:
            assert "is a file; give a folder" in refused(suite, "--data", perseg, "--output", tmp_path / "file")


class TestTimes:
    def test_tuning(self, tmp_path):
        stdout = run("tuning", "--epochs", 3, "--device", "cpu", "--output", tmp_path).stdout
        assert "3 decoder passes, as published" in stdout
        assert "faster than the decoder passes alone" in stdout
        values = json.loads((tmp_path / "metrics.json").read_text())
        assert (values["epochs"], values["model"]) == (3, "tiny")
        assert values["direct_loss"] <= values["published_loss"] + 1e-3

    @pytest.mark.usefixtures("small")
    def test_overhead(self, tmp_path):
        stdout = run("overhead", "--model", "tiny", "--device", "cpu", "--rounds", 1, "--output", tmp_path).stdout
        assert "PerSAM adds" in stdout
        assert "median of the rounds' ratios [quartiles]" in stdout
        values = json.loads((tmp_path / "metrics.json").read_text())
        assert len(values["every_round"]) == 1
        assert values["machine"]
        assert (tmp_path / "table.md").read_text().startswith("# Seconds")

    @pytest.mark.usefixtures("small")
    def test_efficiency(self):
        result = run("efficiency", "--model", "tiny", "--device", "cpu", "--rounds", 1, "--no-memory", "--json")
        values = json.loads(result.stdout)
        assert [row["stage"] for row in values["rows"] if "stage" in row][:2] == ["encode", "location"]
        assert values["dtype"] == "float32"

    @pytest.mark.parametrize(
        "call", [("tuning", "--epochs", 0), ("overhead", "--rounds", 0), ("efficiency", "--rounds", 0)]
    )
    def test_counts_start_at_one(self, call):
        run(*call, code=2)

    def test_a_canvas_is_made_of_cells(self):
        assert refused("speed", "--size", 100).startswith("--size is a multiple of 16")

    @pytest.mark.parametrize("suite", TIMES)
    def test_no_model(self, suite):
        assert "no-such-sam is not on this machine" in refused(suite, "--model", "nobody/no-such-sam", code=1)


@pytest.mark.parametrize("suite", [*SUITES, *TIMES, "presence", "references", "instances", "album"])
def test_help_has_an_example(suite):
    assert f"Example: persam bench {suite}" in run(suite, "--help").stdout
