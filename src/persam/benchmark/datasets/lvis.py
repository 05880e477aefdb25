"""LVIS-92i: 920 classes of LVIS v1 in 10 folds, and random episodes of them, as in Matcher."""

from __future__ import annotations

from pathlib import Path

from persam.benchmark.datasets.annotations import AnnotationFile, PhotoFiles, find_annotations
from persam.benchmark.datasets.layout import words
from persam.benchmark.datasets.sampling import Category, Drawing, interleaved
from persam.benchmark.episodes import Loaded
from persam.errors import UsageError

LAYOUT = "lvis_v1_SPLIT.json in it or in annotations/, and photos in val2017/ and train2017/"
_CLASSES, _FOLDS = 920, 10


def read_lvis(
    root: Path, split: str = "val", fold: int | None = None, episodes: int = 2300, shots: int = 1, seed: int = 0
) -> Loaded:
    """Random episodes of LVIS-92i.

    Classes are those with at least two photos in the split, in the order of their ids; the class at position p
    (from 0) belongs to fold p mod 10. The paper says: classes with less than two images are removed, 920 are left,
    in 10 equal folds, 2,300 episodes a fold. It does not say which class is in which fold, nor the split: that folds
    interleave in the order of the ids, on ``val``, is what we could not verify. A photo's truth is the union of the
    class's annotations in it.

    Args:
        root: the folder.
        split: whose annotations.
        fold: the one to draw from; None: all of them, each by itself.
        episodes: of each fold.
        shots: references of an episode.
        seed: of the draws.

    Raises:
        UsageError: the folder is laid out otherwise, or a class or a photo that was drawn is not there.
    """
    path = find_annotations(root, [f"lvis_v1_{split}.json"], LAYOUT.replace("SPLIT", split))
    annotations, files = AnnotationFile.read(path), PhotoFiles(root, LAYOUT)
    found = annotations.by_category()
    identities = [identity for identity, photos in found.items() if len(photos) >= 2]
    folds = interleaved(len(identities), _FOLDS)

    def category(identity: int) -> Category:
        name = str(annotations.categories[identity]["name"])
        return Category(name, words(name), annotations.samples(name, found[identity], files))

    if not identities:
        raise UsageError(f"{path} has no class with two photos.")
    drawing = Drawing(_FOLDS, fold, episodes, shots, seed)
    drawn, notes = drawing.draw(
        "lvis92i", {each: [category(identities[position]) for position in folds[each]] for each in drawing.wanted}
    )
    if len(identities) != _CLASSES:
        notes.append(f"{path} has {len(identities)} classes with at least two photos, not {_CLASSES}")
    return Loaded(
        "lvis92i",
        drawn,
        f"LVIS-92i, {split}: {drawing.in_words()}",
        {"split": split} | drawing.settings(),
        tuple(notes),
    )
