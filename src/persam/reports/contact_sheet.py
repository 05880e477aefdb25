"""A contact sheet: what was found where, at one look, as PNG pages and as one HTML file."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from persam.files import write_bytes, write_text
from persam.geometry import fit_mask, shrink
from persam.reports.page import render
from persam.reports.pictures import GridStyle, Tile, data_uri, draw_grid, encoded
from persam.segmentation import Segmentation

_STYLE = GridStyle(cell=240, gap=14, text=46, letters=(14, 13))
_HTML_TILE = 480  # longest side of a picture in the HTML, pixels
_TILES_PER_PAGE = 60


@dataclass(frozen=True)
class SheetEntry:
    """A picture of the sheet as a file, because there may be thousands, and what is said of it."""

    jpeg: bytes
    caption: str
    note: str
    found: bool

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

    Attributes:
        entries: What was added.
    """

    def __init__(self, title: str = "persam", *, columns: int = 5) -> None:
        self.title = title
        self.columns = columns
        self.entries: list[SheetEntry] = []

    def __len__(self) -> int:
        """How many pictures it has."""
        return len(self.entries)

    def add(self, found: Segmentation, image: np.ndarray) -> None:
        """Add a photo (H, W, 3) uint8 with what was found in it."""
        picture = shrink(image, _HTML_TILE)
        if found.found:
            instances = tuple(replace(one, mask=fit_mask(one.mask, picture)) for one in found.instances)
            picture = replace(found, mask=fit_mask(found.mask, picture), instances=instances).overlay(picture)
        note = f"{found.concept} · {found.score:.2f}" if found.found else f"{found.concept} · not found"
        note += "?" if found.verdict == "unsure" else ""
        self.add_picture(picture, Path(found.image or "image").name, note, found=found.found)

    def add_picture(self, picture: np.ndarray, caption: str, note: str = "", *, found: bool = True) -> None:
        """Add any (H, W, 3) uint8 picture with a caption and a softer second line."""
        jpeg = encoded(shrink(picture, _HTML_TILE), "JPEG", quality=88)
        self.entries.append(SheetEntry(jpeg, caption, note, found))

    def write_png(self, path: str | Path) -> list[Path]:
        """Write PNG pages of up to 60 pictures: PATH, then PATH with -2, -3...

        Returns:
            The files.
        """
        first = Path(path)
        files = []
        each = max(1, _TILES_PER_PAGE // self.columns) * self.columns  # whole rows
        for page, start in enumerate(range(0, max(1, len(self)), each), start=1):
            tiles = [entry.tile() for entry in self.entries[start : start + each]]
            rows = [tiles[row : row + self.columns] for row in range(0, len(tiles), self.columns)]
            files.append(first if page == 1 else first.with_stem(f"{first.stem}-{page}"))
            write_bytes(files[-1], encoded(draw_grid(self.title, rows, _STYLE), "PNG"))
        return files

    def write_html(self, path: str | Path) -> None:
        """Write one HTML file that holds its pictures and needs nothing else."""
        write_text(path, render("reports/contact_sheet.html.j2", title=self.title, entries=self.entries))
