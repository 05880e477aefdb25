"""`persam video` killed (-9) and stopped (Ctrl-C) in its own process, and gone on with: as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.video.drawn import write_clip
from tests.video.test_resume import assert_same

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs signals")]

FRAMES = 14
# As the command, but its state is kept after every frame, which takes a tenth of a second here and not ten.
PERSAM = """
from persam.video import resume
from persam.cli.main import app

resume.KEEP_SECONDS, resume.KEEP_SHARE = 0.0, 1e9
app()
"""
OPTIONS = ("--overlay", "--masks", "--cutout", "--coco")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    scenes = [draw_scene(96, 128, center=(40 + 4 * number, 50), radius=20) for number in range(FRAMES)]
    Image.fromarray(scenes[0][1]).save(folder / "first.png")
    return write_clip(folder / "clip.mp4", [pixels for pixels, _ in scenes], sound=True)


def start(clip: Path, out: Path) -> subprocess.Popen[str]:
    arguments = ["video", str(clip), "--mask", str(clip.with_name("first.png")), "-o", str(out), *OPTIONS]
    return subprocess.Popen([sys.executable, "-c", PERSAM, *arguments], stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate()
    assert process.returncode == 0, said
    return said


def stopped(clip: Path, out: Path, number: int, how: signal.Signals) -> str:
    """Start, and stop once there are labels of so many frames; what was said."""
    process = start(clip, out)
    while process.poll() is None and len(list(out.glob("labels/*.png"))) < number:
        time.sleep(0.002)
    process.send_signal(how)
    return process.communicate()[1]


@pytest.mark.timeout(900)
def test_killed_and_stopped_it_ends_as_in_one_go(clip, tmp_path):
    finish(start(clip, tmp_path / "whole"))
    out = tmp_path / "out"
    for number in (1, 3, 6, 7):
        stopped(clip, out, number, signal.SIGKILL)
    said = stopped(clip, out, 9, signal.SIGINT)
    assert "run the same command again to go on." in said
    assert "It goes on after" in said
    done = len((out / "results.jsonl").read_text().splitlines())
    assert 7 <= done < FRAMES
    with (out / "results.jsonl").open("a") as lines:
        lines.write('{"frame": 1')  # as a kill in the middle of a line leaves it
    said = finish(start(clip, out))
    assert f"It goes on after {done} frames." in said
    assert f"{FRAMES} frames, {done} of them done before; " in said
    assert_same(tmp_path / "whole", out)
    assert f"{FRAMES} frames, done already; " in finish(start(clip, out))
