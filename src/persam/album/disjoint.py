"""Several concepts in one photo: a pixel shows one thing, so what two of them claim goes to the surer one.

Which of them is right, the scores cannot tell: among the things of full bins, to call those absent that lost much of
their mask made more answers wrong than right.  So a thing stays there as long as something is left of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from persam.instance import Instance, PixelBox
from persam.segmentation import Segmentation

LEAST_LEFT = 0.05  # share of its mask that a thing keeps; less is a rim of what is the same thing


def disjoint(found: Sequence[Segmentation]) -> list[Segmentation]:
    """What was found for several concepts in one photo, such that no two masks of different concepts overlap.

    Instances get their pixels in the order of their scores, and on equal scores in the order given.  One that keeps
    next to nothing is dropped, and the concept's score is that of the surest that is left; a concept that loses all of
    its instances is absent, with the chance that it is there and the surer thing is not as its score. Nothing else
    changes.

    Args:
        found: one for each concept, of equal size.

    Returns:
        The same, in the same order.
    """
    boxes = {str(place): each.box for place, each in enumerate(found) if each.found}
    if all(len(group) == 1 for group in rivals(boxes).values()):
        return list(found)
    claims = [
        (one.score, place, number)
        for place, each in enumerate(found)
        for number, one in enumerate(each.instances if each.found else ())
    ]
    owner = np.full(found[0].mask.shape, -1, np.int32)  # place of the concept that has a pixel
    kept: dict[int, list[Instance]] = {place: [] for _, place, _ in claims}
    lost_to: dict[int, float] = {}  # score of what took an instance's place
    for _, place, number in sorted(claims, key=lambda claim: -claim[0]):
        one = found[place].instances[number]
        taken = one.mask & (owner >= 0) & (owner != place)
        if taken.sum() > (1 - LEAST_LEFT) * one.mask.sum():
            winner = int(np.bincount(owner[taken]).argmax())
            lost_to[place] = max(lost_to.get(place, 0.0), max(each.score for each in kept[winner]))
            continue
        mask = one.mask & ~taken if taken.any() else one.mask
        owner[mask] = place
        kept[place].append(replace(one, mask=mask))
    return [_with(each, kept.get(place), lost_to.get(place)) for place, each in enumerate(found)]


def rivals(boxes: Mapping[str, PixelBox | None]) -> dict[str, frozenset[str]]:
    """Who may get pixels at whose cost: groups of names whose boxes (x0, y0, x1, y1) hang together by overlaps."""
    groups = {name: frozenset([name]) for name in boxes}
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        if a and b and a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]:
            both = groups[one] | groups[other]
            groups |= dict.fromkeys(both, both)
    return groups


def _with(found: Segmentation, kept: list[Instance] | None, winner: float | None) -> Segmentation:
    """A segmentation with the instances that it kept; `winner` is the score of what took the others."""
    if kept is None:
        return found
    if kept:
        surest = kept[0]
        return replace(
            found,
            mask=np.logical_or.reduce([one.mask for one in kept]),
            instances=tuple(kept),
            score=surest.score,
            similarity=surest.similarity,
            predicted_iou=surest.predicted_iou,
        )
    assert winner is not None
    # Both cannot be there at this place: P(this one, and not the other | not both).
    alone = found.score * (1 - winner) / max(1 - found.score * winner, 1e-6)
    first = found.instances[0]
    return replace(found, mask=np.zeros_like(found.mask), score=alone, present=False, instances=(), candidate=first)
