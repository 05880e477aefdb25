"""The plots of a report, as SVG that stands inside the page and takes its colours, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from persam.lazy import library
from persam.study.gallery import colour_of_annotator
from persam.study.results import BAND_NAMES, BANDS, Mean, Person, Row, StudyResult, StudySummary
from persam.study.time_summary import TimedMask, TimeFigure, TimeSummary
from persam.study.times import ASSISTANCE, BY_HAND, MIXED, PROPOSAL

_INK = "#010203"  # stands for the page's own colour of text until the SVG is written
_BAND_COLOURS = ("#15803d", "#ca8a04", "#c2410c")
_MODEL, _PEOPLE = "#6366f1", "#0d9488"
_STYLE = {
    "svg.fonttype": "none",  # letters stay letters: in the page's font, selectable, in any script
    "svg.hashsalt": "persam",  # the same numbers give the same file
    "text.parse_math": False,  # names may have dollar signs
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
}
_WIDTH = 9.0  # inches
_LONGEST = 28  # letters of a name beside an axis
_LETTERS = 120  # that such a plot is wide
_LEAST_SECONDS = 0.5  # that a logarithmic axis shows
_SECONDS = (0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200, 18000)  # that it names


def plots(result: StudyResult, summary: StudySummary) -> dict[str, str]:
    """All plots of a study: SVG by name, empty where there is nothing to draw.

    They are ``iou``, ``bands``, ``bias``, ``times`` and ``agreement``.

    Raises:
        PersamError: matplotlib is not installed.
    """
    names = result.study.annotators
    colours = {name: "#{:02x}{:02x}{:02x}".format(*colour_of_annotator(result, name)) for name in names}
    rows = (*summary.rows, summary.total)
    shown = [row for row in rows if row.model or row.people]
    in_bands = [row for row in rows if sum(row.bands)]
    people = [one for one in summary.people if one.against_majority or one.against_gold]
    with library("matplotlib", "The report's plots", "study").rc_context(_STYLE):
        return {
            "iou": _plot(shown, 0.55, lambda axis: _draw_iou(axis, shown, colours)),
            "bands": _plot(in_bands, 0.42, lambda axis: _draw_bands(axis, in_bands)),
            "bias": _plot(people, 0.6, lambda axis: _draw_bias(axis, people, colours)),
            **_time_plots(summary.times, colours),
        }


def _time_plots(times: TimeSummary | None, colours: Mapping[str, str]) -> dict[str, str]:
    if times is None:
        return {"times": "", "agreement": ""}
    figures = times.people
    return {
        "times": _plot(figures, 0.6, lambda axis: _draw_times(axis, figures, times.masks, colours)),
        "agreement": _plot_agreement(times.masks, colours),
    }


def _plot(lines: Sequence[Row | Person | TimeFigure], height: float, draw: Callable[[Any], None]) -> str:
    """Draw a plot with a line for each row or person, so many inches high, as SVG; empty without a line."""
    from matplotlib.figure import Figure as Page

    if not lines:
        return ""
    page = Page(figsize=(_WIDTH, 1.2 + height * len(lines)), layout="constrained")
    axis = page.add_subplot()
    draw(axis)
    names = [_short(one.name) for one in lines]
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)  # the first on top
    _legend(axis)
    return _svg(page)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _legend(axis: Any, letters: int = _LETTERS) -> None:
    """Name above a plot what is in it, everything once, in as many columns as a line of so many letters has room for.

    A legend that is wider than its plot takes that place from the plot.
    """
    handles, labels = axis.get_legend_handles_labels()
    if labels:
        each = dict(zip(labels, handles, strict=True))
        names = [_short(label) for label in each]
        axis.legend(
            each.values(),
            names,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=max(1, min(6, letters // (max(map(len, names)) + 6))),  # with the mark and what lies between
            frameon=False,
            borderaxespad=0.2,
        )


def _draw_iou(axis: Any, rows: Sequence[Row], colours: Mapping[str, str]) -> None:
    """Each category's IoU: the model with all annotators and with each, and the annotators with each other."""
    for edge in BANDS:
        axis.axvline(edge, color=_INK, alpha=0.35, linewidth=1, linestyle=(0, (4, 3)))
    for y, row in enumerate(rows):
        for name, each in row.annotators.items():
            if each is not None:
                axis.plot(each.mean, y + 0.22, "o", color=colours[name], markersize=5, label=name)
        _with_interval(axis, row.model, y, _MODEL, "o", "model with all annotators")
        _with_interval(axis, row.people, y - 0.22, _PEOPLE, "D", "annotators with each other")
    axis.set_xlim(0, 1.02)
    axis.set_xlabel("mean IoU, with 95 % interval; dashed: the bands' edges")


def _draw_bands(axis: Any, rows: Sequence[Row]) -> None:
    """How many photos of each category lie in each band."""
    for y, row in enumerate(rows):
        start = 0.0
        for band, count in enumerate(row.bands):
            share = count / sum(row.bands)
            colour, label = _BAND_COLOURS[band], f"IoU {BAND_NAMES[band]}"
            axis.barh(y, share, left=start, color=colour, height=0.66, label=label)
            if count:
                axis.text(start + share / 2, y, str(count), ha="center", va="center", color="white")
            start += share
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.set_xlabel("share of photos; the number is how many")


def _draw_bias(axis: Any, people: Sequence[Person], colours: Mapping[str, str]) -> None:
    """Each annotator's areas beside those of the majority and of the truth."""
    axis.axvline(1, color=_INK, alpha=0.5, linewidth=1)
    ends = [0.8, 1.25]
    for y, person in enumerate(people):
        colour = colours[person.name]
        both = ((person.against_majority, y - 0.12, "o"), (person.against_gold, y + 0.12, "s"))
        for found, place, marker in both:
            if found is not None:
                ends += [found.low, found.high]
                axis.plot([found.low, found.high], [place, place], color=colour, linewidth=2)
                axis.plot(found.ratio, place, marker, color=colour, markersize=7)
    low, high = min(ends) / 1.05, max(ends) * 1.05
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    ticks = [
        tick for tick in (0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10) if low <= tick <= high
    ]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel(
        "area beside the majority's (circle) and the truth's (square): below 1 too small, above 1 too large"
    )


def _draw_times(
    axis: Any, figures: Sequence[TimeFigure], masks: Sequence[TimedMask], colours: Mapping[str, str]
) -> None:
    """Each annotator's seconds a mask: every one, the quartiles and the median."""
    rng = np.random.default_rng(0)  # masks of one length lie beside each other
    for y, figure in enumerate(figures):
        colour, drawn = colours[figure.name], _dots(figure.assistance, colours[figure.name])
        own = [mask.time.active_seconds for mask in masks if _is_of(mask, figure)]
        axis.plot(_shown(own), y + rng.uniform(-0.2, 0.2, len(own)), markersize=4, alpha=0.6, **drawn)
        axis.plot(_shown([figure.low, figure.high]), [y, y], color=colour, linewidth=6, alpha=0.45)
        axis.plot(_shown([figure.median] * 2), [y - 0.25, y + 0.25], color=_INK, linewidth=2.5)
    kinds = dict.fromkeys(figure.assistance for figure in figures)
    for assistance in kinds if len(kinds) > 1 else ():
        axis.plot([], [], label=ASSISTANCE[assistance], **_dots(assistance, _INK))
    _seconds_axis(axis)
    axis.set_xlabel("active seconds a mask: every mask, the quartiles (bar) and the median (line)")


def _plot_agreement(masks: Sequence[TimedMask], colours: Mapping[str, str]) -> str:
    """Time against the IoU with the others and with the model, a dot a mask; empty where there is neither."""
    from matplotlib.figure import Figure as Page

    sides = {"IoU with the others": "with_others", "IoU with the model": "with_model"}
    known = {
        label: [(mask.time, iou) for mask in masks if (iou := getattr(mask, name)) is not None]
        for label, name in sides.items()
    }
    known = {label: values for label, values in known.items() if values}
    if not known:
        return ""
    page = Page(figsize=(_WIDTH, 3.8), layout="constrained")
    for number, (label, values) in enumerate(known.items(), start=1):
        axis = page.add_subplot(1, len(known), number)
        for name, colour in colours.items():
            if any(time.annotator == name for time, _ in values):
                axis.plot([], [], "o", color=colour, label=name)
            for assistance in ASSISTANCE:
                dots = [
                    (time.active_seconds, iou)
                    for time, iou in values
                    if (time.annotator, time.assistance) == (name, assistance)
                ]
                if dots:
                    seconds, ious = zip(*dots, strict=True)
                    axis.plot(_shown(seconds), ious, markersize=5, **_dots(assistance, colour))
        _seconds_axis(axis)
        axis.set_ylim(-0.02, 1.02)
        axis.set_ylabel(label)
        axis.set_xlabel("active seconds")
        if number == 1:
            _legend(axis, _LETTERS // len(known))
    return _svg(page)


def _is_of(mask: TimedMask, figure: TimeFigure) -> bool:
    return (mask.time.annotator, mask.time.assistance) == (figure.name, figure.assistance)


def _dots(assistance: str, colour: str) -> dict[str, Any]:
    """The dots of masks: hollow for those by hand alone, diamonds for corrected proposals, squares for mixed ones."""
    return {
        "color": colour,
        "linestyle": "none",
        "marker": {PROPOSAL: "D", MIXED: "s"}.get(assistance, "o"),
        "markerfacecolor": "none" if assistance == BY_HAND else colour,
    }


def _shown(seconds: Sequence[float]) -> list[float]:
    """Seconds as they can stand on a logarithmic axis."""
    return [max(_LEAST_SECONDS, each) for each in seconds]


def _seconds_axis(axis: Any) -> None:
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    if sum(low <= mark <= high for mark in _SECONDS) < 2:  # one mark is no scale: from the one below to the one above
        low = max((mark for mark in _SECONDS if mark <= low), default=low)
        high = min((mark for mark in _SECONDS if mark >= high), default=high)
        axis.set_xlim(low, high)
    ticks = [mark for mark in _SECONDS if low <= mark <= high]
    axis.set_xticks(ticks, [f"{tick:g} s" if tick < 60 else f"{tick // 60} min" for tick in ticks])
    axis.minorticks_off()  # whose labels would be formulas, and nothing sets those here


def _with_interval(axis: Any, figure: Mean | None, y: float, colour: str, marker: str, label: str) -> None:
    if figure is not None:
        axis.plot([figure.low, figure.high], [y, y], color=colour, linewidth=2)
        axis.plot(figure.mean, y, marker, color=colour, markersize=7, label=label)


def _svg(page: Any) -> str:
    text = io.StringIO()
    page.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]  # without the prologue, which names files elsewhere
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return svg.replace(_INK, "currentColor")
