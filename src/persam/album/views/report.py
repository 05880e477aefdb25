"""Which views to look at: a table, the worst first, and a picture of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from persam.album.views.agreement import MaskedView, ViewAgreement
from persam.album.views.masks import photo_names
from persam.drawing import Colour, draw_overlay
from persam.errors import PersamError
from persam.files import write_bytes, write_csv
from persam.geometry import fit_mask
from persam.images import open_picture
from persam.ledger import claimed
from persam.reports.pictures import GridStyle, Tile, draw_grid, encoded

TABLE, PICTURE = "views.csv", "views.png"
COLUMNS = ("view", "agreement", "beyond", "lacking", "counted", "method")
_STYLE = GridStyle(cell=360, gap=14, text=46, letters=(14, 13))
_SHOWN, _A_ROW = 12, 3
_KINDS: tuple[Colour, ...] = ((60, 180, 90), (230, 140, 20), (220, 40, 40))  # of `ViewAgreement.kinds`
_EMPTY = 215  # grey, where there is no photo


def claimed_views(folder: str | Path, *, overwrite: bool = False) -> AbstractContextManager[None]:
    """Hold the folder of the result.

    Raises:
        UsageError: a file of others has the name of one of the result's.
        PersamError: it cannot be written, or another command writes there.
    """
    return claimed(folder, [TABLE, PICTURE], is_ours=lambda place: False, overwrite=overwrite)


def view_row(one: ViewAgreement) -> dict[str, Any]:
    """A view for JSON and tables."""
    figures = {name: _rounded(getattr(one, name)) for name in ("agreement", "beyond", "lacking")}
    return {"view": one.name, **figures, "counted": one.counted, "method": one.method}


def write_views(
    worst: Sequence[ViewAgreement], views: Sequence[MaskedView], folder: Path, photos: Path | None = None
) -> None:
    """Write ``views.csv``, and ``views.png`` with the worst.

    Args:
        worst: all views, the worst first.
        views: their masks.
        folder: where to write.
        photos: where the photos are, by the views' names; None, or a photo that is not there: the mask alone is drawn.

    Raises:
        PersamError: it cannot be written.
    """
    rows = [view_row(one) for one in worst]
    write_csv(
        folder / TABLE, [COLUMNS, *(["" if row[head] is None else row[head] for head in COLUMNS] for row in rows)]
    )
    by_name = {one.view.name: one for one in views}
    shown = [one for one in worst if one.agreement is not None][:_SHOWN] or list(worst[:_SHOWN])
    tiles = [_tile(one, by_name[one.name], photos) for one in shown]
    lines = [tiles[start : start + _A_ROW] for start in range(0, len(tiles), _A_ROW)]
    title = f"The {len(tiles)} of {len(worst)} views that agree least" if len(tiles) < len(worst) else "All views"
    write_bytes(folder / PICTURE, encoded(draw_grid(title, lines, _STYLE), "PNG"))


def _tile(one: ViewAgreement, masked: MaskedView, photos: Path | None) -> Tile:
    picture = _photo(masked, photos)
    picture = draw_overlay(picture, fit_mask(masked.mask, picture), _KINDS[0])
    share = picture.shape[1] / masked.mask.shape[1]
    for kind in range(len(_KINDS)):
        for x, y in one.pixels[one.kinds == kind] * share:
            cv2.circle(picture, (int(x), int(y)), 3, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(picture, (int(x), int(y)), 2, _KINDS[kind], -1, cv2.LINE_AA)
    return Tile(picture, one.name, words_of_view(one))


def words_of_view(one: ViewAgreement) -> str:
    """How far a view agrees, in a line."""
    if one.agreement is None:
        return "nothing tells"
    parts = [f"{value:.0%} {what}" for what, value in (("beyond", one.beyond), ("lacking", one.lacking)) if value]
    return f"agrees {one.agreement:.0%}" + (f": {', '.join(parts)}" if parts else "")


def _photo(masked: MaskedView, photos: Path | None) -> np.ndarray:
    """A photo as the camera sees it, not turned by EXIF, as large as a tile; grey where there is none."""
    height, width = masked.mask.shape
    share = _STYLE.cell / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    if photos is not None:
        for name in photo_names(masked.view.name):
            try:
                stored = np.asarray(open_picture(photos / name).convert("RGB"))
            except (PersamError, ValueError):
                continue
            return cv2.resize(stored, size, interpolation=cv2.INTER_AREA)
    return np.full((size[1], size[0], 3), _EMPTY, np.uint8)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
