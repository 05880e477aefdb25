"""What a study's run measured, photo by photo, and the tables that are made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from persam.metrics import PairedTest, bootstrap_mean, paired_test
from persam.study.agreement import ENOUGH_PHOTOS, Bias, Coincidences, Pair, bias
from persam.study.checks import Problem
from persam.study.layout import Study
from persam.study.time_summary import TimedMask, TimeSummary, summarise_times
from persam.study.times import MaskTime

Rle = dict[str, Any]

#: What the model's masks are measured against.
OWN, MAJORITY, STAPLE, GOLD_TRUTH = "own", "majority", "staple", "gold"

#: The bands of the students' study, by mean IoU: from the first number on, from the second on, below it.
BANDS = (0.8, 0.6)
BAND_NAMES = ("0.8 and above", "0.6 to 0.8", "below 0.6")

PROTOCOL = (
    "IoU of each photo, then the mean over photos. The reference is the annotator's own mask of the reference photo, "
    "and that photo is not measured. Masks count whether or not the model calls the object present. Majority: more "
    "than half of the annotators, a tie is background. [..]: 95 % bootstrap interval over photos"
)


@dataclass(frozen=True, eq=False)
class StudyAnswer:
    """What the model found in one photo after it was shown one annotator's reference.

    Attributes:
        category, photo, annotator: which; the photo by its stem.
        iou: IoU of the model's mask with the annotator's ``own`` of this photo, and with the ``majority``, ``staple``
            and ``gold`` masks where there are any.
        mask: the model's, as COCO's run-length code; measured whether or not the model called the object present.
        score: the model's own, 0 to 1.
        present: its verdict on whether the object is there.
    """

    category: str
    photo: str
    annotator: str
    iou: dict[str, float]
    mask: Rle
    score: float
    present: bool | None


@dataclass(frozen=True, eq=False)
class RatedPhoto:
    """One photo as the people masked it.

    Attributes:
        category, photo: which; the photo by its stem.
        is_reference: whether it is the one that the model is shown.
        areas: of the annotators' masks, in pixels.
        pairs: IoU of every two annotators' masks.
        coincidences: of their pixels.
        consensus_areas: of the ``majority``, ``staple`` and ``gold`` masks that there are, in pixels.
        consensus: the ``majority`` and ``staple`` masks as COCO's run-length code, where two or more masked the photo.
        sensitivity, specificity: STAPLE's, by annotator.
        gold_ious: IoU of the annotators' masks with the true one, if there is one.
    """

    category: str
    photo: str
    is_reference: bool
    areas: dict[str, int]
    pairs: dict[Pair, float]
    coincidences: Coincidences
    consensus_areas: dict[str, int]
    consensus: dict[str, Rle]
    sensitivity: dict[str, float]
    specificity: dict[str, float]
    gold_ious: dict[str, float]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """All that a run measured.

    Attributes:
        study: that was run.
        model: how it was run: model, fingerprint, encoder, method, mode, settings. JSON values.
        references: the photo that the model was shown, by category.
        answers: the model's.
        rated: the people's.
        left_out: masks and photos that could not be used, each with the reason.
        times: how long the people took, for masks of `rated`; none if it was not recorded.
    """

    study: Study
    model: dict[str, Any]
    references: dict[str, str]
    answers: tuple[StudyAnswer, ...]
    rated: tuple[RatedPhoto, ...]
    left_out: tuple[Problem, ...]
    times: tuple[MaskTime, ...] = ()


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % bootstrap interval.

    Attributes:
        mean, low, high: of the values; photos are drawn, each with all of its values.
        photos: how many there were.
    """

    mean: float
    low: float
    high: float
    photos: int

    @classmethod
    def of(cls, values: Sequence[tuple[str, float]]) -> Mean | None:
        """Take (photo, value) pairs; a photo may come several times. None if there are none."""
        if not values:
            return None
        names = [name for name, _ in values]
        return cls(*bootstrap_mean([value for _, value in values], names), len(set(names)))


@dataclass(frozen=True)
class Row:
    """One line of table I: a category, or all of them.

    Attributes:
        name: of the category, or ``all``.
        annotators: IoU of the model with each annotator, who also gave the reference; None without a common photo.
        model: the same over all annotators.
        majority, staple, gold: IoU of the same masks with the consensus, and with the truth if there is one.
        people: IoU of the annotators with each other, over all pairs and photos; None if fewer than two masked a photo.
        alpha: Krippendorff's, over the pixels of all photos; None where it is not defined.
        pairs: IoU of every two annotators.
        bands: photos whose IoU (mean over annotators) lies in each of the three bands.
    """

    name: str
    annotators: dict[str, Mean | None]
    model: Mean | None
    majority: Mean | None
    staple: Mean | None
    gold: Mean | None
    people: Mean | None
    alpha: float | None
    pairs: dict[Pair, Mean]
    bands: tuple[int, int, int]

    @property
    def band(self) -> int | None:
        """Which of the three bands the category itself lies in, 0 to 2."""
        return None if self.model is None else band_of(self.model.mean)


@dataclass(frozen=True)
class Person:
    """One annotator over all categories.

    Attributes:
        name: of the annotator.
        masks: how many could be used.
        against_majority, against_gold: areas beside those of the majority, and of the truth.
        sensitivity, specificity: STAPLE's.
        gold: IoU with the truth.
        by_category: bias against the majority in each category.
    """

    name: str
    masks: int
    against_majority: Bias | None
    against_gold: Bias | None
    sensitivity: Mean | None
    specificity: Mean | None
    gold: Mean | None
    by_category: dict[str, Bias | None]


@dataclass(frozen=True)
class Nearness:
    """Is the model as near to people as people are to each other? Over photos that two or more people masked.

    Attributes:
        model: mean IoU of the model with the annotators.
        people: mean IoU of the annotators with each other, on the same photos.
        test: of the difference, model less people, photo by photo.
    """

    model: float
    people: float
    test: PairedTest

    @property
    def verdict(self) -> str:
        """The answer in words, as far as the interval carries it."""
        if self.test.units < ENOUGH_PHOTOS:
            return "There are too few photos to tell"
        if self.test.high < 0:
            return "No: the model is farther from the annotators than they are from each other"
        if self.test.low > 0:
            return "Yes: the model is even nearer to the annotators than they are to each other"
        return "It may be: no difference between the model and the annotators could be shown"


@dataclass(frozen=True)
class StudySummary:
    """The tables.

    Attributes:
        rows: one for each category.
        total: the row of all of them, over photos.
        people: one for each annotator.
        nearness: the model beside the people, or None where nobody shares a photo.
        disputed: categories that the people disagree on, the most disputed first, by their IoU with each other.
        times: what the recorded times say; None if there are none.
    """

    rows: tuple[Row, ...]
    total: Row
    people: tuple[Person, ...]
    nearness: Nearness | None
    disputed: tuple[Row, ...]
    times: TimeSummary | None


def band_of(iou: float) -> int:
    """The band of a mean IoU: 0 from 0.8 on, 1 from 0.6 on, 2 below.

    >>> [band_of(0.8), band_of(0.79), band_of(0.6), band_of(0.1)]
    [0, 1, 1, 2]
    """
    return sum(iou < edge for edge in BANDS)


def summarise(result: StudyResult) -> StudySummary:
    """Make the tables of a run."""
    people = result.study.annotators
    rows = tuple(
        _row(
            category.name,
            people,
            [answer for answer in result.answers if answer.category == category.name],
            [photo for photo in result.rated if photo.category == category.name],
        )
        for category in result.study.categories
    )
    known = [(row.people.mean, row.name, row) for row in rows if row.people is not None]
    return StudySummary(
        rows,
        _row("all", people, result.answers, result.rated),
        tuple(_person(name, result) for name in people),
        _nearness(result),
        tuple(row for *_, row in sorted(known, key=lambda each: each[:2])),
        summarise_times(_timed(result), people),
    )


def _timed(result: StudyResult) -> list[TimedMask]:
    """The recorded times beside what was measured of the same masks."""
    model = {(each.category, each.photo, each.annotator): each.iou[OWN] for each in result.answers}
    pairs = {(each.category, each.photo): each.pairs for each in result.rated}
    masks = []
    for time in result.times:
        others = [iou for pair, iou in pairs[time.category, time.photo].items() if time.annotator in pair]
        nearness = model.get((time.category, time.photo, time.annotator))
        masks.append(TimedMask(time, mean(others) if others else None, nearness))
    return masks


def _key(item: StudyAnswer | RatedPhoto) -> str:
    return f"{item.category}/{item.photo}"


def _row(name: str, people: Sequence[str], answers: Sequence[StudyAnswer], rated: Sequence[RatedPhoto]) -> Row:
    def against(truth: str, annotator: str | None = None) -> Mean | None:
        return Mean.of(
            [(_key(a), a.iou[truth]) for a in answers if truth in a.iou and annotator in {None, a.annotator}]
        )

    pairs: dict[Pair, list[tuple[str, float]]] = {}
    for photo in rated:
        for pair, value in photo.pairs.items():
            pairs.setdefault(pair, []).append((_key(photo), value))
    bands = [band_of(mean(values)) for values in _by_photo(answers).values()]
    return Row(
        name,
        {annotator: against(OWN, annotator) for annotator in people},
        against(OWN),
        against(MAJORITY),
        against(STAPLE),
        against(GOLD_TRUTH),
        Mean.of([value for values in pairs.values() for value in values]),
        sum((photo.coincidences for photo in rated), Coincidences()).alpha,
        {pair: figure for pair, values in sorted(pairs.items()) if (figure := Mean.of(values)) is not None},
        (bands.count(0), bands.count(1), bands.count(2)),
    )


def _by_photo(answers: Iterable[StudyAnswer]) -> dict[str, list[float]]:
    """The model's IoU with every annotator, by photo."""
    values: dict[str, list[float]] = {}
    for answer in answers:
        values.setdefault(_key(answer), []).append(answer.iou[OWN])
    return values


def _person(name: str, result: StudyResult) -> Person:
    own = [photo for photo in result.rated if name in photo.areas]

    def figure(get: Callable[[RatedPhoto], dict[str, float]]) -> Mean | None:
        return Mean.of([(_key(photo), get(photo)[name]) for photo in own if name in get(photo)])

    def against(truth: str, photos: Sequence[RatedPhoto]) -> Bias | None:
        return bias([(p.areas[name], p.consensus_areas[truth]) for p in photos if truth in p.consensus_areas])

    return Person(
        name,
        len(own),
        against(MAJORITY, own),
        against(GOLD_TRUTH, own),
        figure(lambda photo: photo.sensitivity),
        figure(lambda photo: photo.specificity),
        figure(lambda photo: photo.gold_ious),
        {
            category.name: against(MAJORITY, [photo for photo in own if photo.category == category.name])
            for category in result.study.categories
        },
    )


def _nearness(result: StudyResult) -> Nearness | None:
    by_photo = _by_photo(result.answers)
    people = {
        _key(photo): mean(photo.pairs.values()) for photo in result.rated if photo.pairs and _key(photo) in by_photo
    }
    if not people:
        return None
    model = {key: mean(by_photo[key]) for key in people}
    return Nearness(mean(model.values()), mean(people.values()), paired_test(people, model))
