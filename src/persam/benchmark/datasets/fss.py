"""FSS-1000: 1,000 classes of 10 photos; the published protocol tests on 240 of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from persam.benchmark.datasets import layout
from persam.benchmark.datasets.options import About, Seed, Shots
from persam.benchmark.datasets.sampling import one_query
from persam.benchmark.episodes import Episode, Loaded, Sample
from persam.errors import UsageError
from persam.images import IMAGE_SUFFIXES

LAYOUT = "CLASS/1.jpg and CLASS/1.png, or CLASS/images/*.jpg and CLASS/masks/*.png"
_DEPTH = 2  # the archive unpacks into two folders


def read_fss(
    root: Path,
    protocol: Annotated[Literal["first", "episodes"], About("how references are chosen")] = "first",
    shots: Shots = 1,
    seed: Seed = 0,
    split: Annotated[str, About("which part: test, trn or val if there is a list of its classes, or all")] = "test",
) -> Loaded:
    """Every class of the split, by one of two protocols.

    ``first``: the first `shots` photos of a class are its references, all others the tests. ``episodes`` is HSNet's:
    every photo is the query once, and its references are drawn from the other photos of its class; HSNet draws them
    anew in every run and with repetition, here they come from `seed` and are all different.

    A `split` is the classes in a list of that name (``fss_test.txt``, ``splits/test.txt`` and the like, in the folder
    or one up; one class a line). ``test`` without a list is all.

    Raises:
        UsageError: the folder is laid out otherwise, there is no such split, a photo has no mask, too few photos.
    """
    top, classes = _classes(root)
    chosen, where, notes = _of_split(top, classes, split)
    read = [_samples(folder) for folder in chosen]
    notes += layout.passed_over("masks without a photo", [mask for _, alone in read for mask in alone])
    short = [folder.name for folder, (samples, _) in zip(chosen, read, strict=True) if len(samples) <= shots]
    notes += layout.passed_over("classes with no photo beside the references", short)
    named = [(folder.name, samples) for folder, (samples, _) in zip(chosen, read, strict=True) if len(samples) > shots]
    if not named:
        raise UsageError(f"{root} has no photos to find the objects in: each class has its references alone.")
    if protocol == "first":
        episodes = [_first(name, samples, shots) for name, samples in named]
        how = f"each class's first photo{'' if shots == 1 else f's ({shots})'} as reference, every other photo a test"
    else:
        episodes = [
            episode
            for name, samples in named
            for episode in _each_once(name, samples, shots, np.random.default_rng([seed, *name.encode()]))
        ]
        how = f"every photo once, {layout.shots_in_words(shots)} drawn from its class's others, seed {seed}"
    return Loaded(
        "fss",
        tuple(episodes),
        f"{where}, {len(named)} classes; {how}; intersection and union pooled per class, then the mean over classes",
        {"protocol": protocol, "shots": shots, "split": split, **({"seed": seed} if protocol == "episodes" else {})},
        tuple(notes),
    )


def _classes(root: Path) -> tuple[Path, list[Path]]:
    """The folder that holds the classes and they."""
    level = [root]
    for _ in range(_DEPTH + 1):
        found = {folder: [inner for inner in layout.subfolders(folder) if _is_class(inner)] for folder in level}
        places = [folder for folder in level if found[folder]]
        if len(places) > 1:
            raise UsageError(f"{root} holds several folders of classes: {layout.some(places)}; give one of them.")
        if places:
            return places[0], found[places[0]]
        level = [inner for folder in level for inner in layout.subfolders(folder)]
    raise layout.wrong_layout(root, LAYOUT)


def _is_class(folder: Path) -> bool:
    return (folder / "images").is_dir() or any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in folder.iterdir())


def _of_split(top: Path, classes: Sequence[Path], split: str) -> tuple[list[Path], str, list[str]]:
    """The classes of the split, how it is called in the protocol, and notes."""
    if split == "all":
        return list(classes), "all classes here", []
    places = [
        place / name
        for place in (top, top.parent)
        for name in (f"fss_{split}.txt", f"fss_{split}_set.txt", f"splits/fss/{split}.txt", f"splits/{split}.txt")
    ]
    places.append(top / f"{split}.txt")
    file = next((place for place in places if place.is_file()), None)
    if file is None and split == "test":
        note = f"there is no list of the 240 test classes (such as {places[0].name}), so all classes here are taken"
        return list(classes), "all classes here (no list of test classes)", [note]
    if file is None:
        raise UsageError(f"{top} has no split {split}: looked for {places[0]} and {top / f'splits/fss/{split}.txt'}.")
    listed = layout.read_list(file)
    by_name = {folder.name: folder for folder in classes}
    found = [by_name[name] for name in listed if name in by_name]
    absent = [name for name in listed if name not in by_name]
    if not found:
        raise UsageError(f"None of the classes in {file} is in {top}.")
    return (
        found,
        f"split {split} of {file.name}",
        layout.passed_over(f"classes of split {split} that are not here", absent),
    )


def _samples(folder: Path) -> tuple[list[Sample], list[Path]]:
    """The photos of a class with their masks, and masks without a photo."""
    if (folder / "images").is_dir():
        pictures, masks = layout.photos(folder / "images"), layout.photos(folder / "masks")
        if not pictures:
            raise UsageError(f"{folder} has no photos in images/; looked for {LAYOUT}.")
        place = folder / "masks"
    else:
        pictures = layout.photos(folder, {".jpg", ".jpeg"})
        masks = layout.photos(folder, {".png"})
        if not pictures:
            raise UsageError(f"{folder} has no photos; looked for {LAYOUT}.")
        place = folder
    samples = [layout.sample(f"{folder.name}/{photo.stem}", photo, place / f"{photo.stem}.png") for photo in pictures]
    return samples, layout.masks_alone(masks, pictures)


def _first(name: str, samples: Sequence[Sample], shots: int) -> Episode:
    references, tests = layout.choose_references(samples, shots)
    return Episode("fss", name, references, tests, layout.words(name))


def _each_once(name: str, samples: Sequence[Sample], shots: int, rng: np.random.Generator) -> list[Episode]:
    drawn = (one_query([[each] for each in samples], query, shots, rng) for query in range(len(samples)))
    return [Episode("fss", name, references, (test,), layout.words(name)) for references, test in drawn]
