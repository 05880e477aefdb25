"""`--fitted FILE` wherever things are learned: one's own numbers are used and told, and runs with others kept apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.benchmark.conftest import write_data_sets
from tests.benchmark.video_for_tests import write_davis_2017

from persam.models.fitted import PACKAGED, Fitted, key_of, read_fitted
from persam.models.loading import load_model


@pytest.fixture(scope="module")
def perseg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_sets(tmp_path_factory.mktemp("data")) / "perseg"


@pytest.fixture
def doubts(tmp_path: Path) -> Path:
    """Numbers of the bundled model by which nothing is ever there."""
    numbers = json.loads(PACKAGED.read_text())
    entry = numbers[key_of(load_model(), None)]
    entry |= {"presence_offset": -40.0, "presence_afar_offset": -40.0}
    (tmp_path / "doubts.json").write_text(json.dumps(numbers))
    return tmp_path / "doubts.json"


def told(run, *arguments):
    result = run("bench", *arguments, "--device", "cpu", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def numbers_in(file: Path) -> dict:
    return json.loads(json.dumps(read_fitted(file)[key_of(load_model(), None)].to_dict()))


def test_a_data_set(run, perseg, doubts):
    asked = ("perseg", "--data", perseg, "--absent", "--method", "persam")
    usual, doubted = told(run, *asked), told(run, *asked, "--fitted", doubts)
    for values, file in ((usual, PACKAGED), (doubted, doubts)):
        assert values["settings"]["methods"]["persam"]["fitted"] == numbers_in(file)
    assert usual["methods"]["persam"]["own_tpr"] > 0
    assert doubted["methods"]["persam"]["own_tpr"] == 0


def test_a_suite(run, perseg, doubts):
    usual, doubted = (
        told(run, "presence", "--data", perseg, "--data-set", "perseg", *more) for more in ((), ("--fitted", doubts))
    )
    assert "fitted" not in usual
    assert doubted["fitted"] == numbers_in(doubts)
    for row, doubtful in zip(usual["rows"], doubted["rows"], strict=True):
        assert row["method"] == doubtful["method"]
        if row["method"].startswith("persam"):
            assert row["own_tpr"] > doubtful["own_tpr"] == 0
        else:  # of the similarity alone
            assert row["own_tpr"] == doubtful["own_tpr"] > 0


def test_clips(run, tmp_path, doubts):
    davis = write_davis_2017(tmp_path / "DAVIS")
    few = ("davis", "--data", davis, "--propagate", "--method", "persam", "--sequences", "solo", "--frames", 4)
    values = told(run, *few, "--fitted", doubts)
    assert values["settings"]["methods"]["persam"]["fitted"] == numbers_in(doubts)
    assert values["methods"]["persam"]["figures"]["jf"]["value"] < 0.1  # out of sight from the second frame on
    assert told(run, *few)["methods"]["persam"]["figures"]["jf"]["value"] > 0.3


def test_a_run_with_other_numbers_is_not_gone_on_with(run, refused, perseg, doubts, tmp_path):
    asked = ("bench", "perseg", "--data", perseg, "--limit", 1, "--method", "persam", "--device", "cpu", "-o", "out")
    assert run(*asked).exit_code == 0
    assert "out holds a run with fitted = none, now it is " in refused(*asked, "--fitted", doubts, code=2)


@pytest.mark.parametrize("what", [("perseg",), ("modes", "--data-set", "perseg")])
def test_numbers_of_another_model(refused, perseg, tmp_path, what):
    nothing = Fitted({"similarity": 1.0}, 0.0, refine=False, presence={}, presence_offset=0.0)
    (tmp_path / "other.json").write_text(json.dumps({"another": nothing.to_dict()}))
    call = ("bench", *what, "--data", perseg)
    sentence = refused(*call, "--fitted", tmp_path / "other.json", code=1)
    assert sentence.endswith("has no numbers of this model and encoder; fit them with training.fit.")
    assert "cannot be read" in refused(*call, "--fitted", tmp_path / "nowhere.json", code=1)


def test_methods_that_make_no_use_of_them(refused, perseg, doubts):
    call = ("bench", "perseg", "--data", perseg, "--method", "unet", "--fitted", doubts)
    assert refused(*call, code=2) == "Numbers were named, but unet makes no use of them; leave them out."


def test_checked_and_followed_with_them(run, photo_file, mask_file, doubts, tmp_path):
    checked = [run("check", photo_file, mask_file, *more, "--json").stdout for more in ((), ("--fitted", doubts))]
    usual, doubted = (json.loads(one)["references"][0]["measures"]["score"] for one in checked)
    assert usual > 0.5
    assert doubted < 0.01
    frames = tmp_path / "clip"
    frames.mkdir()
    for number in range(3):
        shutil.copy(photo_file, frames / f"{number}.png")
    for more, seen in (((), True), (("--fitted", doubts), False)):
        result = run("video", frames, "--mask", mask_file, *more, "-o", f"seen-{seen}", "--device", "cpu")
        assert result.exit_code == 0, result.output
        last = json.loads((tmp_path / f"seen-{seen}/results.jsonl").read_text().splitlines()[-1])
        assert last["objects"][0]["present"] is seen


def test_concepts_have_their_own(refused, learned, doubts):
    sentence = refused("video", "clip.mp4", learned, "--fitted", doubts, code=2)
    assert sentence == "Concepts have the numbers that they were learned with; leave --fitted out."


@pytest.mark.parametrize("command", [("serve", "--folder", "service"), ("studio", "--no-browser")])
def test_what_serves_takes_them(run, command):
    result = run(*command, "--port", 0, "--fitted", "nowhere.json")
    assert result.exit_code == 1
    assert "nowhere.json cannot be read (No such file or directory); make it with training.fit." in result.stderr
