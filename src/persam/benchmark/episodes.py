"""Data sets as episodes: one reference photo with its mask, and the photos in which the object is to be found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from persam.errors import UsageError

Pair = tuple[Path, Path]  # a photo and its true mask


@dataclass(frozen=True)
class Episode:
    """One object of a data set."""

    data_set: str
    name: str
    reference: Pair
    tests: tuple[Pair, ...]


def read_perseg(root: Path, reference: str = "00") -> list[Episode]:
    """PerSeg: `Images/OBJECT/NN.jpg`, `Annotations/OBJECT/NN.png`; photo `reference` shows the object."""
    episodes = []
    for folder in _folders(root / "Images", root):
        pairs = [(photo, root / "Annotations" / folder.name / f"{photo.stem}.png") for photo in _photos(folder)]
        first = [pair for pair in pairs if pair[0].stem == reference]
        if not first:
            raise UsageError(f"{folder} has no photo {reference}, which was to be the reference.")
        episodes.append(_episode("perseg", folder.name, first[0], [p for p in pairs if p is not first[0]]))
    return episodes


def read_fss(root: Path) -> list[Episode]:
    """FSS-1000 (`CLASS/images`, `CLASS/masks`): the first photo of a class shows the object."""
    episodes = []
    for folder in _folders(root, root):
        photos = _photos(folder / "images")
        if not photos:
            raise UsageError(f"{folder} has no photos in images/; expected CLASS/images/*.jpg and CLASS/masks/*.png.")
        pairs = [(photo, folder / "masks" / f"{photo.stem}.png") for photo in photos]
        episodes.append(_episode("fss", folder.name, pairs[0], pairs[1:]))
    return episodes


def read_davis(root: Path, step: int = 8) -> list[Episode]:
    """DAVIS 2016 (`JPEGImages/480p/SEQUENCE`, `Annotations/480p/SEQUENCE`): frame 0 shows the object; of the others
    every `step`-th is a photo of its own."""
    episodes = []
    for folder in _folders(root / "JPEGImages" / "480p", root):
        pairs = [(p, root / "Annotations" / "480p" / folder.name / f"{p.stem}.png") for p in _photos(folder)]
        if not pairs:
            raise UsageError(f"{folder} has no frames; expected JPEGImages/480p/SEQUENCE/*.jpg.")
        episodes.append(_episode("davis", folder.name, pairs[0], pairs[step::step]))
    return episodes


READERS = {"perseg": read_perseg, "fss": read_fss, "davis": read_davis}


def read_all(root: Path) -> list[Episode]:
    """Every known data set in a folder that holds them by name (`perseg/`, `fss/`, `davis/`).

    Raises:
        UsageError: none of them is there, one is not laid out as expected, or there is nothing but references.
    """
    here = [name for name in READERS if (root / name).is_dir()]
    if not here:
        raise UsageError(f"{root} holds none of the folders {', '.join(READERS)}; give the folder that does.")
    episodes = [episode for name in here for episode in READERS[name](root / name)]
    if not any(episode.tests for episode in episodes):
        raise UsageError(f"{root} has no photos to find the objects in: each object has its reference alone.")
    return episodes


def _episode(data_set: str, name: str, reference: Pair, tests: list[Pair]) -> Episode:
    for photo, mask in (reference, *tests):
        if not mask.is_file():
            raise UsageError(f"{photo} has no mask: looked for {mask}.")
    return Episode(data_set, name, reference, tuple(tests))


def _folders(folder: Path, root: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{root} is not laid out as expected: there is no folder {folder}.")
    return sorted(entry for entry in folder.iterdir() if entry.is_dir())


def _photos(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.glob("*") if entry.suffix.lower() in {".jpg", ".jpeg", ".png"})
