"""What an album costs: photos a second for one concept and several, against the number of photos, and what is kept.

Every album is filled in a process of its own, whose time without loading the model and whose peak memory count.  In the
same run: the published way, which reads and encodes a photo anew for every concept.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from persam.reports.tables import Table

CONCEPTS = 5
SIZES = (100, 300, 1000)
PUBLISHED_PHOTOS = 40  # that the published way is timed on; its time a photo does not depend on their number
CACHE = 10**10
_COLOURS = ((200, 40, 40), (40, 160, 60), (50, 70, 200), (230, 200, 40), (180, 60, 190), (250, 250, 250))


@dataclass(frozen=True)
class Filled:
    """One album that was filled: its photos, seconds, and peak memory in bytes."""

    photos: int
    seconds: float
    peak: int

    @property
    def rate(self) -> float:
        """Photos a second."""
        return self.photos / self.seconds


def steps_of(sizes: Sequence[int]) -> int:
    """How often `measure_album` reports progress."""
    return len(sizes) + 4


def measure_album(
    name: str,
    *,
    sizes: Sequence[int] = SIZES,
    side: int = 1600,
    progress: Callable[[], object] = lambda: None,
    **order: Any,
) -> Findings:
    """Fill albums of drawn JPEG photos, `side` pixels wide.

    Args:
        name: of the model.
        sizes: numbers of photos, rising; the last one but one is used for all that is compared.
        side: of the photos, pixels.
        progress: called after every album.
        order: what else `open_persam` takes.

    Raises:
        PersamError: the model is not to be had, or an album could not be filled.
    """
    about = about_timing(open_persam(name, **order)) | {"photo": side, "sizes": list(sizes)}
    middle = sizes[max(0, len(sizes) - 2)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _draw_photos(home / "photos", sizes[-1], side)

        def fill(out: str, photos: int, first: int, last: int, **options: Any) -> Filled:
            job = {"name": name, "home": folder, "out": out, "photos": photos, "concepts": [first, last], **options}
            found = _in_a_process({**job, "order": order})
            progress()
            return found

        grown = [fill(f"grown-{count}", count, 0, 1) for count in sizes]
        several = fill("several", middle, 0, CONCEPTS, cache=CACHE)
        warm = fill("several", middle, CONCEPTS, CONCEPTS + 1, cache=CACHE)
        again = fill("several", middle, CONCEPTS, CONCEPTS + 1, cache=CACHE)
        published = fill("", min(middle, PUBLISHED_PHOTOS), 0, CONCEPTS, published=True)
    one = grown[max(0, len(sizes) - 2)]
    title = f"{headline(about)}, drawn JPEG photos {side} pixels wide"
    rows = [
        ("1 concept", one, 1),
        (f"{CONCEPTS} concepts", several, CONCEPTS),
        (f"{CONCEPTS} concepts, the published way", published, CONCEPTS),
        ("a further concept, encodings kept", warm, 1),
        ("the same again, nothing new", again, 1),
    ]
    cost = Table(
        f"Albums: {title}, {middle} photos",
        ("", "photos", "photos a second", "times the published way's", "peak memory"),
        tuple(
            (
                what,
                str(each.photos),
                f"{each.rate:.1f}",
                f"{each.rate * concepts / (published.rate * CONCEPTS):.1f}",
                f"{each.peak / 1e6:.0f} MB",
            )
            for what, each, concepts in rows
        ),
    )
    growth = Table(
        f"Albums of growing size: {title}, 1 concept",
        ("photos", "seconds a photo", "over the smallest", "peak memory"),
        tuple(
            (
                str(each.photos),
                f"{1 / each.rate:.3f}",
                f"{grown[0].rate / each.rate:.2f}",
                f"{each.peak / 1e6:.0f} MB",
            )
            for each in grown
        ),
    )
    notes = [
        f"Machine: {about['machine']}, {about['dtype']}. Times are without loading the model.",
        (
            "Times the published way's: photos times concepts a second; that way reads and encodes a photo for each "
            "concept, one after another, and writes its masks."
        ),
    ]
    everything = [*(("1 concept", each) for each in grown), *((what, each) for what, each, _ in rows[1:])]
    records = [
        {"what": what, "photos": each.photos, "seconds": each.seconds, "peak": each.peak} for what, each in everything
    ]
    return Findings("album", about, records, [cost, growth], notes)


def _draw_photos(folder: Path, count: int, side: int) -> None:
    """Photos that differ, from a drawn scene: cut somewhere else, brighter or darker."""
    folder.mkdir()
    scene, _ = _scene(side + 200)
    rng = np.random.default_rng(0)
    for number in range(count):
        x, y = rng.integers(0, 200, 2)
        cut = scene[y : y + 3 * side // 4, x : x + side].astype(np.int16) + rng.integers(-25, 25)
        Image.fromarray(cut.clip(0, 255).astype(np.uint8)).save(folder / f"{number:05d}.jpg", quality=85)


def _in_a_process(job: dict[str, Any]) -> Filled:
    command = [sys.executable, "-m", "persam.benchmark.suites.album", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (this very program)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise PersamError(f"An album could not be filled: {reason}")
    return Filled(**json.loads(done.stdout.strip().splitlines()[-1]))


def _fill(job: dict[str, Any]) -> Filled:
    persam = open_persam(job["name"], **job["order"])
    scene, masks = _scene(512)
    first, last = job["concepts"]
    concepts = [persam.learn(scene, masks[number], name=f"thing {number}") for number in range(first, last)]
    home = Path(job["home"])
    photos = sorted((home / "photos").iterdir())[: job["photos"]]
    reset_peak()
    start = time.perf_counter()
    if job.get("published"):
        out = home / "published"
        out.mkdir()
        for photo in photos:
            for concept in concepts:
                found = persam.segment(read_image(photo), concept)
                Image.fromarray(found.mask).save(out / f"{photo.stem}-{concept.name}.png")
    else:
        with Album(home / job["out"]) as album:
            report = album.fill(persam, concepts, photos, cache=job.get("cache", 0))
        if report.failures:
            raise PersamError(report.failures[0][1])
    return Filled(len(photos), time.perf_counter() - start, peak_of_process())


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
    print(json.dumps(vars(_fill(json.loads(sys.argv[1])))))
