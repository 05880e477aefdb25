"""How methods came through sequences: the seconds of every frame, and why one stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Passage:
    """How one method came through one sequence.

    Attributes:
        method: its name.
        sequence: likewise.
        start: seconds until the first frame was done: what is shown is learned then.
        frames: seconds of every frame after it.
        failure: why it stopped, if it did.
    """

    method: str
    sequence: str
    start: float = 0.0
    frames: list[float] = field(default_factory=list)
    failure: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Passage:
        """From JSON values, as `vars` gives them.

        Raises:
            KeyError, TypeError, ValueError: they are others.
        """
        frames = [float(seconds) for seconds in data["frames"]]
        failure = None if data["failure"] is None else str(data["failure"])
        return cls(str(data["method"]), str(data["sequence"]), float(data["start"]), frames, failure)


def seconds_by_frame(passages: Sequence[Passage]) -> Mapping[str, dict[tuple[str, int], float]]:
    """Seconds of every frame after the first, by method, then by sequence and number of the frame."""
    found: dict[str, dict[tuple[str, int], float]] = {}
    for each in passages:
        own = found.setdefault(each.method, {})
        own |= {(each.sequence, number): seconds for number, seconds in enumerate(each.frames, start=1)}
    return found
