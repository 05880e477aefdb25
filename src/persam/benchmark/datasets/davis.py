"""DAVIS 2016 (`JPEGImages/480p/SEQUENCE`, `Annotations/480p/SEQUENCE`): frame 0 is the reference."""

from __future__ import annotations

from pathlib import Path

from persam.benchmark.datasets.layout import folders, photos, sample
from persam.benchmark.episodes import Episode
from persam.errors import UsageError

LAYOUT = "JPEGImages/480p/SEQUENCE/*.jpg and Annotations/480p/SEQUENCE/*.png"


def read_davis(root: Path, step: int = 1) -> list[Episode]:
    """Every sequence: frame 0 shows the object, of the others every `step`-th is a photo of its own."""
    episodes = []
    for folder in folders(root / "JPEGImages" / "480p", root, LAYOUT):
        samples = [
            sample(f"{folder.name}/{photo.stem}", photo, root / "Annotations/480p" / folder.name / f"{photo.stem}.png")
            for photo in photos(folder)
        ]
        if not samples:
            raise UsageError(f"{folder} has no frames; looked for {LAYOUT}.")
        episodes.append(
            Episode("davis", folder.name, tuple(samples[:1]), tuple(samples[step::step]), folder.name.split("-")[0])
        )
    return episodes
