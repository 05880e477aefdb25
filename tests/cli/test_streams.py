"""stdout and stderr as shells hand them over, and what a script gets of an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import pytest

from persam.errors import PersamWarning

PERSAM = f"{sys.executable} -m persam"


def shell(call: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", f"set -o pipefail; {PERSAM} {call}"]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | variables, check=False)


@pytest.mark.parametrize(
    ("redirection", "code"),
    [
        (">&-", 0),
        ("2>&-", 0),
        ("<&- >&- 2>&-", 0),
        ("2>/dev/full", 0),
        ("| true", 0),
        ("| head -n 1", 0),
        (">/dev/full", 1),
    ],
)
def test_a_result_that_nobody_can_read(redirection, code):
    done = shell(f"models {redirection}")
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "own fault" not in done.stderr
    if code:
        assert done.stderr.splitlines()[-1] == (
            "Cannot write to stdout: there is no room left on the disk; free some and run this again."
        )


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "| true", ">/dev/full", "2>/dev/full"])
def test_a_failure_that_nobody_can_read(redirection):
    done = shell(f"models --nonsense --json {redirection}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_in_another_encoding():
    done = shell("learn photo.jpg --solver $'m\\xc3\\xa4\\xff' --json", LC_ALL="C", PYTHONUTF8="0")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"].startswith("--solver m\udcc3\udca4\udcff says how to tune")
    assert done.stderr.startswith("--solver m\\udcc3\\udca4\\udcff says")


class TestErrorsAsJson:
    def test_of_persam(self, run):
        result = run("show", "gone.safetensors", "--json")
        assert result.exit_code == 1
        sentence = "There is no concept file gone.safetensors; make one with `persam learn`."
        assert json.loads(result.stdout) == {"error": sentence, "exit_code": 1}
        assert result.stderr == sentence + "\n"

    def test_of_the_command_line(self, run):
        result = run("learn", "--json", "--nonsense")
        assert result.exit_code == 2
        assert json.loads(result.stdout)["exit_code"] == 2
        assert "No such option: --nonsense" in json.loads(result.stdout)["error"]
        assert "Usage:" in result.stderr

    def test_of_persam_itself(self, run, monkeypatch):
        monkeypatch.setattr("persam.models.catalog.catalog", lambda: 1 / 0)
        result = run("models", "--json")
        assert result.exit_code == 1
        assert "its own fault (ZeroDivisionError: division by zero)" in json.loads(result.stdout)["error"]

    def test_a_result_stays_the_only_document(self, run, learned, album):
        (album / "bad.jpg").touch()
        result = run("segment", learned, album, "--json")
        assert result.exit_code == 1
        assert len(json.loads(result.stdout)["failed"]) == 1

    def test_not_where_nobody_asked(self, run):
        assert run("show", "gone.safetensors").stdout == ""
        assert run("show", "--", "--json").stdout == ""


class TestWhatWentWrongOutsideOfPersam:
    @pytest.mark.parametrize(
        ("error", "sentence"),
        [
            (PermissionError(13, "Permission denied", "/x/y"), "The system refuses /x/y: Permission denied; check"),
            (MemoryError(), "There is not enough memory for this; close other programs"),
            (ValueError("one\ntwo"), "its own fault (ValueError: one); run"),
        ],
    )
    def test_one_sentence(self, refused, monkeypatch, error, sentence):
        def broken() -> None:
            raise error

        monkeypatch.setattr("persam.models.catalog.catalog", broken)
        assert sentence in refused("models", code=1)


def test_warnings_are_said_once_and_those_of_libraries_not(run, monkeypatch):
    def warned() -> list[object]:
        for _ in range(3):
            warnings.warn("the first [page] only :mug:", PersamWarning, stacklevel=1)
            warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
        return []

    monkeypatch.setattr("persam.models.catalog.catalog", warned)
    result = run("models", "--json")
    assert result.stderr == "the first [page] only :mug:\n"
    assert result.exit_code == 0


def test_names_are_shown_as_they_are(refused):
    assert "m\\n[red]\\x1b:mug:.safetensors" in refused("show", "m\n[red]\x1b:mug:.safetensors", code=1)
