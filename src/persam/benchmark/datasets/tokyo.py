"""Tokyo Multi-Spectral-4i: street photos, colour beside thermal, 16 classes in 4 folds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np

from persam.benchmark.datasets import layout
from persam.benchmark.datasets.options import About, Episodes, OneOf4Folds, Seed, Shots
from persam.benchmark.datasets.sampling import Drawing, FoldClass
from persam.benchmark.episodes import Loaded, MaskFile, Sample, read_labels
from persam.errors import UsageError
from persam.labels import VOID

LAYOUT = "images/*.png (RGB, or RGB and thermal in four channels) and labels/*.png (class numbers)"
_PHOTOS, _LABELS = ("images", "rgb", "RGB"), ("labels", "label", "Labels", "masks")
_FOLDS, _IN_FOLD = 4, 4

#: The classes of MFNet's labels, which are the first published ones on these photos.
MFNET = ("car", "person", "bike", "curve", "car stop", "guardrail", "color cone", "bump")


def read_tokyo(
    root: Path,
    fold: OneOf4Folds = None,
    episodes: Episodes = 1000,
    shots: Shots = 1,
    seed: Seed = 0,
    split: Annotated[str, About("which part: name of a list beside the folders, or all")] = "test",
) -> Loaded:
    """Random episodes of Tokyo Multi-Spectral-4i, on the colour photos alone.

    Labels are 0 for background, 1 to 16 for classes, 255 for pixels that do not count. Assumed, as PASCAL-5i has it
    and because we could not see the set itself: fold f (from 0) holds the classes 4 f + 1 to 4 f + 4; 1,000 episodes
    a fold. Where no label is above 8, they are taken for MFNet's eight classes, and there are two folds. A fourth
    channel of the photos is the thermal camera's and left out.

    A `split` is a list beside the folders (``test.txt``, a name a line); ``test`` without a list is all.

    Raises:
        UsageError: the folder is laid out otherwise, a photo has no labels, a class or a fold is not there.
    """
    top = next((layout.unpacked(root, name, LAYOUT) for name in _PHOTOS if _holds(root, name)), None)
    if top is None:
        raise layout.wrong_layout(root, LAYOUT)
    pictures = layout.photos(next(top / name for name in _PHOTOS if (top / name).is_dir()))
    place = next((top / name for name in _LABELS if (top / name).is_dir()), None)
    if place is None or not pictures:
        raise layout.wrong_layout(root, LAYOUT)
    notes = layout.passed_over("masks without a photo", layout.masks_alone(layout.photos(place), pictures))
    pictures, shown, more = _of_split(top, pictures, split)
    notes += more
    shows: dict[int, list[Path]] = {}
    for photo in pictures:
        if not (place / f"{photo.stem}.png").is_file():
            raise UsageError(f"{photo} has no labels: looked for {place / f'{photo.stem}.png'}.")
        for value in np.unique(read_labels(place / f"{photo.stem}.png")).tolist():
            shows.setdefault(value, []).append(photo)
    classes = sorted(set(shows) - {0, VOID})
    if classes and classes[-1] > _FOLDS * _IN_FOLD:
        raise UsageError(f"{place} has label {classes[-1]}; the classes are 1 to {_FOLDS * _IN_FOLD}.")
    names = dict(enumerate(MFNET, 1)) if classes and classes[-1] <= len(MFNET) else {}

    def category(value: int) -> FoldClass:
        name = names.get(value, f"class {value}")
        folder = name.replace(" ", "_")
        samples = [
            Sample(f"{folder}/{photo.stem}", photo, MaskFile(place / f"{photo.stem}.png", value, VOID), as_stored=True)
            for photo in shows[value]
        ]
        return FoldClass(folder, name, samples)

    drawing = Drawing(_FOLDS, fold, episodes, shots, seed)
    folds = {each: [category(value) for value in classes if (value - 1) // _IN_FOLD == each] for each in drawing.wanted}
    without = [each for each, categories in folds.items() if not categories]
    if len(without) == len(folds):
        raise UsageError(f"{place} shows no class of {'any fold' if fold is None else f'fold {fold}'}.")
    notes += layout.passed_over("folds without a class here", without)
    return drawing.loaded(
        "tokyo-ms4i",
        f"Tokyo Multi-Spectral-4i, {shown}, colour photos alone, classes 4 f + 1 to 4 f + 4 in fold f",
        {each: found for each, found in folds.items() if found},
        {"split": split},
        notes,
    )


def _holds(root: Path, name: str) -> bool:
    try:
        layout.unpacked(root, name, LAYOUT)
    except UsageError:
        return False
    return True


def _of_split(top: Path, pictures: list[Path], split: str) -> tuple[list[Path], str, list[str]]:
    """The photos of a split, how it is called, and notes."""
    if split == "all":
        return pictures, "all photos", []
    file = top / f"{split}.txt"
    if not file.is_file():
        if split != "test":
            raise UsageError(f"{top} has no split {split}: looked for {file}.")
        return pictures, "all photos", [f"there is no {file}, so all photos are taken"]
    names = {Path(line.split()[0]).stem for line in layout.read_list(file)}
    found = [photo for photo in pictures if photo.stem in names]
    if not found:
        raise UsageError(f"None of the photos in {file} is in {top}.")
    absent = sorted(names - {photo.stem for photo in found})
    return found, f"split {split}", layout.passed_over(f"photos of split {split} that are not here", absent)
