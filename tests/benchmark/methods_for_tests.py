"""Methods that answer at once: by colour, with nothing, or with an error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tests.benchmark.conftest import write_pair

from persam.benchmark.episodes import Episode, MaskFile, Sample
from persam.benchmark.methods.base import Example, Prediction, SharedPhoto
from persam.errors import PersamError


class ByColour:
    """Finds what is red or yellow, which is the drawn disc; counts what it is asked."""

    def __init__(self, name: str = "colour", shift: int = 0) -> None:
        self.name = name
        self.shift = shift
        self.learned: list[str] = []
        self.asked = 0

    def describe(self) -> dict[str, Any]:
        return {"method": "by colour", "shift": self.shift}

    def learn(self, shots: Sequence[Example], category: str) -> str:
        assert all(shot.mask.any() for shot in shots)
        self.learned.append(category)
        return category

    def find(self, photo: SharedPhoto, learned: str) -> Prediction:
        self.asked += 1
        mask = photo.pixels[:, :, 0].astype(int) - photo.pixels[:, :, 2] > 40
        mask = np.roll(mask, self.shift, axis=1)
        rows, columns = np.nonzero(mask)
        return Prediction(mask, 0.75, True, (float(columns.mean()), float(rows.mean())))


class Failing(ByColour):
    """Fails on the photos whose number (in the order of asking) is given, or on the references."""

    def __init__(self, name: str = "failing", on: Sequence[int] = (), error: Exception | None = None) -> None:
        super().__init__(name)
        self.on = on
        self.error = error or PersamError("The photo is too odd; give another.")

    def learn(self, shots: Sequence[Example], category: str) -> str:
        if -1 in self.on:
            raise self.error
        return super().learn(shots, category)

    def find(self, photo: SharedPhoto, learned: str) -> Prediction:
        if self.asked in self.on:
            self.asked += 1
            raise self.error
        return super().find(photo, learned)


def drawn_episodes(folder: Path, objects: Sequence[str] = ("mug", "cat"), photos: int = 3) -> list[Episode]:
    """Episodes of drawn photos: the first of each object is the reference."""
    episodes = []
    for thing in objects:
        samples = []
        for number in range(photos):
            photo, mask = folder / thing / f"{number:02}.png", folder / "masks" / thing / f"{number:02}.png"
            write_pair(photo, mask, number % 4)
            samples.append(Sample(f"{thing}/{number:02}", photo, MaskFile(mask)))
        episodes.append(Episode("drawn", thing, (samples[0],), tuple(samples[1:]), thing))
    return episodes
