"""Training photos with object masks: read once from a tar or a folder, kept decoded in memory."""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.uint8]

IGNORE = 255
MIN_AREA = 200  # pixels of an object that is worth cutting out, in a photo of 256 pixels
SETS_WITH_KINDS = ("pets", "horses", "parts", "small", "waste")
SETS_WITH_CLASSES = ("fruit", "kitchen", "tools", "vehicles", "voc20")  # whose classes are kinds of whole things
NO_KIND = "parts/noise"  # clutter, not one kind of thing


@dataclass(frozen=True, eq=False)
class Thing:
    """One object of one photo: index of the photo, its id in the mask, its box (x0, y0, x1, y1) and its area."""

    photo: int
    id: int
    box: tuple[int, int, int, int]
    area: int


@dataclass(frozen=True, eq=False)
class Photo:
    """An RGB image (H, W, 3), its mask (H, W) of 0 background, 1.. things, 255 ignore, and where it comes from.

    `kind` is what the file name tells about its things (`pets/Abyssinian__1` -> `pets/Abyssinian`), where it does;
    `group` is the part of it before `__`, the scene or whatever else the photos of one group share; `objects` are the
    names of the physical things with the ids 1, 2, ..., and `classes` what they are, where that is known.
    """

    image: Array
    mask: Array
    source: str
    kind: str | None
    group: str | None = None
    objects: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def kinds_of(self, things: Sequence[Thing]) -> list[tuple[str, Thing]]:
        """Things with their kind, `SET/NAME` or `SET`, where it is known; of several of one kind none: which is it?"""
        if self.kind is not None:  # the file's name tells it, but not of which thing
            return [(self.kind, things[0])] if len(things) == 1 else []
        if self.source not in SETS_WITH_CLASSES:
            return []
        known = [(self.classes[thing.id - 1], thing) for thing in things if thing.id <= len(self.classes)]
        return [(f"{self.source}/{name}", thing) for name, thing in known if self.classes.count(name) == 1]

    def object_of(self, number: int) -> str | None:
        """`SET/NAME` of the physical thing with this id; None where it is not known."""
        return f"{self.source}/{self.objects[number - 1]}" if 1 <= number <= len(self.objects) else None

    def copies_of(self, name: str) -> list[int]:
        """The ids of everything in the mask that is the physical thing `SET/NAME`."""
        return [number for number in range(1, len(self.objects) + 1) if self.object_of(number) == name]


class Photos:
    """Photos with an index of their things: of each set, of each kind, and of each physical object.

    Kinds and objects are those that two photos show. They are named `SET/NAME`, or, for a set of one kind, `SET`.
    """

    def __init__(self, photos: list[Photo]) -> None:
        if not photos:
            raise ValueError("no photo with a mask: expected SET/STEM.webp beside SET/STEM.png")
        self.photos = photos
        self.things = [thing for index, photo in enumerate(photos) for thing in things_of(index, photo.mask)]
        if not self.things:
            raise ValueError(f"none of {len(photos)} photos has an object of {MIN_AREA} pixels or more")
        self.by_photo: dict[int, list[Thing]] = defaultdict(list)
        self.by_kind: dict[str, list[Thing]] = defaultdict(list)
        self.by_source: dict[str, list[Thing]] = defaultdict(list)
        self.by_object: dict[str, list[Thing]] = defaultdict(list)
        for thing in self.things:
            self.by_photo[thing.photo].append(thing)
            self.by_source[photos[thing.photo].source].append(thing)
            name = photos[thing.photo].object_of(thing.id)
            if name is not None:
                self.by_object[name].append(thing)
        self.showing: dict[str | None, list[int]] = {None: list(self.by_photo)}
        for index, things in self.by_photo.items():
            self.showing.setdefault(photos[index].source, []).append(index)
            for kind, thing in photos[index].kinds_of(things):
                self.by_kind[kind].append(thing)
        self.by_kind = {kind: things for kind, things in self.by_kind.items() if len(things) > 1}
        self.kinds = sorted(self.by_kind)
        self.by_object = {
            name: things for name, things in self.by_object.items() if len({thing.photo for thing in things}) > 1
        }
        self.objects = sorted(self.by_object)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Photo:
        return self.photos[index]

    def draw(self, random: Random, source: str | None = None) -> Thing:
        """A random thing of a random photo (of one set), so that the twenty windows of a facade count as one cat."""
        return random.choice(self.by_photo[random.choice(self.showing[source])])

    def counts(self) -> dict[str, int]:
        """Number of photos of each set."""
        counts: dict[str, int] = defaultdict(int)
        for photo in self.photos:
            counts[photo.source] += 1
        return dict(counts)


def things_of(index: int, mask: Array) -> Iterator[Thing]:
    """The things of a mask (H, W) that are large enough to be cut out."""
    areas = np.bincount(mask.ravel(), minlength=256)
    for number in np.flatnonzero(areas[1:IGNORE] >= MIN_AREA) + 1:
        x, y, width, height = cv2.boundingRect((mask == number).astype(np.uint8))
        yield Thing(index, int(number), (x, y, x + width, y + height), int(areas[number]))


def read_photos(
    path: str | Path, longest: int = 320, objects: str | Path | None = None, *, classes: bool = False
) -> Photos:
    """Read SET/STEM.webp (or .jpg) with SET/STEM.png from a folder or a tar, no larger than `longest` pixels.

    `objects` is a file that names the physical things in them, see `read_objects`; with `classes` those that it names
    count, too: things of one class make pairs of one kind.

    Raises:
        ValueError: nothing usable is there.
        OSError: it cannot be read.
    """
    path = Path(path)
    names = read_objects(objects) if objects is not None else {}
    sorts = read_objects(objects, "classes") if objects is not None and classes else {}
    pairs: dict[tuple[str, str], dict[str, bytes]] = defaultdict(dict)
    for name, content in _folder(path) if path.is_dir() else _tar(path):
        parts = Path(name).parts
        source = parts[-2] if len(parts) > 1 else path.stem
        role = {".png": "mask", ".webp": "image", ".jpg": "image"}.get(Path(name).suffix.lower())
        if role:
            pairs[source, Path(name).stem][role] = content
    photos = []
    for (source, stem), files in sorted(pairs.items()):
        if len(files) == 2:
            photo = _decode(files["image"], files["mask"], source, stem, longest)
            if photo is not None:
                known = (source, stem)
                photos.append(replace(photo, objects=names.get(known, ()), classes=sorts.get(known, ())))
    return Photos(photos)


def read_objects(path: str | Path, what: str = "objects") -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Which physical things the photos show: (SET, STEM) -> the names of the ids 1, 2, ...

    The file is JSON, `{SET: {"items": {STEM: {"objects": [NAME, ...]}}}}`; a name stands for one thing in all photos of
    a set, and an item without `objects` is one whose things are not known.  With `what` "classes" it is that entry, in
    the same form: what sort of thing each is.

    Raises:
        ValueError: it is no such file.
        OSError: it cannot be read.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return {
            (source, stem): tuple(map(str, item[what]))
            for source, entry in content.items()
            for stem, item in entry["items"].items()
            if what in item
        }
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path} names no objects: expected {{SET: {{"items": {{STEM: {{"objects": [...]}}}}}}}}'
        ) from error


def _folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield str(file.relative_to(path)), file.read_bytes()


def _tar(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, content.read()


def _decode(image_file: bytes, mask_file: bytes, source: str, stem: str, longest: int) -> Photo | None:
    image = cv2.imdecode(np.frombuffer(image_file, np.uint8), cv2.IMREAD_COLOR)
    mask = cv2.imdecode(np.frombuffer(mask_file, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None or mask is None:
        return None
    if mask.shape != image.shape[:2]:
        mask = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    scale = longest / max(mask.shape)
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    rgb = np.ascontiguousarray(image[..., ::-1]).astype(np.uint8)
    group = stem.split("__")[0] if "__" in stem else None
    return Photo(rgb, mask.astype(np.uint8), source, _kind(source, group), group)


def _kind(source: str, group: str | None) -> str | None:
    if source not in SETS_WITH_KINDS:
        return None
    kind = source if group is None else f"{source}/{group}"
    return None if kind == NO_KIND else kind
