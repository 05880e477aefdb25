"""Masks for 3D reconstruction of a thing: named and turned as COLMAP and nerfstudio look for them.

::

    colmap/CONCEPT/day1/1.jpg.png   for the photo day1/1.jpg: white on the thing; what is black is ignored
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from persam.album.formats.lines import Line, ResultLines, Written, found_in
from persam.errors import PersamError
from persam.images import check_file, exif_orientation, read_orientation
from persam.instance import rle_mask
from persam.masks import TURNS
from persam.places import StoreError, is_remote
from persam.reports.pictures import write_mask

PLACE = "colmap"
# From the upright picture back to the one in the file, for each EXIF orientation.
_BACK = TURNS | {6: TURNS[8], 8: TURNS[6]}


def write(lines: ResultLines, folder: Path) -> Written:
    """Write a mask for every photo and concept, below a folder for each concept, named as the photo is from the
    photos' common folder on.

    A photo without the thing has a black mask, so that nothing in it is used. Both tools read photos as they are
    stored, whatever EXIF says of turning them, so masks lie as the photo's file does.
    """
    written = Written()
    for photo in lines.photos():
        try:
            turn = _BACK.get(_orientation(photo.path))
        except StoreError:
            raise
        except PersamError as error:
            written.failures.append((photo.path, str(error)))
            continue
        for line in photo.lines:
            mask = Image.fromarray(_mask(line))
            name = Path(lines.below_home(photo))
            # Where photos have no common folder, on two disks of Windows, their names are whole paths.
            name = Path(*(part for part in name.relative_to(name.anchor).parts if part != ".."))
            file = Path(PLACE, lines.folders[line["concept"]], f"{name}.png")
            write_mask(folder / file, np.asarray(mask if turn is None else mask.transpose(turn)))
            written.files.append(file.as_posix())
    return written


def _mask(line: Line) -> np.ndarray:
    """All found things of a line, (H, W) uint8."""
    mask = np.zeros((line["height"], line["width"]), np.uint8)
    for one in found_in(line):
        mask |= rle_mask(one["rle"])
    return mask


def _orientation(photo: str) -> int:
    """The EXIF orientation of a photo, without decoding it where that can be."""
    if is_remote(photo):
        return read_orientation(photo)
    try:
        with Image.open(check_file(photo, what="photo")) as picture:
            return exif_orientation(picture)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError):
        return read_orientation(photo)  # it knows more kinds of files, or says in a sentence what is wrong
