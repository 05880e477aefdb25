"""Drawn sequences in the layouts of DAVIS and YouTube-VOS, and a way to follow that needs no network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tests.benchmark.datasets.lookalikes import write_palette
from tests.fakes import ColourModel

from persam.benchmark.episodes import read_labels
from persam.benchmark.video.finders import FoundInFrame
from persam.benchmark.video.sequences import VideoSequence
from persam.benchmark.video.video_methods import VideoMethod
from persam.files import write_bytes
from persam.reports.pictures import encoded

SIZE = (48, 64)
COLOURS = {1: (220, 40, 40), 2: (40, 90, 230), 5: (240, 220, 50)}


def labels_of(places: dict[int, tuple[int, int] | None]) -> np.ndarray:
    """Squares of 14 pixels, by label: (row, column) of a corner, or None where the object is out of sight."""
    labels = np.zeros(SIZE, np.uint8)
    for label, corner in places.items():
        if corner is not None:
            labels[corner[0] : corner[0] + 14, corner[1] : corner[1] + 14] = label
    return labels


def drawn(labels: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) that shows them."""
    pixels = np.full((*labels.shape, 3), (70, 80, 90), np.uint8)
    for label, colour in COLOURS.items():
        pixels[labels == label] = colour
    return pixels


def write_sequence(
    root: Path,
    name: str,
    labels: Sequence[np.ndarray],
    *,
    size: str = "480p/",
    annotated: Callable[[int], bool] = lambda _: True,
    first: int = 0,
) -> None:
    """JPEGImages and Annotations of one sequence."""
    for number, each in enumerate(labels):
        frame = f"{size}{name}/{first + number:05}"
        write_bytes(root / f"JPEGImages/{frame}.jpg", encoded(drawn(each), "JPEG", quality=95))
        if annotated(number):
            write_palette(root / f"Annotations/{frame}.png", each)


def write_davis_2017(root: Path, frames: int = 6) -> Path:
    """Sequence pair: object 1 goes right, object 2 is out of sight in frames 2 and 3. Sequence solo: object 1 alone."""
    pair = [labels_of({1: (4, 2 + 2 * n), 2: None if n in (2, 3) else (28, 40 - n)}) for n in range(frames)]
    solo = [labels_of({1: (10 + n, 20)}) for n in range(frames)]
    write_sequence(root, "pair", pair)
    write_sequence(root, "solo", solo)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("pair\nsolo\n")
    return root


def write_youtube_vos(root: Path) -> Path:
    """train/: a video with every second frame annotated, in which object 2 comes in at frame 4; and what is seen."""
    labels = [labels_of({1: (4, 2 + 2 * n), 2: (28, 30) if n >= 4 else None}) for n in range(9)]
    write_sequence(root / "valid", "0a1b", labels, size="", annotated=lambda number: number % 2 == 0)
    objects = {
        "1": {"category": "cat", "frames": ["00000", "00002", "00004", "00006", "00008"]},
        "2": {"category": "okapi", "frames": ["00004", "00006", "00008"]},
    }
    (root / "valid/meta.json").write_text(json.dumps({"videos": {"0a1b": {"objects": objects}}}))
    (root / "train").mkdir()
    seen = {"videos": {"ffff": {"objects": {"1": {"category": "cat", "frames": []}}}}}
    (root / "train/meta.json").write_text(json.dumps(seen))
    return root


class ScriptedFinder:
    """A `VideoFinder` that answers with labels that a test gives: `answer(sequence, number)`."""

    def __init__(self, name: str, answer: Callable[[VideoSequence, int], np.ndarray]) -> None:
        self.method, self.model, self.answer = VideoMethod(name, "as the test says"), ColourModel(), answer

    def find(self, sequence: VideoSequence, pixels: Callable[[int], np.ndarray]) -> Iterator[FoundInFrame]:
        for number in range(len(sequence.frames)):
            assert pixels(number).shape[:2] == SIZE
            yield FoundInFrame(self.answer(sequence, number), {one.value: 1.0 for one in sequence.objects})


def truth_of(root: Path, size: str = "480p/") -> Callable[[VideoSequence, int], np.ndarray]:
    """The answer that is always right."""

    def answer(sequence: VideoSequence, number: int) -> np.ndarray:
        return read_labels(root / f"Annotations/{size}{sequence.name}/{sequence.frames[number].stem}.png")

    return answer
