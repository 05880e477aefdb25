"""What holds for every command."""

from __future__ import annotations

import subprocess
import sys

import pytest

from persam import __version__

COMMANDS = ["learn", "segment", "show", "models", "demo"]


def test_version(run):
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == f"persam {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(run, command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"persam {command}" in result.stdout


def test_help_needs_no_torch():
    code = "import sys; from persam.cli.main import app; assert not {'torch', 'transformers', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_command_is_a_wrong_call(run):
    assert run("sgement").exit_code == 2
    assert run().exit_code in (0, 2)  # prints the help


@pytest.mark.parametrize("arguments", [("--debug", "show", "gone"), ("show", "gone", "--debug")])
def test_debug_shows_the_traceback(run, arguments):
    result = run(*arguments)
    assert type(result.exception).__name__ == "PersamError"


def test_debug_by_environment(run, monkeypatch):
    monkeypatch.setenv("PERSAM_DEBUG", "1")
    assert type(run("show", "gone").exception).__name__ == "PersamError"


def test_own_faults_are_owned(refused, monkeypatch):
    def broken(folder: str = ".") -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("persam.models.catalog.catalog", broken)
    sentence = refused("models", code=1)
    assert "its own fault (RuntimeError: boom)" in sentence
    assert "--debug" in sentence


def test_stop(run, monkeypatch):
    def stopped(folder: str = ".") -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("persam.models.catalog.catalog", stopped)
    result = run("models")
    assert result.exit_code == 130
    assert result.stderr == "Stopped.\n"


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "persam", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"persam {__version__}\n"
