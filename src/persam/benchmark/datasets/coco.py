"""COCO-20i, LVIS-92i and PACO-Part: random episodes of classes annotated in COCO's JSON, as in HSNet and Matcher."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from persam.benchmark.datasets.annotations import AnnotationFile, Photographed, decode
from persam.benchmark.datasets.layout import words
from persam.benchmark.datasets.options import About, Episodes, OneOf4Folds, Seed, Shots
from persam.benchmark.datasets.sampling import Drawing, FoldClass
from persam.benchmark.episodes import Crop, Loaded, Sample
from persam.errors import UsageError

COCO = "annotations/instances_SPLIT.json and SPLIT/*.jpg, SPLIT being val2014, val2017, train2014 or train2017"
LVIS = "lvis_v1_SPLIT.json in it or in annotations/, and photos in val2017/ and train2017/"
PACO = "paco_lvis_v1_SPLIT.json in it or in annotations/, and photos in val2017/ and train2017/"
_COCO_SPLITS = ("val2014", "val2017", "train2014", "train2017")


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
    splits = _COCO_SPLITS if split is None else (split,)
    annotations = AnnotationFile.read(root, [f"instances_{each}.json" for each in splits], COCO)
    split = annotations.path.stem.removeprefix("instances_")
    found = annotations.by_category()
    identities = list(annotations.categories)

    def category(identity: int) -> FoldClass:
        name = str(annotations.categories[identity]["name"])
        return FoldClass(name, name, annotations.samples(name, found[identity], split))

    drawing = Drawing(4, fold, episodes, shots, seed)
    shown = f"COCO-20i, {split}"
    return _loaded("coco20i", shown, drawing, identities, category, {"split": split}, (annotations.path, 80, "classes"))


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
    annotations = AnnotationFile.read(root, [f"lvis_v1_{split}.json"], LVIS.replace("SPLIT", split))
    found = annotations.by_category()
    identities = [identity for identity, photos in found.items() if len(photos) >= 2]

    def category(identity: int) -> FoldClass:
        name = str(annotations.categories[identity]["name"])
        return FoldClass(name, words(name), annotations.samples(name, found[identity]))

    if not identities:
        raise UsageError(f"{annotations.path} has no class with two photos.")
    drawing = Drawing(10, fold, episodes, shots, seed)
    expected = (annotations.path, 920, "classes with at least two photos")
    return _loaded("lvis92i", f"LVIS-92i, {split}", drawing, identities, category, {"split": split}, expected)


def read_paco(
    root: Path,
    fold: OneOf4Folds = None,
    episodes: Episodes = 2500,
    shots: Shots = 1,
    seed: Seed = 0,
    split: Annotated[str, About("which part: val, test or train")] = "val",
    min_area: Annotated[int, About("leave out parts of fewer pixels than this", 0)] = 1024,
) -> Loaded:
    """Random episodes of PACO-Part.

    A class is a part of a kind of object (``basket:handle``), a sample one object that has the part, cut out of its
    photo by its box. Parts of fewer than `min_area` pixels are left out, then classes with fewer than two photos; in
    the order of their ids, the class at position p (from 0) belongs to fold p mod 4.

    The paper says: parts whose area is minimal and those with less than two images are left out, 303 are left, in
    four folds of about 76; objects are cut out by their boxes. We could not verify the least area (ours is COCO's
    bound of small objects, 32 x 32), the split, which class is in which fold, nor the 2,500 episodes a fold.

    Raises:
        UsageError: the folder is laid out otherwise, or a class or a photo that was drawn is not there.
    """
    annotations = AnnotationFile.read(root, [f"paco_lvis_v1_{split}.json"], PACO.replace("SPLIT", split))
    parts = {identity for identity, each in annotations.categories.items() if ":" in str(each["name"])}
    if not parts:
        raise UsageError(f"{annotations.path} has no classes of parts (such as basket:handle); give PACO's own file.")
    objects = {each["id"]: each for each in annotations.annotations if each["category_id"] not in parts}
    found = {
        identity: _large(annotations, photos, min_area)
        for identity, photos in annotations.by_category().items()
        if identity in parts
    }
    identities = [identity for identity, photos in found.items() if len(photos) >= 2]
    if not identities:
        raise UsageError(f"{annotations.path} has no part of at least {min_area} pixels with two photos.")

    def category(identity: int) -> FoldClass:
        name = str(annotations.categories[identity]["name"]).replace(":", "/")
        samples = [
            each
            for image_id, group in found[identity].items()
            for each in _samples(name, annotations, image_id, group, objects)
        ]
        return FoldClass(name, words(name.replace("/", " ")), samples)

    drawing = Drawing(4, fold, episodes, shots, seed)
    large = f"parts of at least {min_area} pixels"
    shown = f"PACO-Part, {split}, objects cut out by their boxes, {large}"
    expected = (annotations.path, 303, f"{large} with at least two photos")
    settings = {"split": split, "min_area": min_area}
    return _loaded("paco-part", shown, drawing, identities, category, settings, expected)


def _loaded(
    data_set: str,
    shown: str,
    drawing: Drawing,
    classes: Sequence[int],
    make: Callable[[int], FoldClass],
    settings: Mapping[str, Any],
    expected: tuple[Path, int, str],
) -> Loaded:
    """Episodes of classes that are dealt out to the folds in turn, and a note if they are not as many as expected."""
    path, count, what = expected
    notes = [] if len(classes) == count else [f"{path} has {len(classes)} {what}, not {count}"]
    return drawing.loaded(data_set, shown, drawing.deal(classes, make), settings, more_notes=notes)


def _large(annotations: AnnotationFile, photos: Photographed, min_area: int) -> Photographed:
    """The annotations of at least so many pixels, by photo."""
    large = {
        image_id: [each for each in group if _area(annotations, each) >= min_area] for image_id, group in photos.items()
    }
    return {image_id: group for image_id, group in large.items() if group}


def _area(annotations: AnnotationFile, annotation: Mapping[str, Any]) -> float:
    if "area" in annotation:
        return float(annotation["area"])
    size = annotations.size(annotation["image_id"])
    return float(decode(annotation["segmentation"], size, annotations.path.name).sum())


def _samples(
    name: str,
    annotations: AnnotationFile,
    image_id: int,
    group: Sequence[Mapping[str, Any]],
    objects: Mapping[int, Mapping[str, Any]],
) -> list[Sample]:
    """One sample for each object of the photo that has the part: all annotations of the part on it, and its box."""
    photo = annotations.photo(image_id)
    by_object: dict[int, list[Mapping[str, Any]]] = {}
    for annotation in group:
        by_object.setdefault(annotation["obj_ann_id"], []).append(annotation)
    samples = []
    for identity, on_object in by_object.items():
        if identity not in objects:
            raise UsageError(f"{annotations.path} has parts of object {identity}, but not the object.")
        crop = _crop(objects[identity]["bbox"], annotations.size(image_id))
        truth = annotations.truth(image_id, on_object, crop)
        samples.append(Sample(f"{name}/{photo.stem}-{identity}", photo, truth, crop, as_stored=True))
    return samples


def _crop(box: Sequence[float], size: tuple[int, int]) -> Crop:
    """A COCO box (x, y, width, height) as whole pixels, at least one, within the photo."""
    height, width = size
    x, y, w, h = box
    x0, y0 = min(max(0, math.floor(x)), width - 1), min(max(0, math.floor(y)), height - 1)
    return Crop((x0, y0, max(x0 + 1, min(width, math.ceil(x + w))), max(y0 + 1, min(height, math.ceil(y + h)))), size)
