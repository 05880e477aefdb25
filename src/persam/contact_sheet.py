"""A contact sheet: what was found where, at one look, as PNG pages and as one HTML file."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from persam.files import write_bytes, write_text
from persam.segmentation import Segmentation

_TILE = 240  # longest side of a picture in the PNG, pixels
_HTML_TILE = 480  # longest side of a picture in the HTML, pixels
_CAPTION = 46
_GAP = 14
_COLUMNS = 5
_TILES_PER_PAGE = 60
_INK, _SOFT, _PAPER = (32, 33, 36), (110, 115, 122), (250, 250, 248)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1280px; padding: 0 1rem;
  background: Canvas; color: CanvasText; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 1.2rem; }}
figure {{ margin: 0; }} img {{ width: 100%; height: auto; border-radius: 6px; display: block; }}
figcaption {{ margin-top: .35rem; overflow-wrap: anywhere; }} small {{ opacity: .75; }}
.absent img {{ opacity: .55; }}
</style></head><body><h1>{title}</h1><p>{summary}</p><main>
{figures}
</main></body></html>
"""


@dataclass(frozen=True)
class _Tile:
    jpeg: bytes
    caption: str
    note: str
    found: bool


class ContactSheet:
    """Collect pictures with captions, small, and write them as a sheet.

    Args:
        title: Stands above.
    """

    def __init__(self, title: str = "persam") -> None:
        self.title = title
        self._tiles: list[_Tile] = []

    def __len__(self) -> int:
        """How many pictures it has."""
        return len(self._tiles)

    def add(self, found: Segmentation, image: np.ndarray) -> None:
        """Add a photo (H, W, 3) uint8 with what was found in it."""
        picture = found.overlay(image) if found.found else image
        verdict = f"{found.concept} · {found.score:.2f}" if found.found else f"{found.concept} · not found"
        self.add_picture(picture, Path(found.image or "image").name, verdict, found=found.found)

    def add_picture(self, picture: np.ndarray, caption: str, note: str = "", *, found: bool = True) -> None:
        """Add any (H, W, 3) uint8 picture with a caption and a softer second line."""
        small = Image.fromarray(picture)
        small.thumbnail((_HTML_TILE, _HTML_TILE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=85)
        self._tiles.append(_Tile(buffer.getvalue(), caption, note, found))

    def write_png(self, path: str | Path) -> list[Path]:
        """Write PNG pages of up to 60 pictures: PATH, then PATH with -2, -3...

        Returns:
            The files.
        """
        first = Path(path)
        files = []
        for page, start in enumerate(range(0, max(1, len(self._tiles)), _TILES_PER_PAGE), start=1):
            file = first if page == 1 else first.with_stem(f"{first.stem}-{page}")
            buffer = io.BytesIO()
            self._draw(self._tiles[start : start + _TILES_PER_PAGE]).save(buffer, "PNG")
            write_bytes(file, buffer.getvalue())
            files.append(file)
        return files

    def write_html(self, path: str | Path) -> None:
        """Write one HTML file that holds its pictures and needs nothing else."""
        figures = "\n".join(_figure(tile) for tile in self._tiles)
        hits = sum(tile.found for tile in self._tiles)
        summary = f"Found in {hits} of {len(self._tiles)} pictures."
        write_text(path, _PAGE.format(title=html.escape(self.title), summary=summary, figures=figures))

    def _draw(self, tiles: list[_Tile]) -> Image.Image:
        columns = max(1, min(_COLUMNS, len(tiles)))
        rows = -(-len(tiles) // columns)
        cell, header = _TILE + _GAP, 52
        sheet = Image.new("RGB", (max(360, columns * cell + _GAP), header + rows * (cell + _CAPTION) + _GAP), _PAPER)
        draw = ImageDraw.Draw(sheet)
        draw.text((_GAP, 14), _fit_text(self.title, sheet.width - 2 * _GAP, 22), font=_font(22), fill=_INK)
        for index, tile in enumerate(tiles):
            x, y = _GAP + index % columns * cell, header + index // columns * (cell + _CAPTION)
            with Image.open(io.BytesIO(tile.jpeg)) as picture:
                picture.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
                sheet.paste(picture, (x + (_TILE - picture.width) // 2, y + (_TILE - picture.height) // 2))
            draw.text((x, y + _TILE + 6), _fit_text(tile.caption, _TILE, 14), font=_font(14), fill=_INK)
            draw.text((x, y + _TILE + 24), _fit_text(tile.note, _TILE, 13), font=_font(13), fill=_SOFT)
        return sheet


def _figure(tile: _Tile) -> str:
    caption, note = html.escape(tile.caption), html.escape(tile.note)
    data = base64.b64encode(tile.jpeg).decode("ascii")
    kind = "found" if tile.found else "absent"
    return (
        f'<figure class="{kind}"><img alt="{caption}: {note}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{caption}<br><small>{note}</small></figcaption></figure>"
    )


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fit_text(text: str, width: int, size: int) -> str:
    """Shorten a text in its middle until it fits: the ends of file names tell them apart."""
    font, shown = _font(size), text
    keep = len(text)
    while keep > 4 and font.getlength(shown) > width:
        keep -= 1
        shown = f"{text[: keep // 2]}…{text[len(text) - keep // 2 :]}"
    return shown
