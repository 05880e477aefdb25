"""Name the class of new photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from persam.classify.accuracy import CACHE, OBJECT, TUNED, WHOLE
from persam.classify.cache import Cache, fit_cache
from persam.classify.descriptions import Described, DescribedPhoto
from persam.places import Place


@dataclass(frozen=True, eq=False)
class NamedPhoto:
    """A photo and its class.

    Attributes:
        described: the photo as vectors, with the mask by which it was named.
        probabilities: of every class, by name, the likeliest first; they sum up to 1.
    """

    described: DescribedPhoto
    probabilities: dict[str, float]

    @property
    def name(self) -> str:
        """Of the likeliest class."""
        return next(iter(self.probabilities))

    @property
    def probability(self) -> float:
        """Of that class."""
        return self.probabilities[self.name]

    @property
    def runner_up(self) -> str:
        """The second likeliest."""
        return list(self.probabilities)[1]

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Ready for JSON.

        Args:
            names: of the classes, in the order of `Described.names`.
        """
        line: dict[str, Any] = {
            "image": self.described.path,
            "class": self.name,
            "probability": round(self.probability, 4),
            "runner_up": self.runner_up,
            "runner_up_probability": round(self.probabilities[self.runner_up], 4),
        }
        if self.described.scores:
            scores, surest = self.described.scores, self.described.surest
            line |= {"object_like": names[surest], "object_score": round(scores[surest], 4)}
        return line | {"probabilities": {name: round(each, 4) for name, each in self.probabilities.items()}}


@dataclass(frozen=True, eq=False)
class Classifier:
    """Names photos by a cache of all photos of a folder of classes.

    Attributes:
        described: the photos of the classes.
        cache: of their features.
        features: `WHOLE` or `OBJECT`: what of a photo is looked at.
        method: `CACHE` or `TUNED`.
    """

    described: Described
    cache: Cache
    features: str
    method: str

    @classmethod
    def of(cls, described: Described, *, tune: bool = False) -> Classifier:
        """A classifier of all photos that were described; it looks at objects where they were looked for.

        Args:
            described: by `persam.classify.describe`.
            tune: train the keys (Tip-Adapter-F).
        """
        features = OBJECT if described.has_foreground else WHOLE
        cache = fit_cache(
            torch.stack([photo.as_shot for photo in described.photos]),
            described.labels,
            len(described.names),
            described.words,
            asked=torch.stack([photo.as_asked for photo in described.photos]),
            tune=tune,
        )
        return cls(described, cache, features, TUNED if tune else CACHE)

    def name(self, photo: str | Place) -> NamedPhoto:
        """Name one photo.

        Raises:
            PersamError: it cannot be read.
        """
        seen = self.described.describer.describe(photo)
        shares = self.cache.logits(seen.as_asked[None]).softmax(1)[0]
        order = shares.argsort(descending=True, stable=True).tolist()
        return NamedPhoto(seen, {self.described.names[label]: float(shares[label]) for label in order})
