"""COCO-20i: the 80 classes of COCO in 4 folds, and random episodes of them, as in HSNet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from persam.benchmark.datasets.annotations import AnnotationFile, PhotoFiles, find_annotations
from persam.benchmark.datasets.options import About, Episodes, OneOf4Folds, Seed, Shots
from persam.benchmark.datasets.sampling import Drawing, FoldClass
from persam.benchmark.episodes import Loaded

LAYOUT = "annotations/instances_SPLIT.json and SPLIT/*.jpg, SPLIT being val2014, val2017, train2014 or train2017"
_SPLITS = ("val2014", "val2017", "train2014", "train2017")
_CLASSES, _FOLDS = 80, 4


def read_coco(
    root: Path,
    fold: OneOf4Folds = None,
    episodes: Episodes = 1000,
    shots: Shots = 1,
    seed: Seed = 0,
    split: Annotated[
        str | None, About("which part: val2014, val2017, train2014 or train2017; the first of them that is there")
    ] = None,
) -> Loaded:
    """Random episodes of COCO-20i.

    The classes are numbered 0 to 79 in the order of their ids, and class c belongs to fold c mod 4. A photo shows a
    class if it has an annotation of it that is no crowd; the truth is the union of the class's annotations, and its
    crowd regions do not count.

    As published are folds and number of episodes. Not known to be equal: the photos of a class, which HSNet takes
    from lists of its own, and the pixels, which HSNet takes from label pictures, in which objects of other classes
    may cover one. The published draws are of another random generator, so episodes agree in kind and not one by one.

    Raises:
        UsageError: the folder is laid out otherwise, or a class or a photo that was drawn is not there.
    """
    splits = _SPLITS if split is None else (split,)
    path = find_annotations(root, [f"instances_{each}.json" for each in splits], LAYOUT)
    split = path.stem.removeprefix("instances_")
    annotations, files = AnnotationFile.read(path), PhotoFiles(root, LAYOUT)
    found = annotations.by_category()
    identities = list(annotations.categories)

    def category(identity: int) -> FoldClass:
        name = str(annotations.categories[identity]["name"])
        samples = annotations.samples(name, found[identity], files, split)
        return FoldClass(name, name, samples)

    other = [] if len(identities) == _CLASSES else [f"{path} has {len(identities)} classes, not {_CLASSES}"]
    drawing = Drawing(_FOLDS, fold, episodes, shots, seed)
    classes = drawing.deal(identities, category)
    return drawing.loaded("coco20i", f"COCO-20i, {split}", classes, {"split": split}, more_notes=other)
