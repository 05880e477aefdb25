"""Random episodes as HSNet and Matcher draw them: a class, a query photo of it, and other photos as references."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from persam.benchmark.datasets.layout import passed_over, shots_in_words, some
from persam.benchmark.episodes import Episode, Loaded, Sample
from persam.errors import UsageError
from persam.files import safe_name

Each = TypeVar("Each")


@dataclass(frozen=True)
class FoldClass:
    """A class of a fold.

    Attributes:
        name: the object of its episodes.
        words: what a person would call it.
        samples: all that show it; several may be of one photo (its crops).
    """

    name: str
    words: str
    samples: Sequence[Sample]

    def by_photo(self) -> list[list[Sample]]:
        """The samples of each photo."""
        groups: dict[Path, list[Sample]] = {}
        for each in self.samples:
            groups.setdefault(each.photo, []).append(each)
        return list(groups.values())


@dataclass(frozen=True)
class Drawing:
    """How episodes are drawn.

    Attributes:
        folds: of the protocol.
        fold: the one to draw from, or None for all.
        episodes: of each fold.
        shots: references of an episode.
    """

    folds: int
    fold: int | None
    episodes: int
    shots: int
    seed: int

    @property
    def wanted(self) -> list[int]:
        """The folds to draw from."""
        return list(range(self.folds)) if self.fold is None else [self.fold]

    def deal(self, classes: Sequence[Each], make: Callable[[Each], FoldClass]) -> dict[int, list[FoldClass]]:
        """Deal classes out to the folds in turn, position p to fold p mod `folds`; those of wanted folds are made."""
        return {fold: [make(each) for each in classes[fold :: self.folds]] for fold in self.wanted}

    def draw(self, data_set: str, folds: Mapping[int, Sequence[FoldClass]]) -> tuple[tuple[Episode, ...], list[str]]:
        """Draw from the classes of each fold: one query an episode, and references of other photos, all different.

        Class, query and references are drawn uniformly. The same seed gives the same episodes, whatever other folds
        are asked for, and fewer episodes are the first of more. A query that is drawn again is another sample by its
        name: ``fold0/0007-dog-000000012``.

        Returns:
            The episodes, and notes on classes that were passed over because they have too few photos.

        Raises:
            UsageError: no class of a fold has enough photos, or a drawn photo is not there.
        """
        drawn: list[Episode] = []
        notes: list[str] = []
        for fold, categories in folds.items():
            groups = [(category, category.by_photo()) for category in categories]
            enough = [(category, photos) for category, photos in groups if len(photos) > self.shots]
            poor = [category.name for category, photos in groups if len(photos) <= self.shots]
            if not enough:
                raise UsageError(f"No class of fold {fold} has the {self.shots + 1} photos that an episode takes.")
            notes += passed_over(f"classes of fold {fold} with fewer than {self.shots + 1} photos", poor)
            rng = np.random.default_rng([self.seed, fold])
            for number in range(self.episodes):
                category, photos = enough[int(rng.integers(len(enough)))]
                references, test = one_query(photos, int(rng.integers(len(photos))), self.shots, rng)
                name = f"fold{fold}/{number:04}-{safe_name(test.name.replace('/', '-'))}"
                test = dataclasses.replace(test, name=name)
                drawn.append(Episode(data_set, category.name, references, (test,), category.words, fold))
        check_photos(each for episode in drawn for each in (*episode.references, *episode.tests))
        return tuple(drawn), notes

    def loaded(
        self,
        data_set: str,
        shown: str,
        folds: Mapping[int, Sequence[FoldClass]],
        settings: Mapping[str, Any],
        notes: Sequence[str] = (),
        more_notes: Sequence[str] = (),
    ) -> Loaded:
        """`draw`, with everything that is said of the data set: which part of it, and notes to stand before and after.

        Raises:
            UsageError: as `draw` does.
        """
        episodes, drawn_notes = self.draw(data_set, folds)
        whole = {**settings, **self.settings()}
        return Loaded(data_set, episodes, f"{shown}: {self.in_words()}", whole, (*notes, *drawn_notes, *more_notes))

    def in_words(self) -> str:
        """The end of a protocol sentence: folds, episodes, references, seed, and how results are summed up."""
        which = f"all {self.folds} folds" if self.fold is None else f"fold {self.fold} of {self.folds}"
        return (
            f"{which}, {self.episodes} random episodes a fold, {shots_in_words(self.shots)} each, seed {self.seed}; "
            "intersection and union pooled per class, then the mean over the classes of a fold and over folds"
        )

    def settings(self) -> dict[str, Any]:
        """The same for programs."""
        return {"fold": self.fold, "episodes": self.episodes, "shots": self.shots, "seed": self.seed}


def one_query(
    photos: Sequence[Sequence[Sample]], query: int, shots: int, rng: np.random.Generator
) -> tuple[tuple[Sample, ...], Sample]:
    """References drawn from all photos but the query's, and the query; of a photo with several samples, any."""
    test = _one(photos[query], rng)
    others = rng.choice(len(photos) - 1, shots, replace=False).tolist()
    return tuple(_one(photos[other + (other >= query)], rng) for other in others), test


def _one(samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
    return samples[int(rng.integers(len(samples)))]


def check_photos(samples: Iterable[Sample]) -> None:
    """Raise `UsageError` if photos are not there, before hours of work and not in their midst."""
    absent = [photo for photo in dict.fromkeys(each.photo for each in samples) if not photo.is_file()]
    if absent:
        raise UsageError(f"{len(absent)} photos of the episodes are not there: {some(absent)}.")
