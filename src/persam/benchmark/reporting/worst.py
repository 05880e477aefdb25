"""The worst cases at one look: each reference, and beside it what every method made of the photo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
from PIL import Image

from persam.benchmark.records import Query, Record, grouped
from persam.drawing import PALETTE, draw_overlay
from persam.errors import PersamError
from persam.geometry import fit, fit_mask
from persam.reports.contact_sheet import ContactSheet

TRUTH, PREDICTION = PALETTE[3], PALETTE[0]  # green and pink
CASES_ARE = "truth outlined green, prediction tinted pink"
_CASES = 12
_PER_OBJECT = 3  # one object that is never found must not fill the sheet
_SIDE = 480  # pictures are drawn at the size at which they are shown, so that outlines stay visible
_COLUMNS = 6


def worst_queries(records: Sequence[Record], count: int = _CASES) -> list[str]:
    """Names of the queries with the lowest IoU (mean over the methods), the worst first, at most three an object."""
    shown: Counter[str] = Counter()
    chosen: list[str] = []
    for answers in sorted(grouped(records, "query").values(), key=lambda each: mean(record.iou for record in each)):
        if len(chosen) < count and shown[answers[0].object] < _PER_OBJECT:
            shown[answers[0].object] += 1
            chosen.append(answers[0].query)
    return chosen


def worst_sheet(
    records: Sequence[Record],
    queries: Sequence[Query],
    prediction: Callable[[str, str], np.ndarray | None],
    title: str,
) -> ContactSheet:
    """Draw the worst cases: the reference with its mask, then for each method truth and prediction on the photo.

    Args:
        records: of all methods.
        queries: of the run.
        prediction: gives the mask (H, W) bool of a method for a query, or None if there is none.
        title: stands above.
    """
    methods = list(dict.fromkeys(record.method for record in records))
    by_query = {query.name: query for query in queries}
    of = {(record.method, record.query): record for record in records}
    width = 1 + len(methods)
    sheet = ContactSheet(
        f"{title}: worst cases; {CASES_ARE}",
        columns=width * max(1, _COLUMNS // width),
    )
    for name in worst_queries(records):
        query = by_query[name]
        _add_reference(sheet, query)
        for method in methods:
            record = of.get((method, name))
            if record is not None:
                _add_answer(sheet, query, record, prediction(method, name))
    return sheet


def _add_reference(sheet: ContactSheet, query: Query) -> None:
    reference = query.episode.references[0]
    more = len(query.episode.references) - 1
    caption = f"reference {reference.name}" + (f" + {more}" if more else "")
    try:
        pixels, mask = reference.read()
    except PersamError:
        sheet.add_picture(_blank(), caption, "cannot be read", found=False)
        return
    small = fit(pixels, _SIDE)
    sheet.add_picture(draw_overlay(small, fit_mask(mask, small), TRUTH), caption, query.episode.object)


def _add_answer(sheet: ContactSheet, query: Query, record: Record, mask: np.ndarray | None) -> None:
    note = f"{record.method} · failed" if record.failure is not None else f"{record.method} · IoU {record.iou:.2f}"
    try:
        pixels, truth = query.sample.read()
    except PersamError:
        sheet.add_picture(_blank(), query.name, note, found=False)
        return
    picture = fit(pixels, _SIDE)
    small_truth = fit_mask(truth, picture)
    if mask is not None and mask.shape == truth.shape:
        picture = draw_overlay(picture, fit_mask(mask, picture), PREDICTION, tint=0.55, line=1)
    picture = draw_overlay(picture, small_truth, TRUTH, tint=0.0, line=3)
    sheet.add_picture(picture, query.name, note, found=record.failure is None)


def read_prediction(path: Path) -> np.ndarray | None:
    """The mask that `persam.reports.pictures.write_mask` wrote, (H, W) bool; None if there is no such file."""
    if not path.is_file():
        return None
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L")) > 127


def _blank() -> np.ndarray:
    return np.full((_SIDE * 3 // 4, _SIDE, 3), 225, np.uint8)
