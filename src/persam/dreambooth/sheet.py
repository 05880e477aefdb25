"""A contact sheet of training photos, to be looked at before training: each mask, and what looks doubtful."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from persam.drawing import PALETTE, draw_overlay
from persam.geometry import fit_mask, shrink
from persam.reports.contact_sheet import ContactSheet, SheetEntry
from persam.reports.page import write_page

SHEET = "contact-sheet"
TILE = 480  # pixels of a picture's longest side
LEFT_OUT_SHOWN = 60  # pictures of photos that are left out
_DIM = 0.55  # how much darker all but the subject becomes


@dataclass(frozen=True)
class SheetCard:
    """One picture of the page, and what is said of it.

    Attributes:
        entry: the picture, in a file of all.
        word: in a word: ``sure 0.97``, ``unsure 0.61``, ``corrected``, ``left out``.
        kind: how it looks: ``good``, ``fair`` or ``poor``.
        caption: what the model is told that it shows; "" where it is told nothing.
        doubts: sentences.
    """

    entry: SheetEntry
    word: str
    kind: str
    caption: str
    doubts: tuple[str, ...]


@dataclass
class SheetGroup:
    """Pictures that stand together.

    Attributes:
        title: of them.
        about: a sentence below it.
        cards: each.
    """

    title: str
    about: str = ""
    cards: list[SheetCard] = field(default_factory=list)


class TrainingSheet:
    """Collect pictures for the sheet, group by group, and write it as a page and as PNG.

    Args:
        title: stands above.
        name: of its files, without a suffix.
    """

    def __init__(self, title: str, name: str = SHEET) -> None:
        self.name = name
        self.sheet = ContactSheet(title)
        self.groups: list[SheetGroup] = []

    def begin(self, title: str, about: str = "") -> None:
        """Begin a group."""
        self.groups.append(SheetGroup(title, about))

    def add(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        name: str,
        word: str,
        kind: str,
        *,
        caption: str = "",
        doubts: Sequence[str] = (),
    ) -> None:
        """Add a picture (H, W, 3) uint8 with its mask (H, W) bool to the group that was begun last."""
        small = shrink(image, TILE)
        drawn = fit_mask(mask, small) if mask.any() else mask
        outside = kind == "poor"  # what is left out is shown as an outline on a photo as it is
        picture = (
            draw_overlay(small, drawn, PALETTE[0], tint=0.0 if outside else 0.15, dim=0.0 if outside else _DIM)
            if drawn.any()
            else small
        )
        self.sheet.add_picture(picture, name, f"{word} · look at it" if kind == "fair" else word)
        self.groups[-1].cards.append(SheetCard(self.sheet.entries[-1], word, kind, caption, tuple(doubts)))

    def write(self, folder: Path, lead: str, command: str) -> Path:
        """Write the page and its PNG.

        Args:
            folder: where.
            lead: a paragraph that says what to do with it.
            command: to be said then.

        Returns:
            The page.
        """
        self.sheet.write_png(folder / f"{self.name}.png")
        page = folder / f"{self.name}.html"
        groups = [group for group in self.groups if group.cards]
        told = {"title": self.sheet.title, "lead": lead, "command": command, "groups": groups}
        write_page(page, "dreambooth/contact_sheet.html.j2", **told)
        return page
