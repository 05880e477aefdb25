"""An album of thousands of photos takes no more memory than one of hundreds."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.fakes import ColourModel

from persam import PerSAM
from persam.album.album import Album
from persam.benchmark.suites.memory import peak_of_process
from persam.models.base import Decoded

FEW, MANY = 500, 3000


class Forgetful(ColourModel):
    """The same without the list of all that was asked of it, which grows."""

    def decode(self, *asked: Any, **options: Any) -> Decoded:
        decoded = super().decode(*asked, **options)
        self.decoded.clear()
        return decoded


def fill(folder: str) -> None:
    """Fill an album of many small photos, all of them different, in one go; print the peak memory on the way."""
    home = Path(folder)
    (home / "photos").mkdir()
    rows, columns = np.mgrid[:48, :64]
    for number in range(MANY):
        scene = np.full((48, 64, 3), 120, np.uint8)
        scene[(columns - 12 - number % 40) ** 2 + (rows - 24) ** 2 <= 81] = (200, 30, 40)
        scene[0, :2] = (number % 256, number // 256, 0), (1, 2, 3)
        Image.fromarray(scene).save(home / "photos" / f"{number:04}.bmp")
    model = PerSAM(Forgetful())
    concept = model.learn(scene, (columns - 12 - (MANY - 1) % 40) ** 2 + (rows - 24) ** 2 <= 81, name="disc")
    numbers, peaks = count(1), {}

    def on_photo(photo: Path, problem: str | None) -> None:
        assert problem is None
        if (number := next(numbers)) in (FEW, MANY):
            peaks[number] = peak_of_process()

    with Album(home / "out") as album:
        report = album.fill(model, concept, home / "photos", overlay=True, per_instance=True, on_photo=on_photo)
    assert report.done_now == MANY
    assert report.known == 0
    print(json.dumps({"few": peaks[FEW], "many": peaks[MANY], "end": peak_of_process()}))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_does_not_grow_with_the_photos(tmp_path):
    """In a process of its own: this one's peak was that of another test."""
    command = [sys.executable, "-c", f"from {__name__} import fill; fill({str(tmp_path)!r})"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peaks = json.loads(done.stdout.splitlines()[-1])
    assert peaks["many"] <= 1.1 * peaks["few"]
    assert peaks["end"] <= 1.1 * peaks["few"]  # when results.jsonl is written, too
