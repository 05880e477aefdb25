"""Which frames are followed from which: every one from the nearest that was given, forwards or backwards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """The frames that are followed from one given frame: backwards to `first`, forwards until the next span's first.

    Attributes:
        first: number of its first frame.
        given: number of the frame that was given.
    """

    first: int
    given: int


def spans_of(given: Iterable[int], first: int) -> list[Span]:
    """Cut a clip into the spans of its given frames, in order; a frame in the middle of two is followed forwards.

    >>> spans_of([40, 10], first=0)
    [Span(first=0, given=10), Span(first=26, given=40)]
    """
    spans: list[Span] = []
    for number in sorted(given):
        spans.append(Span((spans[-1].given + number) // 2 + 1 if spans else first, number))
    return spans
