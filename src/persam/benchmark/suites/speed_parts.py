"""What the parts of the suite of speed share: what one found, what is aimed at, and how many times as fast it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from persam.benchmark.suites.suite import Missed
from persam.benchmark.suites.timing import Spread
from persam.reports.tables import Table

Progress = Callable[[], object]


@dataclass(frozen=True)
class Target:
    """Something that is aimed at, and what was found."""

    name: str
    found: str
    limit: str
    holds: bool

    def cells(self) -> tuple[str, ...]:
        """As a row."""
        return self.name, self.found, self.limit, "yes" if self.holds else "no"


@dataclass
class Part:
    """What one part of the suite found.

    Attributes:
        rows: the numbers, JSON values.
        tables: the same for people.
        targets: of this part.
        notes: sentences for below.
    """

    rows: list[Mapping[str, Any]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def tried(what: str, measure: Callable[[], Part]) -> Part:
    """A part; if it fails, a row that says why, so that the others are measured nevertheless."""
    missed, part = Missed(), Part()
    with missed.over(what):
        part = measure()
    part.targets += [Target(what, f"not measured: {reason}", "–", False) for reason in missed.reasons]
    return part


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times as fast, round by round."""
    return Spread.of([one / other for one, other in zip(slow, fast, strict=True)])
