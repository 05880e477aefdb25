"""`persam segment` killed, run twice at once and out of room, many times: nothing is lost, and a rerun completes it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.processes import start

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs signals")]

ROUNDS = 20
PHOTOS = 40
OPTIONS = ["--overlay", "--cutout", "--per-instance", "--coco", "--sheet"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An album."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PHOTOS):
        Image.fromarray(draw_scene(seed=number, center=(40 + number, 60))[0]).save(folder / f"{number:02}.jpg")
    return folder


@pytest.fixture(scope="module")
def whole(learned: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run leaves that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert Run(learned, photos, out).end()[0] == 0
    return content(out)


class Run:
    """A process of `persam segment`."""

    def __init__(self, learned: Path, photos: Path, out: Path) -> None:
        with tempfile.NamedTemporaryFile(delete=False) as said:
            self._said = Path(said.name)
        self.process = start(["segment", learned, photos, "-o", out, *OPTIONS], self._said)

    def end(self) -> tuple[int | None, str]:
        """Wait for its end; return its exit code and what it said on stderr."""
        self.process.join()
        said = self._said.read_text()
        self._said.unlink()
        return self.process.exitcode, said


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


def wait_for_lines(run: Run, out: Path, count: int) -> None:
    while run.process.exitcode is None and len(lines(out)) < count:
        time.sleep(0.005)


@pytest.mark.timeout(3600)
def test_killed_at_random_moments(learned, photos, whole, tmp_path):
    chance = random.Random(0)
    for number in range(ROUNDS):
        out = tmp_path / f"killed-{number}"
        theirs, done = put_something_there(out), []
        for _ in range(2):
            run = Run(learned, photos, out)
            wait_for_lines(run, out, len(done) + chance.randrange(1, PHOTOS // 2))
            time.sleep(chance.random() * 0.3)
            run.process.kill()
            assert run.end()[0] in (-9, 0)
            assert_kept(out, theirs, done)
            done = lines(out)
            assert_kept(out, theirs, done)
        assert Run(learned, photos, out).end()[0] == 0
        assert_kept(out, theirs, done)
        assert content(out) == whole | {str(path.relative_to(out)): data for path, data in theirs.items()}
        assert not list(out.rglob(".*.tmp*"))
        shutil.rmtree(out)


@pytest.mark.timeout(3600)
def test_two_at_once(learned, photos, whole, tmp_path):
    for number in range(ROUNDS):
        out = tmp_path / f"both-{number}"
        theirs = put_something_there(out)
        ends = [run.end() for run in [Run(learned, photos, out) for _ in range(2)]]
        codes = [code for code, _ in ends]
        # The second is refused, or so much later that the first was done and it has nothing to do.
        assert 0 in codes
        assert set(codes) <= {0, 1}
        for code, words in ends:
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
                code, said = Run(learned, photos, out).end()
                assert code == 1, said
                assert "there is no room left on the disk; free some and run this again" in said
                told = [line for line in said.splitlines() if not line.startswith("Photos: ")]  # how far it was
                assert len(told) == 1
                assert_kept(out, theirs, done)
                done = lines(out)
                assert_kept(out, theirs, done)
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            assert Run(learned, photos, out).end()[0] == 0
            assert_kept(out, theirs, done)
            assert content(out) == whole | {str(path.relative_to(out)): data for path, data in theirs.items()}
