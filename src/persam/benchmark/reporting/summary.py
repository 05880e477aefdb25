"""Sum records up, one row a method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from persam.benchmark.records import Record, grouped
from persam.benchmark.reporting.protocols import (
    FEW_SHOT,
    FOLDER,
    Figure,
    Protocol,
    by_fold,
    common_figures,
    fold_figures,
)
from persam.metrics import Counts, pooled, pooled_accuracy, pooled_iou


@dataclass(frozen=True)
class Summary:
    """How one method did.

    Attributes:
        method: its name.
        photos: how many it was asked about.
        objects: how many different things were looked for.
        figures: by key, such as ``miou``; see `persam.benchmark.reporting.protocols.LABELS`.
        by_object: for every object its number of photos and its figures.
        by_fold: for every fold its figures; empty where the protocol has no folds.
        by_data_set: mean IoU per image of every data set, for runs over several.
        missing: photos without an answer, which count as an empty mask, and why.
    """

    method: str
    photos: int
    objects: int
    figures: dict[str, Figure]
    by_object: dict[str, dict[str, float | None]]
    by_fold: dict[str, dict[str, float]]
    by_data_set: dict[str, float]
    missing: dict[str, str]


def summarise(records: Sequence[Record], protocol: Protocol = FOLDER) -> list[Summary]:
    """One row a method, in the order in which methods come in the records.

    Args:
        records: as `persam.benchmark.running.run.run` gives them.
        protocol: whose figures to compute, beside those that every data set has.
    """
    return [_summary(method, answers, protocol) for method, answers in grouped(records, "method").items()]


def _summary(method: str, records: list[Record], protocol: Protocol) -> Summary:
    groups = grouped(records, "object")
    folds: dict[str, dict[str, float]] = {}
    if protocol is FEW_SHOT:
        folds = {str(fold): fold_figures(of_fold) for fold, of_fold in by_fold(groups).items() if fold is not None}
    return Summary(
        method=method,
        photos=len(records),
        objects=len(groups),
        figures=protocol.figures(groups) | common_figures(records, protocol.drawn_with),
        by_object={name: _of_object(of_object) for name, of_object in groups.items()},
        by_fold=folds,
        by_data_set={
            name: float(np.mean([record.iou for record in of_set]))
            for name, of_set in grouped(records, "data_set").items()
        },
        missing={record.query: record.failure for record in records if record.failure is not None},
    )


def _of_object(records: Sequence[Record]) -> dict[str, float | None]:
    """An object's figures: what is told of a data set, of this object alone."""
    counts = pooled(record.counts for record in records)
    boundaries = [record.boundary for record in records if record.boundary is not None]
    return {
        "photos": len(records),
        "iou": float(np.mean([record.iou for record in records])),
        "iou_pooled": pooled_iou(counts),
        "acc_pooled": pooled_accuracy(counts),
        "biou_pooled": pooled_iou(sum(boundaries, Counts(0, 0, 0, 0))) if boundaries else None,
        "biou_image": _mean([record.boundary_iou for record in records]),
        "f": _mean([record.contour for record in records]),
        "located": _mean([None if record.on_object is None else float(record.on_object) for record in records]),
        "present": _mean([None if record.present is None else float(record.present) for record in records]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
