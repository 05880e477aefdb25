"""The cache against its formula in loops; what fits it looks at shots alone."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from persam.classify.cache import ALPHA, BETA, Cache, fit_cache, folds, nearest_mean, search, tune_keys


def shots(counts: list[int], *, channels: int = 12, spread: float = 0.8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features of length 1 around a direction for each class, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    middles = torch.randn(len(counts), channels, generator=generator)
    labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    noise = torch.randn(len(labels), channels, generator=generator)
    return F.normalize(middles[labels] + spread * noise, dim=1), labels


@pytest.mark.parametrize("with_words", [False, True])
def test_logits_are_the_papers_formula(with_words: bool) -> None:
    keys, labels = shots([3, 3, 3])
    asked, words = shots([2, 2, 2], seed=1)[0], shots([1, 1, 1], seed=2)[0] if with_words else None
    found = Cache(keys, labels, 3, words, alpha=1.7, beta=4.2).logits(asked)
    for i, f in enumerate(asked.tolist()):
        wanted = [0.0, 0.0, 0.0]
        for key, label in zip(keys.tolist(), labels.tolist(), strict=True):
            affinity = sum(a * b for a, b in zip(f, key, strict=True))
            wanted[label] += 1.7 * math.exp(-4.2 * (1 - affinity))
        if words is not None:
            for label, word in enumerate(words.tolist()):
                wanted[label] += 100 * sum(a * b for a, b in zip(f, word, strict=True))
        assert found[i].tolist() == pytest.approx(wanted, rel=1e-4)


def test_a_class_with_more_shots_says_as_much() -> None:
    """Its shots twice over change nothing, and neither does a class without any."""
    keys, labels = shots([2, 2])
    asked = shots([3, 3], seed=1)[0]
    again = torch.cat([keys, keys[labels == 1]]), torch.cat([labels, labels[labels == 1]])
    one, other = Cache(keys, labels, 2), Cache(*again, 3)
    np.testing.assert_allclose(F.normalize(other.logits(asked)[:, :2]), F.normalize(one.logits(asked)), rtol=1e-4)
    assert torch.equal(other.logits(asked)[:, 2], torch.zeros(6))


@pytest.mark.parametrize("tune", [False, True])
def test_the_order_of_classes_does_not_matter(tune: bool) -> None:
    keys, labels = shots([3, 2, 4])
    asked, words = shots([2, 2, 2], seed=1)[0], shots([1, 1, 1], seed=2)[0]
    order = torch.tensor([2, 0, 1])
    one = fit_cache(keys, labels, 3, words, tune=tune)
    other = fit_cache(keys, order[labels], 3, words[order.argsort()], tune=tune)
    assert (one.alpha, one.beta) == (other.alpha, other.beta)
    np.testing.assert_allclose(one.logits(asked), other.logits(asked)[:, order], atol=1e-4)


def test_left_out_is_one_shot_of_each_class_that_has_several() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2, 0, 0, 0])
    found = list(folds(labels))
    assert len(found) == 4
    assert [each.nonzero().flatten().tolist() for each in found] == [[0, 4], [1, 5], [2], [6]]
    assert list(folds(torch.tensor([0, 1, 2]))) == []


def test_the_search_takes_what_names_most_of_the_shots_left_out() -> None:
    """By brute force over a part of the grid: nothing on it is better than what was taken."""
    keys, labels = shots([4, 4, 4], spread=1.5)
    words = shots([1, 1, 1], seed=5)[0]
    asked = [(Cache(keys, labels, 3, words).without(left), keys[left], labels[left]) for left in folds(labels)]

    def right(alpha: float, beta: float) -> int:
        return sum(
            int((Cache(c.keys, c.labels, 3, words, alpha, beta).logits(f).argmax(1) == true).sum())
            for c, f, true in asked
        )

    chosen = search(asked)
    assert right(*chosen) >= max(right(a, b) for a in np.logspace(-1, 3, 9) for b in np.logspace(-0.5, 2.7, 9)) - 1
    cache = fit_cache(keys, labels, 3, words)
    assert (cache.alpha, cache.beta) == chosen
    assert torch.equal(cache.keys, keys)


@pytest.mark.parametrize("tune", [False, True])
def test_a_shot_that_is_left_out_is_asked_as_a_new_photo_is(tune: bool) -> None:
    """The keys may know their class; what they are searched with does not."""
    keys, labels = shots([4, 4, 4], spread=0.3)
    asked = F.normalize(keys + 0.8 * torch.randn(keys.shape, generator=torch.Generator().manual_seed(7)), dim=1)
    parts = [(Cache(keys, labels, 3).without(left), asked[left], labels[left]) for left in folds(labels)]
    parts = [(tune_keys(part)[0] if tune else part, *rest) for part, *rest in parts]
    found = fit_cache(keys, labels, 3, asked=asked, tune=tune)
    assert (found.alpha, found.beta) == search(parts)
    sure = fit_cache(keys, labels, 3, tune=tune)
    assert (found.alpha, found.beta) != (sure.alpha, sure.beta)
    assert torch.equal(found.keys, sure.keys)


def test_with_one_shot_each_there_is_nothing_to_search_on() -> None:
    keys, labels = shots([1, 1, 1])
    for tune in (False, True):
        cache = fit_cache(keys, labels, 3, tune=tune)
        assert (cache.alpha, cache.beta) == (ALPHA, BETA)


@pytest.mark.parametrize("with_words", [False, True])
def test_training_lowers_the_loss_and_changes_keys_alone(with_words: bool) -> None:
    keys, labels = shots([8, 8, 8], spread=2.0)
    words = shots([1, 1, 1], seed=3)[0] if with_words else None
    kept = keys.clone()
    with torch.inference_mode():  # as the caller's may be
        tuned, losses = tune_keys(Cache(keys, labels, 3, words))
    assert len(losses) == 21
    assert losses[-1] < losses[0]
    assert all(after < before for before, after in itertools.pairwise(losses[:11]))
    assert torch.equal(keys, kept)
    assert not torch.equal(tuned.keys, keys)
    assert torch.equal(tuned.labels, labels)
    assert not tuned.keys.requires_grad


def test_training_is_adamw_with_a_cosine() -> None:
    """Both by their formulas, five steps: eps 1e-4, decay 0.01, and a rate that falls from 0.001 to 0 as a cosine."""
    keys, labels = shots([2, 2])
    found, _ = tune_keys(Cache(keys, labels, 2), epochs=5)
    wanted, first, second = keys.double(), 0.0, 0.0
    for step in range(5):
        wanted.requires_grad_()
        cache = Cache(wanted, labels, 2)
        logits = torch.exp(-BETA * (1 - keys.double() @ wanted.T)) @ cache.values
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels), wanted)
        rate = 1e-3 * (1 + math.cos(math.pi * step / 5)) / 2
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        moved = (first / (1 - 0.9 ** (step + 1))) / ((second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-4)
        wanted = (wanted * (1 - rate * 1e-2) - rate * moved).detach()
    np.testing.assert_allclose(found.keys, wanted, atol=2e-6)
    assert float((wanted - keys).abs().max()) > 2e-3


def test_many_shots_are_trained_in_batches_and_the_same_each_time() -> None:
    keys, labels = shots([150, 150])
    one, other = (tune_keys(Cache(keys, labels, 2), epochs=2, seed=seed)[0].keys for seed in (0, 0))
    assert torch.equal(one, other)
    assert not torch.equal(one, tune_keys(Cache(keys, labels, 2), epochs=2, seed=1)[0].keys)


def test_nearest_mean() -> None:
    keys, labels = shots([3, 2])
    asked = shots([2, 2], seed=1)[0]
    found = nearest_mean(asked, keys, labels, 3)
    for label in (0, 1):
        mean = keys[labels == label].numpy().mean(0)
        wanted = asked.numpy() @ mean / np.linalg.norm(mean)
        np.testing.assert_allclose(found[:, label], wanted, rtol=1e-5)
    assert torch.equal(found[:, 2], torch.full((4,), -1.0))
