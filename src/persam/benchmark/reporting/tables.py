"""The table of a run, with published numbers below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from persam.benchmark.reporting.protocols import LABELS, Figure, Protocol
from persam.benchmark.reporting.published import PAPER, Published
from persam.benchmark.reporting.summary import Summary
from persam.reports.tables import Table
from persam.words import counted

INTERVALS = (
    "In percent. [..] is a 95 % bootstrap interval: over photos for figures of single photos, over {drawn} for pooled "
    'ones; "over objects" repeats that of the IoU per image with whole objects drawn.'
)
_WHOLE = "In percent. [..] is a 95 % bootstrap interval over {drawn}, each drawn with all of its frames and objects."
_NOT_THE_SAME = (
    "The published numbers are over the whole data set, with the encoder and protocol that stand beside each; ours are "
    "over {photos} of {objects}."
)
_PAPER = "PerSAM paper: arXiv 2305.03048."
_SECONDARY = "† known from a secondary source: a later paper's table, or a repository that ran the method."
_TWICE = "over objects"
_FEW = 10  # below, the bootstrap has hardly anything to draw from
_ROUGH = "An interval over {number} {drawn} is a rough guess: the bootstrap knows no others than these."


def results_table(
    title: str,
    summaries: Sequence[Summary],
    protocol: Protocol,
    published: Sequence[Published] = (),
    *,
    notes: Sequence[str] = (),
    encoder: str = "",
    encoders: Mapping[str, str] | None = None,
    shots: int = 1,
    brief: bool = False,
) -> Table:
    """Make the table of a run.

    Args:
        title: stands above.
        summaries: one a method.
        protocol: which figures are shown, and what is said of them.
        published: what stands below.
        notes: sentences of the run, such as who the references were.
        encoder: what ours work with.
        encoders: the same by method, of those that work with something else.
        shots: references per object.
        brief: leave out what a terminal has no room for.
    """
    wanted = protocol.brief if brief else protocol.shown
    keys = [key for key in wanted if any(key in summary.figures for summary in summaries)]
    heads: list[str] = []
    for key in keys:
        heads += [LABELS[key], *[_TWICE] * _is_twice(key, protocol)]
    columns = ("method", "encoder", "shots", *heads, "photos", "source")
    if brief:
        columns = columns[:-1]
    ours = tuple(
        (
            summary.method,
            (encoders or {}).get(summary.method, encoder),
            str(shots),
            *_cells(summary, keys, protocol),
            str(summary.photos),
            "this run",
        )[: len(columns)]
        for summary in summaries
    )
    if brief:
        published = [each for each in published if each.source == PAPER and each.shots == shots]
    numbers, others = _published_rows(published, keys, protocol)
    intervals = INTERVALS if protocol.drawn_with is None else _WHOLE
    said = [f"Protocol: {protocol.sentence}.", intervals.format(drawn=protocol.drawn)]
    number = _number_drawn(summaries[0], protocol) if summaries else 0
    if 1 < number < _FEW:
        said.append(_ROUGH.format(number=number, drawn=protocol.drawn))
    said += [*notes, *_missing_notes(summaries)]
    if others and summaries:
        said.append(
            _NOT_THE_SAME.format(
                photos=counted(summaries[0].photos, "photo"), objects=counted(summaries[0].objects, "object")
            )
        )
        said += [f"[{number}] {text}." for text, number in numbers.items()]
        said += [_PAPER] if any(row[-1].startswith(PAPER) for row in others) else []
        said += [_SECONDARY] if any("†" in row[-1] for row in others) else []
    if brief:
        others = [(f"{row[0]} (paper)", *row[1:-1]) for row in others]
    return Table(title, columns, ours, tuple(others), tuple(said))


def percent(figure: Figure | None) -> str:
    """``61.2 [55.0, 67.3]``; a dash for what was not measured."""
    if figure is None:
        return "–"
    ends = figure.over_images or figure.over_objects
    return f"{100 * figure.value:.1f}" + ("" if ends is None else f" {ends_in_percent(ends)}")


def ends_in_percent(ends: tuple[float, float]) -> str:
    """``[55.0, 67.3]``."""
    return f"[{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"


def _is_twice(key: str, protocol: Protocol) -> bool:
    """Whether a figure has two intervals: over photos, and over objects in a column of its own."""
    return key == "iou" and protocol.drawn_with is None


def _number_drawn(summary: Summary, protocol: Protocol) -> int:
    """How many there are of what intervals draw."""
    named = protocol.drawn_with
    return len({name if named is None else named(name) for name in summary.by_object})


def _cells(summary: Summary, keys: Sequence[str], protocol: Protocol) -> list[str]:
    cells = []
    for key in keys:
        figure = summary.figures.get(key)
        cells.append(percent(figure))
        if _is_twice(key, protocol):
            over = None if figure is None else figure.over_objects
            cells.append("–" if over is None else ends_in_percent(over))
    return cells


def _published_rows(
    published: Sequence[Published], keys: Sequence[str], protocol: Protocol
) -> tuple[dict[str, int], list[tuple[str, ...]]]:
    """Numbers of the protocols' footnotes, and one row for each method, encoder, shots and source."""
    rows: dict[tuple[str, str, int, str, bool], dict[str, list[Published]]] = {}
    for each in published:
        if each.metric in keys:
            row = rows.setdefault((each.method, each.encoder, each.shots, each.source, each.secondary), {})
            row.setdefault(each.metric, []).append(each)
    numbers: dict[str, int] = {}
    found = []
    for (method, encoder, shots, source, secondary), values in rows.items():
        cells = []
        for key in keys:
            marks = [_marked(each, numbers) for each in values.get(key, [])]
            cells += [" / ".join(marks) or "–", *["–"] * _is_twice(key, protocol)]
        found.append((method, encoder or "its own", str(shots), *cells, "–", source + (" †" if secondary else "")))
    return numbers, found


def _marked(each: Published, numbers: dict[str, int]) -> str:
    """The value with the number of its protocol's footnote, which is given out at the first use."""
    return f"{_as_printed(each.value)} [{numbers.setdefault(each.protocol, len(numbers) + 1)}]"


def _as_printed(value: float) -> str:
    return f"{value:.1f}" if round(value, 1) == round(value, 2) else f"{value:.2f}"


def _missing_notes(summaries: Sequence[Summary]) -> list[str]:
    notes = []
    for summary in summaries:
        if summary.missing:
            names = ", ".join(list(summary.missing)[:5]) + (", ..." if len(summary.missing) > 5 else "")
            notes.append(
                f"{summary.method} has no answer for {len(summary.missing)} of {summary.photos} photos ({names}), "
                "which count as empty masks."
            )
    return notes
