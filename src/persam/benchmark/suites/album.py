"""What an album costs: time and memory against the number of photos; photos a second for one concept and several.

Every album is filled in a process of its own, whose time without loading the model and whose peak memory count.  That
of most photos is filled in one go, and time and memory are read on the way.  In the same run: the published way, which
reads and encodes a photo anew for every concept.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from persam.album.album import Album
from persam.benchmark.suites.memory import peak_of_process, reset_peak
from persam.benchmark.suites.suite import Findings, headline
from persam.benchmark.suites.timing import about_timing, drawn_scene, open_persam
from persam.errors import PersamError
from persam.images import read_image
from persam.places import Place
from persam.reports.tables import Table

CONCEPTS = 5
SIZES = (100, 300, 1000)
COMPARED = 300  # photos that all else is compared on, at most: time a photo does not depend on their number
PUBLISHED_PHOTOS = 40  # that the published way is timed on; its time a photo does not depend on their number
CACHE = 10**10
WARM = 0.2  # share of photos after which several workers are timed: they start one after another
FEWEST_TIMED = 10  # photos that workers are timed on
TOLD = "persam bench album: "  # before each line with figures: libraries print lines of their own
PATIENCE = 10  # seconds in which a process that is asked to end may do so
_COLOURS = ((200, 40, 40), (40, 160, 60), (50, 70, 200), (230, 200, 40), (180, 60, 190), (250, 250, 250))


@dataclass(frozen=True)
class Filled:
    """An album that was filled so far: its photos, seconds, and peak memory in bytes."""

    photos: int
    seconds: float
    peak: int

    @property
    def rate(self) -> float:
        """Photos a second."""
        return self.photos / self.seconds


def steps_of(sizes: Sequence[int], *, compare: bool = True, workers: Sequence[int] = ()) -> int:
    """How often `measure_album` reports progress."""
    return len(sizes) + 4 * compare + 3 * len(workers)


def measure_album(
    name: str,
    *,
    sizes: Sequence[int] = SIZES,
    side: int = 1600,
    compare: bool = True,
    workers: Sequence[int] = (),
    progress: Callable[[], object] = lambda: None,
    **order: Any,
) -> Findings:
    """Fill albums of drawn JPEG photos, `side` pixels wide.

    Args:
        name: of the model.
        sizes: numbers of photos, rising, at which time and memory are read.
        side: of the photos, pixels.
        compare: also fill albums with several concepts and kept encodings, and in the published way, of the largest
            size that is not above `COMPARED`.
        workers: also fill an album of that size with so many of Ray's workers, for each of these numbers.
        progress: called after every album, and at every size of the growing one.
        order: what else `open_persam` takes.

    Raises:
        PersamError: the model is not to be had, or an album could not be filled.
    """
    about = about_timing(open_persam(name, **order)) | {"photo": side, "sizes": list(sizes)}
    with tempfile.TemporaryDirectory() as folder:
        _draw_photos(Path(folder) / "photos", sizes[-1], side)

        def fill(out: str, marks: Sequence[int], first: int, last: int, **options: Any) -> list[Filled]:
            job = {"name": name, "home": folder, "out": out, "marks": marks, "concepts": [first, last], **options}
            found = []
            for each in _in_a_process({**job, "order": order}):
                found.append(each)
                progress()
            return found

        grown = fill("grown", list(sizes), 0, 1)
        middle = max((each for each in sizes if each <= COMPARED), default=sizes[0])
        warm_up = int(WARM * middle)
        by_workers = {each: fill(f"workers-{each}", [warm_up, middle, middle], 0, 1, workers=each) for each in workers}
        compared = [("1 concept", next(each for each in grown if each.photos == middle), 1)]
        if compare:
            (several,) = fill("several", [middle], 0, CONCEPTS, cache=CACHE)
            (warm,) = fill("several", [middle], CONCEPTS, CONCEPTS + 1, cache=CACHE)
            (again,) = fill("several", [middle], CONCEPTS, CONCEPTS + 1, cache=CACHE)
            (published,) = fill("", [min(middle, PUBLISHED_PHOTOS)], 0, CONCEPTS, published=True)
            compared += [
                (f"{CONCEPTS} concepts", several, CONCEPTS),
                (f"{CONCEPTS} concepts, the published way", published, CONCEPTS),
                ("a further concept, encodings kept", warm, 1),
                ("the same again, nothing new", again, 1),
            ]
    title = f"{headline(about)}, drawn JPEG photos {side} pixels wide"
    tables = [_growth_table(grown, title)]
    notes = [
        f"Machine: {about['machine']}, {about['dtype']}. Times are without loading the model.",
        "The growing album is filled in one go; time and peak memory are those up to so many photos.",
    ]
    if compare:
        tables.insert(0, _cost_table(compared, title))
        notes.append(
            "Times the published way's: photos times concepts a second; that way reads and encodes a photo for each "
            "concept, one after another, and writes its masks."
        )
    if workers:
        tables.append(_workers_table(by_workers, title))
        notes.append(
            f"Workers: photos a second from the first {WARM:.0%} on, when all workers have the model, until the last "
            "photo; the whole time is that with starting and stopping Ray and loading models."
        )
    everything = [*(("1 concept", each) for each in grown), *((what, each) for what, each, _ in compared[1:])]
    records = [
        {"what": what, "photos": each.photos, "seconds": each.seconds, "peak": each.peak} for what, each in everything
    ]
    records += [
        {"what": f"Ray, workers: {number}", "photos": each.photos, "seconds": each.seconds, "peak": each.peak}
        for number, filled in by_workers.items()
        for each in filled
    ]
    return Findings("album", about, records, tables, notes)


def _cost_table(compared: Sequence[tuple[str, Filled, int]], title: str) -> Table:
    """What was done, how fast and with how much memory; each with the number of its concepts."""
    published = next(each for what, each, _ in compared if what.endswith("the published way"))
    rows = [
        (
            what,
            str(each.photos),
            f"{each.rate:.1f}",
            f"{each.rate * concepts / (published.rate * CONCEPTS):.1f}",
            _megabytes(each),
        )
        for what, each, concepts in compared
    ]
    columns = ("", "photos", "photos a second", "times the published way's", "peak memory")
    return Table(f"Albums: {title}, {compared[0][1].photos} photos", columns, tuple(rows))


def _growth_table(grown: Sequence[Filled], title: str) -> Table:
    rows = [
        (str(each.photos), f"{1 / each.rate:.3f}", f"{grown[0].rate / each.rate:.2f}", _megabytes(each))
        for each in grown
    ]
    columns = ("photos", "seconds a photo", "over the smallest", "peak memory")
    return Table(f"An album that grows: {title}, 1 concept", columns, tuple(rows))


def _workers_table(by_workers: Mapping[int, Sequence[Filled]], title: str) -> Table:
    def rate(start: Filled, end: Filled) -> float:
        return (end.photos - start.photos) / (end.seconds - start.seconds)

    rates = {number: rate(start, end) for number, (start, end, _) in by_workers.items()}
    fewest = rates[min(rates)]
    rows = [
        (str(number), f"{rates[number]:.1f}", f"{rates[number] / fewest:.2f}", f"{filled[-1].seconds:.0f} s")
        for number, filled in by_workers.items()
    ]
    columns = ("workers", "photos a second", "over the fewest", "whole time")
    photos = next(iter(by_workers.values()))[-1].photos
    return Table(f"Ray's workers on one machine: {title}, {photos} photos, 1 concept", columns, tuple(rows))


def _megabytes(filled: Filled) -> str:
    return f"{filled.peak / 1e6:.0f} MB"


def _draw_photos(folder: Path, count: int, side: int) -> None:
    """Photos that differ, from a drawn scene: cut somewhere else, brighter or darker."""
    folder.mkdir()
    scene, _ = _scene(side + 200)
    rng = np.random.default_rng(0)
    for number in range(count):
        x, y = rng.integers(0, 200, 2)
        cut = scene[y : y + 3 * side // 4, x : x + side].astype(np.int16) + rng.integers(-25, 25)
        Image.fromarray(cut.clip(0, 255).astype(np.uint8)).save(folder / f"{number:05d}.jpg", quality=85)


def _in_a_process(job: dict[str, Any]) -> Iterator[Filled]:
    """What `_fill` gives, as it comes."""
    command = [sys.executable, "-m", "persam.benchmark.suites.album", json.dumps(job)]
    with tempfile.TemporaryFile("w+") as said:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as process:  # noqa: S603 (this very program)
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if line.startswith(TOLD):
                        yield Filled(**json.loads(line.removeprefix(TOLD)))
            except BaseException:  # also of who stops to ask: `Popen` would wait until the album is full
                _end(process)
                raise
        if process.returncode:
            said.seek(0)
            reason = (said.read().strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            raise PersamError(f"An album could not be filled: {reason}")


def _end(process: subprocess.Popen[str]) -> None:
    """Ask a process to end, so that Ray's workers end with it; kill it if it does not."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()


def _fill(job: dict[str, Any], tell: Callable[[Filled], object]) -> None:
    """Fill an album, and `tell` how far it is at each of the job's numbers of photos, and at its end."""
    persam = open_persam(job["name"], **job["order"])
    scene, masks = _scene(512)
    first, last = job["concepts"]
    concepts = [persam.learn(scene, masks[number], name=f"thing {number}") for number in range(first, last)]
    home, (*marks, whole) = Path(job["home"]), job["marks"]
    photos = sorted((home / "photos").iterdir())[:whole]
    reset_peak()
    start, numbers = time.perf_counter(), count(1)

    def so_far(photos: int) -> Filled:
        return Filled(photos, time.perf_counter() - start, peak_of_process())

    def on_photo(photo: Place, problem: str | None) -> None:
        done = next(numbers)
        if done in marks:
            tell(so_far(done))

    if job.get("published"):
        out = home / "published"
        out.mkdir()
        for photo in photos:
            for concept in concepts:
                found = persam.segment(read_image(photo), concept)
                Image.fromarray(found.mask).save(out / f"{photo.stem}-{concept.name}.png")
    else:
        model, engine = (lambda: persam), None
        if "workers" in job:
            from persam.album.ray_engine import RayEngine

            model, engine = partial(open_persam, job["name"], **job["order"]), RayEngine(job["workers"])
        with Album(home / job["out"]) as album:
            report = album.fill(model, concepts, photos, cache=job.get("cache", 0), engine=engine, on_photo=on_photo)
        if report.failures:
            raise PersamError(report.failures[0][1])
    tell(so_far(whole))


def _scene(side: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A drawn photo (side, side, 3) uint8 with a disc of another colour for every concept, and their masks."""
    scene, _ = drawn_scene(side)
    y, x = np.mgrid[:side, :side] / side
    masks = []
    for number, colour in enumerate(_COLOURS):
        row, column = divmod(number, 3)
        masks.append((x - 0.25 - 0.25 * column) ** 2 + (y - 0.33 - 0.3 * row) ** 2 < 0.008)
        scene[masks[-1]] = colour
    return scene, masks


if __name__ == "__main__":
    _fill(json.loads(sys.argv[1]), lambda filled: print(f"\n{TOLD}{json.dumps(vars(filled))}", flush=True))
