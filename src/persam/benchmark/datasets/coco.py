"""COCO-20i: the 80 classes of COCO in 4 folds, and random episodes of them, as in HSNet."""

from __future__ import annotations

from pathlib import Path

from persam.benchmark.datasets.annotations import AnnotationFile, PhotoFiles, find_annotations
from persam.benchmark.datasets.sampling import Category, Drawing, interleaved
from persam.benchmark.episodes import Loaded

LAYOUT = "annotations/instances_SPLIT.json and SPLIT/*.jpg, SPLIT being val2014, val2017, train2014 or train2017"
_SPLITS = ("val2014", "val2017", "train2014", "train2017")
_CLASSES, _FOLDS = 80, 4


def read_coco(
    root: Path, split: str | None = None, fold: int | None = None, episodes: int = 1000, shots: int = 1, seed: int = 0
) -> Loaded:
    """Random episodes of COCO-20i.

    The classes are numbered 0 to 79 in the order of their ids, and class c belongs to fold c mod 4. A photo shows a
    class if it has an annotation of it that is no crowd; the truth is the union of the class's annotations, and its
    crowd regions do not count.

    As published are folds and number of episodes. Not known to be equal: the photos of a class, which HSNet takes
    from lists of its own, and the pixels, which HSNet takes from label pictures, in which objects of other classes
    may cover one. The published draws are of another random generator, so episodes agree in kind and not one by one.

    Args:
        root: the folder.
        split: whose annotations; None: the first of val2014 (as published), val2017, train2014, train2017 that is
            there.
        fold: the one to draw from; None: all of them, each by itself.
        episodes: of each fold.
        shots: references of an episode.
        seed: of the draws.

    Raises:
        UsageError: the folder is laid out otherwise, or a class or a photo that was drawn is not there.
    """
    splits = _SPLITS if split is None else (split,)
    path = find_annotations(root, [f"instances_{each}.json" for each in splits], LAYOUT)
    split = path.stem.removeprefix("instances_")
    annotations, files = AnnotationFile.read(path), PhotoFiles(root, LAYOUT)
    found = annotations.by_category()
    identities = list(annotations.categories)
    folds = interleaved(len(identities), _FOLDS)

    def category(identity: int) -> Category:
        name = str(annotations.categories[identity]["name"])
        samples = annotations.samples(name, found[identity], files, split)
        return Category(name, name, samples)

    drawing = Drawing(_FOLDS, fold, episodes, shots, seed)
    drawn, notes = drawing.draw(
        "coco20i", {each: [category(identities[position]) for position in folds[each]] for each in drawing.wanted}
    )
    if len(identities) != _CLASSES:
        notes.append(f"{path} has {len(identities)} classes, not {_CLASSES}")
    return Loaded(
        "coco20i",
        drawn,
        f"COCO-20i, {split}: {drawing.in_words()}",
        {"split": split} | drawing.settings(),
        tuple(notes),
    )
