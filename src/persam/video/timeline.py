"""When each object is on screen: a table of the stretches, and a picture of them with the score over time."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from persam.drawing import Colour, fit_text, font
from persam.files import write_csv
from persam.reports.pictures import INK, PAPER, SOFT, write_image
from persam.video.results import is_on_screen
from persam.video.writers import RATE

TIMELINE_TABLE, TIMELINE_PICTURE = "timeline.csv", "timeline.png"

_FINER = 3  # times; drawn so much larger and made smaller, so that lines are smooth
_MOST_FINE = 20  # rows: beyond them it would be a picture of many millions of pixels
# Pixels of the finished picture.
_NAMES, _WIDTH, _SHARES = 170, 960, 64  # columns: names, time, share of the frames
_TOP, _ROW, _GAP, _AXIS, _EDGE = 44, 52, 14, 40, 20
_BAR = 7  # height of the bar below the score
_FAINT, _LINE = (238, 238, 234), (222, 222, 217)
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)  # seconds between ticks
_MOST_TICKS = 9


@dataclass(frozen=True)
class Stretch:
    """Frames in a row in which an object is on screen.

    Attributes:
        object: its name.
        from_frame, to_frame: numbers of the first and the last one.
        from_s, to_s: when these are shown, in seconds; None where the clip does not say.
        frames: how many.
        mean_score: of the object in them, 0 to 1.
    """

    object: str
    from_frame: int
    to_frame: int
    from_s: float | None
    to_s: float | None
    frames: int
    mean_score: float


@dataclass
class Timeline:
    """The objects of a clip over time; a few bytes for every frame.

    Attributes:
        names: of the objects.
        numbers: of the frames, in order.
        times: when they are shown, in seconds; empty where the clip does not say.
        scores: of every object in every frame, -1 less the score where it is not on screen.
        threshold: score from which on an object counts as present; None in mode official, which has none.
    """

    names: list[str] = field(default_factory=list)
    numbers: array[int] = field(default_factory=lambda: array("q"))
    times: array[float] = field(default_factory=lambda: array("d"))
    scores: list[array[float]] = field(default_factory=list)
    threshold: float | None = None

    @classmethod
    def of(cls, lines: Iterable[dict[str, Any]]) -> Timeline:
        """From the lines of ``results.jsonl``."""
        line = cls()
        for each in lines:
            if not line.names:
                line.names = [one["concept"] for one in each["objects"]]
                line.scores = [array("d") for _ in line.names]
                line.threshold = each["objects"][0].get("threshold")
            line.numbers.append(each["frame"])
            if each["time"] is not None:
                line.times.append(each["time"])
            for scores, one in zip(line.scores, each["objects"], strict=True):
                scores.append(one["score"] if is_on_screen(one) else -1 - one["score"])
        return line

    @property
    def present(self) -> dict[str, int]:
        """In how many frames every object is on screen."""
        return {name: sum(score >= 0 for score in scores) for name, scores in self._objects()}

    @property
    def least_sure(self) -> dict[str, tuple[int, float]]:
        """The frame in which every object has its lowest score, and this, of those in which it is on screen; where it
        is 1 everywhere, as in mode official, nothing is told of it."""
        least = {}
        for name, scores in self._objects():
            place = min(range(len(scores)), key=lambda each: scores[each] if scores[each] >= 0 else 2.0)
            if 0 <= scores[place] < 1:
                least[name] = self.numbers[place], scores[place]
        return least

    def _objects(self) -> Iterator[tuple[str, array[float]]]:
        return zip(self.names, self.scores, strict=True)

    def stretches(self) -> Iterator[Stretch]:
        """When each object is on screen, object by object."""
        for name, scores in self._objects():
            for start, end in self.runs(np.frombuffer(scores) >= 0):
                timed = len(self.times) == len(self.numbers)
                yield Stretch(
                    name,
                    self.numbers[start],
                    self.numbers[end - 1],
                    self.times[start] if timed else None,
                    self.times[end - 1] if timed else None,
                    end - start,
                    round(math.fsum(scores[start:end]) / (end - start), 4),
                )

    @staticmethod
    def runs(there: np.ndarray) -> list[tuple[int, int]]:
        """Where a row of bools (N,) is true: the first place and the one after the last of every run."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8)))
        return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]

    def edges(self) -> np.ndarray:
        """When every frame begins and the last one ends, in seconds or in frames, (N + 1,)."""
        times = np.frombuffer(self.times) if len(self.times) == len(self.numbers) else np.array(self.numbers, float)
        usual = float(np.median(np.diff(times))) if len(times) > 1 else 1 / float(RATE) if len(self.times) else 1.0
        return np.append(times, times[-1] + usual)


def write_timeline(folder: Path, names: Collection[str], timeline: Timeline, colours: Sequence[Colour]) -> None:
    """Write ``timeline.csv`` and ``timeline.png``.

    Args:
        folder: where.
        names: which of the two.
        timeline: with a frame at least.
        colours: of the objects.

    Raises:
        PersamError: a file cannot be written.
    """
    if TIMELINE_TABLE in names:
        header = [each.name for each in fields(Stretch)]
        write_csv(folder / TIMELINE_TABLE, [header, *(_cells(each) for each in timeline.stretches())])
    if TIMELINE_PICTURE in names:
        write_image(folder / TIMELINE_PICTURE, timeline_picture(timeline, colours))


def _cells(stretch: Stretch) -> list[object]:
    return ["" if value is None else value for value in astuple(stretch)]


# -------------------------------------------------------------------------------------------------- the picture


def timeline_picture(timeline: Timeline, colours: Sequence[Colour]) -> np.ndarray:
    """A row for each object: its score as a line, and below it a bar where it is on screen; (H, W, 3) uint8.

    Args:
        timeline: with a frame at least.
        colours: of the objects.
    """
    rows = len(timeline.names)
    fine = _FINER if rows <= _MOST_FINE else 1
    size = (_EDGE + _NAMES + _WIDTH + _SHARES, _TOP + rows * (_ROW + _GAP) + _AXIS)
    page = Image.new("RGB", (size[0] * fine, size[1] * fine), PAPER)
    paint = _Paint(ImageDraw.Draw(page), fine)
    edges = timeline.edges()
    columns = (edges - edges[0]) / (edges[-1] - edges[0]) * _WIDTH + _EDGE + _NAMES
    bottom = _TOP + rows * (_ROW + _GAP) - _GAP / 2
    dotted = "" if timeline.threshold is None else " (dotted: threshold)"
    paint.text(_EDGE + _NAMES, 10, f"line: score, 0 to 1{dotted}; bar: on screen", 12, SOFT, "la")
    _draw_axis(paint, edges, bottom, timed=len(timeline.times) == len(timeline.numbers))
    for row, (name, scores, colour) in enumerate(zip(timeline.names, timeline.scores, colours, strict=True)):
        _draw_row(paint, _TOP + row * (_ROW + _GAP), name, np.frombuffer(scores), columns, colour, timeline.threshold)
    return np.asarray(page.resize(size, Image.Resampling.LANCZOS) if fine > 1 else page)


class _Paint:
    """Draws in pixels of the finished picture."""

    def __init__(self, draw: ImageDraw.ImageDraw, fine: int) -> None:
        self._draw, self._fine = draw, fine

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, radius: float = 0) -> None:
        """A filled rectangle, one pixel wide at least."""
        place = [x0 * self._fine, y0 * self._fine, max(x1, x0 + 1) * self._fine - 1, y1 * self._fine - 1]
        self._draw.rounded_rectangle(place, radius * self._fine, fill=colour)

    def line(self, points: np.ndarray, colour: Colour, width: float) -> None:
        """A line through points (N, 2)."""
        self._draw.line([*(points * self._fine).ravel().tolist()], colour, round(width * self._fine), joint="curve")

    def text(self, x: float, y: float, text: str, size: int, colour: Colour, anchor: str) -> None:
        """A text; `anchor` as Pillow has it."""
        place = (x * self._fine, y * self._fine)
        self._draw.text(place, text, font=font(size * self._fine, text), fill=colour, anchor=anchor)


def _draw_axis(paint: _Paint, edges: np.ndarray, bottom: float, *, timed: bool) -> None:
    length = float(edges[-1] - edges[0])
    step = _step_of(length, timed=timed)
    for tick in range(math.ceil(edges[0] / step), math.floor(edges[-1] / step) + 1):
        x = _EDGE + _NAMES + (tick * step - edges[0]) / length * _WIDTH
        paint.line(np.array([[x, _TOP - 6], [x, bottom + 5]]), _LINE, 1)
        paint.text(x, bottom + 9, _named(tick * step, length) if timed else f"{tick * step:g}", 12, SOFT, "ma")
    paint.text(_EDGE + _NAMES + _WIDTH + _SHARES - 10, 10, "on screen", 12, SOFT, "ra")
    paint.text(_EDGE, bottom + 9, "time" if timed else "frame", 12, SOFT, "la")


def _step_of(length: float, *, timed: bool) -> float:
    """Seconds or frames between two ticks: a round number, with few ticks."""
    least = length / _MOST_TICKS
    if timed and least > _STEPS[0]:
        return next((step for step in _STEPS if step >= least), _STEPS[-1] * math.ceil(least / _STEPS[-1]))
    power = 10 ** math.floor(math.log10(least))
    step = next(factor for factor in (1, 2, 5, 10) if factor * power >= least * 0.999) * power
    return step if timed else max(1, step)


def _named(seconds: float, length: float) -> str:
    """A time as people write it: 1.5 s in a short clip, 2:30 in a longer one, 1:02:30 in a long one."""
    if length < 60:
        return f"{seconds:g} s" if seconds == 0 else f"{seconds:.3g} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if length >= 3600 else f"{minutes}:{rest:02}"


def _draw_row(
    paint: _Paint,
    top: float,
    name: str,
    scores: np.ndarray,
    columns: np.ndarray,
    colour: Colour,
    threshold: float | None,
) -> None:
    left, right = _EDGE + _NAMES, _EDGE + _NAMES + _WIDTH
    there = scores >= 0
    low = top + _ROW - _BAR  # the bar's upper edge
    paint.box(_EDGE, top + _ROW / 2 - 6, _EDGE + 12, top + _ROW / 2 + 6, colour, 3)
    paint.text(_EDGE + 20, top + _ROW / 2, fit_text(name, _NAMES - 32, 14), 14, INK, "lm")
    paint.text(right + _SHARES - 10, top + _ROW / 2, f"{100 * there.mean():.0f} %", 13, SOFT, "rm")
    paint.box(left, low, right, top + _ROW, _FAINT, _BAR / 2)
    for start, end in Timeline.runs(there):
        paint.box(columns[start], low, columns[end], top + _ROW, colour, min(_BAR, columns[end] - columns[start]) / 2)
    base, height = low - 4, low - 4 - top  # of a score of 0, and of 1 above it
    for at, label in ((base, "0"), (top, "1")):
        paint.line(np.array([[left, at], [right, at]]), _LINE, 1)
        paint.text(left - 5, at, label, 9, SOFT, "rm")
    if threshold is not None:
        for x in range(left, right, 6):
            paint.box(x, base - threshold * height, x + 2, base - threshold * height + 1, SOFT)
    values, places = np.where(there, scores, -1 - scores), (columns[:-1] + columns[1:]) / 2
    heights = base - values.clip(0, 1) * height
    dark = tuple(round(channel * 0.72) for channel in colour)
    paint.line(_thinned(places, heights), (dark[0], dark[1], dark[2]), 2)


def _thinned(places: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """A line (N, 2) with four points a pixel at most: the first, the highest, the lowest and the last one in it."""
    if len(places) == 1:
        return np.array([[places[0] - 0.5, heights[0]], [places[0] + 0.5, heights[0]]])
    if len(places) <= 2 * _WIDTH:
        return np.stack([places, heights], 1)
    kept = []
    pixels = np.floor(places).astype(int)
    for part in np.split(np.arange(len(places)), np.flatnonzero(np.diff(pixels)) + 1):
        kept += sorted({part[0], part[heights[part].argmin()], part[heights[part].argmax()], part[-1]})
    return np.stack([places[kept], heights[kept]], 1)
