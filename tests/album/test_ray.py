"""An album that Ray's workers filled is the one that this process fills, whatever becomes of the workers.

Workers take seconds to start, so most of these are slow.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.fakes import ColourModel

from persam import PerSAM
from persam.album.album import Album
from persam.album.ray_engine import RayEngine
from persam.errors import PersamError, PersamWarning, UsageError

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning"
)

SIZE = (60, 80)
RED = (200, 30, 40)
DEADLY = 77  # a photo of this width kills the worker that finds something in it


class Deadly(PerSAM):
    """Kills the process that looks at a certain photo: the first that does, or each."""

    def __init__(self, marker: Path | None) -> None:
        super().__init__(ColourModel())
        self.marker = marker

    def encode(self, image, *, size=None):
        """The same, or death."""
        if isinstance(image, np.ndarray) and image.shape[1] == DEADLY and not (self.marker and self.marker.exists()):
            if self.marker:
                self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(image, size=size)


@pytest.fixture(scope="module", autouse=True)
def two_workers() -> Iterator[None]:
    """Ray starts once; what it starts knows this module by value, for workers cannot import it."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def concept():
    photo, mask = draw(40)
    return load_colours().learn(photo, mask, name="red")


@pytest.fixture
def photos(tmp_path) -> Path:
    """Ten photos with and without the thing, in two folders; two of them have one name, two one content."""
    home = tmp_path / "photos"
    for number in range(8):
        save(
            home / "one" / f"{number}.png",
            draw(10 + 7 * number)[0] if number % 3 else np.full((*SIZE, 3), 90, np.uint8),
        )
    save(home / "two" / "0.png", draw(33)[0])
    shutil.copy(home / "one" / "4.png", home / "two" / "copy.png")
    return home


def draw(x: int, width: int = SIZE[1]) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[: SIZE[0], :width]
    mask = (columns - x) ** 2 + (rows - 30) ** 2 <= 100
    photo = np.full((SIZE[0], width, 3), 120, np.uint8)
    photo[mask] = RED
    return photo, mask


def save(file: Path, photo: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(file)


def load_colours() -> PerSAM:
    return PerSAM(ColourModel())


def fill(folder: Path, concept, photos: Path, load=load_colours, engine: RayEngine | None = None, **more):
    with Album(folder) as album:
        report = album.fill(load, concept, f"{photos}/**/*", engine=engine, **more)
    return report, tree(folder)


def tree(folder: Path) -> dict[str, bytes]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and ".persam" not in file.parts)
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_it_is_the_album_that_one_process_fills(tmp_path, concept, photos, workers):
    here, by_hand = fill(tmp_path / "here", concept, photos, overlay=True)
    there, by_ray = fill(tmp_path / "there", concept, photos, engine=RayEngine(workers), overlay=True)
    assert len(here.failures) == 0
    assert by_ray == by_hand
    assert (there.photos, there.done_now, there.verdicts) == (10, 10, here.verdicts)


def test_a_worker_that_is_killed_changes_nothing(tmp_path, concept, photos):
    save(photos / "two" / "deadly.png", draw(20, DEADLY)[0])
    _, by_hand = fill(tmp_path / "here", concept, photos)
    marker = tmp_path / "was killed"
    report, by_ray = fill(tmp_path / "there", concept, photos, lambda: Deadly(marker), RayEngine(2))
    assert marker.exists()
    assert report.failures == []
    assert by_ray == by_hand


@pytest.mark.slow
def test_a_photo_that_kills_every_worker_is_named_and_the_others_are_done(tmp_path, concept, photos):
    _, by_hand = fill(tmp_path / "here", concept, photos)
    save(photos / "two" / "deadly.png", draw(20, DEADLY)[0])
    report, by_ray = fill(tmp_path / "there", concept, photos, lambda: Deadly(None), RayEngine(2))
    ((photo, problem),) = report.failures
    assert Path(photo).name == "deadly.png"
    assert "its worker died each time" in problem
    assert by_ray == by_hand


@pytest.mark.slow
def test_a_bad_photo_is_named_as_here(tmp_path, concept, photos, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (photos / "one" / "empty.png").write_bytes(b"")
    Image.new("RGB", (80, 60), RED).save(
        photos / "two" / "pages.tif", save_all=True, append_images=[Image.new("RGB", (9, 9))]
    )
    with pytest.warns(PersamWarning, match="only the first"):
        here, by_hand = fill(tmp_path / "here", concept, Path("photos"))
    with pytest.warns(PersamWarning, match="only the first"):
        there, by_ray = fill(tmp_path / "there", concept, Path("photos"), engine=RayEngine(2))
    assert here.failures == there.failures
    assert len(here.failures) == 1
    assert by_hand == by_ray


@pytest.mark.slow
def test_again_nothing_is_sent_and_what_was_renamed_needs_no_model(tmp_path, concept, photos):
    _, before = fill(tmp_path / "out", concept, photos, engine=RayEngine(2))

    def no_model() -> PerSAM:
        raise AssertionError("nothing is to be looked for")

    report, after = fill(tmp_path / "out", concept, photos, no_model, RayEngine(2))
    assert (report.done_before, report.done_now) == (10, 0)
    assert before == after
    (photos / "one" / "1.png").rename(photos / "one" / "new.png")
    report, after = fill(tmp_path / "out", concept, photos, no_model, RayEngine(2))
    assert (report.done_before, report.known, report.failures) == (9, 1, [])
    assert after["masks/red/new.png"] == before["masks/red/1.png"]


@pytest.mark.slow
def test_find_ranks_alike(tmp_path, concept, photos):
    fill(tmp_path / "out", concept, photos)
    another = load_colours().learn(*draw(40), name="another")
    with Album(tmp_path / "out") as album:
        there = album.find(load_colours, another, engine=RayEngine(2))
    fill(tmp_path / "again", concept, photos)
    with Album(tmp_path / "again") as album:
        here = album.find(load_colours, another)
    assert here == there
    assert here[0].score > here[-1].score


@pytest.mark.slow
def test_a_model_that_no_worker_can_load_ends_it_in_a_sentence(tmp_path, concept, photos):
    def load() -> PerSAM:
        raise PersamError("There is no such model.")

    with pytest.raises(PersamError, match="no such model"):
        fill(tmp_path / "out", concept, photos, load, RayEngine(2))


def test_it_is_refused_where_it_cannot_be(tmp_path, concept, photos, monkeypatch):
    with pytest.raises(UsageError, match="leave out --cache"):
        fill(tmp_path / "out", concept, photos, engine=RayEngine(2), cache=10**6)
    with pytest.raises(UsageError, match="a worker or more"):
        RayEngine(0)
    with pytest.raises(PersamError, match="sees no GPU"):
        fill(tmp_path / "out", concept, photos, engine=RayEngine(on_gpu=True))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PersamError, match=r"pip install 'persam\[ray\]'"):
        fill(tmp_path / "out", concept, photos, engine=RayEngine(2))


@pytest.mark.slow
def test_names_of_any_bytes_come_back(tmp_path, concept):
    photos = tmp_path / "photos"
    name = os.fsdecode(b"caf\xe9 #1 %20.png")
    save(photos / name, draw(40)[0])
    report, files = fill(tmp_path / "out", concept, photos, engine=RayEngine(1))
    assert report.failures == []
    (line,) = [json.loads(row) for row in files["results.jsonl"].splitlines()]
    assert line["image"].endswith(name)
