"""Panels, and the page that they stand on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from persam.drawing import fit_text, font
from persam.explain.paint import INK, PAPER, SOFT
from persam.files import safe_name
from persam.outputs import write_image

PANEL = 340  # width of a panel and longest side of its picture, pixels
_GAP = 22
_HEADER = 50
_TITLE, _NOTE = 17, 14
_TEXT = 54  # height of a panel's title and note


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of the way.

    Attributes:
        title: what it shows.
        note: one line with its numbers.
        picture: (H, W, 3) uint8, at most `PANEL` pixels wide and high.
        below: what stands under it, (h, w, 3) uint8, or None.
    """

    title: str
    note: str
    picture: np.ndarray
    below: np.ndarray | None = None

    def draw(self) -> np.ndarray:
        """The picture with what stands under it, (H, W, 3) uint8."""
        if self.below is None:
            return self.picture
        gap, parts = 6, (self.picture, self.below)
        page = np.empty((parts[0].shape[0] + gap + parts[1].shape[0], max(p.shape[1] for p in parts), 3), np.uint8)
        page[:] = PAPER
        for part, y in ((parts[0], 0), (parts[1], parts[0].shape[0] + gap)):
            x = (page.shape[1] - part.shape[1]) // 2
            page[y : y + part.shape[0], x : x + part.shape[1]] = part
        return page


@dataclass(frozen=True, eq=False)
class Explanation:
    """The way to one mask as pictures.

    Attributes:
        title: stands above.
        rows: panels, from what was learned to the result.
    """

    title: str
    rows: tuple[tuple[Panel, ...], ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels in order."""
        return tuple(panel for row in self.rows for panel in row)

    def page(self) -> np.ndarray:
        """All of it in one picture, (H, W, 3) uint8."""
        drawn = [[panel.draw() for panel in row] for row in self.rows]
        heights = [_TEXT + max(picture.shape[0] for picture in row) + _GAP for row in drawn]
        columns = max(len(row) for row in drawn)
        width = columns * (PANEL + _GAP) + _GAP
        page = Image.new("RGB", (width, _HEADER + sum(heights)), PAPER)
        draw, y = ImageDraw.Draw(page), _HEADER
        title = fit_text(self.title, width - 2 * _GAP, 22)
        draw.text((_GAP, 14), title, font=font(22, title), fill=INK)
        for row, pictures, height in zip(self.rows, drawn, heights, strict=True):
            for column, (panel, picture) in enumerate(zip(row, pictures, strict=True)):
                x = _GAP + column * (PANEL + _GAP)
                title, note = fit_text(panel.title, PANEL, _TITLE), fit_text(panel.note, PANEL, _NOTE)
                draw.text((x, y + 4), title, font=font(_TITLE, title), fill=INK)
                draw.text((x, y + 28), note, font=font(_NOTE, note), fill=SOFT)
                page.paste(Image.fromarray(picture), (x, y + _TEXT))
            y += height
        return np.asarray(page)

    def write(self, path: str | Path) -> None:
        """Write the page as PNG or JPEG, by the suffix.

        Raises:
            PersamError: it cannot be written there.
        """
        write_image(path, self.page())

    def write_pieces(self, folder: str | Path) -> list[Path]:
        """Write every panel's picture as a PNG of its own and return the files.

        Raises:
            PersamError: they cannot be written there.
        """
        files = []
        for number, panel in enumerate(self.panels, start=1):
            name = safe_name(panel.title.lower().replace(" · ", "-").replace(",", "").replace(" ", "-"))
            files.append(Path(folder) / f"{number:02d}-{name}.png")
            write_image(files[-1], panel.draw())
        return files
