"""Words beside the photo: what a finder finds by a concept's words, and what the photo's features say of it.

Words know the kind of a thing and not which one it is; the features of the reference know which one, and are misled by
what happens to look like it.  So the features decide, and words weigh in:

- What the words name are further candidates.  Each is scored as if the decoder had drawn it (`method/find.py`), by the
  similarity under its own mask; a decoder that sees nothing there, where the features had it look, has its say here,
  too.  A mask in which the features found several things is none: the finder did not tell them apart.
- The odds of every candidate are multiplied by what the words say of its place: `NAMED` where the finder is certain,
  `UNNAMED` where it finds nothing, and in between by its probability,

      odds  *=  UNNAMED + (NAMED - UNNAMED) * probability

The two are not alike.  Whatever looks like the thing is often of its kind too, so that its being named says little
more; but a place that is not of the kind is hardly the thing.  The two numbers are chosen and not fitted: there is no
finder yet whose answers they could be fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from persam.geometry import Size, fit_mask
from persam.instance import Instance
from persam.method.find import ALREADY, score_in
from persam.method.prior import Prior, prior_of
from persam.method.segment import presence_in
from persam.models.base import EncodedImage
from persam.models.words import Named

if TYPE_CHECKING:
    from persam.concept import Concept

NAMED, UNNAMED = 2.0, 0.2  # what odds are multiplied by
MOST_OF_IT = 0.5  # share of a mask


@dataclass(frozen=True, eq=False)
class _Candidate:
    """Something that may be the thing: its mask as small as the finder's are, and whether words led to it."""

    one: Instance
    mask: np.ndarray
    by_words: bool


def join(
    found: Sequence[Instance],
    named: Named,
    image: EncodedImage,
    concept: Concept,
    low_resolution: Size,
    *,
    most: int,
    threshold: float,
) -> list[Instance]:
    """Up to `most` objects by both kinds of evidence, the surest first; the first one whatever its score.

    Args:
        found: by the photo's features alone, with the way to each; at least one.
        named: by the words, with masks (n, h, w) over all of the photo, as small as one likes.
        image: the photo.
        concept: what is looked for.
        low_resolution: size (h, w) of the decoder's logits.
        most: objects.
        threshold: of the score.
    """
    whole = prior_of(image, concept, low_resolution, tuned=concept.tuned)
    candidates = []
    for one in found:
        mask = fit_mask(one.mask, named.masks[0]) if len(named.masks) else one.mask
        likely = _probability_at(mask, named)
        candidates.append(_Candidate(replace(one, score=weighed(one.score, likely)), mask, by_words=False))
    sure = [each.mask for each in candidates if each.one.score >= threshold]
    for mask, likely in zip(named.masks, named.scores.tolist(), strict=True):
        if sum(_lies_in(other, mask) for other in sure) > 1:  # a mask of several things, which features tell apart
            continue
        prior = prior_under(whole, mask)
        score = weighed(score_in(image, concept, prior, mask, _presence_at(mask, found)), likely)
        candidates.append(_Candidate(Instance(mask, score, prior.similarity, prior=prior), mask, by_words=True))
    kept: list[_Candidate] = []
    for each in sorted(candidates, key=lambda each: -each.one.score):
        if len(kept) == most or (kept and each.one.score < threshold):
            break
        if not any(_are_one(each, other) for other in kept):
            kept.append(each)
    size = image.frame.photo
    return [replace(each.one, mask=_of_size(each.mask, size)) if each.by_words else each.one for each in kept]


def weighed(score: float, likely: float) -> float:
    """A score, 0..1, after words had their say.

    Args:
        score: by the features.
        likely: the finder's probability that the words mean what is there, 0 where it found nothing.
    """
    odds = score * (UNNAMED + (NAMED - UNNAMED) * likely)
    return odds / (odds + (1 - score))


def prior_under(prior: Prior, mask: np.ndarray) -> Prior:
    """A prior of which only what is under a mask counts, (h, w) bool over all of the photo: its peak there."""
    height, width = prior.canvas.shape
    cover = prior.frame.cover(torch.tensor(mask, device=prior.canvas.device), (height, width))
    peak = prior.canvas.masked_fill(cover <= 0, -torch.inf).argmax()
    similarity = float((prior.canvas if prior.alike is None else prior.alike).flatten()[peak])
    points = prior.frame.cell_centres(peak[None], (height, width))
    return replace(prior, similarity=similarity, points=points, labels=np.ones(1, np.int64), box=None)


def _probability_at(mask: np.ndarray, named: Named) -> float:
    """How sure the finder is of the place of a mask, most of which lies in something that it found; 0 if it does not.

    A part of what is named is named, too: a finder may draw the mug with the hand that holds it.
    """
    scores = [0.0]
    for other, score in zip(named.masks, named.scores.tolist(), strict=True):
        if _lies_in(mask, other):
            scores.append(score)
    return max(scores)


def _lies_in(mask: np.ndarray, other: np.ndarray) -> bool:
    """Whether most of a mask, which is not empty, lies in another one."""
    return bool(0 < mask.sum() <= (mask & other).sum() / MOST_OF_IT)


def _presence_at(mask: np.ndarray, found: Sequence[Instance]) -> float | None:
    """The decoder's logit that something can be seen at the place of a mask, (h, w) bool over all of the photo.

    It was asked only where the features pointed: None where none of these places is under the mask, or the model does
    not tell.
    """
    told = []
    for one in found:
        x, y = one.points()[0]
        (height, width), (rows, columns) = one.mask.shape, mask.shape
        row, column = min(int(y * rows / height), rows - 1), min(int(x * columns / width), columns - 1)
        presence = presence_in(list(one.steps))
        if presence is not None and mask[max(0, row), max(0, column)]:
            told.append(presence)
    return max(told, default=None)


def _are_one(one: _Candidate, other: _Candidate) -> bool:
    """Whether two candidates are one thing, or one a part of the other; features alone have told theirs apart."""
    if not (one.by_words or other.by_words):
        return False
    smaller = min(one.mask.sum(), other.mask.sum())
    return bool((one.mask & other.mask).sum() >= ALREADY * max(1, smaller))


def _of_size(mask: np.ndarray, size: Size) -> np.ndarray:
    """A small mask at the photo's size, (H, W) bool, with a smooth outline."""
    larger = cv2.resize(mask.astype(np.uint8) * 255, size[::-1], interpolation=cv2.INTER_LINEAR)
    return larger > 127
