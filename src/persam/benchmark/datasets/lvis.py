"""LVIS-92i: 920 classes of LVIS v1 in 10 folds, and random episodes of them, as in Matcher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from persam.benchmark.datasets.annotations import AnnotationFile, PhotoFiles, find_annotations
from persam.benchmark.datasets.layout import words
from persam.benchmark.datasets.options import About, Episodes, Seed, Shots
from persam.benchmark.datasets.sampling import Drawing, FoldClass
from persam.benchmark.episodes import Loaded
from persam.errors import UsageError

LAYOUT = "lvis_v1_SPLIT.json in it or in annotations/, and photos in val2017/ and train2017/"
_CLASSES, _FOLDS = 920, 10


def read_lvis(
    root: Path,
    fold: Annotated[
        Literal[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] | None, About("one of 10 folds; all of them if not given")
    ] = None,
    episodes: Episodes = 2300,
    shots: Shots = 1,
    seed: Seed = 0,
    split: Annotated[str, About("which part: val or train")] = "val",
) -> Loaded:
    """Random episodes of LVIS-92i.

    Classes are those with at least two photos in the split, in the order of their ids; the class at position p
    (from 0) belongs to fold p mod 10. The paper says: classes with less than two images are removed, 920 are left,
    in 10 equal folds, 2,300 episodes a fold. It does not say which class is in which fold, nor the split: that folds
    interleave in the order of the ids, on ``val``, is what we could not verify. A photo's truth is the union of the
    class's annotations in it.

    Raises:
        UsageError: the folder is laid out otherwise, or a class or a photo that was drawn is not there.
    """
    path = find_annotations(root, [f"lvis_v1_{split}.json"], LAYOUT.replace("SPLIT", split))
    annotations, files = AnnotationFile.read(path), PhotoFiles(root, LAYOUT)
    found = annotations.by_category()
    identities = [identity for identity, photos in found.items() if len(photos) >= 2]

    def category(identity: int) -> FoldClass:
        name = str(annotations.categories[identity]["name"])
        return FoldClass(name, words(name), annotations.samples(name, found[identity], files))

    if not identities:
        raise UsageError(f"{path} has no class with two photos.")
    other = [f"{path} has {len(identities)} classes with at least two photos, not {_CLASSES}"]
    drawing = Drawing(_FOLDS, fold, episodes, shots, seed)
    classes = drawing.deal(identities, category)
    notes = [] if len(identities) == _CLASSES else other
    return drawing.loaded("lvis92i", f"LVIS-92i, {split}", classes, {"split": split}, more_notes=notes)
