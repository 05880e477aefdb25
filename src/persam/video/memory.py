"""What is remembered of a clip: the reference, and beside it a few good frames, as further shots of the concept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from persam.concept import Concept
from persam.method.cues import CueFeatures, cues_of
from persam.method.learn import Learned, TargetFeatures
from persam.video.state import Resumable

MOST_FRAMES = 3  # with it the memory is as large as it gets, however long the clip


class ClipMemory(Resumable):
    """A concept that knows good frames of the clip too.

    The frames stay spread over the time since the start: of three in a row that are too many, the one goes whose
    neighbours are nearest in time, and never the last one.

    Args:
        concept: as it was learned; it is always part of what is remembered.

    Attributes:
        concept: with the frames as further shots.
    """

    _FIXED = frozenset({"learned", "concept"})

    def __init__(self, concept: Concept) -> None:
        self.learned = self.concept = concept
        self._kept: list[tuple[int, TargetFeatures, CueFeatures]] = []

    @property
    def frames(self) -> list[int]:
        """Numbers of the frames that are remembered, in order."""
        return [number for number, *_ in self._kept]

    def add(self, number: int, learned: Learned) -> None:
        """Remember what a frame shows."""
        self._kept.append((number, learned.target, cues_of(learned, self.learned.fitted)))
        if len(self._kept) > MOST_FRAMES:
            times = [0, *self.frames]
            gaps = [times[place + 2] - times[place] for place in range(len(times) - 2)]
            del self._kept[gaps.index(min(gaps))]
        self._join()

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Resumable`."""
        super().restore(state)
        self._join()

    def _join(self) -> None:
        shots = self._kept
        self.concept = self.learned.also_seen_as(
            tuple(target for _, target, _ in shots), tuple(cues for *_, cues in shots)
        )
