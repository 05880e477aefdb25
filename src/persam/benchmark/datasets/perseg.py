"""PerSeg (Personalize-SAM): 40 objects, a handful of photos each; photo 00 is the reference."""

from __future__ import annotations

from pathlib import Path

from persam.benchmark.datasets.layout import folders, photos, sample
from persam.benchmark.episodes import Episode
from persam.errors import UsageError

LAYOUT = "Images/OBJECT/NN.jpg and Annotations/OBJECT/NN.png"


def read_perseg(root: Path, shots: int = 1, reference: str = "00") -> list[Episode]:
    """Every object: photo `reference` (and the `shots` - 1 after it) shows it, it is found in all others."""
    episodes = []
    for folder in folders(root / "Images", root, LAYOUT):
        samples = [
            sample(f"{folder.name}/{photo.stem}", photo, root / "Annotations" / folder.name / f"{photo.stem}.png")
            for photo in photos(folder)
        ]
        names = [each.photo.stem for each in samples]
        if reference not in names:
            raise UsageError(f"{folder} has no photo {reference}, which was to be the reference.")
        first = names.index(reference)
        chosen = (samples[first:] + samples[:first])[:shots]
        episodes.append(
            Episode(
                "perseg",
                folder.name,
                tuple(chosen),
                tuple(each for each in samples if each not in chosen),
                folder.name.replace("_", " "),
            )
        )
    return episodes
