"""FSS-1000 as unpacked (`CLASS/images`, `CLASS/masks`): the first photo of a class is the reference."""

from __future__ import annotations

from pathlib import Path

from persam.benchmark.datasets.layout import folders, photos, sample
from persam.benchmark.episodes import Episode
from persam.errors import UsageError

LAYOUT = "CLASS/images/*.jpg and CLASS/masks/*.png"


def read_fss(root: Path, shots: int = 1) -> list[Episode]:
    """Every class: its first `shots` photos show it, it is found in all others."""
    episodes = []
    for folder in folders(root, root, LAYOUT):
        samples = [
            sample(f"{folder.name}/{photo.stem}", photo, folder / "masks" / f"{photo.stem}.png")
            for photo in photos(folder / "images")
        ]
        if not samples:
            raise UsageError(f"{folder} has no photos in images/; looked for {LAYOUT}.")
        episodes.append(
            Episode("fss", folder.name, tuple(samples[:shots]), tuple(samples[shots:]), folder.name.replace("_", " "))
        )
    return episodes
