"""Which photos have it?  Photos ranked by the score of each thing, as `persam album find` does, against where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from persam.benchmark.absence.summary import Ends, is_there
from persam.benchmark.records import Record, grouped
from persam.benchmark.reporting.tables import ends_in_percent
from persam.metrics import average_precision, bootstrap_mean, precision_at, r_precision
from persam.reports.tables import Table

NOTES = (
    (
        "Each thing is a search: the photos that it was looked for in, by its score, the surest first, as persam album "
        "find ranks them; one without an answer comes last"
    ),
    (
        "mAP: mean over things of the average precision, not interpolated; P@1, P@5: share of the first photo, of the "
        "first five, that shows the thing; R-precision: of the first R, where R show it; means over things, in percent"
    ),
    "mAP by chance: of photos in random order; P@5 at most: of a faultless search, as some things have fewer photos",
    "[..]: 95 % bootstrap, things drawn",
)
_FIGURES = ("average_precision", "at_1", "at_5", "r_precision")


@dataclass(frozen=True)
class ThingRanking:
    """How a search for one thing went, figures in [0, 1].

    Attributes:
        photos: that were ranked.
        shown: photos of these that show the thing.
        average_precision: not interpolated.
        at_1, at_5: precision of the first photo, and of the first five.
        r_precision: of the first `shown`.
    """

    photos: int
    shown: int
    average_precision: float
    at_1: float
    at_5: float
    r_precision: float

    @property
    def by_chance(self) -> float:
        """The average precision that photos in random order have in the mean."""
        before = np.arange(self.photos)  # at every rank, so many photos
        share = (self.shown - 1) / max(self.photos - 1, 1)  # of them that show it, too
        return float(((1 + before * share) / (1 + before)).mean())

    @property
    def at_5_at_most(self) -> float:
        """The precision of the first five that a faultless search has."""
        return min(self.shown, 5) / 5


@dataclass(frozen=True)
class RankingSummary:
    """How well a method finds the photos that show a thing.

    Attributes:
        method: its name.
        things: for each the figures; those that no photo shows, or all, are left out.
        means: over things, of each figure.
        intervals: their 95 % bootstrap intervals; things are drawn.
    """

    method: str
    things: dict[str, ThingRanking]
    means: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Ends] = field(default_factory=dict)


def summarise_rankings(answers: Sequence[Record]) -> list[RankingSummary]:
    """One a method; without `means` where there was nothing to rank."""
    return [_summary(method, given) for method, given in grouped(answers, "method").items()]


def _summary(method: str, answers: Sequence[Record]) -> RankingSummary:
    things = {}
    for name, given in grouped(answers, "object").items():
        shown = sum(map(is_there, given))
        if 0 < shown < len(given):
            things[name] = _ranking(sorted(given, key=lambda each: each.sample), shown)
    summary = RankingSummary(method, things)
    for figure in _FIGURES if things else ():
        mean, low, high = bootstrap_mean([getattr(each, figure) for each in things.values()])
        summary.means[figure], summary.intervals[figure] = mean, (low, high)
    return summary


def _ranking(answers: Sequence[Record], shown: int) -> ThingRanking:
    scores = [-np.inf if each.score is None else each.score for each in answers]
    truth = [is_there(each) for each in answers]
    return ThingRanking(
        photos=len(answers),
        shown=shown,
        average_precision=average_precision(scores, truth),
        at_1=precision_at(scores, truth, 1),
        at_5=precision_at(scores, truth, 5),
        r_precision=r_precision(scores, truth),
    )


def ranking_table(summaries: Sequence[RankingSummary], title: str) -> Table:
    """One row a method."""
    rows = []
    for summary in summaries:
        things = list(summary.things.values())
        cells = [_cell(summary, figure) for figure in _FIGURES]
        chance, most = ([getattr(each, name) for each in things] for name in ("by_chance", "at_5_at_most"))
        photos = sorted({each.photos for each in things})
        span = "–" if not photos else "–".join(str(each) for each in dict.fromkeys((photos[0], photos[-1])))
        shown = f"{np.mean([each.shown for each in things]):.1f}" if things else "–"
        rows.append((summary.method, str(len(things)), span, shown, *cells, _percent(chance), _percent(most)))
    columns = (
        "method",
        "things",
        "photos",
        "with it",
        "mAP",
        "P@1",
        "P@5",
        "R-precision",
        "mAP by chance",
        "P@5 at most",
    )
    return Table(title, columns, tuple(rows), notes=tuple(f"{note}." for note in NOTES))


def _cell(summary: RankingSummary, figure: str) -> str:
    if figure not in summary.means:
        return "–"
    return f"{100 * summary.means[figure]:.1f} {ends_in_percent(summary.intervals[figure])}"


def _percent(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.1f}" if values else "–"
