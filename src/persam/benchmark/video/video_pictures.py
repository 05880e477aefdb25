"""Where a method loses its objects: a strip of frames of every sequence, and J over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from persam.benchmark.records import Query, Record, grouped
from persam.benchmark.reporting.worst import TRUTH
from persam.benchmark.video.sequences import VideoSequence
from persam.drawing import PALETTE, draw_overlay
from persam.errors import PersamError
from persam.geometry import fit, fit_mask
from persam.images import read_image
from persam.reports.figures import COLOURS, new_figure, png_of
from persam.reports.pictures import GridStyle, Tile, draw_grid

Found = Callable[[str, str], np.ndarray | None]  # the mask (H, W) bool of a method for a query
STRIP_IS = "truth outlined in green, what was found tinted; a cross: nothing was found, and nothing is drawn"
PLACES = 5  # frames of a strip
_STYLE = GridStyle(cell=300, gap=10, text=44, letters=(14, 13), above=True)
_TINTS = tuple(colour for colour in PALETTE if colour != TRUTH)
_DASHES = ("-", "--", ":", "-.")


def strip(
    sequence: VideoSequence, records: Sequence[Record], found: Found, names: Sequence[str] | None = None
) -> np.ndarray:
    """A row for every method, in it frames of the sequence, evenly spread: (H, W, 3) uint8.

    Args:
        sequence: which one.
        records: of all methods in it, or in more.
        found: gives masks.
        names: of the methods; by default all of those with records.
    """
    counted = sequence.counted
    places = np.linspace(0, len(counted) - 1, min(PLACES, len(counted)))
    numbers = [counted[round(place)] for place in places.tolist()]
    by_question = {(record.method, record.query): record for record in records}
    methods = names or list(dict.fromkeys(record.method for record in records))
    backs = {number: _back(sequence, number) for number in numbers}
    rows = []
    for method in methods:
        row = []
        for number in numbers:
            asked = [(one.value, one.queries[number]) for one in sequence.objects if number in one.queries]
            caption = f"{method} · {sequence.frames[number].stem}"
            row.append(_tile(backs[number], asked, method, by_question, found, caption))
        rows.append(row)
    return draw_grid(sequence.name, rows, _STYLE)


def _back(sequence: VideoSequence, number: int) -> np.ndarray | None:
    """A frame, small; None where it cannot be read."""
    try:
        return fit(read_image(sequence.frames[number]), _STYLE.cell)
    except PersamError:
        return None


def _tile(
    back: np.ndarray | None,
    asked: Sequence[tuple[int, Query]],
    method: str,
    records: dict[tuple[str, str], Record],
    found: Found,
    caption: str,
) -> Tile:
    if back is None:
        return Tile(np.full((_STYLE.cell * 9 // 16, _STYLE.cell, 3), 225, np.uint8), caption, "cannot be read")
    picture, ious, absent = back, [], 0
    outlines = []
    for place, (_, query) in enumerate(asked):
        record = records.get((method, query.name))
        if record is None:
            continue
        ious.append(record.iou)
        mask = found(method, query.name)
        if mask is None or not mask.any():
            absent += 1
        else:
            tint = _TINTS[place % len(_TINTS)]
            picture = draw_overlay(picture, fit_mask(mask, picture), tint, tint=0.55, line=1)
        try:
            outlines.append(query.sample.read()[1])
        except PersamError:
            continue
    for truth in outlines:
        picture = draw_overlay(picture, fit_mask(truth, picture), TRUTH, tint=0.0, line=1)
    note = f"J {np.mean(ious):.2f}" if ious else "–"
    if ious and absent == len(ious):
        picture = _crossed(picture)
        note += " · absent"
    elif absent:
        note += f" · {absent} of {len(ious)} absent"
    return Tile(picture, caption, note)


def _crossed(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    crossed = np.ascontiguousarray(picture.copy())
    for start, end in (((0, 0), (width - 1, height - 1)), ((width - 1, 0), (0, height - 1))):
        cv2.line(crossed, start, end, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.line(crossed, start, end, _TINTS[0], 1, cv2.LINE_AA)
    return crossed


def j_over_time(sequence: VideoSequence, records: Sequence[Record]) -> bytes:
    """J of every frame, the mean over its objects, one line a method: a PNG file."""
    numbers = {query.name: number for one in sequence.objects for number, query in one.queries.items()}
    own = [record for record in records if record.query in numbers]
    figure, axes = new_figure(8, 2.6)
    axis = axes[0, 0]
    for place, (method, answers) in enumerate(grouped(own, "method").items()):
        by_frame: dict[int, list[float]] = {}
        for record in answers:
            by_frame.setdefault(numbers[record.query], []).append(record.iou)
        frames = sorted(by_frame)
        axis.plot(
            frames,
            [float(np.mean(by_frame[number])) for number in frames],
            _DASHES[place // len(COLOURS) % len(_DASHES)],
            color=COLOURS[place % len(COLOURS)],
            linewidth=1.5,
            marker="." if len(frames) < 3 else None,
            label=method,
        )
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel("frame", fontsize=9)
    axis.set_ylabel("J", fontsize=9)
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    figure.suptitle(sequence.name, fontsize=11, x=0.01, ha="left")
    figure.legend(loc="outside lower center", ncols=min(4, len(axis.lines)), frameon=False, fontsize=9)
    return png_of(figure)
