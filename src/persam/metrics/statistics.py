"""How sure a mean is, and whether two runs differ: bootstrap intervals and a paired permutation test.

Photos of one object resemble each other, so that they are fewer than they seem. Where objects are the units, whole
objects are drawn (the cluster bootstrap; Davison and Hinkley, "Bootstrap Methods and their Application", 1997, 3.8).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

import numpy as np

from persam.metrics.counts import Measured, counted, pooled_groups
from persam.metrics.overlap import pooled_iou

RESAMPLES = 2000
PERMUTATIONS = 10_000
_AT_ONCE = 4_000_000  # drawn numbers that are held in memory at a time

Key = TypeVar("Key", bound=Hashable)


class Interval(NamedTuple):
    """A mean and its bootstrap interval.

    Attributes:
        mean: of the values as they are.
        low, high: the percentiles of the resampled means: 2.5 and 97.5 for a level of 95 %.

    >>> Interval(0.5, 0.4, 0.6).low
    0.4
    """

    mean: float
    low: float
    high: float


class PairedTest(NamedTuple):
    """Two runs on the same photos: the second less the first.

    Attributes:
        difference: of the means, above 0 where the second is better.
        low, high: its bootstrap interval.
        p_value: chance of a difference at least as large, either way, if it were luck which run is which; in (0, 1].
        units: how many photos, or clusters of photos, were drawn.

    >>> PairedTest(0.02, 0.01, 0.03, 0.004, 339).p_value
    0.004
    """

    difference: float
    low: float
    high: float
    p_value: float
    units: int


def bootstrap_mean(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean over images, with the percentile bootstrap interval.

    Args:
        values: (N,) finite numbers, one an image.
        clusters: the image's object, (N,): then objects are drawn with all of their images, and the mean is still that
            over images.
        level: of the interval, in (0, 1).
        resamples: how often to draw.
        seed: of the draws: the same interval every time.

    Raises:
        ValueError: There is no value, one is not finite, `clusters` has another length, or an option is out of range.

    >>> bootstrap_mean([0.5, 0.5, 0.5])
    Interval(mean=0.5, low=0.5, high=0.5)
    >>> bootstrap_mean([0.0, 1.0, 0.0, 1.0])
    Interval(mean=0.5, low=0.0, high=1.0)
    """
    sums, sizes = _units(values, clusters)
    low, high = _percentiles(sums, sizes, level, resamples, seed)
    return Interval(float(sums.sum() / sizes.sum()), low, high)


def bootstrap_objects(
    groups: Mapping[str, Iterable[Measured]],
    *,
    pool: bool = True,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean IoU over objects, with the percentile bootstrap interval that draws objects.

    Args:
        groups: images by object: `Counts`, or (prediction, target[, ignore]) as `count` takes them.
        pool: an object's figure is the IoU pooled over its images (`mean_object_iou`), else the mean of their IoUs.
        level: as in `bootstrap_mean`, like the rest.
        resamples: how often to draw.
        seed: of the draws.

    Raises:
        ValueError: There is no object, one has no image, `count` refuses a mask, or an option is out of range.

    >>> from persam.metrics.counts import Counts
    >>> mugs, cats = [Counts(4, 4, 4, 9)] * 3, [Counts(0, 1, 1, 9)]
    >>> [round(figure, 6) for figure in bootstrap_objects({"mug": mugs, "cat": cats})]
    [0.5, 0.0, 1.0]
    """
    lists = {name: [counted(image) for image in images] for name, images in groups.items()}
    for name, images in lists.items():
        if not images:
            raise ValueError(
                f"The object {name} has no image; leave it out, or count its missing predictions as empty."
            )
    if pool:
        figures = [pooled_iou(counts) for counts in pooled_groups(lists).values()]
    else:
        figures = [float(np.mean([counts.iou for counts in images])) for images in lists.values()]
    return bootstrap_mean(figures, level=level, resamples=resamples, seed=seed)


def bootstrap_figure(
    figure: Callable[..., float],
    columns: Sequence[np.ndarray],
    clusters: Sequence[str] | np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of a figure that is no mean, such as `auroc`, with clusters drawn whole.

    Args:
        figure: takes the rows that were drawn of every column; raises ValueError where it has no value for them, such
            as for photos of one kind alone: those draws are left out.
        columns: (N,) each, what the figure is made of.
        clusters: (N,), names of what is drawn: all rows of one name together.
        level: as in `bootstrap_mean`, like the rest.
        resamples: how often to draw.
        seed: of the draws.

    Returns:
        The percentiles, 2.5 and 97.5 for a level of 95 %; None if more than half of the draws have no figure.

    Raises:
        ValueError: There is no row, columns or `clusters` differ in length, or an option is out of range.

    >>> bootstrap_figure(np.median, [np.array([1.0, 2.0, 3.0, 9.0])], ["a", "b", "b", "c"], resamples=500)
    (1.0, 9.0)
    """
    _check_draws(level, resamples)
    if {len(column) for column in columns} != {len(clusters)} or not len(clusters):
        lengths = ", ".join(str(len(column)) for column in columns)
        raise ValueError(f"Columns of {lengths} rows and {len(clusters)} clusters; give as many of each, at least one.")
    names, place = np.unique(clusters, return_inverse=True)
    rows = [np.flatnonzero(place == number) for number in range(len(names))]
    rng = np.random.default_rng(seed)
    figures = []
    for _ in range(resamples):
        drawn = np.concatenate([rows[number] for number in rng.integers(0, len(rows), len(rows))])
        with suppress(ValueError):
            figures.append(figure(*(column[drawn] for column in columns)))
    if len(figures) < resamples / 2:
        return None
    tail = round((1 - level) / 2, 12)  # 0.025, not 0.02500000000000002
    low, high = np.quantile(figures, [tail, 1 - tail])
    return float(low), float(high)


def paired_test(
    first: Mapping[Key, float],
    second: Mapping[Key, float],
    clusters: Mapping[Key, Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> PairedTest:
    """Test whether two runs on the same images differ: bootstrap interval and permutation test of the difference.

    The test flips the signs of the differences at random, as if it were luck which run is which, and counts how often
    the mean comes out at least as large. All 2^N flips are tried if they are no more than `permutations`; else it
    draws, and the p value is (1 + hits) / (1 + permutations), so that it is never 0.

    Args:
        first: figure by image (or by object), such as its IoU.
        second: likewise, with the same names.
        clusters: object by image: then objects are drawn and flipped, each with all of its images.
        level: of the interval, in (0, 1).
        resamples: how often to draw for the interval.
        permutations: how often to flip for the p value.
        seed: of both.

    Raises:
        ValueError: The runs, or `clusters`, name different images; there is none; a figure is not finite; or an option
            is out of range.

    >>> paired_test({"a": 0.5, "b": 0.6, "c": 0.7}, {"a": 0.6, "b": 0.7, "c": 0.8}).p_value
    0.25
    """
    for other, what in ((second, "second run"), (clusters, "list of clusters")):
        if other is not None and other.keys() != first.keys():
            odd = sorted(str(name) for name in other.keys() ^ first.keys())
            raise ValueError(
                f"The first run and the {what} differ in {len(odd)} images, such as {odd[0]}; compare runs on the same."
            )
    if permutations < 1:
        raise ValueError(f"{permutations} permutations test nothing; give at least 1.")
    differences = [second[name] - first[name] for name in first]
    sums, sizes = _units(differences, None if clusters is None else [clusters[name] for name in first])
    low, high = _percentiles(sums, sizes, level, resamples, seed)
    p_value = _sign_flip(sums, permutations, seed)
    return PairedTest(float(sums.sum() / sizes.sum()), low, high, p_value, len(sums))


def _units(values: Sequence[float] | np.ndarray, clusters: Sequence[Hashable] | None) -> tuple[np.ndarray, np.ndarray]:
    """What is drawn: sums (U,) of the values of an image or a cluster, and how many images it has (U,)."""
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not len(data):
        raise ValueError(f"Values have the shape {data.shape}; give (N,), at least one.")
    if not np.isfinite(data).all():
        raise ValueError("A value is not a finite number; leave out what was not measured, or count it as 0.")
    if clusters is None:
        return data, np.ones(len(data))
    if len(clusters) != len(data):
        raise ValueError(f"There are {len(data)} values but {len(clusters)} clusters; give one for every value.")
    numbers: dict[Hashable, int] = {}
    place = [numbers.setdefault(cluster, len(numbers)) for cluster in clusters]
    return np.bincount(place, weights=data), np.bincount(place).astype(np.float64)


def _percentiles(sums: np.ndarray, sizes: np.ndarray, level: float, resamples: int, seed: int) -> tuple[float, float]:
    _check_draws(level, resamples)
    rng = np.random.default_rng(seed)
    means = []
    for rows in _chunks(resamples, len(sums)):
        drawn = rng.integers(0, len(sums), (rows, len(sums)))
        means.append(sums[drawn].sum(1) / sizes[drawn].sum(1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check_draws(level: float, resamples: int) -> None:
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"A level of {level} with {resamples} resamples is no interval; give such as 0.95 and 2000.")


def _sign_flip(sums: np.ndarray, permutations: int, seed: int) -> float:
    units = len(sums)
    least = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()  # flips that only round otherwise are as large
    if units < 63 and 2**units <= permutations:
        signs = (np.arange(2**units)[:, None] >> np.arange(units) & 1) * 2.0 - 1
        return float((np.abs(signs @ sums) >= least).mean())
    rng = np.random.default_rng(seed)
    hits = 0
    for rows in _chunks(permutations, units):
        signs = rng.integers(0, 2, (rows, units), dtype=np.int8) * 2.0 - 1
        hits += int((np.abs(signs @ sums) >= least).sum())
    return (1 + hits) / (1 + permutations)


def _chunks(rows: int, columns: int) -> Iterator[int]:
    """Split rows, so that no (rows, columns) table is too large for memory."""
    step = max(1, _AT_ONCE // columns)
    yield from (min(step, rows - start) for start in range(0, rows, step))
