"""Several references against each other: which one predicts the others, and which one hurts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from statistics import mean
from typing import ClassVar

import numpy as np

from persam.concept import Concept
from persam.doctor.measures import Examined
from persam.metrics import iou
from persam.persam import PerSAM

FEWEST = 3  # references from which on one can be left out and two are left: one to learn from, one to look at
STRANGE = 0.35  # kinship below which it is another object
HURTS = 0.05  # mean IoU that the others must gain without a reference for it to hurt


@dataclass(frozen=True, eq=False)
class CrossCheck:
    """How references predict each other; n of them.

    Attributes:
        ious: row i, column j: IoU of what is found in photo j with the concept of reference i, (n, n); the photo itself
            on the diagonal.
        scores: how sure it is there, (n, n).
        with_it: of every reference, the mean IoU in the other photos, each learned from all references but itself.
        without_it: the same learned without that reference too; empty for fewer than `FEWEST`.
    """

    CODES: ClassVar = ("another-object", "hurts")  # of the findings that come from it

    ious: np.ndarray
    scores: np.ndarray
    with_it: tuple[float, ...] = ()
    without_it: tuple[float, ...] = ()

    @property
    def predicts(self) -> list[float]:
        """Mean IoU of every reference in the photos of the others."""
        return [float(np.delete(row, number).mean()) for number, row in enumerate(self.ious)]

    @property
    def best(self) -> int:
        """Number of the reference that predicts the others best, from 0."""
        return int(np.argmax(self.predicts))

    @property
    def kinship(self) -> list[float]:
        """Of every reference the score that it and the nearest other one have in each other's photos, their mean."""
        mutual = (self.scores + self.scores.T) / 2
        return [float(np.delete(row, number).max()) for number, row in enumerate(mutual)]

    @property
    def strangers(self) -> list[int]:
        """Numbers of those that seem to show another object than all others."""
        return [number for number, kinship in enumerate(self.kinship) if kinship < STRANGE]

    @property
    def hurting(self) -> list[int]:
        """Numbers of those without which the others are found better by `HURTS` or more."""
        gains = [without - with_ for with_, without in zip(self.with_it, self.without_it, strict=True)]
        return [number for number, gain in enumerate(gains) if gain >= HURTS]


def passes(count: int) -> int:
    """How many segmentations `compare` makes of so many references."""
    return count * (count - 1) * (1 if count < FEWEST else 2) + (count if count >= FEWEST else 0)


def compare(model: PerSAM, examined: Sequence[Examined], progress: Callable[[], object] = lambda: None) -> CrossCheck:
    """Learn from each and look in the photos of the others, then from all but one, and all but two.

    Args:
        model: that learned them.
        examined: two at least.
        progress: called after every segmentation, `passes` times.
    """
    everyone = range(len(examined))

    def look(learned: Iterable[int], number: int) -> tuple[float, float]:
        one = examined[number]
        found = model.segment(one.image, reduce(_joined, (examined[each].concept for each in learned)))
        progress()
        return iou(found.assumed_mask, one.mask), found.score

    def own(number: int) -> tuple[float, float]:
        return examined[number].measures.own_iou, examined[number].found.score

    cells = np.array([[own(j) if i == j else look([i], j) for j in everyone] for i in everyone])  # (n, n, 2)
    with_it, without_it = [], []
    if len(examined) >= FEWEST:
        by_the_others = [look([i for i in everyone if i != j], j)[0] for j in everyone]
        for left_out in everyone:
            others = [j for j in everyone if j != left_out]
            with_it.append(mean(by_the_others[j] for j in others))
            without_it.append(mean(look([i for i in others if i != j], j)[0] for j in others))
    return CrossCheck(cells[..., 0], cells[..., 1], tuple(with_it), tuple(without_it))


def _joined(one: Concept, other: Concept) -> Concept:
    return one.joined(other, one.name)
