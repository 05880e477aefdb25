"""The kernel distance between generated and real pictures (KID), from features of both.

Bińkowski, Sutherland, Arbel and Gretton, "Demystifying MMD GANs" (arXiv 1801.01401): the unbiased estimate of the
squared maximum mean discrepancy with the kernel k(x, y) = (x·y / d + 1)³ of features of d numbers,

    KID = mean of k(x, x') over pairs of different generated pictures
        + mean of k(y, y') over pairs of different real photos
        - 2 × mean of k(x, y).

Others estimate it from random subsets of equal size, because a matrix of 50,000 pictures is large, and give the mean
over those. That mean, taken over all subsets that there are, is the estimate from all pictures at once. With the few
hundred of a subject it is at hand, and nothing is drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FEWEST = 2  # pictures of each kind: a mean over pairs of different pictures needs one pair
_RESAMPLES = 2000


class KernelDistance(NamedTuple):
    """KID, not multiplied by anything, and its bootstrap interval of 95 %.

    Attributes:
        value: near 0 where generated and real pictures cannot be told apart, and below it by chance.
        low, high: of the interval.
    """

    value: float
    low: float
    high: float


def polynomial_kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(x·y / d + 1)³ of every row of (N, d) with every row of (M, d), (N, M) float64."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return np.asarray((one @ other.T / one.shape[1] + 1) ** 3)


def kernel_distance(
    generated: np.ndarray, real: np.ndarray, *, resamples: int = _RESAMPLES, seed: int = 0
) -> KernelDistance:
    """KID with its interval.

    The bootstrap draws generated pictures and real photos, each kind with replacement. A picture that is drawn twice is
    not compared with itself: such a pair is not one of different pictures, and would make every draw too large.

    Args:
        generated: (N, d) features of generated pictures.
        real: (M, d) of real photos; N and M may differ.
        resamples: draws for the interval.
        seed: of the draws.

    Raises:
        ValueError: fewer than `FEWEST` of a kind, or the numbers of features differ.

    >>> same = np.random.default_rng(0).normal(size=(40, 8))
    >>> kernel_distance(same[:20], same[20:]).value < kernel_distance(same[:20], same[20:] + 2).value
    True
    """
    if min(len(generated), len(real)) < FEWEST or generated.shape[1] != real.shape[1]:
        shapes = f"{generated.shape} and {real.shape}"
        raise ValueError(f"KID needs (N, d) and (M, d) with {FEWEST} rows or more in each, not {shapes}.")
    within = [polynomial_kernel(features, features) for features in (generated, real)]
    for kernel in within:
        np.fill_diagonal(kernel, 0.0)
    between = polynomial_kernel(generated, real)

    def estimate(weights: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """The estimates, (R,), from how often each picture counts, (R, N) and (R, M)."""
        own = []
        for weight, kernel in zip(weights, within, strict=True):
            pairs = weight.sum(1) ** 2 - (weight**2).sum(1)
            own.append(np.einsum("rn,nm,rm->r", weight, kernel, weight, optimize=True) / pairs)
        across = np.einsum("rn,nm,rm->r", weights[0], between, weights[1], optimize=True)
        return np.asarray(own[0] + own[1] - 2 * across / (weights[0].sum(1) * weights[1].sum(1)))

    value = float(estimate((np.ones((1, len(generated))), np.ones((1, len(real)))))[0])
    rng = np.random.default_rng(seed)
    drawn = (_drawn(rng, resamples, len(generated)), _drawn(rng, resamples, len(real)))
    several = np.logical_and(*((weight > 0).sum(1) >= FEWEST for weight in drawn))  # else there is no pair
    low, high = np.quantile(estimate((drawn[0][several], drawn[1][several])), [0.025, 0.975])
    return KernelDistance(value, float(low), float(high))


def _drawn(rng: np.random.Generator, resamples: int, count: int) -> np.ndarray:
    """How often each of `count` is drawn, (resamples, count), in each of so many draws with replacement."""
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
