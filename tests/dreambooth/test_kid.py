"""KID: against a computation pair by pair, against torchmetrics', and its interval against the truth."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import torch

from persam.dreambooth.kid import kernel_distance

RNG = np.random.default_rng(0)


def pair_by_pair(generated: np.ndarray, real: np.ndarray) -> float:
    """The definition, written out."""

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (sum(float(a) * float(b) for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def mean(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
        return sum(kernel(x, y) for x, y in pairs) / len(pairs)

    within = [mean(list(combinations(features, 2))) for features in (generated, real)]
    return sum(within) - 2 * mean(list(product(generated, real)))


@pytest.mark.parametrize(("one", "other"), [(6, 4), (2, 2), (3, 9)])
def test_it_is_the_mean_over_pairs(one: int, other: int) -> None:
    generated, real = RNG.normal(size=(one, 5)), RNG.normal(1, 2, size=(other, 5))
    assert kernel_distance(generated, real, resamples=10).value == pytest.approx(pair_by_pair(generated, real))


def test_it_is_what_torchmetrics_finds_with_one_subset_and_in_the_mean_of_many() -> None:
    metric = pytest.importorskip("torchmetrics.image.kid")
    generated, real = RNG.normal(size=(12, 6)), RNG.normal(0.5, 1, size=(12, 6))

    def theirs(subsets: int, size: int) -> tuple[float, float]:
        torch.manual_seed(0)
        found = metric.KernelInceptionDistance(torch.nn.Identity(), subsets=subsets, subset_size=size)
        found.update(torch.from_numpy(real), real=True)
        found.update(torch.from_numpy(generated), real=False)
        mean, deviation = found.compute()
        return float(mean), float(deviation) / subsets**0.5

    ours = kernel_distance(generated, real, resamples=10).value
    assert theirs(1, 12)[0] == pytest.approx(ours)
    mean, error = theirs(600, 5)
    assert abs(mean - ours) < 4 * error


def test_it_is_unbiased_and_the_interval_holds_the_truth() -> None:
    """Pictures of the same kind: the truth is 0, the mean of the estimates is near it, most intervals hold it."""
    found = [
        kernel_distance(RNG.normal(size=(15, 4)), RNG.normal(size=(10, 4)), resamples=200, seed=trial)
        for trial in range(60)
    ]
    values = np.array([each.value for each in found])
    assert abs(values.mean()) < 3 * values.std() / len(values) ** 0.5
    assert (values < 0).any()
    assert np.mean([each.low <= 0 <= each.high for each in found]) > 0.75


def test_too_few_or_other_features() -> None:
    for generated, real in (((1, 4), (5, 4)), ((5, 4), (1, 4)), ((5, 4), (5, 3))):
        with pytest.raises(ValueError, match="2 rows or more"):
            kernel_distance(np.zeros(generated), np.zeros(real))
