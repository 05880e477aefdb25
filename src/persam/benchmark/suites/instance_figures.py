"""Several objects of one kind against their truth: which was found, how many were counted, and the field's figures."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from persam.benchmark.reporting.tables import ends_in_percent
from persam.instance import Instance, mask_rle
from persam.lazy import library
from persam.metrics import bootstrap_figure
from persam.reports.tables import Table

PAIRED = 0.5  # IoU above which a found object and a true one are the same
NUMBERS = ("0", "1", "2", "3+")  # of true objects, in the table by number
_RESAMPLES = 1000

Ends = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Counted:
    """What a method found of one kind in one photo.

    Attributes:
        method: its name.
        kind: what was looked for, ``SET/KIND``.
        photo: name of the photo.
        true, found: run-length codes of the masks, pixels that do not count taken out.
        scores: of those found.
        ious: of the pairs of a found and a true object, each above `PAIRED`.
    """

    method: str
    kind: str
    photo: str
    true: tuple[dict[str, Any], ...]
    found: tuple[dict[str, Any], ...]
    scores: tuple[float, ...]
    ious: tuple[float, ...]

    @property
    def number(self) -> str:
        """Which of `NUMBERS` it belongs to."""
        return NUMBERS[min(len(self.true), len(NUMBERS) - 1)]


def counted(
    method: str,
    kind: str,
    photo: str,
    found: Sequence[Instance],
    true: Sequence[np.ndarray],
    ignore: np.ndarray | None = None,
) -> Counted:
    """Compare objects that were found with those that are there.

    Args:
        method: who found them.
        kind: what was looked for.
        photo: in which.
        found: objects.
        true: (H, W) bool, one for each object.
        ignore: (H, W) bool, pixels that do not count, or None. A found object that lies on these for the greater part
            does not count either: nobody says what it is.
    """
    codes, scores = [], []
    for one in found:
        mask = one.mask if ignore is None else one.mask & ~ignore
        if 2 * mask.sum() >= one.mask.sum() > 0:
            codes.append(mask_rle(mask))
            scores.append(float(one.score))
    truths = [mask_rle(mask if ignore is None else mask & ~ignore) for mask in true]
    return Counted(method, kind, photo, tuple(truths), tuple(codes), tuple(scores), pair(codes, truths))


def pair(found: Sequence[dict[str, Any]], true: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    """IoU of every pair above `PAIRED`, each object in one pair at most, so that the sum is the largest.

    Raises:
        PersamError: scipy is not installed.
    """
    from pycocotools import mask as coco_mask

    if not found or not true:
        return ()
    assign = library("scipy.optimize", "Pairing of objects", "bench").linear_sum_assignment
    ious = coco_mask.iou(list(found), list(true), [0] * len(true))
    ious = np.where(ious > PAIRED, ious, 0.0)
    return tuple(float(iou) for iou in ious[assign(ious, maximize=True)] if iou > 0)


# --------------------------------------------------------------------------------------------------- summed up


@dataclass(frozen=True)
class InstanceSummary:
    """How well a method counts and finds the objects of a kind; shares in [0, 1], intervals over kinds.

    Attributes:
        method: its name.
        number: of true objects in the photos that are summed up, of `NUMBERS`; None for all.
        questions: pairs of a photo and a kind.
        true, found: mean number of objects in a photo.
        exact: share of the questions with the right number.
        count_error: mean distance of the number found from the true one.
        f1, pq: of the pairs, all questions pooled; None where there is nothing.
        intervals: 95 % bootstrap of each by its name, where there is one.
        ap, ap50: COCO's mask AP, mean over kinds, at IoU 0.5 to 0.95 and at 0.5; for all numbers alone.
    """

    method: str
    number: str | None
    questions: int
    true: float
    found: float
    exact: float
    count_error: float
    f1: float | None
    pq: float | None
    intervals: dict[str, Ends | None]
    ap: float | None = None
    ap50: float | None = None


def summarise_instances(asked: Sequence[Counted]) -> list[InstanceSummary]:
    """Each method over all questions, and over those with each number of true objects."""
    found = []
    for method in dict.fromkeys(each.method for each in asked):
        mine = [each for each in asked if each.method == method]
        found.append(_summary(method, None, mine))
        by_number = {number: [each for each in mine if each.number == number] for number in NUMBERS}
        found += [_summary(method, number, some) for number, some in by_number.items() if some]
    return found


def _summary(method: str, number: str | None, asked: Sequence[Counted]) -> InstanceSummary:
    columns = [
        np.array([len(each.true) for each in asked], float),
        np.array([len(each.found) for each in asked], float),
        np.array([len(each.ious) for each in asked], float),
        np.array([sum(each.ious) for each in asked], float),
    ]
    kinds = [each.kind for each in asked]
    figures = {"exact": _exact, "count_error": _count_error, "f1": _f1, "pq": _pq}
    values: dict[str, float | None] = {}
    intervals: dict[str, Ends | None] = {}
    for name, figure in figures.items():
        try:
            values[name] = figure(*columns)
        except ValueError:  # there is no object, and none was found
            values[name] = intervals[name] = None
        else:
            intervals[name] = bootstrap_figure(figure, columns, kinds, resamples=_RESAMPLES)
    ap, ap50 = average_precisions(asked) if number is None else (None, None)
    return InstanceSummary(
        method=method,
        number=number,
        questions=len(asked),
        true=float(columns[0].mean()),
        found=float(columns[1].mean()),
        intervals=intervals,
        ap=ap,
        ap50=ap50,
        **values,  # type: ignore[arg-type]
    )


def _exact(true: np.ndarray, found: np.ndarray, _pairs: np.ndarray, _ious: np.ndarray) -> float:
    return float((true == found).mean())


def _count_error(true: np.ndarray, found: np.ndarray, _pairs: np.ndarray, _ious: np.ndarray) -> float:
    return float(np.abs(true - found).mean())


def _f1(true: np.ndarray, found: np.ndarray, pairs: np.ndarray, _ious: np.ndarray) -> float:
    return float(2 * pairs.sum() / _objects(true, found))


def _pq(true: np.ndarray, found: np.ndarray, _pairs: np.ndarray, ious: np.ndarray) -> float:
    """Panoptic quality: the IoU of the pairs over pairs and half of the objects, true or found, without a partner."""
    return float(2 * ious.sum() / _objects(true, found))


def _objects(true: np.ndarray, found: np.ndarray) -> float:
    """True and found ones."""
    if not (objects := float(true.sum() + found.sum())):
        raise ValueError("There is no object.")
    return objects


def average_precisions(asked: Sequence[Counted]) -> tuple[float | None, float | None]:
    """COCO's mask AP at IoU 0.5 to 0.95, and at 0.5, mean over kinds, of one method; None where there is no object."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    kinds = {kind: number for number, kind in enumerate(dict.fromkeys(each.kind for each in asked), 1)}
    images, true, found = [], [], []
    for number, each in enumerate(asked, 1):  # every question is a picture of its own, in which nothing else is asked
        height, width = next((code["size"] for code in (*each.true, *each.found)), (0, 0))
        images.append({"id": number, "height": height, "width": width})
        about = {"image_id": number, "category_id": kinds[each.kind], "iscrowd": 0}
        true += [about | _annotation(code) for code in each.true]
        found += [about | _annotation(code) | {"score": s} for code, s in zip(each.found, each.scores, strict=True)]
    if not true:
        return None, None
    if not found:
        return 0.0, 0.0
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools talks
        for annotations in (true, found):
            side = COCO()
            side.dataset = {
                "images": images,
                "categories": [{"id": number, "name": kind} for kind, number in kinds.items()],
                "annotations": [each | {"id": number} for number, each in enumerate(annotations, 1)],
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, iouType="segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def _annotation(code: dict[str, Any]) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    return {"segmentation": code, "area": float(coco_mask.area(code)), "bbox": coco_mask.toBbox(code).tolist()}


# ------------------------------------------------------------------------------------------------- what is shown


def instance_tables(summaries: Sequence[InstanceSummary], title: str) -> list[Table]:
    """All questions, one row a method; and by the number of true objects."""
    shared = ("questions", "true", "found", "exact", "count error", "F1", "PQ")
    whole = [
        (each.method, *_cells(each), _share(each.ap), _share(each.ap50)) for each in summaries if each.number is None
    ]
    by_number = [
        (f"{number}: {each.method}", *_cells(each)) for number in NUMBERS for each in summaries if each.number == number
    ]
    return [
        Table(f"Objects of one kind: {title}", ("method", *shared, "AP", "AP50"), tuple(whole)),
        Table(f"By the number of true objects: {title}", ("objects: method", *shared), tuple(by_number)),
    ]


def _cells(summary: InstanceSummary) -> tuple[str, ...]:
    ends = summary.intervals["count_error"]
    return (
        str(summary.questions),
        f"{summary.true:.2f}",
        f"{summary.found:.2f}",
        _with_ends(summary, "exact"),
        f"{summary.count_error:.2f}" + ("" if ends is None else f" [{ends[0]:.2f}, {ends[1]:.2f}]"),
        _with_ends(summary, "f1"),
        _with_ends(summary, "pq"),
    )


def _with_ends(summary: InstanceSummary, figure: str) -> str:
    ends = summary.intervals[figure]
    return _share(getattr(summary, figure)) + ("" if ends is None else f" {ends_in_percent(ends)}")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
