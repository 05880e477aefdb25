"""Pictures that are written: as files, fitted to a size, embedded in a page, and many of them in a grid."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from persam.drawing import Colour, fit_text, font
from persam.files import write_bytes
from persam.geometry import shrink

INK: Colour = (32, 33, 36)
SOFT: Colour = (100, 105, 112)
PAPER: Colour = (250, 250, 248)

_TITLE = 22  # letters of a grid's title, pixels
_HEADER = 50
_NARROWEST = 360  # a grid of one small picture has room for a title


def encoded(picture: np.ndarray, kind: str, **options: int) -> bytes:
    """A picture (H, W, 3) uint8 as a file in memory, such as ``PNG`` or ``JPEG`` with its `quality`."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def mask_file(mask: np.ndarray) -> bytes:
    """An (H, W) bool mask as a one-channel PNG of 0 and 255."""
    # The runs of a mask: smaller so, and in less time.
    return encoded(mask.astype(np.uint8) * 255, "PNG", compress_level=4, compress_type=zlib.Z_RLE)


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write (H, W), (H, W, 3) RGB or (H, W, 4) RGBA uint8 in the format of the suffix: PNG, JPEG or WebP."""
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}.get(Path(path).suffix.lower(), "PNG")
    options = {"quality": 90} if kind in ("JPEG", "WEBP") else {"compress_level": 4}
    write_bytes(path, encoded(image, kind, **options))


def write_mask(path: str | Path, mask: np.ndarray) -> None:
    """Write `mask_file`."""
    write_bytes(path, mask_file(mask))


def data_uri(file: bytes, kind: str) -> str:
    """A picture file as an address that holds it, for pages that need nothing else."""
    return f"data:image/{kind};base64,{base64.b64encode(file).decode('ascii')}"


def embedded(picture: np.ndarray, longest: int | None = None) -> str:
    """A picture (H, W, 3) uint8, at most so large, as an address that holds it."""
    small = picture if longest is None else shrink(picture, longest)
    return data_uri(encoded(small, "WEBP", quality=82, method=2), "webp")


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture (H, W, 3) uint8 with a caption and a softer second line."""

    picture: np.ndarray
    caption: str
    note: str = ""


@dataclass(frozen=True)
class GridStyle:
    """How a grid of tiles looks, in pixels.

    Attributes:
        cell: width of a tile; its picture is at most so wide.
        gap: between tiles.
        text: height of caption and note.
        letters: sizes of caption and note.
        above: whether they stand above the picture, else below it.
    """

    cell: int
    gap: int
    text: int
    letters: tuple[int, int]
    above: bool = False


def draw_grid(title: str, rows: Sequence[Sequence[Tile]], style: GridStyle) -> np.ndarray:
    """Draw tiles in rows below a title, (H, W, 3) uint8; rows are as high as their highest picture."""
    cell, gap = style.cell, style.gap
    heights = [max(tile.picture.shape[0] for tile in row) for row in rows]
    columns = max((len(row) for row in rows), default=1)
    width = max(_NARROWEST, columns * (cell + gap) + gap)
    page = Image.new("RGB", (width, _HEADER + sum(heights) + len(rows) * (style.text + gap)), PAPER)
    draw, y = ImageDraw.Draw(page), _HEADER
    _write(draw, (gap, 14), title, width - 2 * gap, _TITLE, INK)
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            x = gap + column * (cell + gap)
            picture = Image.fromarray(tile.picture)
            top, words = (y + style.text, y) if style.above else (y + height - picture.height, y + height)
            page.paste(picture, (x if style.above else x + (cell - picture.width) // 2, top))
            _write(draw, (x, words + 5), tile.caption, cell, style.letters[0], INK)
            _write(draw, (x, words + 5 + round(1.36 * style.letters[0])), tile.note, cell, style.letters[1], SOFT)
        y += height + style.text + gap
    return np.asarray(page)


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, size: int, colour: Colour) -> None:
    shown = fit_text(text, width, size)
    draw.text(at, shown, font=font(size, shown), fill=colour)
