"""What the recorded times of a study say: how long a mask takes whom, and whether time buys agreement."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

import numpy as np

from persam.lazy import library
from persam.metrics import PairedTest, bootstrap_figure, paired_test
from persam.reports.tables import Table
from persam.study.agreement import ENOUGH_PHOTOS
from persam.study.times import ASSISTANCE, BOTH, BY_HAND, CORRECTED, HAND, PROMPTS, WITH_MODEL, MaskTime

_MADE_NOTES = {HAND: "by hand", PROMPTS: "by prompts", BOTH: "by prompts and hand", CORRECTED: "from a proposal"}


@dataclass(frozen=True)
class TimedMask:
    """A mask whose time is known, and how good it is held to be.

    Attributes:
        time: the record.
        with_others: mean IoU with the other annotators' masks of the photo; None if nobody else masked it.
        with_model: IoU of the model's mask with this one; None for the photo that the model was shown.
    """

    time: MaskTime
    with_others: float | None
    with_model: float | None


@dataclass(frozen=True)
class TimeFigure:
    """How long masks took: of a person, or of all, with one kind of help or any.

    Attributes:
        name: of the annotator, or ``all``.
        assistance: one of `persam.study.times.ASSISTANCE`.
        masks: that have a time.
        median, low, high: active seconds a mask: the median and the quartiles.
        active, wall: seconds of all of them together, without and with the pauses.
        prompts: points, boxes and strokes a mask, the mean.
        undos: a mask, the mean.
        again: masks that were made more than once.
        made: how many masks came about in which way.
    """

    name: str
    assistance: str
    masks: int
    median: float
    low: float
    high: float
    active: float
    wall: float
    prompts: float
    undos: float
    again: int
    made: dict[str, int]

    @classmethod
    def of(cls, name: str, assistance: str, times: Sequence[MaskTime]) -> TimeFigure:
        """Of at least one time."""
        seconds = [time.active_seconds for time in times]
        low, median, high = (float(value) for value in np.quantile(seconds, (0.25, 0.5, 0.75)))
        ways = [time.made for time in times]
        return cls(
            name,
            assistance,
            len(times),
            median,
            low,
            high,
            active=sum(seconds),
            wall=sum(time.wall_seconds for time in times),
            prompts=mean(time.prompts for time in times),
            undos=mean(time.undos for time in times),
            again=sum(time.made_again for time in times),
            made={way: ways.count(way) for way in dict.fromkeys(ways)},
        )


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of the active seconds of masks with an IoU.

    Attributes:
        rho: -1 to 1: above 0 where masks that took longer agree better.
        low, high: its 95 % bootstrap interval; photos are drawn, each with all of its masks.
        masks, photos: that it was taken over.
    """

    rho: float
    low: float
    high: float
    masks: int
    photos: int

    @property
    def verdict(self) -> str:
        """What may be said of it."""
        if self.photos < ENOUGH_PHOTOS:
            return "there are too few photos to tell"
        if self.low > 0:
            return "masks that took longer agree better"
        return "masks that took longer agree less" if self.high < 0 else "no connection could be shown"


@dataclass(frozen=True)
class HelpComparison:
    """Masks that were prompted beside those by hand, over photos that have both; mixed masks are of neither kind.

    Attributes:
        ratio: geometric mean over photos of (seconds with help / seconds by hand): below 1 help saves time.
        low, high: its 95 % bootstrap interval.
        p_value: of a permutation test over photos.
        photos: how many there are.
    """

    ratio: float
    low: float
    high: float
    p_value: float
    photos: int

    @property
    def enough(self) -> bool:
        """Whether there are enough photos to judge by."""
        return self.photos >= ENOUGH_PHOTOS


@dataclass(frozen=True)
class TimeSummary:
    """All that the times of a study say.

    Attributes:
        masks: every mask whose time is known.
        people: each annotator, in two lines if some masks were made with help and some without.
        total: all of them, likewise.
        with_others, with_model: time against agreement; None where there is too little to compare.
        assistance: masks with help beside those without; None unless some photo has both.
    """

    masks: tuple[TimedMask, ...]
    people: tuple[TimeFigure, ...]
    total: tuple[TimeFigure, ...]
    with_others: RankCorrelation | None
    with_model: RankCorrelation | None
    assistance: HelpComparison | None

    @property
    def from_proposals(self) -> int:
        """How many masks began as the model's own: those lean towards it."""
        return sum(mask.time.made == CORRECTED for mask in self.masks)

    @property
    def idle_limits(self) -> list[str]:
        """The seconds without a movement after which time did not count; more than one if that was changed."""
        return [f"{limit:g}" for limit in sorted({mask.time.idle_limit_seconds for mask in self.masks})]


def summarise_times(masks: Sequence[TimedMask], annotators: Sequence[str]) -> TimeSummary | None:
    """Say what times mean; None if a study has none.

    Args:
        masks: whose time is known.
        annotators: in the order of the table.
    """
    if not masks:
        return None
    times = [mask.time for mask in masks]
    return TimeSummary(
        tuple(masks),
        tuple(figure for name in annotators for figure in _figures(name, times)),
        _figures(None, times),
        _correlation([(mask.time, mask.with_others) for mask in masks]),
        _correlation([(mask.time, mask.with_model) for mask in masks]),
        _help(times),
    )


def times_table(summary: TimeSummary) -> Table:
    """How long a mask takes each person."""
    columns = (
        "annotator", "assistance", "masks", "seconds a mask: median", "quartiles", "active in all", "with pauses",
        "prompts a mask", "undone a mask", "made again", "how",
    )  # fmt: skip

    def cells(figure: TimeFigure) -> tuple[str, ...]:
        return (
            figure.name,
            ASSISTANCE[figure.assistance],
            str(figure.masks),
            f"{figure.median:.1f}",
            f"{figure.low:.1f} to {figure.high:.1f}",
            duration(figure.active),
            duration(figure.wall),
            f"{figure.prompts:.1f}",
            f"{figure.undos:.1f}",
            str(figure.again),
            ", ".join(f"{count} {_MADE_NOTES[way]}" for way, count in figure.made.items()),
        )

    return Table("Time", columns, tuple(map(cells, summary.people)), tuple(map(cells, summary.total)))


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> [duration(8.4), duration(95), duration(7260)]
    ['8 s', '1 min 35 s', '2 h 1 min']
    """
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _figures(name: str | None, times: Iterable[MaskTime]) -> tuple[TimeFigure, ...]:
    """A line for each kind of help that somebody had, or all together (None); nothing without a time."""
    own = [time for time in times if name in {None, time.annotator}]
    return tuple(
        TimeFigure.of(name or "all", assistance, some)
        for assistance in ASSISTANCE
        if (some := [time for time in own if time.assistance == assistance])
    )


def _correlation(values: Sequence[tuple[MaskTime, float | None]]) -> RankCorrelation | None:
    known = [(time, iou) for time, iou in values if iou is not None]
    seconds = np.array([time.active_seconds for time, _ in known])
    ious = np.array([iou for _, iou in known])
    photos = [f"{time.category}/{time.photo}" for time, _ in known]
    try:
        rho = _spearman(seconds, ious)
        interval = bootstrap_figure(_spearman, [seconds, ious], photos)
    except ValueError:
        return None
    return None if interval is None else RankCorrelation(rho, *interval, len(known), len(set(photos)))


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation; ValueError where there is too little, or all of a side are equal."""
    if len(one) < 3 or not np.ptp(one) or not np.ptp(other):
        raise ValueError("There is nothing to rank.")
    return float(library("scipy.stats", "Time against agreement", "study").spearmanr(one, other).statistic)


def _help(times: Iterable[MaskTime]) -> HelpComparison | None:
    """Compare by photo, in logarithms: half and twice the time are equally far from the same."""
    logs: dict[str, dict[str, list[float]]] = {assistance: {} for assistance in ASSISTANCE}
    for time in times:
        if time.active_seconds > 0:
            own = logs[time.assistance].setdefault(f"{time.category}/{time.photo}", [])
            own.append(math.log(time.active_seconds))
    both = sorted(logs[WITH_MODEL].keys() & logs[BY_HAND].keys())
    if not both:
        return None
    by_hand, with_model = (
        {photo: mean(logs[assistance][photo]) for photo in both} for assistance in (BY_HAND, WITH_MODEL)
    )
    test: PairedTest = paired_test(by_hand, with_model)
    ratio, low, high = (math.exp(value) for value in (test.difference, test.low, test.high))
    return HelpComparison(ratio, low, high, test.p_value, test.units)


def times_json(summary: TimeSummary) -> Mapping[str, Any]:
    """The same as plain JSON values."""

    def line(mask: TimedMask) -> dict[str, Any]:
        values = {key: str(value) if key.endswith("_utc") else value for key, value in asdict(mask.time).items()}
        return values | {"iou_with_others": mask.with_others, "iou_with_model": mask.with_model}

    return {
        "people": [asdict(figure) for figure in summary.people],
        "all": [asdict(figure) for figure in summary.total],
        "seconds_and_iou_with_others": None if summary.with_others is None else asdict(summary.with_others),
        "seconds_and_iou_with_model": None if summary.with_model is None else asdict(summary.with_model),
        "with_model_to_by_hand": None if summary.assistance is None else asdict(summary.assistance),
        "masks": [line(mask) for mask in summary.masks],
    }
