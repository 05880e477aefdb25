"""YOLO's data set for segmentation, as ultralytics trains on it.

::

    yolo/data.yaml          names of the concepts, and which photos are for what
    yolo/train.txt, val.txt the photos to train on and to measure on, one in five
    yolo/images/NAME.jpg    links to the photos, or copies
    yolo/labels/NAME.txt    a line for every found thing: its concept's number, then the corners of its outline
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from persam.album.formats.lines import PhotoLines, ResultLines, Written
from persam.errors import PersamError, printable, write_error
from persam.files import atomic_path, write_text
from persam.images import check_file
from persam.instance import rle_mask
from persam.outlines import INSIDE, in_one_stroke, simple_outlines
from persam.places import RemotePath, StoreError, place_of, stamp_of

PLACE = "yolo"
_HELD_BACK = 5
_SPELLED = {".jpe": ".jpg", ".jfif": ".jpg"}  # JPEGs by names that ultralytics does not know


def write(lines: ResultLines, folder: Path, *, copy: bool = False) -> Written:
    """Write the data set.

    ultralytics finds labels by the path of the photo: what it reads has to lie in ``images``, beside ``labels``. Links
    cost nothing; copies can be moved to another computer. No link leads to a photo that is not on this disk: it is
    copied.

    Args:
        lines: Of the album.
        folder: The data set becomes ``yolo`` in it.
        copy: Copy the photos. So it is done, too, where the disk knows no links.
    """
    written, home = Written(), folder / PLACE
    train: list[str] = []
    measure: list[str] = []
    for photo in lines.photos():
        suffix = Path(photo.path).suffix.lower()
        image, label = f"images/{photo.name}{_SPELLED.get(suffix, suffix)}", f"labels/{photo.name}.txt"
        try:
            original = place_of(photo.path)
            data = _new_content(original, home / image) if isinstance(original, RemotePath) else None
            if isinstance(original, Path):
                check_file(original, what="photo")
        except StoreError:
            raise
        except PersamError as error:
            written.failures.append((photo.path, str(error)))
            continue
        if isinstance(original, Path):
            (_copy if copy else _link)(original, home / image)
        elif data is not None:
            _put(data, home / image)
        write_text(home / label, "".join(f"{row}\n" for row in _rows(photo, lines.concepts)))
        # By the name, so that a photo stays where it is when the album grows.
        chosen = measure if zlib.crc32(photo.name.encode()) % _HELD_BACK == 0 else train
        chosen.append(f"./{image}\n")
        written.files += [f"{PLACE}/{image}", f"{PLACE}/{label}"]
    if not written.failures:
        _remove_links(home / "images", keep={Path(file).name for file in written.files})
    # Of a few photos all may fall to one side, and ultralytics accepts neither side empty.
    write_text(home / "train.txt", "".join(train or measure))
    write_text(home / "val.txt", "".join(measure or train))
    write_text(home / "data.yaml", _description(lines))
    written.files += [f"{PLACE}/{name}" for name in ("train.txt", "val.txt", "data.yaml")]
    return written


def _description(lines: ResultLines) -> str:
    # There is no `path`: without it, ultralytics takes the folder of this file, wherever it is moved to.
    names = "".join(f"  {number}: {_quoted(concept)}\n" for concept, number in lines.concepts.items())
    return f"# Segmented by persam\ntrain: train.txt\nval: val.txt\nnames:{'' if names else ' {}'}\n{names}"


def _quoted(text: str) -> str:
    """A text as YAML reads it back: in JSON's quotes, which YAML shares."""
    return json.dumps(printable(text), ensure_ascii=False)


def _rows(photo: PhotoLines, numbers: dict[str, int]) -> Iterator[str]:
    for line, one in photo.found:
        # A line is a thing, so its parts and holes are joined, as ultralytics' own converter of COCO does.
        parts = simple_outlines(rle_mask(one["rle"]))
        outline = in_one_stroke([in_one_stroke(part) for part in parts])
        shares = (outline + INSIDE) / np.array([photo.width, photo.height])
        yield f"{numbers[line['concept']]} " + " ".join(f"{share:.6f}" for share in shares.ravel())


def _link(photo: Path, target: Path) -> None:
    """Make a link to the photo; what is there stays, if it is that link, and a link elsewhere is made anew."""
    link = os.path.abspath(photo)  # noqa: PTH100 (resolve() follows links)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink():
            if os.readlink(target) == link:  # noqa: PTH115 (a Path would lose how it is spelled)
                return
            target.unlink()
        target.symlink_to(link)
    except OSError:  # no links here, or a copy of an earlier run
        _copy(photo, target)


def _remove_links(images: Path, keep: set[str]) -> None:
    """Remove links to photos that left the album: readers take them for photos in which nothing is."""
    for link in images.glob("*"):
        if link.is_symlink() and link.name not in keep:
            try:
                link.unlink()
            except OSError as error:
                raise write_error(link, error) from error


def _copy(photo: Path, target: Path) -> None:
    """Copy the photo, unless it is there already."""
    try:
        if target.is_symlink():
            target.unlink()
        elif target.exists() and _stamp(target) == _stamp(photo):
            return
    except OSError as error:
        raise write_error(target, error) from error
    with atomic_path(target) as temporary:
        shutil.copy2(photo, temporary)


def _new_content(photo: RemotePath, target: Path) -> tuple[bytes, int] | None:
    """What is in a photo that is not on this disk, and since when; None, if its copy is there already."""
    size, changed, _ = stamp_of(photo)
    with contextlib.suppress(OSError):  # then it is written, which says what is wrong
        if not target.is_symlink() and _stamp(target) == (size, changed):
            return None
    return photo.read_whole(), changed


def _put(content: tuple[bytes, int], target: Path) -> None:
    data, changed = content
    with atomic_path(target) as temporary:  # it replaces a link, too
        temporary.write_bytes(data)
        os.utime(temporary, ns=(changed, changed))


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns
