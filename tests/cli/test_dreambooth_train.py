"""`persam dreambooth train` as a person calls it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.dreambooth.prepared import make_prepared
from tests.dreambooth.tiny_pipelines import make_tiny
from typer.testing import CliRunner

from persam.cli.dreambooth import app

LORA = "pytorch_lora_weights.safetensors"


@pytest.fixture
def call(tmp_path: Path) -> list[str]:
    """A call without its output and steps."""
    make_prepared(tmp_path / "mug")
    model = str(make_tiny("sd15", tmp_path / "model"))
    return ["train", str(tmp_path / "mug"), "--model", model, "--resolution", "32", "--prior", "0", "--device", "cpu"]


def test_it_trains_and_says_where_it_is(call: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    # A group of one command is that command, until others are beside it.
    call = call if len(app.registered_commands) > 1 else call[1:]
    told = CliRunner().invoke(app, [*call, "-o", str(out), "--steps", "2"])
    assert told.exit_code == 0, told.output
    assert f"2 steps on mug ('a photo of t@y mug'); what was learned is in {out / LORA}." in told.stderr
    assert told.stdout == ""
    again = CliRunner().invoke(app, [*call, "-o", str(out), "--steps", "2"])
    assert "2 steps on mug ('a photo of t@y mug'), done already;" in again.stderr
    more = CliRunner().invoke(app, [*call, "-o", str(out), "--steps", "3", "--json"])
    assert "It goes on after 2 steps." in more.stderr
    assert json.loads(more.stdout) == json.loads((out / "run.json").read_text())


@pytest.mark.slow  # three processes, each of which imports diffusers
def test_killed_it_goes_on_and_ends_in_the_same_weights(call: list[str], tmp_path: Path) -> None:
    run = "import sys; from persam.cli.dreambooth import app; app()"
    options = [*call[1:], "--steps", "40", "--checkpoint-every", "5"]

    def start(out: str) -> subprocess.Popen[bytes]:
        words = [*(["train"] if len(app.registered_commands) > 1 else []), *options, "-o", str(tmp_path / out)]
        return subprocess.Popen([sys.executable, "-c", run, *words])

    assert start("whole").wait() == 0
    killed = start("killed")
    while not (tmp_path / "killed" / "checkpoints" / "step_000015.pt").exists():
        assert killed.poll() is None
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "run.json").exists()
    assert start("killed").wait() == 0
    for name in (LORA, "losses.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
