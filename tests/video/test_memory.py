"""A clip of thousands of frames takes no more memory than one of hundreds, with all that can be written."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from persam import PerSAM
from persam.benchmark.suites.memory import peak_of_process
from persam.video.clips import open_clip
from persam.video.folder import track_into
from persam.video.layout import Outputs
from persam.video.track import TrackedFrame

FEW, MANY = 500, 5000
SIZE = (64, 96)


def draw(number: int) -> np.ndarray:
    """A disc on its way round, (64, 96, 3), which is away for a while now and then."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    scene = np.stack([110 + 20 * np.sin(columns / 7), 120 + 15 * np.cos(rows / 5), 140 + 0 * rows], 2).astype(np.uint8)
    if number % 100 < 80:
        x, y = 48 + 20 * np.cos(number / 15), 32 + 8 * np.sin(number / 15)
        scene[(columns - x) ** 2 + (rows - y) ** 2 <= 150] = (200, 30, 40)
    return scene


def follow(folder: str, many: int = MANY) -> None:
    """Follow a disc with the bundled model; print the peak memory after a few frames, after many, and at the end."""
    home = Path(folder)
    with av.open(str(home / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(many):
            frame = av.VideoFrame.from_ndarray(draw(number))
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    peaks = {}

    def on_frame(found: TrackedFrame) -> None:
        if found.frame.number + 1 in (FEW, many):
            peaks[found.frame.number + 1] = peak_of_process()

    outputs = Outputs(home / "out", overlay=True, masks=True, cutout=True, coco=True)
    mask = (draw(0)[..., 0] > 180) & (draw(0)[..., 1] < 60)
    report = track_into(PerSAM.from_pretrained(), open_clip(home / "clip.mp4"), mask, outputs, on_frame)
    assert report.frames == many
    print(json.dumps({"few": peaks[FEW], "many": peaks[many], "end": peak_of_process()}))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_memory_does_not_grow_with_the_frames(tmp_path: Path) -> None:
    """In a process of its own: this one's peak was that of another test."""
    command = [sys.executable, "-c", f"from {__name__} import follow; follow({str(tmp_path)!r})"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peaks = json.loads(done.stdout.splitlines()[-1])
    print(f"peaks of memory: {peaks}")  # shown with -s
    assert peaks["many"] <= 1.1 * peaks["few"]
    assert peaks["end"] <= 1.1 * peaks["few"]  # when the summaries are written, too
