"""Intervals and tests against full enumeration, SciPy and what they promise: coverage, and p values under luck."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persam.metrics import (
    Counts,
    auroc,
    bootstrap_figure,
    bootstrap_mean,
    bootstrap_objects,
    mean_object_iou,
    paired_test,
    statistics,
)

VALUES = np.random.default_rng(5).beta(4, 2, 339)
OBJECTS = np.arange(339) // 9


def enumerated(figures, level=0.95):
    """Interval of all N^N resamples, each as likely; figures are (sum, size) of what is drawn."""
    draws = itertools.product(figures, repeat=len(figures))
    means = [sum(total for total, _ in draw) / sum(size for _, size in draw) for draw in draws]
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2])


def test_interval_is_that_of_all_resamples():
    values = [0.1, 0.35, 0.4, 0.8, 0.95, 0.99]
    mean, low, high = bootstrap_mean(values, resamples=40_000)
    assert mean == pytest.approx(sum(values) / 6)
    assert (low, high) == pytest.approx(enumerated([(value, 1) for value in values]), abs=0.01)


def test_clusters_are_drawn_whole():
    clusters = ["a", "b", "a", "c", "c", "c", "d", "e", "e"]
    values = [0.1, 0.5, 0.3, 0.9, 0.8, 0.7, 0.2, 0.6, 0.65]
    figures = [
        (sum(v for v, c in zip(values, clusters, strict=True) if c == name), clusters.count(name)) for name in "abcde"
    ]
    mean, low, high = bootstrap_mean(values, clusters, resamples=40_000)
    assert mean == pytest.approx(sum(values) / 9)
    assert (low, high) == pytest.approx(enumerated(figures), abs=0.01)


def test_scipy_agrees_within_chance():
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.bootstrap((VALUES,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    mean, low, high = bootstrap_mean(VALUES, resamples=4000)
    assert mean == pytest.approx(VALUES.mean(), abs=1e-12)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_it_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    samples = rng.beta(4, 2, (200, 60))
    hits = [low <= 4 / 6 <= high for _, low, high in map(bootstrap_mean, samples)]
    assert 0.9 <= np.mean(hits) <= 0.98


def test_clusters_of_like_photos_widen_the_interval():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(38), 9) + rng.normal(0, 0.01, 342)
    by_image, by_object = bootstrap_mean(values), bootstrap_mean(values, np.arange(342) // 9)
    assert by_object.high - by_object.low > 2 * (by_image.high - by_image.low)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 5))
def test_properties_of_an_interval(values, seed):
    mean, low, high = bootstrap_mean(values, resamples=200, seed=seed)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert bootstrap_mean(values, resamples=200, seed=seed) == (mean, low, high)
    each_its_own = bootstrap_mean(values, clusters=range(len(values)), resamples=200, seed=seed)
    assert each_its_own == pytest.approx((mean, low, high), abs=1e-12)
    wide = bootstrap_mean(values, level=0.99, resamples=200, seed=seed)
    assert wide.low <= low
    assert wide.high >= high


def test_a_constant_has_no_width():
    assert bootstrap_mean([0.25] * 40) == (0.25, 0.25, 0.25)
    assert bootstrap_mean([0.7]) == (0.7, 0.7, 0.7)


def groups(objects=20, images=5, seed=0):
    rng = np.random.default_rng(seed)
    made = {}
    for name in range(objects):
        rows = []
        for _ in range(images):
            target, predicted = rng.integers(10, 1000, 2)
            rows.append(Counts(int(rng.integers(0, min(target, predicted))), int(predicted), int(target), 5000))
        made[str(name)] = rows
    return made


@pytest.mark.parametrize("pool", [True, False])
def test_objects_are_drawn_and_weigh_the_same(pool):
    images = groups(objects=5)
    images["0"] *= 7  # more images do not make an object weigh more
    if pool:
        figures = [sum(c.intersection for c in each) / sum(c.union for c in each) for each in images.values()]
    else:
        figures = [sum(c.intersection / c.union for c in each) / len(each) for each in images.values()]
    mean, low, high = bootstrap_objects(images, pool=pool, resamples=40_000)
    assert mean == pytest.approx(sum(figures) / 5, abs=1e-9)
    assert (low, high) == pytest.approx(enumerated([(figure, 1) for figure in figures]), abs=0.01)


def test_pooled_objects_have_persegs_mean():
    images = groups()
    assert bootstrap_objects(images).mean == pytest.approx(mean_object_iou(images), abs=1e-12)


def test_the_interval_of_a_figure_is_that_of_all_resamples():
    values, clusters = np.array([0.1, 0.35, 0.4, 0.8, 0.95, 0.99, 0.3]), list("abcdebe")
    units = [values[np.array(clusters) == name] for name in "abcde"]
    medians = [np.median(np.concatenate(draw)) for draw in itertools.product(units, repeat=5)]
    assert bootstrap_figure(np.median, [values], clusters, resamples=20_000) == pytest.approx(
        tuple(np.quantile(medians, [0.025, 0.975])), abs=0.02
    )


def test_the_interval_of_a_mean_is_that_of_its_own_function():
    low, high = bootstrap_figure(np.mean, [VALUES], OBJECTS, resamples=4000, level=0.9)
    assert (low, high) == pytest.approx(bootstrap_mean(VALUES, OBJECTS, resamples=4000, level=0.9)[1:], abs=0.005)
    assert bootstrap_figure(np.mean, [VALUES], OBJECTS, resamples=50) == bootstrap_figure(
        np.mean, [VALUES], OBJECTS, resamples=50
    )


def test_draws_without_a_figure_are_left_out():
    rng = np.random.default_rng(1)
    scores, present = rng.random(40).round(2), rng.random(40) < 0.5
    photos = [f"photo {number // 3}" for number in range(40)]
    # The interval of the benchmarks' "is it there at all": it must stay what was published.
    expected = (0.387341684822077, 0.7017206896551721)
    assert bootstrap_figure(auroc, (scores, present), photos, resamples=300) == pytest.approx(expected, abs=1e-15)
    first_of_six = np.arange(6) == 0  # a third of the draws miss it
    assert bootstrap_figure(auroc, (np.arange(6.0), first_of_six), list("abcdef"), resamples=300) == (0, 0)
    # Of two photos half of the draws, and here some more, have one kind alone.
    assert bootstrap_figure(auroc, (np.arange(2.0), np.array([False, True])), ["a", "b"], resamples=300) is None


def runs(count, gain, seed=0, spread=0.1):
    rng = np.random.default_rng(seed)
    first = {f"photo{i:03}": float(value) for i, value in enumerate(rng.random(count))}
    return first, {name: value + float(rng.normal(gain, spread)) for name, value in first.items()}


def test_the_exact_p_value_is_that_of_all_sign_flips():
    stats = pytest.importorskip("scipy.stats")
    for seed in range(5):
        first, second = runs(9, 0.05, seed)
        differences = [second[name] - first[name] for name in first]
        hits = sum(
            abs(sum(sign * each for sign, each in zip(signs, differences, strict=True)))
            >= abs(sum(differences)) - 1e-12
            for signs in itertools.product((1, -1), repeat=9)
        )
        found = paired_test(first, second)
        assert found.p_value == pytest.approx(hits / 2**9)
        assert found.difference == pytest.approx(sum(differences) / 9)
        theirs = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert found.p_value == pytest.approx(theirs.pvalue)


def test_a_drawn_p_value_is_close_to_the_exact_one():
    first, second = runs(13, 0.04, seed=3)
    exact = paired_test(first, second).p_value
    drawn = paired_test(first, second, permutations=8000).p_value
    assert exact == pytest.approx(round(exact * 2**13) / 2**13)
    assert drawn == pytest.approx(exact, abs=0.02)
    assert drawn != exact


def test_clusters_are_flipped_whole():
    first, second = runs(12, 0.05, seed=1)
    clusters = {name: number // 4 for number, name in enumerate(first)}
    differences = [second[name] - first[name] for name in first]
    sums = [sum(differences[start : start + 4]) for start in (0, 4, 8)]
    hits = sum(
        abs(sum(sign * each for sign, each in zip(signs, sums, strict=True))) >= abs(sum(sums)) - 1e-12
        for signs in itertools.product((1, -1), repeat=3)
    )
    found = paired_test(first, second, clusters)
    assert found.p_value == pytest.approx(hits / 8)
    assert found.units == 3
    assert found.difference == pytest.approx(sum(differences) / 12)


def test_luck_is_called_significant_as_often_as_it_should():
    p_values = [paired_test(*runs(40, 0.0, seed), resamples=1, permutations=400).p_value for seed in range(200)]
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.1
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.07)


def test_a_real_gain_is_seen_and_turning_the_runs_round_turns_the_sign():
    first, second = runs(100, 0.05)
    found, turned = paired_test(first, second), paired_test(second, first)
    assert found.low > 0
    assert found.p_value < 0.001
    assert (turned.difference, turned.low, turned.high) == pytest.approx((-found.difference, -found.high, -found.low))
    assert turned.p_value == found.p_value


def test_the_same_run_twice():
    first, _ = runs(50, 0.1)
    assert paired_test(first, dict(reversed(first.items()))) == (0, 0, 0, 1, 50)


def test_pairs_are_by_name_not_by_position():
    first, second = runs(30, 0.05)
    assert paired_test(first, dict(reversed(second.items()))) == paired_test(first, second)


def test_chunks_change_nothing(monkeypatch):
    whole = bootstrap_mean(VALUES, OBJECTS), paired_test(*runs(30, 0.02))
    monkeypatch.setattr(statistics, "_AT_ONCE", 1000)
    chunked = bootstrap_mean(VALUES, OBJECTS), paired_test(*runs(30, 0.02))
    for one, other in zip(whole, chunked, strict=True):
        assert one == pytest.approx(other, abs=0.02)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: bootstrap_mean([]), "at least one"),
        (lambda: bootstrap_mean([[0.5]]), r"give \(N,\)"),
        (lambda: bootstrap_mean([0.5, np.nan]), "not a finite number"),
        (lambda: bootstrap_mean([0.5, 0.6], ["a"]), "2 values but 1 clusters"),
        (lambda: bootstrap_mean([0.5], level=1), "is no interval"),
        (lambda: bootstrap_mean([0.5], resamples=0), "is no interval"),
        (lambda: bootstrap_figure(np.mean, [VALUES], ["a"]), "Columns of 339 rows and 1 clusters"),
        (lambda: bootstrap_figure(np.mean, [VALUES[:0]], []), "at least one"),
        (lambda: bootstrap_figure(np.mean, [VALUES], OBJECTS, level=0), "is no interval"),
        (lambda: bootstrap_objects({}), "There is no object"),
        (lambda: bootstrap_objects({"mug": []}), "The object mug has no image"),
        (lambda: paired_test({}, {}), "at least one"),
        (lambda: paired_test({"a": 1}, {"a": 1, "b": 1}), "the second run differ in 1 images, such as b"),
        (lambda: paired_test({"a": 1}, {"a": 1}, {"b": 1}), "the list of clusters differ in 2 images, such as a"),
        (lambda: paired_test({"a": np.inf}, {"a": 1}), "not a finite number"),
        (lambda: paired_test({"a": 1}, {"a": 1}, permutations=0), "0 permutations test nothing"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
