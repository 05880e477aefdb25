"""Hand-made records."""

from __future__ import annotations

from persam.benchmark.records import Record
from persam.metrics import Counts


def record(
    thing: str,
    number: int,
    intersection: int,
    predicted: int,
    target: int,
    *,
    method: str = "m",
    fold: int | None = None,
    boundary: tuple[int, int, int] | None = (1, 2, 2),
    contour: float | None = 0.5,
    on_object: bool | None = True,
    present: bool | None = True,
    failure: str | None = None,
    data_set: str = "s",
) -> Record:
    return Record(
        method=method,
        data_set=data_set,
        object=thing,
        sample=f"{thing}/{number}",
        references=(f"{thing}/0",),
        fold=fold,
        counts=Counts(intersection, predicted, target, 100),
        on_object=on_object,
        score=None if failure else 0.5,
        present=present,
        seconds=0.1,
        boundary=None if boundary is None else Counts(*boundary, 100),
        contour=contour,
        query=f"{thing}/{number}",
        failure=failure,
    )
