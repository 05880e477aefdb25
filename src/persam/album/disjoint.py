"""Several concepts in one photo: a pixel shows one thing, so what two of them claim goes to the surer one.

A thing that loses most of its mask this way is not there: what looked like it is the other thing.  Cats are sometimes
found in other cats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from persam.instance import Instance, PixelBox
from persam.segmentation import Segmentation

MOST_LOST = 0.5  # share of its mask that a thing may lose to a surer one


def disjoint(found: Sequence[Segmentation]) -> list[Segmentation]:
    """What was found for several concepts in one photo, such that no two masks of different concepts overlap.

    Instances get their pixels in the order of their scores, and on equal scores in the order given.  One that keeps
    less than half of its mask is dropped, and the concept's score is that of the surest that is left; a concept that
    loses all of its instances is absent, with the chance that it is there and the surer thing is not as its score.
    Nothing else changes.

    Args:
        found: one for each concept, of equal size.

    Returns:
        The same, in the same order.
    """
    if not _may_overlap([each.box for each in found if each.found and each.box is not None]):
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
        if taken.sum() > MOST_LOST * one.mask.sum():
            winner = int(np.bincount(owner[taken]).argmax())
            lost_to[place] = max(lost_to.get(place, 0.0), max(each.score for each in kept[winner]))
            continue
        mask = one.mask & ~taken if taken.any() else one.mask
        owner[mask] = place
        kept[place].append(replace(one, mask=mask))
    return [_with(each, kept.get(place), lost_to.get(place)) for place, each in enumerate(found)]


def _may_overlap(boxes: Sequence[PixelBox]) -> bool:
    """Whether any two of the boxes (x0, y0, x1, y1) have a pixel in common."""
    return any(
        one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
        for number, one in enumerate(boxes)
        for other in boxes[:number]
    )


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
