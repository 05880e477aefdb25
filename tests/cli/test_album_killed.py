"""`persam album` killed (-9) at ten random moments and gone on with: as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.killing import AlbumCall, content, photos_done

from persam import Concept
from persam.ledger import HIDDEN, Ledger

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs signals")]

PHOTOS = 40
# All that an album writes, two things in every photo that compete for it, and twins of one concept.
OPTIONS = (
    *("--overlay", "--cutout", "--per-instance", "--max-instances", "2"),
    *("--format", "coco", "--format", "csv", "--format", "yolo", "--format", "sheet"),
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PHOTOS):
        image, _ = draw_scene(120, 180, center=(40 + number, 60), radius=20 + number % 9, seed=number)
        Image.fromarray(image).save(folder / f"{number:02}.jpg")
    return folder


@pytest.fixture(scope="module")
def concepts(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The drawn disc, under two names."""
    other = tmp_path_factory.mktemp("concepts") / "other.safetensors"
    replace(Concept.load(learned), name="other name").save(other)
    return [learned, other]


@pytest.fixture(scope="module")
def whole(concepts: list[Path], photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What an album holds that was filled in one go."""
    out = tmp_path_factory.mktemp("whole") / "out"
    AlbumCall(concepts, photos, OPTIONS).fill(out)
    return content(out)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("engine", "kills"),
    [
        pytest.param(("--cache", "20MB"), 10, id="this-process"),
        pytest.param(("--engine", "ray", "--workers", "2"), 4, id="ray"),  # it takes long to start
    ],
)
def test_killed_at_ten_moments_and_continued_it_ends_as_in_one_go(concepts, photos, whole, tmp_path, engine, kills):
    if "ray" in engine:
        pytest.importorskip("ray")
    call, out = AlbumCall(concepts, photos, (*OPTIONS, *engine)), tmp_path / "out"
    assert call.fill_killed(out, kills=kills) >= kills // 2
    found = content(out)
    assert found.keys() == whole.keys()
    assert [name for name in found if found[name] != whole[name]] == []
    assert len(found["index: lines"]) == 2 * PHOTOS
    assert not list(out.rglob(".*.tmp*"))
    with Ledger(out) as ledger:  # all of it is known as persam's own, so that no later run refuses to go on
        files = [name for name in found if not name.startswith("index: ") and not (out / name).is_symlink()]
        strange = [name for name in files if not ledger.is_own(name)]
    assert strange == []
    assert f"0 photos done, {PHOTOS} were done before" in call.fill(out)
    assert content(out) == whole
    assert (out / HIDDEN).is_dir()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("workers", "killed"), [(1, 0), (2, 0), (2, 1)])
def test_rays_workers_fill_the_same_album_though_one_is_killed(concepts, photos, whole, tmp_path, workers, killed):
    pytest.importorskip("ray")
    call, out = AlbumCall(concepts, photos, (*OPTIONS, "--engine", "ray", "--workers", str(workers))), tmp_path / "out"
    process = call.start(out)
    for _ in range(killed):
        wait_for(lambda: photos_done(out) >= PHOTOS // 6)
        victims = wait_for(lambda: descendants(process.pid, "ray::MapWorker"))
        os.kill(victims[0], signal.SIGKILL)
        assert photos_done(out) < PHOTOS
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert content(out) == whole


def wait_for(question, seconds: float = 300):
    """What a question is answered with as soon as that is something."""
    end = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return answer


def descendants(process: int, name: str) -> list[int]:
    """Processes below one that call themselves so."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [row.split(None, 2) for row in table.splitlines()]
    parents = {int(row[0]): int(row[1]) for row in rows}

    def is_below(pid: int) -> bool:
        return pid == process or (pid in parents and is_below(parents[pid]))

    return [int(row[0]) for row in rows if len(row) > 2 and row[2].startswith(name) and is_below(int(row[0]))]
