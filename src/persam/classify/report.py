"""The report of a bench: tables, the plot of accuracy over shots, a page with the photos that were mistaken."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from persam.classify.accuracy import CACHE, METHODS, OBJECT, SUREST, WHOLE, WORDS, ClassifyBench
from persam.classify.descriptions import SMALL, DescribedPhoto
from persam.drawing import colour_of, draw_overlay
from persam.errors import PersamError
from persam.files import expanded, write_bytes, write_text
from persam.geometry import fit_mask, shrink
from persam.images import read_smaller
from persam.ledger import claimed, holds_json
from persam.metrics.statistics import RESAMPLES, Interval
from persam.reports.figures import COLOURS, new_figure, png_of
from persam.reports.page import render
from persam.reports.pictures import data_uri
from persam.reports.provenance import versions
from persam.reports.tables import Table, to_csv
from persam.words import counted

PAGE, METRICS_JSON, PLOT = "report.html", "classify.json", "accuracy.png"
FILES = (PAGE, METRICS_JSON, PLOT, "table.md", "named.csv")
_SHOWN = 24  # photos on the page


@dataclass(frozen=True, eq=False)
class ShownPhoto:
    """A photo on the page: picture (h, w, 3) uint8, its class, and what it was taken for."""

    picture: np.ndarray
    caption: str
    note: str
    is_right: bool


def claimed_folder(folder: str | Path, *, overwrite: bool = False) -> AbstractContextManager[None]:
    """Hold a report's folder while the photos are looked at.

    Raises:
        UsageError: a file of others has the name of one of the report's.
        PersamError: it cannot be written, or another command writes there.
    """
    return claimed(
        folder, FILES, is_ours=lambda place: holds_json(place / METRICS_JSON, "accuracy"), overwrite=overwrite
    )


def write_report(result: ClassifyBench, out: str | Path) -> Path:
    """Write ``report.html``, ``table.md``, ``accuracy.png``, ``named.csv`` and ``classify.json``.

    Returns:
        The page.

    Raises:
        PersamError: it cannot be written, or matplotlib is not installed.
    """
    folder = expanded(out)
    picture = plot(result)
    write_bytes(folder / PLOT, picture)
    tables = [accuracy_table(result), *gain_tables(result)]
    write_text(folder / "table.md", "\n".join(table.markdown() for table in tables))
    write_text(folder / "named.csv", to_csv(_rows(result)))
    write_text(folder / METRICS_JSON, json.dumps(figures(result), indent=2, ensure_ascii=False) + "\n")
    page = render(
        "classify/report.html.j2",
        result=result,
        tables=tables,
        classes=class_table(result),
        plot=data_uri(picture, "png"),
        shown=_shown(result),
        left_out=result.described.left_out,
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def title(result: ClassifyBench) -> str:
    """What the figures stand under."""
    described = result.described
    objects = f", objects found by {described.describer.model.model.name}" if described.has_foreground else ""
    return (
        f"Few-shot classification: {len(described.names)} classes, {len(described.photos)} photos, features of "
        f"{described.describer.features.name}{objects}"
    )


def accuracy_table(result: ClassifyBench) -> Table:
    """Accuracy in percent over shots, a row for each kind of features and method."""
    without = _without_shots(result)
    shots = (*((0,) if without else ()), *result.shots)
    pairs = [(features, method) for method in METHODS for features in _kinds(result)]
    rows = tuple(
        (features, method, *(percent(result.accuracy(features, method, number)) for number in shots))
        for features, method in pairs
    )
    below = tuple(
        (features, method, percent(result.accuracy(features, method, 0)), *("–" for _ in result.shots))
        for features, method in without
    )
    heads = ["no shot" if number == 0 else counted(number, "shot") for number in shots]
    protocol = (
        f"Percent of photos named rightly, with the 95 % bootstrap interval that draws photos; {result.draws} draws of "
        f"shots, each with the same {result.photos_in_draw()} photos to name in all columns, {result.photos_tested()} "
        f"photos in all; chance {100 / len(result.described.names):.1f}. Photos that are nearly the same, such as "
        "frames of a clip, make the intervals too narrow."
    )
    return Table(title(result), ("features", "method", *heads), rows, below, (protocol, *result.notes))


def gain_tables(result: ClassifyBench) -> list[Table]:
    """How much better the object alone is than the whole photo; no table where only one of them was tried."""
    if len(_kinds(result)) < 2:
        return []
    rows = tuple(
        (method, *(percent(result.gain(method, number), "+") for number in result.shots)) for method in METHODS
    )
    heads = (counted(number, "shot") for number in result.shots)
    return [Table("Object alone less whole photo, percentage points", ("method", *heads), rows)]


def class_table(result: ClassifyBench) -> Table:
    """By class, with the most shots: how many are right, and what the others are taken for."""
    features, shots = _kinds(result)[-1], result.shots[-1]
    counts = result.confusion(features, CACHE, shots)
    names, rows = result.described.names, []
    for label, name in enumerate(names):
        total = int(counts[label].sum())
        wrong = counts[label].copy()
        wrong[label] = 0
        often = [each for each in np.argsort(-wrong, kind="stable")[:3] if wrong[each]]
        taken = ", ".join(f"{names[each]} ({wrong[each]})" for each in often)
        right = f"{100 * counts[label, label] / total:.0f} %" if total else "–"
        rows.append((name, str(total), right, taken or "–"))
    heading = f"Each class: {CACHE}, {features}, {counted(shots, 'shot')}"
    return Table(heading, ("class", "named", "right", "taken for (times)"), tuple(rows))


def percent(figure: Interval | None, sign: str = "") -> str:
    """A share with its interval, or a dash."""
    if figure is None:
        return "–"
    mean, low, high = (100 * each for each in figure)
    return f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def plot(result: ClassifyBench) -> bytes:
    """Accuracy over shots as PNG: a colour for each method, dashed where it sees the whole photo.

    Raises:
        PersamError: matplotlib is not installed.
    """
    figure, axes = new_figure(8, 4.5)
    axis = axes[0, 0]
    kinds = _kinds(result)
    for colour, method in zip(COLOURS, METHODS, strict=False):
        for features in kinds:
            found = [result.accuracy(features, method, number) for number in result.shots]
            means, low, high = ([100 * each[place] for each in found if each] for place in range(3))
            line = "-" if features == kinds[-1] else "--"
            axis.plot(result.shots, means, line, marker="o", markersize=4, color=colour, label=f"{method}, {features}")
            if method == CACHE:  # of all methods, they would hide each other
                axis.fill_between(result.shots, low, high, color=colour, alpha=0.1, linewidth=0)
    for colour, (features, method) in zip(COLOURS[len(METHODS) :], _without_shots(result), strict=False):
        if (alone := result.accuracy(features, method, 0)) is not None:
            axis.axhline(100 * alone.mean, color=colour, linewidth=1, linestyle=":", label=f"{method}, {features}")
    axis.axhline(100 / len(result.described.names), color="#888888", linewidth=1, label="chance")
    axis.set_xscale("log", base=2)
    axis.set_xticks(result.shots, [str(number) for number in result.shots])
    axis.set_xlabel(f"shots of a class; shaded: 95 % intervals of {CACHE}", fontsize=9)
    axis.set_ylabel("photos named rightly, percent", fontsize=9)
    axis.set_ylim(0, 101)
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8, handlelength=3)
    return png_of(figure)


def figures(result: ClassifyBench) -> dict[str, Any]:
    """All that the report shows, as plain JSON values."""
    described = result.described
    kinds = [(features, method) for features in _kinds(result) for method in METHODS]
    asked = [(*pair, number) for pair in kinds for number in result.shots]
    asked += [(*pair, 0) for pair in _without_shots(result)]
    accuracy = [
        {"features": features, "method": method, "shots": shots, **found._asdict()}
        for features, method, shots in asked
        if (found := result.accuracy(features, method, shots)) is not None
    ]
    gains = [
        {"method": method, "shots": number, **found._asdict()}
        for method in METHODS
        for number in result.shots
        if (found := result.gain(method, number)) is not None
    ]
    counts = described.labels.bincount(minlength=len(described.names)).tolist()
    return {
        "model": described.describer.model.model.name,
        "features": described.describer.features.name,
        "words": described.words is not None,
        "foreground": described.has_foreground,
        "classes": dict(zip(described.names, counts, strict=True)),
        "draws": result.draws,
        "named_in_each_draw": result.photos_in_draw(),
        "named_in_all": result.photos_tested(),
        "bootstrap": {"resamples": RESAMPLES, "seed": 0, "level": 0.95, "units": "photos"},
        "accuracy": accuracy,
        "object_less_whole": gains,
        "notes": list(result.notes),
        "left_out": [{"file": file, "error": problem} for file, problem in described.left_out],
        "versions": versions(),
    }


def _kinds(result: ClassifyBench) -> list[str]:
    return [WHOLE, OBJECT] if result.described.has_foreground else [WHOLE]


def _without_shots(result: ClassifyBench) -> list[tuple[str, str]]:
    pairs = [*((features, WORDS) for features in _kinds(result)), (OBJECT, SUREST)]
    return [pair for pair in pairs if result.of(*pair, 0)]


def _rows(result: ClassifyBench) -> list[dict[str, Any]]:
    described = result.described
    return [
        {
            "draw": one.draw,
            "shots": one.shots,
            "features": one.features,
            "method": one.method,
            "photo": described.photos[one.photo].path,
            "class": described.names[described.photos[one.photo].label],
            "named": described.names[one.named],
        }
        for one in result.named
    ]


def _shown(result: ClassifyBench) -> list[ShownPhoto]:
    """Photos with what was found in them, the mistaken ones first, each as in the first draw that asked for it."""
    described = result.described
    first: dict[int, int] = {}
    for place in result.of(_kinds(result)[-1], CACHE, result.shots[-1]):
        first.setdefault(result.named[place].photo, result.named[place].named)
    order = sorted(first, key=lambda number: first[number] == described.photos[number].label)
    shown = []
    for number in order[:_SHOWN]:
        photo = described.photos[number]
        true, named = described.names[photo.label], described.names[first[number]]
        is_right = true == named
        if (picture := _picture(photo)) is not None:
            note = "rightly named" if is_right else f"taken for {named}"
            shown.append(ShownPhoto(picture, true, note, is_right))
    return shown


def _picture(photo: DescribedPhoto) -> np.ndarray | None:
    """A photo, small, with what was taken for its object; None if it is gone."""
    try:
        picture = shrink(read_smaller(photo.place, SMALL)[0], SMALL)
    except PersamError:
        return None
    if photo.mask is None:
        return picture
    return draw_overlay(picture, fit_mask(photo.mask, picture), colour_of("object"))
