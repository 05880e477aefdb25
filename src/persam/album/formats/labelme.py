"""LabelMe's files: a JSON a photo, with polygons that a person can pull at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from persam.album.formats.lines import PhotoLines, ResultLines, Written
from persam.errors import printable
from persam.files import write_bytes
from persam.instance import rle_mask
from persam.journal import json_line
from persam.outlines import INSIDE, in_one_stroke, simple_outlines
from persam.places import RemotePath, place_of

PLACE = "labelme"
_VERSION = "5.5.0"  # of LabelMe, whose form this is


def write(lines: ResultLines, folder: Path) -> Written:
    """Write ``labelme/NAME.json`` for every photo.

    The parts of a thing have one ``group_id``; a hole is cut out along a line of no width, for LabelMe's polygons have
    none. The flags of a photo say which concepts are in it. Photos stay where they are.
    """
    written, home = Written(), folder / PLACE
    for photo in lines.photos():
        write_bytes(home / f"{photo.name}.json", json_line(_page(photo, home)))
        written.files.append(f"{PLACE}/{photo.name}.json")
    return written


def _page(photo: PhotoLines, home: Path) -> dict[str, Any]:
    shapes: list[dict[str, Any]] = []
    for number, (line, one) in enumerate(photo.found, start=1):
        parts = simple_outlines(rle_mask(one["rle"]))
        about = {
            "label": printable(line["concept"]),
            "group_id": number if len(parts) > 1 else None,
            "description": f"score {one['score']:.2f}",
            "shape_type": "polygon",
            "flags": {"unsure": True} if line["verdict"] == "unsure" else {},
        }
        shapes += [about | {"points": (in_one_stroke(part) + INSIDE).tolist()} for part in parts]
    return {
        "version": _VERSION,
        "flags": {printable(line["concept"]): bool(line["present"]) for line in photo.lines},
        "shapes": shapes,
        "imagePath": _path_from(home, photo.path),
        "imageData": None,
        "imageHeight": photo.height,
        "imageWidth": photo.width,
    }


def _path_from(home: Path, photo: str) -> str:
    """The way from a folder to a photo; absolute if they lie on two disks of Windows, or elsewhere."""
    file = place_of(photo)
    if isinstance(file, RemotePath):
        return photo
    real = file.parent.resolve() / file.name  # a way up leads out of where a link leads to, not of where it lies
    try:
        return Path(os.path.relpath(real, home.resolve())).as_posix()
    except ValueError:
        return real.as_posix()
