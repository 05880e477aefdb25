"""PACO-Part: parts of objects in PACO-LVIS in 4 folds, each object cut out by its box, as in Matcher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from persam.benchmark.datasets.annotations import AnnotationFile, PhotoFiles, Photographed, decode, find_annotations
from persam.benchmark.datasets.layout import words
from persam.benchmark.datasets.options import About, Episodes, OneOf4Folds, Seed, Shots
from persam.benchmark.datasets.sampling import Drawing, FoldClass
from persam.benchmark.episodes import Crop, Loaded, Sample
from persam.errors import UsageError

LAYOUT = "paco_lvis_v1_SPLIT.json in it or in annotations/, and photos in val2017/ and train2017/"
_CLASSES, _FOLDS = 303, 4


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
    path = find_annotations(root, [f"paco_lvis_v1_{split}.json"], LAYOUT.replace("SPLIT", split))
    annotations, files = AnnotationFile.read(path), PhotoFiles(root, LAYOUT)
    parts = {identity for identity, each in annotations.categories.items() if ":" in str(each["name"])}
    if not parts:
        raise UsageError(f"{path} has no classes of parts (such as basket:handle); give PACO's own file.")
    objects = {each["id"]: each for each in annotations.annotations if each["category_id"] not in parts}
    found = {
        identity: _large(annotations, photos, min_area)
        for identity, photos in annotations.by_category().items()
        if identity in parts
    }
    identities = [identity for identity, photos in found.items() if len(photos) >= 2]
    if not identities:
        raise UsageError(f"{path} has no part of at least {min_area} pixels with two photos.")

    def category(identity: int) -> FoldClass:
        name = str(annotations.categories[identity]["name"]).replace(":", "/")
        samples = [
            each
            for image_id, group in found[identity].items()
            for each in _samples(name, annotations, image_id, group, objects, files)
        ]
        return FoldClass(name, words(name.replace("/", " ")), samples)

    large = f"parts of at least {min_area} pixels"
    other = [f"{path} has {len(identities)} {large} with at least two photos, not {_CLASSES}"]
    drawing = Drawing(_FOLDS, fold, episodes, shots, seed)
    return drawing.loaded(
        "paco-part",
        f"PACO-Part, {split}, objects cut out by their boxes, {large}",
        drawing.deal(identities, category),
        {"split": split, "min_area": min_area},
        more_notes=[] if len(identities) == _CLASSES else other,
    )


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
    files: PhotoFiles,
) -> list[Sample]:
    """One sample for each object of the photo that has the part: all annotations of the part on it, and its box."""
    photo = files.path(annotations.images[image_id])
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
