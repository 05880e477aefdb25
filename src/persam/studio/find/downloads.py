"""What can be taken away of a search: one file of each kind, made when it is asked for, with progress.

Files in it are called after the photos, cleaned and each another name on any disk. They hold what is shown: whoever
filters for what is present gets that alone.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from persam.album import write_formats
from persam.errors import UsageError
from persam.files import UniqueNames, atomic_path, safe_name
from persam.images import read_image
from persam.journal import json_line
from persam.reports.pictures import encoded, mask_file
from persam.segmentation import Segmentation
from persam.studio.find.results import PhotoSearch, SearchedPhoto, SearchResult


@dataclass(frozen=True)
class Parcel:
    """A kind of download: what it is called, and its file."""

    name: str
    file: str


#: All kinds by key.
PARCELS = {
    "masks": Parcel("Masks (zip of PNG)", "masks.zip"),
    "overlays": Parcel("Overlays (zip of JPEG)", "overlays.zip"),
    "cutouts": Parcel("Cut-outs (zip of transparent PNG)", "cutouts.zip"),
    "coco": Parcel("COCO (JSON with masks)", "coco.json"),
    "csv": Parcel("Table (CSV)", "results.csv"),
    "json": Parcel("Results (JSON lines)", "results.jsonl"),
}


class FileNames:
    """What the files of a search's photos are called; every photo and concept keeps its name."""

    def __init__(self) -> None:
        self._photos, self._concepts = UniqueNames(), UniqueNames()

    def of(self, one: SearchResult, folder: str, suffix: str) -> str:
        """Such as ``masks/my mug/IMG_1.png``."""
        concept, path = safe_name(one.concept), Path(one.photo.name)
        stem = safe_name(path.stem, otherwise="photo")
        choices = [stem, safe_name(f"{stem}_{path.suffix[1:]}")]
        photo = self._photos.of(str(one.photo.number), choices, stem)
        return f"{folder}/{self._concepts.of(one.concept, [concept], concept)}/{photo}{suffix}"


def prepare(search: PhotoSearch, kind: str, target: Path) -> Generator[tuple[int, int], None, None]:
    """Make a download of what is shown.

    Args:
        search: of which.
        kind: of `PARCELS`.
        target: its file.

    Yields:
        How many results are in it, and of how many; when it is at its end, the file is there.

    Raises:
        UsageError: there is no such kind, or nothing to put in.
        PersamError: a photo is gone or cannot be read, or the file cannot be written.
    """
    if kind not in PARCELS:
        raise UsageError(f"There is no download {kind!r}; choose from {', '.join(PARCELS)}.")
    threshold, shown = search.taken()  # at once: filters may be changed meanwhile
    if kind == "cutouts":
        shown = [one for one in shown if one.is_there(threshold)]
    if not shown:
        what = "cut out" if kind == "cutouts" else "download"
        raise UsageError(f"There is nothing to {what}: no result is shown; search first, or show more of the results.")
    if kind in ("coco", "csv", "json"):
        yield from _table(shown, threshold, kind, target)
        return
    pictures = {"masks": _mask, "overlays": _overlay(search), "cutouts": _cutout}[kind]
    suffix = ".jpg" if kind == "overlays" else ".png"
    names, done = FileNames(), 0
    # Pictures are compressed already.
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as parcel:
        for photo, results in groupby(shown, key=lambda one: one.photo):
            pixels = _Pixels(photo)
            for one in results:
                file = pictures(one.at(threshold), pixels)
                parcel.writestr(names.of(one, kind, suffix), file)
                done += 1
                yield done, len(shown)


class _Pixels:
    """A photo's pixels, read once and only if they are needed."""

    def __init__(self, photo: SearchedPhoto) -> None:
        self.photo = photo
        self._read: np.ndarray | None = None

    def __call__(self) -> np.ndarray:
        if self._read is None:
            self._read = read_image(self.photo.path)
        return self._read


def _mask(found: Segmentation, _: _Pixels) -> bytes:
    return mask_file(found.mask)


def _cutout(found: Segmentation, pixels: _Pixels) -> bytes:
    return encoded(found.cutout(pixels()), "PNG", compress_level=4)


def _overlay(search: PhotoSearch) -> Callable[[Segmentation, _Pixels], bytes]:
    colours = search.colours()
    return lambda found, pixels: encoded(found.overlay(pixels(), colours[found.concept]), "JPEG", quality=90)


def _table(shown: list[SearchResult], threshold: float, kind: str, target: Path) -> Iterator[tuple[int, int]]:
    """Lines of ``results.jsonl``, and what is made of them."""
    names = FileNames()
    lines: list[dict[str, Any]] = []
    for one in shown:
        found = one.at(threshold)
        things = [thing.to_dict() for thing in found.instances]
        named = {"name": Path(one.photo.name).stem, "files": {"mask": names.of(one, "masks", ".png")}}
        lines.append(found.to_dict(rle=False) | {"instances": things, "corrected": one.corrected} | named)
        yield len(lines), len(shown)
    if kind == "json":
        with atomic_path(target) as temporary, temporary.open("wb") as stream:
            stream.writelines(map(json_line, lines))
        return
    (file,) = write_formats([kind], lambda: lines, target.parent).files
    written = target.parent / file
    if written != target:
        written.replace(target)
