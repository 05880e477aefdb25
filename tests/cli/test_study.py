"""The user's path: make a study, let people mask, check, run, read the report."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.study.people import CAREFUL, DILATOR, ERODER, mask_photos, save, write_photos
from tests.study.test_times import a_time

from persam.study.times import record_time

PEOPLE = {"anna": CAREFUL, "ben": ERODER, "cleo": DILATOR}


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    """A study made by the command, and masked."""
    truth = {name: write_photos(tmp_path / "photos" / name, 3, seed) for seed, name in enumerate(("disc", "plate"))}
    made = run("study", "new", "study", "--photos", "photos", "--annotators", "anna,ben,cleo")
    assert made.exit_code == 0, made.output
    assert "6 photos in 2 categories for anna, ben, cleo" in made.stderr
    assert "study/README.txt" in made.stderr
    for number, (name, masks) in enumerate(truth.items()):
        mask_photos(tmp_path / "study" / name, masks, PEOPLE, number)
        for photo, mask in masks.items():
            save(tmp_path / "study" / name / "gold" / f"{photo}.png", mask)
    return tmp_path / "study"


def test_one_is_one(run: Run, tmp_path: Path) -> None:
    write_photos(tmp_path / "discs", 1)
    made = run("study", "new", "study", "--photos", "disc=discs", "--annotators", "anna")
    assert "1 photo in 1 category for anna; " in made.stderr
    told = (tmp_path / "study" / "README.txt").read_text(encoding="utf-8")
    assert "mask the same 1 photo, each" in told
    assert "disc: 1 photo\n" in told


def test_from_photos_to_the_report(run: Run, folder: Path) -> None:
    """With the bundled model, as anyone would."""
    missing = folder / "disc" / "annotators" / "ben" / "02.png"
    kept = missing.read_bytes()
    missing.unlink()
    checked = run("study", "check", "study")
    assert checked.exit_code == 1
    assert "2 of 3" in checked.stdout
    assert "disc/02.png has no mask by ben: looked for study/disc/annotators/ben/02.png." in checked.stdout
    assert "missing masks: 1." in checked.stderr
    missing.write_bytes(kept)
    record_time(folder / "plate" / "annotators" / "anna" / "times.csv", a_time("01", category="plate"))
    checked = run("study", "check", "study")
    assert checked.exit_code == 0
    assert "Nothing is missing" in checked.stderr
    done = run("study", "run", "study", "--output", "out")
    assert done.exit_code == 0, done.output
    for part in (
        "with anna",
        "with gold",
        "among people",
        "plate",
        "all",
        "tiny",
        "mode persam",
        "a mask: median",
        "12.5",
    ):
        assert part in done.stdout
    assert "The report is out/report.html" in done.stderr
    data = json.loads((folder.parent / "out" / "metrics.json").read_text())
    assert data["run"]["model"] == "tiny"
    assert data["times"]["people"][0]["median"] == 12.5
    assert f"{data['table1']['all']['model']['mean']:.3f}" in done.stdout
    assert "<h1>Annotation study</h1>" in (folder.parent / "out" / "report.html").read_text()


def test_json_and_what_is_left_out(run: Run, folder: Path) -> None:
    (folder / "plate" / "annotators" / "cleo" / "01.png").unlink()
    checked = run("study", "check", "study", "--json")
    assert checked.exit_code == 1
    problems = json.loads(checked.stdout)["problems"]
    assert problems["by_kind"] == {"missing": 1}
    assert problems["items"][0]["photo"] == "01"
    done = run("study", "run", "study", "--output", "out", "--mode", "official", "--method", "persam-f", "--json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert (data["run"]["mode"], data["run"]["method"]) == ("official", "PerSAM-F")
    assert data["left_out"]["count"] == 1
    assert data["report"] == "out/report.html"
    assert Path("out/table1.tex").is_file()


def test_a_study_with_nothing_to_compare(refused: Callable[..., str], run: Run, tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 2)
    assert run("study", "new", "study", "--photos", "disc=photos", "--annotators", "anna", "--json").exit_code == 0
    assert "There is no mask in study" in refused("study", "run", "study", code=1)
    assert not Path("study-report").exists()


def test_wrong_calls(refused: Callable[..., str], folder: Path) -> None:
    again = ("study", "new", "study", "--photos", "photos", "--annotators", "anna")
    assert "nothing is ever overwritten" in refused(*again, code=2)
    assert "There is no study at gone" in refused("study", "check", "gone", code=2)
    assert "There is no study at gone" in refused("study", "run", "gone", code=2)
    assert "not laid out as a study" in refused("study", "check", "photos", code=2)
    assert "disc has no photo '9'" in refused("study", "run", "study", "--reference", "9", code=2)
    assert 'no method "sam"' in refused("study", "run", "study", "--method", "sam", code=2)
    assert "blah" in refused("study", "run", "study", "--mode", "blah", code=2)


def test_a_report_replaces_nothing_but_a_report(refused: Callable[..., str], folder: Path) -> None:
    assert "is the study itself" in refused("study", "run", "study", "--output", "study", code=2)
    Path("file").touch()
    assert "is a file; give a folder" in refused("study", "run", "study", "--output", "file", code=2)
    assert "a part of that path is a file" in refused("study", "run", "study", "--output", "file/below", code=1)
    Path("bench").mkdir()
    Path("bench/metrics.json").write_text("{}")
    assert "is not of a study" in refused("study", "run", "study", "--output", "bench", "--model", "gone", code=2)
    assert Path("bench/metrics.json").read_text() == "{}"
    for name in ("table1.md", "consensus/majority/disc/00.png"):
        theirs = Path("theirs") / name
        theirs.parent.mkdir(parents=True)
        theirs.write_text("theirs")
        sentence = refused("study", "run", "study", "--output", "theirs", "--model", "gone", code=2)
        assert f"theirs/{name} was not written by persam and would be lost" in sentence
        theirs.unlink()
        theirs.parent.rmdir()


def test_a_missing_library_is_told_before_anything_slow(
    refused: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert "pip install 'persam[study]'" in refused("study", "run", "study", "--model", "gone", code=1)


def test_help_has_examples(run: Run) -> None:
    for command in ("new", "check", "run"):
        shown = run("study", command, "--help")
        assert shown.exit_code == 0
        assert f"persam study {command} my-study" in shown.stdout
