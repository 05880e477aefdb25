"""Tables of a run through videos beside the main one: every sequence, and how fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from persam.benchmark.records import Record, grouped
from persam.benchmark.reporting.protocols import sequence_of
from persam.benchmark.suites.suite import change
from persam.benchmark.suites.timing import Spread
from persam.benchmark.video.passages import Passage, seconds_by_frame
from persam.metrics import DavisScore, davis_score, paired_test
from persam.reports.tables import Table, to_csv

_TIMED = (
    "All methods go through a sequence side by side, frame by frame; reading frames and writing labels is not counted. "
    "One that failed in a sequence goes through it alone, or with others that failed, when it is tried again. "
    "In the first frame what is shown is learned, and tuned."
)


def scores_by_sequence(records: Sequence[Record]) -> dict[str, dict[str, DavisScore]]:
    """J and F of every sequence, means over its objects, by method and sequence."""
    found: dict[str, dict[str, DavisScore]] = {}
    for method, own in grouped(records, "method").items():
        things: dict[str, dict[str, list[Record]]] = {}
        for name, of_object in grouped(own, "object").items():
            things.setdefault(sequence_of(name), {})[name] = of_object
        found[method] = {
            sequence: davis_score(
                {name: [record.iou for record in frames] for name, frames in objects.items()},
                {name: [record.contour or 0.0 for record in frames] for name, frames in objects.items()},
            )
            for sequence, objects in things.items()
        }
    return found


def sequence_tables(records: Sequence[Record]) -> list[Table]:
    """J&F and the decay of J of every sequence, a column a method."""
    scores = scores_by_sequence(records)
    both = _sequence_table(
        "J&F of every sequence",
        "In percent, the mean over the objects of a sequence; frames are those that count.",
        records,
        {method: {name: score.j_and_f for name, score in own.items()} for method, own in scores.items()},
    )
    decay = _sequence_table(
        "Decay of J in every sequence",
        "In percent points, J in the first quarter of the frames less J in the last: above 0 where it gets worse.",
        records,
        {method: {name: score.j.decay for name, score in own.items()} for method, own in scores.items()},
    )
    first, *others = scores
    if not others or len(scores[first]) < 2:
        return [both, decay]
    figures = [{name: score.j_and_f for name, score in own.items()} for own in scores.values()]
    less = (f"less {first}", "–", "–", "–", *(change(paired_test(figures[0], own)) for own in figures[1:]))
    said = f'"less {first}" is the difference in percent points and its 95 % bootstrap interval, paired by sequence.'
    return [replace(both, below=(*both.below, less), notes=(*both.notes, said)), decay]


def _sequence_table(
    title: str, note: str, records: Sequence[Record], figures: Mapping[str, Mapping[str, float]]
) -> Table:
    """A figure of every sequence, by method and sequence, as shares."""
    counted: dict[str, set[str]] = {}
    objects: dict[str, set[str]] = {}
    for record in records:
        counted.setdefault(sequence_of(record.object), set()).add(record.sample.split("/")[-1])
        objects.setdefault(sequence_of(record.object), set()).add(record.object)
    rows = tuple(
        (name, str(len(objects[name])), str(len(frames)), *(f"{100 * own[name]:.1f}" for own in figures.values()))
        for name, frames in counted.items()
    )
    means = (f"{100 * np.mean(list(own.values())):.1f}" for own in figures.values())
    whole = (str(sum(map(len, each.values()))) for each in (objects, counted))
    return Table(
        title, ("sequence", "objects", "frames", *figures), rows, (("mean over sequences", *whole, *means),), (note,)
    )


def sequence_csv(records: Sequence[Record]) -> str:
    """One line a method and sequence, with all of DAVIS' statistics."""
    rows = []
    for method, own in scores_by_sequence(records).items():
        for sequence, score in own.items():
            row: dict[str, Any] = {"method": method, "sequence": sequence, "objects": score.objects}
            row["j_and_f"] = score.j_and_f
            for letter, values in (("j", score.j), ("f", score.f)):
                row |= {f"{letter}_{name}": value for name, value in asdict(values).items()}
            rows.append(row)
    return to_csv(rows)


@dataclass(frozen=True)
class Speed:
    """How fast a method is.

    Attributes:
        frames_a_second: over frames, the first ones left out.
        start: seconds until the first frame of a sequence is done, over sequences.
        ratio: time of a frame over that of the first such method on the same frame.
    """

    frames_a_second: Spread
    start: Spread
    ratio: Spread


def speeds(passages: Sequence[Passage]) -> dict[str, Speed]:
    """Of every method that came through a sequence of more than one frame."""
    starts: dict[str, list[float]] = {}
    for each in passages:
        if each.failure is None:
            starts.setdefault(each.method, []).append(each.start)
    by_frame = {method: own for method, own in seconds_by_frame(passages).items() if own and method in starts}
    first = next(iter(by_frame.values()), {})
    found = {}
    for method, seconds in by_frame.items():
        ratios = [each / first[frame] for frame, each in seconds.items() if first.get(frame)]
        if ratios:
            rates = [1 / each for each in seconds.values() if each]
            found[method] = Speed(Spread.of(rates), Spread.of(starts[method]), Spread.of(ratios))
    return found


def speed_table(found: Mapping[str, Speed], machine: str) -> Table:
    """The same for people."""
    first = next(iter(found), "")
    rows = tuple(
        (method, each.frames_a_second.text(2), each.start.text(2), each.ratio.text(2)) for method, each in found.items()
    )
    return Table(
        "Speed",
        ("method", "frames a second", "first frame, seconds", f"time of a frame over {first}"),
        rows,
        notes=(f"Median [quartiles] on {machine}. {_TIMED}",),
    )
