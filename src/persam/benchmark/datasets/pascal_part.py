"""PASCAL-Part: parts of objects in VOC 2010 in 4 folds, each object cut out by its box, as in Matcher."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from persam.benchmark.datasets.layout import in_order, passed_over, read_list, unpacked
from persam.benchmark.datasets.options import About, Episodes, OneOf4Folds, Seed, Shots
from persam.benchmark.datasets.sampling import Drawing, FoldClass
from persam.benchmark.episodes import Crop, Loaded, Sample
from persam.errors import PersamError, UsageError
from persam.images import check_file

LAYOUT = "Annotations_Part/*.mat and JPEGImages/*.jpg (VOC 2010)"

#: The classes of objects by fold: animals, indoor, person, vehicles.
FOLDS = (
    ("bird", "cat", "cow", "dog", "horse", "sheep"),
    ("bottle", "pottedplant", "tvmonitor"),
    ("person",),
    ("aeroplane", "bicycle", "bus", "car", "motorbike", "train"),
)
_OBJECTS = {"pottedplant": "potted plant", "tvmonitor": "screen", "aeroplane": "airplane", "motorbike": "motorcycle"}

# The files tell left from right, front from back, and number the wheels; a person asks for "the wheel".
_MERGED = {
    "eye": "leye reye",
    "ear": "lear rear",
    "eyebrow": "lebrow rebrow",
    "horn": "lhorn rhorn",
    "wing": "lwing rwing",
    "lower arm": "llarm rlarm",
    "upper arm": "luarm ruarm",
    "hand": "lhand rhand",
    "leg": "lleg rleg lfleg rfleg lbleg rbleg",
    "lower leg": "llleg rlleg lflleg rflleg lblleg rblleg",
    "upper leg": "luleg ruleg lfuleg rfuleg lbuleg rbuleg",
    "foot": "lfoot rfoot",
    "paw": "lfpa rfpa lbpa rbpa",
    "hoof": "lfho rfho lbho rbho",
    "wheel": "fwheel bwheel",
    "side": "frontside leftside rightside backside roofside",
    "mirror": "leftmirror rightmirror",
    "license plate": "fliplate bliplate",
    "head side": "hfrontside hleftside hrightside hbackside hroofside",
    "coach side": "cfrontside cleftside crightside cbackside croofside",
}
_MERGED_BY_PART = {part: merged for merged, parts in _MERGED.items() for part in parts.split()}


def read_pascal_part(
    root: Path,
    fold: OneOf4Folds = None,
    episodes: Episodes = 2500,
    shots: Shots = 1,
    seed: Seed = 0,
    split: Annotated[str, About("which part: name of a list in ImageSets/Main, or all")] = "val",
) -> Loaded:
    """Random episodes of PASCAL-Part.

    A class is a part of a kind of object (``dog/ear``), a sample one object that has the part, cut out of its photo
    by the box of its mask. A fold is one of four groups of objects: animals, indoor things, person, vehicles.

    The paper says: four superclasses, 56 parts in all, of five animals, three indoor things, one person and six
    vehicles; objects are cut out by their boxes. VOC has six animals with parts, and the paper does not name its five:
    here are all six. The 56 come from a list in which sides are merged; `merged` is ours, so the classes may differ.
    Neither this, nor the split, nor the 2,500 episodes a fold could be verified.

    Every .mat of the split is opened once to see what it holds, which takes a minute or two for all of ``val``.

    A `split` is the list of that name in ``ImageSets/Main``; ``val`` without a list is all.

    Raises:
        UsageError: the folder is laid out otherwise, or a class or a photo that was drawn is not there.
    """
    place, voc = unpacked(root, "Annotations_Part", LAYOUT), unpacked(root, "JPEGImages", LAYOUT)
    files, shown, notes = _files(place / "Annotations_Part", voc, split)
    samples: dict[tuple[str, str], list[Sample]] = {}
    drawing = Drawing(len(FOLDS), fold, episodes, shots, seed)
    objects = {name for each in drawing.wanted for name in FOLDS[each]}
    for file in files:
        photo = voc / "JPEGImages" / f"{file.stem}.jpg"
        for number, thing in enumerate(_things(file)):
            for part, names in _parts(thing).items() if thing["class"] in objects else ():
                truth = PartTruth(file, number, names, _crop(thing["mask"]))
                name = f"{thing['class']}/{part}/{file.stem}-{number}"
                samples.setdefault((thing["class"], part), []).append(
                    Sample(name, photo, truth, truth.crop, as_stored=True)
                )
    return drawing.loaded(
        "pascal-part",
        f"PASCAL-Part, {shown}, objects cut out by their boxes, {len(samples)} parts with sides merged",
        {each: _categories(samples, FOLDS[each]) for each in drawing.wanted},
        {"split": split},
        notes,
    )


def merged(part: str) -> str:
    """The part without side and number.

    >>> merged("lfuleg"), merged("wheel_3"), merged("tail")
    ('upper leg', 'wheel', 'tail')
    """
    part = re.sub(r"_\d+$", "", part)
    return _MERGED_BY_PART.get(part, part)


@dataclass(frozen=True)
class PartTruth:
    """The union of parts of one object in a .mat, on the object cut out by its box.

    Attributes:
        path: the .mat.
        number: which object in it, from 0.
        parts: the parts' names in the file.
    """

    path: Path
    number: int
    parts: tuple[str, ...]
    crop: Crop

    def read(self, shape: tuple[int, int]) -> np.ndarray:
        """See `Truth.read`."""
        thing = _things(self.path)[self.number]
        whole = np.zeros(self.crop.size, bool)
        for name, mask in thing["parts"]:
            if name in self.parts:
                whole |= mask
        part = self.crop.of(whole)
        if part.shape != shape:
            raise PersamError(f"{self.path} is of another size than its photo.")
        return part

    def read_ignore(self, shape: tuple[int, int]) -> np.ndarray | None:
        """See `Truth.read_ignore`: all pixels count."""
        return None

    def digest(self) -> str:
        """See `Truth.digest`."""
        with check_file(self.path, what="annotation").open("rb") as stream:
            file = hashlib.file_digest(stream, "sha256").hexdigest()
        return hashlib.sha256(f"{file} {self.number} {self.parts}".encode()).hexdigest()


def _files(place: Path, voc: Path, split: str) -> tuple[list[Path], str, list[str]]:
    """The .mat files of a split, how it is called, and notes."""
    here = sorted(place.glob("[!.]*.mat"), key=in_order)
    if not here:
        raise UsageError(f"{place} has no .mat; looked for {LAYOUT}.")
    if split == "all":
        return here, "all photos", []
    listed = voc / "ImageSets/Main" / f"{split}.txt"
    if not listed.is_file():
        if split != "val":
            raise UsageError(f"{voc} has no split {split}: looked for {listed}.")
        return here, "all photos", [f"there is no {listed}, so all photos with parts are taken"]
    names = {line.split()[0] for line in read_list(listed)}
    found = [file for file in here if file.stem in names]
    absent = sorted(names - {file.stem for file in found})
    if not found:
        raise UsageError(f"None of the photos in {listed} has a .mat in {place}.")
    return found, f"split {split}", passed_over(f"photos of split {split} without a .mat", absent)


def _categories(samples: dict[tuple[str, str], list[Sample]], objects: Sequence[str]) -> list[FoldClass]:
    return [
        FoldClass(f"{thing}/{part}", f"{_OBJECTS.get(thing, thing)} {part}", found)
        for (thing, part), found in sorted(samples.items())
        if thing in objects
    ]


def _things(path: Path) -> list[dict[str, Any]]:
    """The objects of a .mat: class, mask (H, W) bool, and parts as (name, mask) pairs.

    The structure is ``anno.objects(n)`` with ``class``, ``mask`` and ``parts(m)``, these with ``part_name`` and
    ``mask``.

    Raises:
        PersamError: it is missing, or another file.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise PersamError("PASCAL-Part's .mat files need one more package: pip install 'persam[bench]'.") from error
    try:
        anno = loadmat(check_file(path, what="annotation"), squeeze_me=True, struct_as_record=False)["anno"]
        return [
            {
                "class": str(getattr(thing, "class")),
                "mask": np.asarray(thing.mask, bool),
                "parts": [(str(part.part_name), np.asarray(part.mask, bool)) for part in _listed(thing.parts)],
            }
            for thing in _listed(anno.objects)
        ]
    except PersamError:
        raise
    except Exception as error:  # scipy, zlib and struct have a dozen kinds for damaged files
        raise PersamError(
            f"{path} is no .mat of PASCAL-Part (anno.objects with class, mask and parts); download it again."
        ) from error


def _listed(values: Any) -> list[Any]:
    """A struct array as a list: MATLAB's one element is no array, its none is an empty one."""
    return list(np.atleast_1d(np.asarray(values, object)).ravel())


def _parts(thing: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """The merged parts of an object, with the names in the file of those that have pixels."""
    found: dict[str, list[str]] = {}
    for name, mask in thing["parts"]:
        if mask.any():
            found.setdefault(merged(name), []).append(name)
    return {part: tuple(names) for part, names in found.items()} if thing["mask"].any() else {}


def _crop(mask: np.ndarray) -> Crop:
    """The box of an object's mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Crop(box, (mask.shape[0], mask.shape[1]))
