"""Figures of a validation, with intervals: means over sets, so that a set of many photos counts no more than another.

A figure is a list, as the weights and the model card keep it: mean, low and high end of the 95 % interval, and the
number of examples. The intervals say how sure a figure is for these sets, not for sets that nobody has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from persam.metrics import RESAMPLES, auroc, bootstrap_figure

Figure = list[float]


def over_sets(values: Mapping[str, Sequence[float]]) -> Figure:
    """The mean over sets of the means within them; the bootstrap draws the examples of every set anew.

    `values` are those of the examples of each set, at least one.
    """
    rng = np.random.default_rng(0)
    sets = [np.asarray(each, dtype=np.float64) for each in values.values()]
    drawn = [each[rng.integers(0, len(each), (RESAMPLES, len(each)))].mean(1) for each in sets]
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    mean = float(np.mean([each.mean() for each in sets]))
    return [mean, float(low), float(high), sum(map(len, sets))]


def presence(scores: Sequence[float], present: Sequence[bool], pairs: Sequence[int]) -> Figure:
    """AUROC of scores (R,) that tell views with the thing from views without; over all sets, as one has too few pairs.

    `pairs` (R,) says which pair of views a score is of: the bootstrap draws pairs, and both scores of every pair's
    views, with the thing and without it, belong together.
    """
    columns = [np.asarray(scores), np.asarray(present)]
    interval = bootstrap_figure(auroc, columns, np.asarray(pairs))
    assert interval is not None  # every pair has both
    return [auroc(*columns), *interval, len(set(pairs))]


def score(figures: Mapping[str, Figure]) -> float:
    """One number to keep the best weights by: the mean of the figures."""
    return float(np.mean([figure[0] for figure in figures.values()]))
