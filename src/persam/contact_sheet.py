"""A contact sheet: what was found where, at one look, as PNG pages and as one HTML file."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from persam.drawing import fit_text, font
from persam.files import write_bytes, write_text
from persam.segmentation import Segmentation

_TILE = 240  # longest side of a picture in the PNG, pixels
_HTML_TILE = 480  # longest side of a picture in the HTML, pixels
_CAPTION = 46
_HEADER = 52
_GAP = 14
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
        columns: How many pictures stand beside each other in the PNG, at most.
    """

    def __init__(self, title: str = "persam", *, columns: int = 5) -> None:
        self.title = title
        self.columns = columns
        self._tiles: list[_Tile] = []

    def __len__(self) -> int:
        """How many pictures it has."""
        return len(self._tiles)

    def add(self, found: Segmentation, image: np.ndarray) -> None:
        """Add a photo (H, W, 3) uint8 with what was found in it."""
        picture = _shrunk(image)
        if found.found:  # drawn at the size at which it is shown, so that the outline stays visible
            picture = _small(found, picture.shape[0], picture.shape[1]).overlay(picture)
        verdict = f"{found.concept} · {found.score:.2f}" if found.found else f"{found.concept} · not found"
        self.add_picture(picture, Path(found.image or "image").name, verdict, found=found.found)

    def add_picture(self, picture: np.ndarray, caption: str, note: str = "", *, found: bool = True) -> None:
        """Add any (H, W, 3) uint8 picture with a caption and a softer second line."""
        buffer = io.BytesIO()
        Image.fromarray(_shrunk(picture)).save(buffer, "JPEG", quality=88)
        self._tiles.append(_Tile(buffer.getvalue(), caption, note, found))

    def write_png(self, path: str | Path) -> list[Path]:
        """Write PNG pages of up to 60 pictures: PATH, then PATH with -2, -3...

        Returns:
            The files.
        """
        first = Path(path)
        files = []
        each = max(1, _TILES_PER_PAGE // self.columns) * self.columns  # whole rows
        for page, start in enumerate(range(0, max(1, len(self._tiles)), each), start=1):
            file = first if page == 1 else first.with_stem(f"{first.stem}-{page}")
            buffer = io.BytesIO()
            self._draw(self._tiles[start : start + each]).save(buffer, "PNG")
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
        columns = max(1, min(self.columns, len(tiles)))
        pictures = []
        for tile in tiles:
            with Image.open(io.BytesIO(tile.jpeg)) as stored:
                stored.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
                pictures.append(stored.copy())
        starts = range(0, len(tiles), columns)
        heights = [max(picture.height for picture in pictures[start : start + columns]) for start in starts]
        size = (max(360, columns * (_TILE + _GAP) + _GAP), _HEADER + sum(heights) + len(heights) * (_CAPTION + _GAP))
        sheet = Image.new("RGB", size, _PAPER)
        draw, y = ImageDraw.Draw(sheet), _HEADER
        draw.text((_GAP, 14), fit_text(self.title, sheet.width - 2 * _GAP, 22), font=font(22, self.title), fill=_INK)
        for start, height in zip(starts, heights, strict=True):
            y += height
            for column, index in enumerate(range(start, min(start + columns, len(tiles)))):
                tile, picture, x = tiles[index], pictures[index], _GAP + column * (_TILE + _GAP)
                sheet.paste(picture, (x + (_TILE - picture.width) // 2, y - picture.height))
                draw.text((x, y + 6), fit_text(tile.caption, _TILE, 14), font=font(14, tile.caption), fill=_INK)
                draw.text((x, y + 24), fit_text(tile.note, _TILE, 13), font=font(13, tile.note), fill=_SOFT)
            y += _CAPTION + _GAP
        return sheet


def _shrunk(picture: np.ndarray) -> np.ndarray:
    small = Image.fromarray(picture)
    small.thumbnail((_HTML_TILE, _HTML_TILE), Image.Resampling.LANCZOS)
    return np.asarray(small)


def _small(found: Segmentation, height: int, width: int) -> Segmentation:
    def resized(mask: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))

    instances = tuple(replace(one, mask=resized(one.mask)) for one in found.instances)
    return replace(found, mask=resized(found.mask), instances=instances)


def _figure(tile: _Tile) -> str:
    caption, note = html.escape(tile.caption), html.escape(tile.note)
    data = base64.b64encode(tile.jpeg).decode("ascii")
    kind = "found" if tile.found else "absent"
    return (
        f'<figure class="{kind}"><img alt="{caption}: {note}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{caption}<br><small>{note}</small></figcaption></figure>"
    )
