"""Annotators by program, who click, drag and paint as people do: near the middle of what is wrong, and not exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

Place = tuple[float, float]
Tool = Literal["add", "remove", "box", "brush", "eraser"]


@dataclass(frozen=True)
class Gesture:
    """What a hand does once: a tool, and the places (x, y) in pixels of the photo that it goes through."""

    tool: Tool
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Annotator:
    """How somebody works.

    Attributes:
        name: as typed into the page.
        begins: with a click in the middle, or a box around it.
        paints: corrects with brush and eraser at once; others click first, and paint where that does not help.
        tremor: of the hand, as a share of what is aimed at.
        taste: by how much of its size this person sees the thing larger (or smaller, below 0) than the truth has it.
        content: stops when no more than this share of the thing is wrong.
        patience: corrections of each kind, at most.
    """

    name: str
    begins: Literal["click", "box"] = "click"
    paints: bool = False
    tremor: float = 0.1
    taste: float = 0.0
    content: float = 0.08
    patience: int = 2

    @property
    def corrections(self) -> int:
        """How many there are at most."""
        return self.patience if self.paints else 2 * self.patience

    def sees(self, truth: np.ndarray) -> np.ndarray:
        """The thing as this person would draw it, (H, W) bool."""
        reach = round(abs(self.taste) * float(np.sqrt(truth.sum())))
        if reach == 0:
            return truth
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        seen = (cv2.dilate if self.taste > 0 else cv2.erode)(truth.astype(np.uint8), disc).astype(bool)
        return seen if seen.any() and not seen.all() else truth

    def first(self, seen: np.ndarray, rng: np.random.Generator) -> Gesture:
        """The first gesture on a photo."""
        if self.begins == "click":
            return Gesture("add", (self._aim(_largest(seen)[0], rng),))
        y, x = np.nonzero(seen)
        height, width = seen.shape
        shake = self.tremor / 2 * float(np.sqrt(seen.sum())) * rng.normal(size=4)
        corners = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) + np.abs(shake) * [-1, -1, 1, 1]
        x0, y0, x1, y1 = (float(each) for each in np.clip(corners, 1, [width - 1, height - 1] * 2))
        return Gesture("box", ((x0, y0), (x1, y1)))

    def correction(
        self, seen: np.ndarray, mask: np.ndarray, done: int, brush: float, rng: np.random.Generator
    ) -> Gesture | None:
        """What this person does about a mask.

        Args:
            seen: what should be marked, (H, W) bool.
            mask: what is, (H, W) bool.
            done: corrections of this photo so far.
            brush: half of the width of the brush, in pixels of the photo.
            rng: of the hand.

        Returns:
            None: content with it, or out of patience.
        """
        if mask.all() or not mask.any():  # a study takes neither
            return Gesture("eraser", _zigzag(~seen, brush)) if mask.any() else Gesture("brush", _zigzag(seen, brush))
        if done >= self.corrections:
            return None
        if (seen ^ mask).sum() <= self.content * seen.sum():
            return None
        missing, surplus = _largest(seen & ~mask), _largest(mask & ~seen)
        lacks = missing[1] >= surplus[1]
        part = missing[0] if lacks else surplus[0]
        if self.paints or done >= self.patience:
            return Gesture("brush" if lacks else "eraser", _zigzag(part, brush))
        return Gesture("add" if lacks else "remove", (self._aim(part, rng),))

    def _aim(self, part: np.ndarray, rng: np.random.Generator) -> Place:
        """A place near the middle of a part, nearly always within it."""
        depth = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        shake = np.clip(rng.normal(size=2), -2, 2) * self.tremor * float(np.sqrt(part.sum()))
        height, width = part.shape
        return float(np.clip(x + 0.5 + shake[0], 1, width - 1)), float(np.clip(y + 0.5 + shake[1], 1, height - 1))


def _largest(where: np.ndarray) -> tuple[np.ndarray, int]:
    """The largest connected part, (H, W) bool, and its pixels."""
    count, labels, numbers, _ = cv2.connectedComponentsWithStats(where.astype(np.uint8), connectivity=4)
    if count == 1:
        return where, 0
    largest = 1 + int(numbers[1:, cv2.CC_STAT_AREA].argmax())
    return labels == largest, int(numbers[largest, cv2.CC_STAT_AREA])


def _zigzag(part: np.ndarray, brush: float) -> tuple[Place, ...]:
    """To and fro over a part, from its top to its bottom, with a brush of this half width that stays inside."""
    reach = max(1, round(0.8 * brush))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    inner = cv2.erode(part.astype(np.uint8), disc, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool)
    part = inner if inner.any() else part
    way: list[Place] = []
    for number, y in enumerate(np.flatnonzero(part.any(1))[:: max(1, round(1.4 * brush))]):
        x = np.flatnonzero(part[y])
        ends = [(float(x[0]) + 0.5, float(y) + 0.5), (float(x[-1]) + 0.5, float(y) + 0.5)]
        way += ends if number % 2 == 0 else ends[::-1]
    return tuple(way)
