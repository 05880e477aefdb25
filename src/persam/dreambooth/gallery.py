"""Generated pictures to look at: one picture, prompts by seeds with the runs side by side; and a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from persam.drawing import fit_text, font
from persam.dreambooth.generated import GeneratedFolder
from persam.geometry import fit
from persam.images import read_image
from persam.reports.page import write_page
from persam.reports.pictures import INK, PAPER, SOFT, embedded, write_image

GRID, PAGE = "grid.png", "generated.html"
_SMALLEST_CELL = 48  # pixels
_TILE = 256  # of the page
_WIDEST = 6000  # pixels of the whole picture, for which cells become smaller
_GAP, _GROUP_GAP, _EDGE = 6, 26, 20
_TITLE, _HEAD, _LABEL = 22, 17, 15  # letters


@dataclass(frozen=True)
class PictureGrid:
    """What a grid shows.

    Attributes:
        title: above all.
        rows: words above each row.
        groups: words above each group of columns.
        columns: of each group, as many as of any other, what stands above them.
        picture: the one of a row, group and column, (H, W, 3) uint8; None: an empty place.
        cell: side of a picture, pixels; smaller, where the whole would become too wide.
        sharp: whether the pixels of small pictures are to be seen.
    """

    title: str
    rows: Sequence[str]
    groups: Sequence[str]
    columns: Sequence[Sequence[str]]
    picture: Callable[[int, int, int], np.ndarray | None]
    cell: int = 160
    sharp: bool = False

    def draw(self) -> np.ndarray:
        """The whole as one picture, (H, W, 3) uint8."""
        across = len(self.columns[0])
        count = len(self.groups) * across
        between = len(self.groups) * _GROUP_GAP + count * _GAP + 2 * _EDGE
        cell = int(np.clip((_WIDEST - between) // count, _SMALLEST_CELL, self.cell))
        group = across * (cell + _GAP) - _GAP
        row = _LABEL + 12 + cell + 2 * _GAP
        top = _EDGE + _TITLE + 16 + _HEAD + 10 + _LABEL + 10
        width = max(2 * _EDGE + len(self.groups) * (group + _GROUP_GAP) - _GROUP_GAP, 420)
        page = Image.new("RGB", (width, top + len(self.rows) * row + _EDGE), PAPER)
        draw = ImageDraw.Draw(page)

        def write(x: int, y: int, text: str, room: int, size: int, colour: tuple[int, int, int]) -> None:
            shown = fit_text(text, room, size)
            draw.text((x, y), shown, font=font(size, shown), fill=colour)

        write(_EDGE, _EDGE, self.title, width - 2 * _EDGE, _TITLE, INK)
        for at, name in enumerate(self.groups):
            left = _EDGE + at * (group + _GROUP_GAP)
            write(left, _EDGE + _TITLE + 16, name, group, _HEAD, INK)
            for column, words in enumerate(self.columns[at]):
                x = left + column * (cell + _GAP)
                write(x, top - _LABEL - 10, words, cell, _LABEL, SOFT)
                for line in range(len(self.rows)):
                    found = self.picture(line, at, column)
                    if found is not None:
                        page.paste(self._fitted(found, cell), (x, top + line * row + _LABEL + 12))
        for line, words in enumerate(self.rows):
            write(_EDGE, top + line * row + 4, words, width - 2 * _EDGE, _LABEL, INK)
        return np.asarray(page)

    def _fitted(self, pixels: np.ndarray, cell: int) -> Image.Image:
        if self.sharp and max(pixels.shape[:2]) < cell:
            return Image.fromarray(pixels).resize((cell, cell), Image.Resampling.NEAREST)
        return Image.fromarray(fit(pixels, cell))


def write_gallery_of(generated: GeneratedFolder) -> list[Path]:
    """Write ``grid.png`` and ``generated.html`` into a folder of generated pictures.

    Returns:
        The files.
    """
    files = {(each.prompt, each.run, each.seed): each.file for each in generated.pictures}
    runs = list(generated.runs)

    def picture(row: int, group: int, column: int) -> np.ndarray | None:
        file = files.get((row, runs[group], generated.seeds[column]))
        return None if file is None else read_image(file, what="picture")

    seeds = [f"seed {seed}" for seed in generated.seeds]
    grid = PictureGrid(_title(generated), generated.prompts, runs, [seeds] * len(runs), picture)
    folder = generated.folder
    write_image(folder / GRID, grid.draw())
    write_page(
        folder / PAGE,
        "dreambooth/generated.html.j2",
        title="Generated pictures",
        generated=generated,
        settings=[(name, _settings(run)) for name, run in generated.runs.items()],
        tile=lambda each: embedded(read_image(each.file, what="picture"), _TILE),
        address=lambda each: each.file.relative_to(folder).as_posix(),
    )
    return [folder / GRID, folder / PAGE]


def _title(generated: GeneratedFolder) -> str:
    settings = {(run["sampler"], run["steps"], run["guidance"]) for run in generated.runs.values()}
    said = [f"{len(generated.prompts)} prompts, {len(generated.seeds)} seeds"]
    if len(settings) == 1:
        sampler, steps, guidance = settings.pop()
        said.append(f"{sampler}, {steps} steps, guidance {guidance:g}")
    return " · ".join(said)


def _settings(run: dict[str, Any]) -> str:
    """What is said of a run, in words."""
    trained = run["run"]
    if trained is None:
        said = [f"{run['model']} as it is, asked without identifiers"]
    else:
        pixels = "the subject's pixels alone" if trained["masked"] else "whole photos (no mask)"
        said = [f"{run['model']}, {trained['method']}, {trained['steps']} steps on {pixels}"]
    said.append(f"{run['sampler']}, {run['steps']} steps, guidance {run['guidance']:g}, {run['dtype']}")
    return "; ".join(said)
