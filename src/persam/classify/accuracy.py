"""How many photos are named rightly, over the number of shots: object alone against whole photo, three ways.

Every draw puts the photos of a class in an order, the photo that persam learned the class from first. The first 1, 2,
4, ... of them are the shots, so that the shots of more are those of fewer and others. To be named are those that the
largest number of shots leaves, the same for all numbers: else the classes would be in other shares in each column. And
nothing about a photo is used to name it: not its mask, nor its class, and alpha and beta are searched on shots
(`cache.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from persam.classify.cache import WORDS_SCALE, fit_cache, nearest_mean
from persam.classify.descriptions import Described
from persam.errors import PersamError, UsageError
from persam.metrics.statistics import Interval, bootstrap_mean

SHOTS = (1, 2, 4, 8, 16)
DRAWS = 10
WHOLE, OBJECT = "whole photo", "object alone"
MEAN, CACHE, TUNED = "nearest class mean", "Tip-Adapter", "Tip-Adapter-F"
WORDS, SUREST = "words alone", "surest concept"
METHODS = (MEAN, CACHE, TUNED)


@dataclass(frozen=True)
class NamedInDraw:
    """A photo, named by one method.

    Attributes:
        draw: number of the draw.
        shots: of each class, at most; 0: it needs none.
        features: `WHOLE` or `OBJECT`.
        method: one of `METHODS`, `WORDS` or `SUREST`.
        photo: its number in `Described.photos`.
        named: the class that it was given.
    """

    draw: int
    shots: int
    features: str
    method: str
    photo: int
    named: int


@dataclass(frozen=True, eq=False)
class ClassifyBench:
    """What came out.

    Attributes:
        described: the photos.
        shots: numbers of shots that were tried.
        draws: of shots.
        named: every photo's name by every method.
        right: whether each is right, (len(named),) bool.
        notes: what one has to know to read the figures.
    """

    described: Described
    shots: tuple[int, ...]
    draws: int
    named: tuple[NamedInDraw, ...]
    right: np.ndarray
    notes: tuple[str, ...] = ()
    _places: dict[tuple[str, str, int], list[int]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for place, one in enumerate(self.named):
            self._places.setdefault((one.features, one.method, one.shots), []).append(place)

    def of(self, features: str, method: str, shots: int) -> list[int]:
        """Places in `named` of one method."""
        return self._places.get((features, method, shots), [])

    def accuracy(self, features: str, method: str, shots: int) -> Interval | None:
        """Share of photos that are named rightly; None where none was named so. The interval draws photos."""
        places = self.of(features, method, shots)
        if not places:
            return None
        return bootstrap_mean(self.right[places].astype(float), [self.named[place].photo for place in places])

    def gain(self, method: str, shots: int) -> Interval | None:
        """Accuracy of the object alone less that of the whole photo, on the same photos and shots."""
        one, other = (self.of(features, method, shots) for features in (OBJECT, WHOLE))
        if not one or not other:
            return None
        difference = self.right[one].astype(float) - self.right[other].astype(float)
        return bootstrap_mean(difference, [self.named[place].photo for place in one])

    def confusion(self, features: str, method: str, shots: int) -> np.ndarray:
        """How often a photo of a class (row) was given each name (column), (classes, classes)."""
        counts = np.zeros((len(self.described.names),) * 2, int)
        for place in self.of(features, method, shots):
            one = self.named[place]
            counts[self.described.photos[one.photo].label, one.named] += 1
        return counts

    def photos_tested(self) -> int:
        """How many photos were named at all."""
        return len({one.photo for one in self.named})

    def photos_in_draw(self) -> int:
        """How many photos each draw names: the same for every number of shots."""
        return len({one.photo for one in self.named if one.draw == 0})


def bench(
    described: Described,
    shots: Sequence[int] = SHOTS,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> ClassifyBench:
    """Name the photos that are never shots in a draw, for every draw, number of shots, kind of features and method.

    Args:
        described: the photos.
        shots: numbers of them; those for which no class has photos enough are left out.
        draws: how often shots are drawn.
        seed: of the draws.
        progress: called after each draw.

    Raises:
        UsageError: no number of shots, or one below 1; or no draw.
        PersamError: there is no photo to be named.
    """
    if not shots or min(shots) < 1 or draws < 1:
        raise UsageError("Shots and draws are counted from 1; give such as --shots 1,2,4 --draws 10.")
    labels = described.labels
    counts = torch.bincount(labels, minlength=len(described.names))
    references = torch.tensor([photo.is_reference for photo in described.photos])
    most = int(counts.max()) - 1
    tried = tuple(sorted({number for number in shots if number <= most}))
    known = torch.bincount(labels[references], minlength=len(counts))
    if not tried or not bool(((counts > 1) & (counts > known)).any()):
        raise PersamError(
            "There is no photo to be named: each class needs one more than its shots, and than the photo with the "
            "mask; add photos."
        )
    named: list[NamedInDraw] = []
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw])
        orders = [_order(np.flatnonzero((labels == label).numpy()), references, rng) for label in range(len(counts))]
        left = torch.tensor(np.concatenate([order[_taken(tried[-1], len(order)) :] for order in orders]))
        tests = left[~references[left]].sort().values
        named += _without_shots(described, tests, draw)
        for number in tried:
            chosen = [order[: _taken(number, len(order))] for order in orders]
            named += _named(described, torch.tensor(np.concatenate(chosen)), tests, (draw, number))
        progress()
    right = np.array([one.named == described.photos[one.photo].label for one in named])
    notes = *_fixed(tried, counts, known), *_notes(described, shots, tried, counts)
    return ClassifyBench(described, tried, draws, tuple(named), right, notes)


def _taken(shots: int, photos: int) -> int:
    """How many of a class's photos are shots: so many, but one is left where there are two or more."""
    return min(shots, max(1, photos - 1))


def _order(photos: np.ndarray, references: Tensor, rng: np.random.Generator) -> np.ndarray:
    """The photos of a class in the order in which they become shots."""
    is_reference = references[photos].numpy()
    return np.concatenate([photos[is_reference], rng.permutation(photos[~is_reference])])


def _named(described: Described, shots: Tensor, photos: Tensor, drawn: tuple[int, int]) -> Iterator[NamedInDraw]:
    labels, classes = described.labels, len(described.names)
    for features, of_shots, of_asked in _features(described):
        keys, queries, theirs = of_shots[shots], of_asked[shots], of_asked[photos]
        seed = drawn[0]
        logits = {MEAN: nearest_mean(theirs, keys, labels[shots], classes)}
        for method, tune in ((CACHE, False), (TUNED, True)):
            cache = fit_cache(keys, labels[shots], classes, described.words, asked=queries, tune=tune, seed=seed)
            logits[method] = cache.logits(theirs)
        for method, each in logits.items():
            for photo, name in zip(photos.tolist(), each.argmax(1).tolist(), strict=True):
                yield NamedInDraw(*drawn, features, method, photo, name)


def _features(described: Described) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Kinds of features: of all photos as shots, and as photos to be named, (N, C) each."""
    whole = torch.stack([photo.whole for photo in described.photos])
    yield WHOLE, whole, whole
    if described.has_foreground:
        shot = torch.stack([photo.as_shot for photo in described.photos])
        asked = torch.stack([photo.as_asked for photo in described.photos])
        yield OBJECT, shot, asked


def _without_shots(described: Described, photos: Tensor, draw: int) -> Iterator[NamedInDraw]:
    """What names photos without any shot: CLIP's words; and with the masks of the references alone: the concepts."""
    if described.words is not None:
        for features, _, asked in _features(described):
            for photo, name in zip(
                photos.tolist(), (WORDS_SCALE * asked[photos] @ described.words.T).argmax(1).tolist(), strict=True
            ):
                yield NamedInDraw(draw, 0, features, WORDS, photo, name)
    if described.has_foreground:
        for photo in photos.tolist():
            yield NamedInDraw(draw, 0, OBJECT, SUREST, photo, described.photos[photo].surest)


def _fixed(tried: Sequence[int], counts: Tensor, known: Tensor) -> Iterator[str]:
    """Say for which numbers all draws have the same shots."""
    for number in tried:
        taken = torch.tensor([_taken(number, count) for count in counts.tolist()])
        if bool(((counts == 1) | (taken <= known)).all()):
            shots = "1 shot: always the photo" if number == 1 else f"{number} shots: always the photos"
            yield f"{shots} with the mask, or of the concept; nothing is drawn but the photos to be named."


def _notes(described: Described, wanted: Sequence[int], tried: Sequence[int], counts: Tensor) -> Iterator[str]:
    if left := sorted(set(wanted) - set(tried)):
        yield f"No class has photos enough for {', '.join(map(str, left))} shots."
    few = [name for name, count in zip(described.names, counts.tolist(), strict=True) if count <= tried[-1]]
    if few:
        listed = ", ".join(few[:5]) + (", ..." if len(few) > 5 else "")
        yield f"Of classes with fewer photos all but one are shots: {listed}."
    if described.words is None:
        yield f"{described.describer.features.name} knows no words, so the text term of Tip-Adapter is left out."
    if not described.has_foreground:
        yield "Whole photos alone: " + (
            f"no mask shows {', '.join(described.unshown)}." if described.unshown else "no objects were looked for."
        )
    if described.left_out:
        yield f"{len(described.left_out)} files were left out because they cannot be read."
