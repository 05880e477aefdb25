"""Sum records up, one row a method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from persam.benchmark.records import Record
from persam.benchmark.reporting.protocols import (
    FEW_SHOT,
    FOLDER,
    Figure,
    Groups,
    Protocol,
    by_fold,
    by_object,
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

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def summarise(records: Sequence[Record], protocol: Protocol = FOLDER) -> list[Summary]:
    """One row a method, in the order in which methods come in the records.

    Args:
        records: as `persam.benchmark.running.run.run` gives them.
        protocol: whose figures to compute, beside those that every data set has.
    """
    return [
        _summary(method, [record for record in records if record.method == method], protocol)
        for method in dict.fromkeys(record.method for record in records)
    ]


def _summary(method: str, records: list[Record], protocol: Protocol) -> Summary:
    groups = by_object(records)
    folds: dict[str, dict[str, float]] = {}
    if protocol is FEW_SHOT:
        folds = {str(fold): fold_figures(of_fold) for fold, of_fold in by_fold(groups).items() if fold is not None}
    return Summary(
        method=method,
        photos=len(records),
        objects=len(groups),
        figures=protocol.figures(groups) | common_figures(records),
        by_object=object_figures(groups),
        by_fold=folds,
        by_data_set=_by_data_set(records),
        missing={record.query: record.failure for record in records if record.failure is not None},
    )


def object_figures(groups: Groups) -> dict[str, dict[str, float | None]]:
    """Every object's figures: what is told of a data set, of this object alone."""
    return {name: _of_object(records) for name, records in groups.items()}


def _of_object(records: Sequence[Record]) -> dict[str, float | None]:
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


def _by_data_set(records: Sequence[Record]) -> dict[str, float]:
    return {
        name: float(np.mean([record.iou for record in records if record.data_set == name]))
        for name in dict.fromkeys(record.data_set for record in records)
    }
