"""Photos in which the found things cannot be recognised, to be handed on: blurred, or painted over.

::

    blurred/NAME.jpg    or blanked/NAME.jpg, for every photo, also those without the thing, in the photo's own format
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from persam.album.formats.lines import Line, PhotoLines, ResultLines, Written, found_in
from persam.album.index import hash_of
from persam.errors import PersamError
from persam.files import atomic_path
from persam.images import open_picture, read_image
from persam.instance import mask_box, rle_mask
from persam.places import Place, RemotePath, StoreError, place_of, stamp_of

BLURRED, BLANKED = "blurred", "blanked"
BLOCKS = 4  # along the longer side of what is blurred
_SMALLEST_BLOCK = 4  # pixels
_MARGIN = 0.06  # by so much of its longer side a thing is grown, for masks are seldom too large
_LEAST_MARGIN = 4  # pixels
_GREY = (128, 128, 128)
_SAVED_WITH: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95},
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 90},
    "TIFF": {"compression": "tiff_deflate"},
}
_SPACES = {"RGB": b"RGB ", "L": b"GRAY"}  # of a colour profile that fits pixels of this mode

Hide = Callable[[np.ndarray, np.ndarray], np.ndarray]


def blurred(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Blur a thing so that its picture cannot be won back.

    A soft focus alone can be undone: it mixes neighbours by weights that are known, and a computer solves for what they
    were. Here the thing is first cut down to at most `BLOCKS` x `BLOCKS` colours, the means of large blocks, and only
    these are drawn, with soft changes between them. Whatever is computed from the result, it holds no more than these
    few colours. (Finer blocks are not safe: sixteen across a face are enough for a computer to tell who it is.)

    Args:
        photo: (H, W, 3) uint8.
        mask: (H, W) bool of one thing; it is grown, and its holes are closed. Several far from each other in one mask
            share the few blocks.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    out = photo.copy()
    near = _surroundings(mask)
    box = None if near is None else mask_box(near.covered)
    if near is not None and box is not None:
        left, top, right, bottom = box
        inside, covered = near.of(out)[top:bottom, left:right], near.covered[top:bottom, left:right]
        width, height = right - left, bottom - top
        block = max(max(width, height) / BLOCKS, _SMALLEST_BLOCK)
        few = (max(1, round(width / block)), max(1, round(height / block)))
        colours = cv2.resize(inside, few, interpolation=cv2.INTER_AREA)
        inside[covered] = cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR)[covered]
    return out


def blanked(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Paint a thing over with the mean colour of what is around it, so that nothing of it but its outline is left.

    Args:
        photo: (H, W, 3) uint8.
        mask: (H, W) bool; it is grown, and its holes are closed.

    Returns:
        (H, W, 3) uint8, a new array; grey, where there is nothing around.
    """
    out = photo.copy()
    near = _surroundings(mask)
    if near is not None:
        inside = near.of(out)
        colours = inside[near.around]
        inside[near.covered] = colours.mean(axis=0).round() if len(colours) else _GREY
    return out


def write_blurred(lines: ResultLines, folder: Path) -> Written:
    """Write every photo into ``blurred``, each found thing `blurred`."""
    return _write(lines, folder, BLURRED, blurred)


def write_blanked(lines: ResultLines, folder: Path) -> Written:
    """Write every photo into ``blanked``, each found thing `blanked`."""
    return _write(lines, folder, BLANKED, blanked)


def write_like(picture: Image.Image, pixels: np.ndarray, source: Path, target: Path) -> Path:
    """Write changed pixels of a photo in its own format, as far as that can be written, else as PNG.

    What the file knows besides pixels stays behind: EXIF with place, time and camera, the small picture in it, which
    would show what was hidden, XMP, comments, further frames. A colour profile is kept, for it is needed to show the
    colours.

    Args:
        picture: The photo, as it was opened.
        pixels: (H, W, 3) uint8, upright.
        source: Its file.
        target: The new file, without a suffix.

    Returns:
        The new file.

    Raises:
        PersamError: It cannot be written.
    """
    suffix = source.suffix.lower()
    kind = picture.format or Image.registered_extensions().get(suffix, "PNG")  # one of several frames knows no format
    kind = "JPEG" if kind == "MPO" else kind
    if kind not in Image.SAVE:
        kind, suffix = "PNG", ".png"
    new = Image.fromarray(pixels)
    if picture.mode in ("1", "L", "LA"):
        new = new.convert("L")
    options = dict(_SAVED_WITH.get(kind, {}))
    profile = picture.info.get("icc_profile") or b""
    if profile[16:20] == _SPACES[new.mode]:
        options["icc_profile"] = profile
    file = target.with_name(target.name + suffix)  # a name may have dots
    with atomic_path(file) as temporary:
        new.save(temporary, kind, **options)
    return file


def _write(lines: ResultLines, folder: Path, place: str, hide: Hide) -> Written:
    written = Written()
    for photo in lines.photos():
        try:
            picture, pixels = _read(photo)
        except StoreError:
            raise
        except PersamError as error:
            written.failures.append((photo.path, str(error)))
            continue
        for one in (one for line in photo.lines for one in _to_hide(line)):
            pixels = hide(pixels, rle_mask(one["rle"]))
        file = write_like(picture, pixels, Path(photo.path), folder / place / photo.name)
        written.files.append(f"{place}/{file.name}")
    return written


def _to_hide(line: Line) -> list[dict[str, Any]]:
    """What was found, and what it may be, too: whoever hides things wants the unsure ones hidden."""
    guess = line.get("candidate")
    return [*found_in(line), *([guess] if guess is not None and "rle" in guess else [])]


def _read(photo: PhotoLines) -> tuple[Image.Image, np.ndarray]:
    """Read a photo, if it is still the one that was looked at: in another the thing may be anywhere.

    Raises:
        PersamError: It is another, or cannot be read.
    """
    file = place_of(photo.path)
    data = file.read_whole() if isinstance(file, RemotePath) else None
    picture = open_picture(file, data=data)
    _check_unchanged(photo, file, data)
    pixels = read_image(picture)
    if pixels.shape[:2] != (photo.height, photo.width):
        raise PersamError(f"The photo {photo.path} has another size than when it was segmented; segment it again.")
    return picture, pixels


def _check_unchanged(photo: PhotoLines, file: Place, data: bytes | None) -> None:
    """See that a photo is as its lines say: by its content in an album, by size and time in what `segment` made."""
    made = [line.get("made") or {} for line in photo.lines]
    contents = {each["content"] for each in made if "content" in each}
    seen = {(each["photo"]["size"], each["photo"]["mtime_ns"]) for each in made if "photo" in each}
    try:
        changed = bool(contents) and contents != {hash_of(file, data)}
        size, time, _ = stamp_of(file)
    except OSError as error:
        raise PersamError(f"The photo {photo.path} cannot be read: {error.strerror}.") from error
    if changed or (seen and seen != {(size, time)}):
        command = "album" if contents else "segment"
        raise PersamError(f"The photo {photo.path} was changed since it was looked at; run persam {command} again.")


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """A part of a photo with a thing in it.

    Attributes:
        rows: Of the photo.
        columns: Of the photo.
        covered: (h, w) bool, the grown thing.
        around: (h, w) bool, a ring around it.
    """

    rows: slice
    columns: slice
    covered: np.ndarray
    around: np.ndarray

    def of(self, photo: np.ndarray) -> np.ndarray:
        """The part of a photo; what is written into it is written into the photo."""
        return photo[self.rows, self.columns]


def _surroundings(mask: np.ndarray) -> _Surroundings | None:
    """Where a thing is; None for an empty mask."""
    box = mask_box(mask)
    if box is None:
        return None
    left, top, right, bottom = box
    margin = max(math.ceil(_MARGIN * max(right - left, bottom - top)), _LEAST_MARGIN)
    rows = slice(max(top - 2 * margin, 0), bottom + 2 * margin)
    columns = slice(max(left - 2 * margin, 0), right + 2 * margin)
    thing = mask[rows, columns].astype(np.uint8, order="C")  # for OpenCV to draw into
    outer, _ = cv2.findContours(thing, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(thing, outer, -1, 1, cv2.FILLED)  # holes: glasses on a face, a sticker on a screen
    apart = cv2.distanceTransform(1 - thing, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return _Surroundings(rows, columns, apart <= margin, (apart > margin) & (apart <= 2 * margin))
