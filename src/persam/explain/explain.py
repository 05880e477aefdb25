"""From a segmentation with its trace to panels, and to the page that they stand on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from persam.drawing import Colour, colour_of, draw_overlay, fit_text, font
from persam.errors import PersamError, UsageError
from persam.explain.paint import colour_bar, draw_box, heat, mark_points
from persam.files import safe_name, write_text
from persam.geometry import Frame, fit, fit_mask
from persam.images import ImageSource, read_image
from persam.instance import Instance
from persam.method.segment import Step
from persam.reports.page import render
from persam.reports.pictures import INK, PAPER, SOFT, GridStyle, Tile, draw_grid, write_image
from persam.segmentation import Segmentation

if TYPE_CHECKING:
    from persam.concept import Concept

PANEL = 340  # width of a panel and longest side of its picture, pixels
_STYLE = GridStyle(cell=PANEL, gap=22, text=54, letters=(17, 14), above=True)
_LINE = 2  # width of outlines, pixels


@dataclass(frozen=True, eq=False)
class Explanation:
    """The way to one mask as pictures.

    Attributes:
        title: stands above.
        rows: panels, from what was learned to the result: pictures at most `PANEL` wide, with what they show, and one
            line with its numbers.
    """

    title: str
    rows: tuple[tuple[Tile, ...], ...]

    @property
    def panels(self) -> tuple[Tile, ...]:
        """All panels in order."""
        return tuple(panel for row in self.rows for panel in row)

    def page(self) -> np.ndarray:
        """All of it in one picture, (H, W, 3) uint8."""
        return draw_grid(self.title, self.rows, _STYLE)

    def write(self, path: str | Path) -> None:
        """Write the page as PNG, JPEG or HTML, by the suffix.

        Raises:
            PersamError: it cannot be written there.
        """
        if Path(path).suffix.lower() == ".html":
            write_text(path, render("explain/page.html.j2", title=self.title, way=self))
        else:
            write_image(path, self.page())

    def write_pieces(self, folder: str | Path) -> list[Path]:
        """Write every panel's picture as a PNG of its own and return the files.

        Raises:
            PersamError: they cannot be written there.
        """
        files = []
        for number, panel in enumerate(self.panels, start=1):
            name = safe_name(panel.caption.lower().replace(" · ", "-").replace(",", "").replace(" ", "-"))
            files.append(Path(folder) / f"{number:02d}-{name}.png")
            write_image(files[-1], panel.picture)
        return files


def explain(
    image: ImageSource,
    found: Segmentation,
    *,
    reference: tuple[ImageSource, np.ndarray] | None = None,
    concept: Concept | None = None,
    title: str | None = None,
) -> Explanation:
    """Show the way to one mask: what was learned, where it looked alike, and the mask after every step.

    Args:
        image: the photo that was segmented.
        found: what `PerSAM.segment(..., explain=True)` returned for it.
        reference: the photo that the concept was learned from and its mask (H, W) bool, to show them too.
        concept: the concept, to tell its mode, threshold and scale weights.
        title: stands above; by default the concept's and the photo's name.

    Raises:
        UsageError: the segmentation has no trace.
        PersamError: a photo cannot be read, or is not the one that was segmented.
    """
    trace = found.trace
    if trace is None or trace.prior is None:
        raise UsageError(
            f'The segmentation of "{found.concept}" in {found.image or "the image"} has no trace, so there is nothing '
            "to explain; segment it with explain=True."
        )
    photo = read_image(image)
    if photo.shape[:2] != trace.prior.frame.photo:
        height, width = trace.prior.frame.photo
        raise PersamError(
            f"The photo is {photo.shape[1]} x {photo.shape[0]} pixels, the segmented one was {width} x {height}; "
            "give the photo that was segmented."
        )
    view = _View(photo, found, trace, concept)
    first = [] if reference is None else [_reference_panel(*reference, found.concept)]
    first += [view.confidence_panel()]
    if view.guidance is not None:
        first.append(view.guidance_panel(view.guidance))
    first.append(view.facts_panel())
    steps = [view.step_panel(number) for number in range(len(trace.steps))]
    rows = [first, [*steps, view.result_panel()]] if trace.closer is None else [first, steps]
    if trace.closer is not None:
        x0, y0, x1, y1 = trace.closer.window
        closer = _View(photo[y0:y1, x0:x1], found, trace.closer.found, concept)
        steps = [closer.step_panel(number, of="Closer look, step") for number in range(len(closer.trace.steps))]
        rows.append([closer.confidence_panel("Closer look, confidence map"), *steps, view.result_panel()])
    name = Path(found.image).name if found.image else "the photo"
    return Explanation(
        title or f"How “{found.concept}” was {'found' if found.found else 'looked for'} in {name}",
        tuple(map(tuple, rows)),
    )


def _reference_panel(image: ImageSource, mask: np.ndarray, name: str) -> Tile:
    photo = read_image(image)
    if mask.shape != photo.shape[:2]:
        raise PersamError(
            f"The reference is {photo.shape[1]} x {photo.shape[0]} pixels, its mask {mask.shape[1]} x {mask.shape[0]}; "
            "give the two that belong together."
        )
    shown = fit(photo, PANEL)
    picture = draw_overlay(shown, fit_mask(mask, shown), colour_of(name), tint=0.25, line=_LINE)
    return Tile(picture, "Reference", f"learned from this; the mask covers {mask.mean():.0%}")


class _View:
    """The photo at the size of a panel, and what can be shown on it."""

    def __init__(self, photo: np.ndarray, found: Segmentation, trace: Instance, concept: Concept | None) -> None:
        self.found, self.trace, self.concept = found, trace, concept
        assert trace.prior is not None
        self.prior = trace.prior
        self.photo = fit(photo, PANEL)
        # The same geometry for the small photo: nothing is resized to the full one on the way.
        height, width = self.photo.shape[:2]
        self.frame: Frame = replace(self.prior.frame, photo=(height, width))
        self.colour: Colour = colour_of(found.concept)
        self.points = self.frame.to_photo(self.prior.points)
        guidance = self.prior.guidance  # steers the first pass's attention
        self.guidance = None if guidance is None else guidance.attention
        self.weights = None if concept is None else concept.scale_weights

    def confidence_panel(self, caption: str = "Confidence map and points") -> Tile:
        values = replace(self.trace, prior=replace(self.prior, frame=self.frame)).confidence_map()
        low, high = float(values.min()), float(values.max())
        picture = mark_points(heat(self.photo, values, low, high), self.points, self.prior.labels)
        what = "likeness to the concept" if self.prior.alike is None else "chance that it is the concept"
        note = f"{what}, {low:.2f} to {high:.2f}"
        return Tile(_stacked(picture, colour_bar(PANEL, low, high)), caption, note)

    def guidance_panel(self, attention: torch.Tensor) -> Tile:
        cells = attention.reshape(self.frame.grid).float().cpu().numpy()
        rows, columns = cells.shape
        (height, width), content, canvas = self.photo.shape[:2], self.frame.content, self.frame.canvas
        y = ((np.arange(height) + 0.5) * content[0] / height * rows / canvas[0]).astype(int).clip(0, rows - 1)
        x = ((np.arange(width) + 0.5) * content[1] / width * columns / canvas[1]).astype(int).clip(0, columns - 1)
        values = cells[y[:, None], x[None, :]]
        low, high = float(values.min()), float(values.max())
        note = f"added to the decoder's attention, grid {columns} x {rows}"
        return Tile(_stacked(heat(self.photo, values, low, high), colour_bar(PANEL, low, high)), "Guidance", note)

    def step_panel(self, number: int, of: str = "Step") -> Tile:
        step = self.trace.steps[number]
        mask = self._mask(step.taken)
        picture = draw_overlay(self.photo, mask, SOFT if step.dropped else self.colour, line=_LINE)
        if step.box is not None:
            picture = draw_box(picture, self.frame.to_photo(np.reshape(step.box, (2, 2))).reshape(4).tolist())
        if number == 0:
            picture = mark_points(picture, self.points, self.prior.labels, size=8)
        if len(step.logits) > 1:
            picture = _stacked(picture, self._candidates(step))
        return Tile(picture, f"{of} {number + 1} · {step.name}", _note_of(step, mask))

    def result_panel(self) -> Tile:
        found = self.found
        mask = fit_mask(found.mask, self.photo)
        picture = draw_overlay(self.photo, mask, self.colour, tint=0.15, dim=0.6, line=_LINE)
        for instance in found.instances if len(found.instances) > 1 else ():
            picture = draw_overlay(picture, fit_mask(instance.mask, self.photo), self.colour, tint=0.0, line=_LINE)
        if self.trace.redrawn is not None:
            scale = np.tile(np.divide(self.photo.shape[1::-1], found.mask.shape[::-1]), 2)
            picture = draw_box(picture, (np.array(self.trace.redrawn) * scale).tolist())
        verdict = "present" if found.present else "not present"
        verdict += " (unsure)" if found.verdict == "unsure" else ""
        return Tile(picture, "Result", f"{verdict}, score {found.score:.2f}, mask {found.area:.0%}")

    def facts_panel(self) -> Tile:
        found, concept = self.found, self.concept
        facts = [("concept", found.concept), ("score", f"{found.score:.3f}")]
        if found.similarity is not None:
            facts.append(("similarity", f"{found.similarity:.3f}"))
        if concept is not None:
            facts += [
                ("mode", f"{concept.mode}, {'tuned (PerSAM-F)' if concept.tuned else 'not tuned (PerSAM)'}"),
                ("model", concept.model_name),
            ]
        facts.append(("box", ", ".join(str(v) for v in found.box) if found.box else "none"))
        if self.trace.closer is not None:
            x0, y0, x1, y1 = self.trace.closer.window
            facts.append(("closer look", f"at {x1 - x0} x {y1 - y0} pixels from {x0}, {y0}"))
        if self.trace.redrawn is not None:
            x0, y0, x1, y1 = self.trace.redrawn
            facts.append(("drawn again", f"in {x1 - x0} x {y1 - y0} pixels from {x0}, {y0}"))
        if self.prior.whole is not None:
            facts.append(("place", "not the likeliest, which is taken out"))
        if self.guidance is None:
            facts.append(("guidance", "off"))
        if len(found.instances) > 1:
            facts.append(("instances", f"{len(found.instances)}; the way shown is the first one's"))
        legend = (
            "positive point: most alike",
            "negative point: least alike",
            "box of a pass; window of the result",
            "masks on offer, with their predicted IoU",
        )
        top = 24 * len(facts) + 12
        page = Image.new("RGB", (PANEL, top + 26 * len(legend)), PAPER)
        draw = ImageDraw.Draw(page)
        for line, (word, value) in enumerate(facts):
            text = fit_text(value, PANEL - 96, 15)
            draw.text((0, 24 * line), word, font=font(15), fill=SOFT)
            draw.text((92, 24 * line), text, font=font(15, text), fill=INK)
        for line, text in enumerate(legend):
            draw.text((32, top + 26 * line), text, font=font(15), fill=INK)
        draw.rectangle((3, top + 56, 21, top + 68), outline=(0, 0, 0), width=2)
        for left in (0, 9, 18):
            draw.rectangle((left, top + 83, left + 6, top + 93), fill=self.colour if left == 9 else SOFT)
        marked = mark_points(np.asarray(page), np.array([[12, top + 9]]), np.array([1]))
        marked = mark_points(marked, np.array([[12, top + 35]]), np.array([0]))
        return Tile(marked, "What was looked for", "and what the marks mean")

    def _mask(self, logits: torch.Tensor) -> np.ndarray:
        """Logits (h, w) over the canvas as a mask at the panel's size."""
        return self.frame.to_photo_mask(logits.cpu()).numpy()

    def _candidates(self, step: Step) -> np.ndarray:
        """The masks that a pass offered, small, the taken one framed."""
        count, gap = len(step.logits), 8
        side = (PANEL - gap * (count - 1)) // count
        small = fit(self.photo, side - 6)
        height, width = small.shape[:2]
        frame = replace(self.frame, photo=(height, width))
        strip = Image.new("RGB", (PANEL, height + 6 + 22), PAPER)
        draw = ImageDraw.Draw(strip)
        for index in range(count):
            mask = frame.to_photo_mask(step.logits[index].cpu()).numpy()
            left = index * (side + gap)
            is_taken = index == step.best
            if is_taken:
                draw.rectangle((left, 0, left + width + 5, height + 5), outline=self.colour, width=3)
            strip.paste(Image.fromarray(draw_overlay(small, mask, self.colour)), (left + 3, 3))
            text = f"IoU {float(step.scores[index]):.2f}"
            if step.best < 0 and self.weights is not None:
                text += f" · w {self.weights[index]:.2f}"
            elif is_taken:
                text += " · taken"
            draw.text((left + 2, height + 8), text, font=font(13), fill=INK if is_taken else SOFT)
        return np.asarray(strip)


def _stacked(picture: np.ndarray, below: np.ndarray) -> np.ndarray:
    """A picture with what stands under it, both in the middle, (H, W, 3) uint8."""
    width = max(picture.shape[1], below.shape[1])
    parts = []
    for part in (picture, np.empty((6, 0, 3), np.uint8), below):
        left = (width - part.shape[1]) // 2
        right = width - part.shape[1] - left
        parts.append(cv2.copyMakeBorder(part, 0, 0, left, right, cv2.BORDER_CONSTANT, value=PAPER))
    return np.vstack(parts)


def _note_of(step: Step, mask: np.ndarray) -> str:
    if step.dropped:
        return "dropped (empty or runaway): the step before counts"
    text = "weighted sum of the three scales" if step.best < 0 else f"predicted IoU {float(step.scores[step.best]):.2f}"
    return f"{text}, mask {mask.mean():.0%}"
