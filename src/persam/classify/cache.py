"""The cache of Tip-Adapter (Zhang et al., ECCV 2022, arXiv 2111.03930): few shots, looked up by their likeness.

logits = alpha * exp(-beta * (1 - f K^T)) V + 100 f W^T

of a photo's feature f, the shots' features K (the keys), their classes V (the values, one-hot) and the classes' names
W in CLIP's space; all features have length 1. Where the encoder knows no words, the last term is left out.
Tip-Adapter-F trains the keys. What is otherwise than published, because there are so few photos:

- alpha and beta are searched on shots that are left out in turn, since nobody has photos for validation beside; with
  one shot of each class there is nothing to leave out, and they are the paper's 1 and 5.5;
- beta is searched up to 500, further than in the published code: other encoders' photos are more alike than CLIP's;
- photos are taken as they are, while the published code also trains on random crops;
- the keys after the last epoch are taken, while the published code takes the epoch that is best on the test photos.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

ALPHA, BETA = 1.0, 5.5
WORDS_SCALE = 100.0
EPOCHS, RATE, EPSILON, BATCH = 20, 1e-3, 1e-4, 256  # of AdamW, as published
MOST_FOLDS = 4  # the published code validates on as many photos of a class
_ALPHAS = torch.logspace(-1, 3, 17, dtype=torch.float64).float()
_BETAS = torch.logspace(-0.5, 2.7, 17, dtype=torch.float64).float()


@dataclass(frozen=True, eq=False)
class Cache:
    """What was seen of each class, and how it is asked.

    Attributes:
        keys: features of the shots, (N, C); of length 1 until they are trained.
        labels: their classes, (N,) int, of 0 to `classes` - 1.
        classes: number of classes.
        words: features of the classes' names, (classes, C) of length 1, or None.
        alpha: weight of the cache against the words.
        beta: how fast a shot counts less as it is less like the photo.
    """

    keys: Tensor
    labels: Tensor
    classes: int
    words: Tensor | None = None
    alpha: float = ALPHA
    beta: float = BETA

    @property
    def values(self) -> Tensor:
        """What a shot says of each class, (N, classes): one-hot.

        Where classes have unequally many shots, a shot of a class with many says less, so that each class says as much.
        """
        values = F.one_hot(self.labels, self.classes).to(self.keys)
        counts = values.sum(0)
        return values * (len(self.labels) / int((counts > 0).sum()) / counts[self.labels])[:, None]

    def logits(self, features: Tensor) -> Tensor:
        """Of photos' features, (n, C) of length 1: (n, classes)."""
        affinity = features @ self.keys.T
        logits = self.alpha * torch.exp(-self.beta * (1 - affinity)) @ self.values
        return logits if self.words is None else logits + WORDS_SCALE * features @ self.words.T

    def without(self, shots: Tensor) -> Cache:
        """The same without some shots, (N,) bool."""
        return replace(self, keys=self.keys[~shots], labels=self.labels[~shots])


def fit_cache(
    features: Tensor,
    labels: Tensor,
    classes: int,
    words: Tensor | None = None,
    *,
    asked: Tensor | None = None,
    tune: bool = False,
    seed: int = 0,
) -> Cache:
    """Make a cache of shots, and search alpha and beta on shots that are left out in turn.

    Args:
        features: of the shots, (N, C) of length 1.
        labels: their classes, (N,).
        classes: number of classes, some of which may have no shot.
        words: of the classes' names, (classes, C), or None.
        asked: features of the shots as if their class were not known, (N, C): what a shot that is left out is named
            by, since a new photo is named by no better ones; None: they are the same.
        tune: train the keys (Tip-Adapter-F).
        seed: of the order in which more than 256 shots are trained on.
    """
    cache = Cache(features, labels, classes, words)
    queries = features if asked is None else asked
    parts = []
    for left_out in folds(labels):
        part = cache.without(left_out)
        part = tune_keys(part, seed=seed)[0] if tune else part
        parts.append((part, queries[left_out], labels[left_out]))
    alpha, beta = search(parts) if parts else (ALPHA, BETA)
    made = tune_keys(cache, seed=seed)[0] if tune else cache
    return replace(made, alpha=alpha, beta=beta)


def folds(labels: Tensor) -> Iterator[Tensor]:
    """The shots to be left out together, (N,) bool each: one of each class that has two or more; at most four times."""
    order = torch.zeros_like(labels)
    counts = torch.bincount(labels)
    for label in range(len(counts)):
        order[labels == label] = torch.arange(int(counts[label]))
    several = counts[labels] > 1
    for number in range(min(MOST_FOLDS, int(counts.max()))):
        left_out = several & (order == number)
        if bool(left_out.any()):
            yield left_out


def search(asked: list[tuple[Cache, Tensor, Tensor]]) -> tuple[float, float]:
    """The alpha and beta with which most of the shots that were left out are named rightly; among equals, those that
    make them the likeliest.

    Args:
        asked: caches, and the features, (n, C), and classes, (n,), of the shots that each lacks.
    """
    best: tuple[float, float] | None = None
    chosen = (ALPHA, BETA)
    for beta in _BETAS.tolist():
        right, likely = torch.zeros(len(_ALPHAS)), torch.zeros(len(_ALPHAS))
        for cache, features, labels in asked:
            cached = replace(cache, alpha=1.0, beta=beta, words=None).logits(features)
            logits = _ALPHAS[:, None, None] * cached
            if cache.words is not None:
                logits = logits + WORDS_SCALE * features @ cache.words.T
            right += (logits.argmax(-1) == labels).float().sum(1)
            likely += logits.log_softmax(-1)[:, torch.arange(len(labels)), labels].sum(1)
        for place, alpha in enumerate(_ALPHAS.tolist()):
            figure = float(right[place]), float(likely[place])
            if best is None or figure > best:
                best, chosen = figure, (alpha, beta)
    return chosen


def tune_keys(cache: Cache, *, epochs: int = EPOCHS, seed: int = 0) -> tuple[Cache, list[float]]:
    """Train the keys on the shots themselves (Tip-Adapter-F), with the cache's alpha and beta.

    Returns:
        The cache with other keys, and the loss before each epoch and after the last.
    """
    features, labels, values = cache.keys, cache.labels, cache.values
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.enable_grad():
        given = features.clone()
        values = values.clone()
        base = None if cache.words is None else WORDS_SCALE * given @ cache.words.clone().T
        keys = torch.nn.Parameter(given.clone())
        batches = -(-len(given) // BATCH)
        optimizer = torch.optim.AdamW([keys], lr=RATE, eps=EPSILON)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)

        def loss_of(shots: Tensor) -> Tensor:
            logits = cache.alpha * torch.exp(-cache.beta * (1 - given[shots] @ keys.T)) @ values
            return F.cross_entropy(logits if base is None else logits + base[shots], labels[shots])

        everything, losses = torch.arange(len(given)), []
        for _ in range(epochs):
            losses.append(float(loss_of(everything).detach()))
            for shots in torch.randperm(len(given), generator=generator).split(BATCH):
                optimizer.zero_grad()
                loss_of(shots).backward()
                optimizer.step()
                schedule.step()
        losses.append(float(loss_of(everything).detach()))
    return replace(cache, keys=keys.detach()), losses


def nearest_mean(features: Tensor, shots: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The plain baseline: cosines, (n, classes), of features (n, C) to each class's mean shot; -1 without a shot."""
    means = torch.stack([shots[labels == label].sum(0) for label in range(classes)])
    cosines = features @ F.normalize(means, dim=1).T
    return torch.where(torch.bincount(labels, minlength=classes) > 0, cosines, -1.0)
