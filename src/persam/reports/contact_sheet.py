"""A contact sheet: what was found where, at one look, as PNG pages and as one HTML file."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from persam.drawing import Colour, colour_of, draw_overlay
from persam.errors import PersamError, printable, write_error
from persam.files import write_bytes
from persam.geometry import fit_mask, shrink
from persam.images import open_picture, read_smaller
from persam.instance import Instance, rle_mask
from persam.places import StoreError, is_remote
from persam.reports.page import write_page
from persam.reports.pictures import GridStyle, Tile, data_uri, draw_grid, encoded
from persam.segmentation import Segmentation

_STYLE = GridStyle(cell=240, gap=14, text=46, letters=(14, 13))
_HTML_TILE = 480  # longest side of a picture in the HTML, pixels
_TILES_PER_PAGE = 60
_COLUMNS = 5
_IN_MEMORY = 16_000_000  # bytes of pictures, beyond which they go to the disk
_NO_PHOTO = np.full((90, 120, 3), 225, np.uint8)


@dataclass(frozen=True)
class SheetEntry:
    """A picture of the sheet, in a file of pictures because there may be thousands, and what is said of it."""

    pictures: IO[bytes]
    place: tuple[int, int]  # first byte, number of bytes
    caption: str
    note: str
    found: bool

    @property
    def jpeg(self) -> bytes:
        """The picture as a file."""
        self.pictures.seek(self.place[0])
        return self.pictures.read(self.place[1])

    @property
    def address(self) -> str:
        """The picture for a page."""
        return data_uri(self.jpeg, "jpeg")

    def tile(self) -> Tile:
        """The same for a PNG."""
        with Image.open(io.BytesIO(self.jpeg)) as stored:
            return Tile(shrink(np.asarray(stored), _STYLE.cell), self.caption, self.note)


class ContactSheet:
    """Collect pictures with captions, small, and write them as a sheet.

    Args:
        title: Stands above.
        columns: How many pictures stand beside each other in the PNG, at most.
        colours: Of the concepts; by default `persam.drawing.colour_of`.

    Attributes:
        entries: What was added.
    """

    def __init__(
        self, title: str = "persam", *, columns: int = _COLUMNS, colours: Mapping[str, Colour] | None = None
    ) -> None:
        self.title = printable(title)
        self.colours = colours or {}
        self.columns = columns
        self.entries: list[SheetEntry] = []
        self._pictures = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 (it goes with the sheet)

    def __len__(self) -> int:
        """How many pictures it has."""
        return len(self.entries)

    def add(self, found: Segmentation, image: np.ndarray, more: str = "") -> None:
        """Add a photo (H, W, 3) uint8 with what was found in it, and what more is to be said."""
        picture = marked(found, shrink(image, _HTML_TILE), self.colours.get(found.concept))
        note = f"{found.concept} · {found.score:.2f}" if found.found else f"{found.concept} · not found"
        if found.verdict == "unsure":
            note += "?" if found.found else f"? {found.score:.2f}"
        note += more
        self.add_picture(picture, Path(found.image or "image").name, note, found=found.found)

    def add_line(self, line: dict[str, Any], folder: Path) -> None:
        """Add a line of ``results.jsonl``: its photo, read small, with the mask that lies in the folder.

        Raises:
            StoreError: the photos are elsewhere, where nothing can be had now.
        """
        try:
            picture, note = _small_photo(line["image"]), ""
        except StoreError:  # each photo would wait as long
            raise
        except PersamError:
            picture, note = _NO_PHOTO, " · the photo is gone"
        self.add(_small_found(line, folder, picture), picture, note)

    def add_picture(self, picture: np.ndarray, caption: str, note: str = "", *, found: bool = True) -> None:
        """Add any (H, W, 3) uint8 picture with a caption and a softer second line."""
        jpeg = encoded(shrink(picture, _HTML_TILE), "JPEG", quality=88)
        try:
            start = self._pictures.seek(0, io.SEEK_END)
            self._pictures.write(jpeg)
        except OSError as error:
            raise write_error(tempfile.gettempdir(), error) from error
        self.entries.append(SheetEntry(self._pictures, (start, len(jpeg)), printable(caption), printable(note), found))

    def write_png(self, path: str | Path) -> list[Path]:
        """Write PNG pages of up to 60 pictures: PATH, then PATH with -2, -3...

        Returns:
            The files.
        """
        files = sheet_pages(path, len(self), self.columns)
        each = _tiles_a_page(self.columns)
        for page, file in enumerate(files):
            tiles = [entry.tile() for entry in self.entries[page * each : (page + 1) * each]]
            rows = [tiles[row : row + self.columns] for row in range(0, len(tiles), self.columns)]
            write_bytes(file, encoded(draw_grid(self.title, rows, _STYLE), "PNG"))
        return files

    def write_html(self, path: str | Path) -> None:
        """Write one HTML file that holds its pictures and needs nothing else."""
        write_page(path, "reports/contact_sheet.html.j2", title=self.title, entries=self.entries)


def thumbnail(line: dict[str, Any], folder: Path, colour: Colour | None = None) -> np.ndarray:
    """A line of ``results.jsonl`` as a picture, (h, w, 3) uint8: the photo small, marked with the mask in the folder.

    Raises:
        PersamError: the photo is gone, or cannot be read.
    """
    picture = _small_photo(line["image"])
    return marked(_small_found(line, folder, picture), picture, colour)


def sheet_pages(path: str | Path, pictures: int, columns: int = _COLUMNS) -> list[Path]:
    """The files of a sheet of so many pictures: PATH, then PATH with -2, -3..."""
    first = Path(path)
    more = range(2, 1 + math.ceil(pictures / _tiles_a_page(columns)))
    return [first, *(first.with_stem(f"{first.stem}-{page}") for page in more)]


def _tiles_a_page(columns: int) -> int:
    return max(1, _TILES_PER_PAGE // columns) * columns  # whole rows


def _small_photo(path: str) -> np.ndarray:
    """A photo for a tile, (H, W, 3) uint8. JPEGs, the most and the largest, are decoded at a part of their size."""
    if not is_remote(path) and not Path(path).is_file():  # a pipe gave its photo once
        raise PersamError(f"There is no photo at {path} any more.")
    return shrink(read_smaller(path, 2 * _HTML_TILE)[0], _HTML_TILE)


def marked(found: Segmentation, picture: np.ndarray, colour: Colour | None) -> np.ndarray:
    """What was found, drawn on a picture of the photo, (h, w, 3) uint8, of whatever size; of a guess that is unsure the
    outline alone."""
    if not found.found:
        if found.candidate is None or found.verdict != "unsure":
            return picture
        guess = fit_mask(found.candidate.mask, picture)
        return draw_overlay(picture, guess, colour or colour_of(found.concept), tint=0.0)
    instances = tuple(replace(one, mask=fit_mask(one.mask, picture)) for one in found.instances)
    return replace(found, mask=fit_mask(found.mask, picture), instances=instances).overlay(picture, colour)


def _small_found(line: dict[str, Any], folder: Path, picture: np.ndarray) -> Segmentation:
    """What a line says was found, at the size of a picture."""
    objects = line["instances"] if len(line["instances"]) > 1 else []
    guess = line.get("candidate")
    return Segmentation(
        line["concept"],
        line["image"],
        _small_mask(folder / line["files"]["mask"], picture),
        line["score"],
        line["present"],
        instances=tuple(Instance(fit_mask(rle_mask(one["rle"]), picture), one["score"]) for one in objects),
        candidate=Instance(rle_mask(guess["rle"]), guess["score"]) if guess and "rle" in guess else None,
    )


def _small_mask(path: Path, picture: np.ndarray) -> np.ndarray:
    """A mask that was written for a photo, at the size of its tile; empty where it is gone or of another photo."""
    try:
        written = open_picture(path, what="mask")
        mask = np.asarray(written if written.mode == "L" else written.convert("L")) > 0
    except PersamError:
        return np.zeros(picture.shape[:2], bool)
    return fit_mask(mask, picture)
