"""`persam segment` killed, run twice at once and out of room, many times: nothing is lost, and a rerun completes it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import draw_scene

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs signals")]

PERSAM = [sys.executable, "-c", "from persam.cli.main import app; app()"]
ROUNDS = 20
PHOTOS = 40
OPTIONS = ["--overlay", "--cutout", "--per-instance", "--coco", "--sheet"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos beside which somebody's own files lie, one of them in the results' folder."""
    for number in range(PHOTOS):
        path = tmp_path / "photos" / f"{number:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw_scene(seed=number, center=(40 + number, 60))[0]).save(path)
    return tmp_path / "photos"


@pytest.fixture
def whole(learned: Path, photos: Path, tmp_path: Path) -> dict[str, bytes]:
    """What a run leaves that nobody disturbed."""
    out = tmp_path / "whole"
    assert segment(learned, photos, out).wait() == 0
    return content(out)


def segment(learned: Path, photos: Path, out: Path) -> subprocess.Popen[str]:
    arguments = [*PERSAM, "segment", learned, photos, "-o", out, *OPTIONS]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def content(out: Path) -> dict[str, bytes]:
    """All that was written; lines by photo, for a run that was stopped may have them in another order."""
    files = {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.parts[len(out.parts)] != ".persam"
    }
    files["results.jsonl"] = b"\n".join(sorted(files["results.jsonl"].splitlines()))
    return files


def lines(out: Path) -> list[dict]:
    """The lines that are whole."""
    file = out / "results.jsonl"
    rows = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return [json.loads(row) for row in rows]


def put_something_there(out: Path) -> dict[Path, bytes]:
    """Files of somebody else, one of them beside persam's masks."""
    theirs = {out / "notes.txt": b"mine", out / "masks/my disc/of mine.png": b"mine, too"}
    for path, data in theirs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return theirs


def assert_kept(out: Path, theirs: dict[Path, bytes], done: list[dict]) -> None:
    assert {path: path.read_bytes() for path in theirs} == theirs
    now = {(line["image"], line["concept"]): line for line in lines(out)}
    for line in done:
        assert now[line["image"], line["concept"]] == line
        for files in line["files"].values():
            for file in [files] if isinstance(files, str) else files:
                with Image.open(out / file) as picture:
                    picture.load()


def wait_for_lines(process: subprocess.Popen[str], out: Path, count: int) -> None:
    while process.poll() is None and len(lines(out)) < count:
        time.sleep(0.005)


@pytest.mark.timeout(3600)
def test_killed_at_random_moments(learned, photos, whole, tmp_path):
    chance = random.Random(0)
    for number in range(ROUNDS):
        out = tmp_path / f"killed-{number}"
        theirs, done = put_something_there(out), []
        for _ in range(2):
            process = segment(learned, photos, out)
            wait_for_lines(process, out, len(done) + chance.randrange(1, PHOTOS // 2))
            time.sleep(chance.random() * 0.3)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert_kept(out, theirs, done)
            done = lines(out)
            assert_kept(out, theirs, done)
        process = segment(learned, photos, out)
        assert process.wait() == 0, process.communicate()[1]
        assert_kept(out, theirs, done)
        assert content(out) == whole | {str(path.relative_to(out)): data for path, data in theirs.items()}
        assert not list(out.rglob(".*.tmp*"))
        shutil.rmtree(out)


@pytest.mark.timeout(3600)
def test_two_at_once(learned, photos, whole, tmp_path):
    for number in range(ROUNDS):
        out = tmp_path / f"both-{number}"
        theirs = put_something_there(out)
        both = [segment(learned, photos, out) for _ in range(2)]
        said = [process.communicate()[1] for process in both]
        codes = [process.returncode for process in both]
        # The second is refused, or so much later that the first was done and it has nothing to do.
        assert 0 in codes
        assert set(codes) <= {0, 1}
        for code, words in zip(codes, said, strict=True):
            assert code == 0 or words.startswith("Another persam is writing into ")
            assert code == 0 or words.count("\n") == 1
        assert_kept(out, theirs, lines(out))
        assert content(out) == whole | {str(path.relative_to(out)): data for path, data in theirs.items()}
        shutil.rmtree(out)


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "persam", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser mounts")
@pytest.mark.timeout(3600)
def test_a_full_disk(learned, photos, whole, tmp_path):
    chance = random.Random(1)
    for number in range(ROUNDS):
        with small_disk(tmp_path / f"disk-{number}", chance.randrange(100, 900)) as disk:
            out = disk / "out"
            theirs, done = put_something_there(out), []
            for size in (None, chance.randrange(900, 1000)):  # twice too small, the second time with a little more room
                if size is not None:
                    subprocess.run(["mount", "-o", f"remount,size={size}k", disk], check=True)
                process = segment(learned, photos, out)
                said = process.communicate()[1]
                assert process.returncode == 1, said
                assert "there is no room left on the disk; free some and run this again" in said
                assert said.count("\n") == 1
                assert_kept(out, theirs, done)
                done = lines(out)
                assert_kept(out, theirs, done)
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            process = segment(learned, photos, out)
            assert process.wait() == 0, process.communicate()[1]
            assert_kept(out, theirs, done)
            assert content(out) == whole | {str(path.relative_to(out)): data for path, data in theirs.items()}
