"""Numbers that others printed, each with the protocol, the encoder and the source that it needs to be read with."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

PAPER = "PerSAM paper"  # arXiv 2305.03048


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes:
        data_set: name of the data set, as `persam bench` names it.
        metric: key of the figure that it stands beside, such as ``miou``.
        method: as its authors call it.
        value: in percent.
        encoder: what it was reached with; "" where the method has its own network.
        shots: references per object.
        protocol: how it was measured, as far as the source says.
        source: where it is printed.
        secondary: whether we know it from a later paper's table or a repository that ran the method, not from its
            authors.
    """

    data_set: str
    metric: str
    method: str
    value: float
    encoder: str
    shots: int
    protocol: str
    source: str
    secondary: bool = False


def published_for(data_set: str, shots: int | None = None) -> list[Published]:
    """What is known for a data set, the paper first; those with so many references per object, if given."""
    return [each for each in PUBLISHED if each.data_set == data_set and shots in {None, each.shots}]


def _read() -> tuple[Published, ...]:
    """The rows of ``published.csv``. Where two values of the same cell go round, both are in it."""
    text = resources.files("persam.benchmark.reporting").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        Published(
            **row | {"value": float(row["value"]), "shots": int(row["shots"]), "secondary": bool(row["secondary"])}  # type: ignore[arg-type]
        )
        for row in csv.DictReader(text.splitlines())
    )


PUBLISHED = _read()
