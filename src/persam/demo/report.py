"""What the demo found, and how it is left behind: as JSON, as one picture, and as one page that needs nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from persam.drawing import colour_of, draw_overlay
from persam.files import write_text
from persam.images import read_image
from persam.masks import read_mask
from persam.reports.contact_sheet import ContactSheet
from persam.reports.page import render

PAGE, NUMBERS, SHEET = "index.html", "results.json", "contact-sheet.png"
_WELL = 0.5  # IoU from which on a thing counts as found, as in detection
_KINDS = {"found": "good", "rightly not found": "good", "badly found": "fair"}


@dataclass(frozen=True)
class PhotoResult:
    """What was found in one photo, and what is true.

    Attributes:
        name: of the photo.
        count: how many of the thing are in it.
        present: what PerSAM-F says.
        score: its score, 0 to 1.
        iou_persam, iou_persam_f: of the masks with the truth; None where there is nothing to find. They are measured
            whatever `present` says.
        seconds: to encode the photo and find the thing with PerSAM-F.
        photo, overlay, explained: files, relative to the demo's folder.
    """

    name: str
    count: int
    present: bool
    score: float
    iou_persam: float | None
    iou_persam_f: float | None
    seconds: float
    photo: str
    overlay: str
    explained: str

    @property
    def right(self) -> bool:
        """Whether present or not was told right."""
        return self.present == (self.count > 0)

    @property
    def truth(self) -> str:
        """What is in the photo, in words."""
        return {0: "not there", 1: "there"}.get(self.count, f"{self.count} of it")

    @property
    def verdict(self) -> str:
        """What was found in it, in words."""
        if not self.count:
            return "false alarm" if self.present else "rightly not found"
        if not self.present:
            return "missed"
        return "found" if (self.iou_persam_f or 0) >= _WELL else "badly found"


@dataclass(frozen=True)
class ThingResult:
    """One thing: what learning and tuning took, and what came of it.

    Attributes:
        thing: its name.
        concept, reference: files, relative to the demo's folder.
        scale_weights: PerSAM-F's.
        learn_seconds, tune_seconds: time.
        photos: results in the album.
    """

    thing: str
    concept: str
    reference: str
    scale_weights: tuple[float, float, float]
    learn_seconds: float
    tune_seconds: float
    photos: tuple[PhotoResult, ...]


@dataclass(frozen=True)
class DemoReport:
    """All that the demo found.

    Attributes:
        folder: where its files are.
        model, mode, seed: what it ran with.
        things: one result for each thing.
        sheet, page: the contact sheet as PNG and as HTML.
    """

    folder: Path
    model: str
    mode: str
    seed: int
    things: tuple[ThingResult, ...]
    sheet: Path
    page: Path

    @property
    def photos(self) -> tuple[PhotoResult, ...]:
        """All photos of all things."""
        return tuple(photo for thing in self.things for photo in thing.photos)

    @property
    def mean_iou(self) -> tuple[float, float]:
        """Mean IoU of PerSAM and of PerSAM-F over the photos that have the thing."""
        pairs = [(p.iou_persam, p.iou_persam_f) for p in self.photos if p.count]
        plain, tuned = np.mean(np.array(pairs, dtype=np.float64), axis=0).tolist()
        return plain, tuned

    def mean_seconds(self) -> dict[str, float]:
        """Mean seconds to learn and to tune a thing, and to segment a photo."""
        return {
            "learn": float(np.mean([thing.learn_seconds for thing in self.things])),
            "tune": float(np.mean([thing.tune_seconds for thing in self.things])),
            "segment": float(np.mean([photo.seconds for photo in self.photos])),
        }

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        plain, tuned = self.mean_iou
        data = asdict(self) | {"folder": str(self.folder), "sheet": str(self.sheet), "page": str(self.page)}
        right = sum(photo.right for photo in self.photos)
        return data | {
            "mean_iou": {"persam": plain, "persam_f": tuned},
            "presence_right": right,
            "mean_seconds": self.mean_seconds(),
        }

    def write(self) -> None:
        """Write the contact sheet as PNG and as a page, and the numbers as ``results.json``."""
        self._write_sheet()
        page = render(
            "demo/index.html.j2",
            report=self,
            seconds=self.mean_seconds(),
            reference=self._reference,
            picture=lambda name: read_image(self.folder / name),
            kinds=_KINDS,
        )
        write_text(self.page, page)
        write_text(self.folder / NUMBERS, json.dumps(self.to_dict(), indent=2) + "\n")

    def _write_sheet(self) -> None:
        plain, tuned = self.mean_iou
        columns = 1 + max(len(thing.photos) for thing in self.things)
        title = f"persam demo · mean IoU {plain:.2f} PerSAM, {tuned:.2f} PerSAM-F · tint: found, white line: truth"
        sheet = ContactSheet(title, columns=columns)
        for thing in self.things:
            sheet.add_picture(self._reference(thing), f"{thing.thing}: reference", "learned from this one photo")
            for photo in thing.photos:
                note = f"{photo.verdict} · score {photo.score:.2f}"
                if photo.iou_persam_f is not None:
                    note += f" · IoU {photo.iou_persam_f:.2f}"
                sheet.add_picture(read_image(self.folder / photo.overlay), photo.name, note, found=photo.present)
        sheet.write_png(self.sheet)

    def _reference(self, thing: ThingResult) -> np.ndarray:
        photo = read_image(self.folder / thing.reference)
        mask = read_mask(self.folder / thing.thing / "reference-mask.png")
        return draw_overlay(photo, mask, colour_of(thing.thing), tint=0.25)
