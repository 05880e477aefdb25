"""How well a concept learned from one photo is found in others: IoU and localisation, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from persam.benchmark.episodes import Episode
from persam.images import read_image, read_mask
from persam.method.settings import Settings
from persam.models.base import FeatureEncoder, PromptableModel
from persam.persam import PerSAM

RESAMPLES = 2000


@dataclass(frozen=True)
class Outcome:
    """One photo, one form of the method.

    Attributes:
        form: name of the form, such as ``persam`` or ``persam-f``, as given by the caller.
        iou: of the mask with the truth, in [0, 1].
        on_object: whether the highest place of the confidence map lies on the object.
        score: the confidence there.
    """

    form: str
    data_set: str
    object: str
    photo: str
    iou: float
    on_object: bool
    score: float


def intersection_over_union(mask: np.ndarray, truth: np.ndarray) -> float:
    """|A and B| / |A or B| of two (H, W) bool masks; 1 if both are empty.

    >>> intersection_over_union(np.array([[True, True]]), np.array([[True, False]]))
    0.5
    """
    union = int((mask | truth).sum())
    return 1.0 if union == 0 else int((mask & truth).sum()) / union


def measure(
    model: PromptableModel,
    episodes: Iterable[Episode],
    forms: Mapping[str, tuple[Settings, bool]],
    encoder: FeatureEncoder | None = None,
    solver: str = "direct",
) -> Iterator[Outcome]:
    """Run every form (its settings, and whether it is tuned) on every photo, which is encoded once for all of them."""
    for episode in episodes:
        makers = {name: PerSAM(model, encoder=encoder, settings=settings) for name, (settings, _) in forms.items()}
        concepts = {}
        for name, (_, tuned) in forms.items():
            concept = makers[name].learn(*episode.reference, name=episode.name)
            concepts[name] = makers[name].tune(concept, solver=solver) if tuned else concept
        for photo, mask in episode.tests:
            pixels = read_image(photo)
            truth = read_mask(mask, pixels.shape[:2])
            encoded = next(iter(makers.values())).encode(pixels)
            for name, concept in concepts.items():
                found = makers[name].segment(encoded, concept)
                x, y = np.clip(found.points[0].round().astype(int), 0, np.array(truth.shape[::-1]) - 1)
                yield Outcome(
                    name,
                    episode.data_set,
                    episode.name,
                    photo.name,
                    intersection_over_union(found.mask, truth),
                    bool(truth[y, x]),
                    found.score,
                )


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of (N,) values, resampling them."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (RESAMPLES, len(values))).mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
