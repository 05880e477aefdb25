"""Presence against counting all pairs and trying every threshold."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.metrics import definitions

from persam.metrics import (
    PresenceAUROC,
    auroc,
    best_threshold,
    brier_score,
    calibration_error,
    fpr_at_tpr,
    reliability,
    roc,
)

# Few different scores, so that ties are common; of any sign and size.
scores = st.one_of(st.sampled_from([-1.0, -0.2, 0.0, 0.3, 0.30000001, 7.0]), st.floats(-1e6, 1e6))


# With the edges of bins, as they are written and as they come out of sums.
probabilities = st.one_of(st.sampled_from([0.0, 0.1, 0.1 + 0.2, 0.3, 0.5, 0.7, 0.999999, 1.0]), st.floats(0, 1))
shares = st.one_of(st.none(), st.sampled_from([0.25, 0.5]), st.floats(0.01, 0.99))


@st.composite
def photos(draw, scores=scores):
    """Scores and labels, with at least one photo of either kind."""
    rows = draw(st.lists(st.tuples(scores, st.booleans()), max_size=25))
    rows += [(draw(scores), True), (draw(scores), False)]
    return [score for score, _ in rows], [present for _, present in rows]


@given(photos())
def test_auroc_is_the_share_of_pairs(data):
    assert auroc(*data) == pytest.approx(definitions.auroc(*data), abs=1e-9)


@given(photos(), st.sampled_from([0.95, 0.5, 1.0, 0.01, 0.9]))
def test_fpr_is_the_lowest_of_all_thresholds_that_find_enough(data, tpr):
    assert fpr_at_tpr(*data, tpr=tpr) == pytest.approx(definitions.fpr_at_tpr(*data, tpr), abs=1e-12)


@given(photos())
def test_no_threshold_is_better_than_the_best(data):
    found = best_threshold(*data)
    assert (found.tpr, found.fpr) == pytest.approx(definitions.rates(*data, found.value), abs=1e-12)
    rates = [definitions.rates(*data, threshold) for threshold in [*data[0], max(data[0]) + 1]]
    assert found.balanced_accuracy == pytest.approx(max((tpr + 1 - fpr) / 2 for tpr, fpr in rates), abs=1e-12)
    assert found.youden == pytest.approx(max(tpr - fpr for tpr, fpr in rates), abs=1e-12)
    # Of several as good, the one with the fewest false alarms; a threshold above all scores is not among them.
    as_good = [fpr for tpr, fpr in rates[:-1] if tpr - fpr > found.youden - 1e-9]
    assert found.fpr == pytest.approx(min(as_good), abs=1e-9)


@given(photos())
def test_the_curve_is_every_threshold(data):
    curve = roc(*data)
    assert list(curve.thresholds) == sorted(set(data[0]), reverse=True)
    for threshold, tpr, fpr in zip(curve.thresholds, curve.tpr, curve.fpr, strict=True):
        assert (tpr, fpr) == pytest.approx(definitions.rates(*data, threshold), abs=1e-12)
    assert curve.tpr[-1] == curve.fpr[-1] == 1


@given(photos(), st.randoms(use_true_random=False))
def test_order_does_not_matter_and_labels_turn_round(data, random):
    rows = list(zip(*data, strict=True))
    random.shuffle(rows)
    shuffled = [score for score, _ in rows], [present for _, present in rows]
    assert auroc(*shuffled) == auroc(*data)
    assert fpr_at_tpr(*shuffled) == fpr_at_tpr(*data)
    assert best_threshold(*shuffled) == best_threshold(*data)
    assert auroc(data[0], np.logical_not(data[1])) == pytest.approx(1 - auroc(*data), abs=1e-9)


@given(photos(probabilities), shares, st.sampled_from([1, 2, 7, 10]))
def test_reliability_is_counting_bin_by_bin(data, share, bins):
    found = reliability(*data, share=share, bins=bins)
    expected = definitions.reliability(*data, share, bins)
    assert [each.count for each in found] == [row[0] for row in expected]
    for each, (_, *row) in zip(found, expected, strict=True):
        assert [each.weight, each.predicted, each.observed] == pytest.approx(row, abs=1e-9)
        assert each.low - 1e-9 <= each.predicted <= each.high + 1e-9
    assert sum(each.weight for each in found) == pytest.approx(1)
    error = sum(weight * abs(mean - there) for _, weight, mean, there in expected)
    assert calibration_error(*data, share=share, bins=bins) == pytest.approx(error, abs=1e-9)


@given(photos(probabilities), shares)
def test_brier_is_the_mean_square(data, share):
    assert brier_score(*data, share=share) == pytest.approx(definitions.brier(*data, share), abs=1e-12)


@given(photos(probabilities), st.integers(2, 4))
def test_a_share_undoes_how_many_of_a_kind_there_are(data, times):
    """Every photo without the object given several times over: the same, if a share is asked for."""
    values, present = data
    many = [row for row in zip(values, present, strict=True) for _ in range(1 if row[1] else times)]
    more = [score for score, _ in many], [there for _, there in many]
    assert brier_score(*more, share=0.25) == pytest.approx(brier_score(*data, share=0.25), abs=1e-12)
    assert calibration_error(*more, share=0.25) == pytest.approx(calibration_error(*data, share=0.25), abs=1e-12)
    assert auroc(*more) == pytest.approx(auroc(*data), abs=1e-9)


def test_who_always_says_how_many_there_are_is_calibrated():
    data = [0.25] * 8, [True, False, True, False, True, False, True, False]
    assert calibration_error(*data, share=0.25) == pytest.approx(0)
    assert brier_score(*data, share=0.25) == pytest.approx(0.1875)
    assert calibration_error(*data) == pytest.approx(0.25)  # half of these photos show it


def test_certain_and_right_or_wrong():
    data = [1.0, 0.0, 0.0], [True, False, False]
    assert (brier_score(*data), calibration_error(*data)) == (0, 0)
    assert [(each.low, each.high, each.count) for each in reliability(*data)] == [(0, 0.1, 2), (0.9, 1, 1)]
    wrong = [0.0, 1.0, 1.0], data[1]
    assert (brier_score(*wrong), calibration_error(*wrong)) == (1, 1)


@pytest.mark.parametrize("function", [brier_score, calibration_error, reliability])
@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_that_cannot_be(function, share):
    with pytest.raises(ValueError, match="cannot be"):
        function([0.1, 0.2], [True, False], share=share)


@pytest.mark.parametrize("function", [brier_score, calibration_error, reliability])
def test_what_is_no_probability(function):
    for score in (-0.1, 1.1):
        with pytest.raises(ValueError, match="no probability"):
            function([score, 0.2], [True, False])


def test_no_bins():
    with pytest.raises(ValueError, match="0 bins"):
        reliability([0.1, 0.2], [True, False], bins=0)


@pytest.mark.parametrize("score", [0.0, 0.7, -3.0])
def test_constant_scores_say_nothing(score):
    data = [score] * 7, [True, False, False, True, False, False, False]
    assert auroc(*data) == 0.5
    assert fpr_at_tpr(*data) == 1
    found = best_threshold(*data)
    assert (found.value, found.tpr, found.fpr, found.balanced_accuracy) == (score, 1, 1, 0.5)


def test_perfect_and_upside_down():
    data = [0.9, 0.8, 0.3, 0.2], [True, True, False, False]
    assert (auroc(*data), fpr_at_tpr(*data)) == (1, 0)
    assert best_threshold(*data).value == pytest.approx(0.55)
    assert auroc(data[0], data[1][::-1]) == 0
    assert fpr_at_tpr(data[0], data[1][::-1]) == 1


def test_exactly_19_of_20_is_95_percent():
    present = [True] * 20 + [False] * 2
    values = [*np.linspace(0.5, 1, 19), 0.1, 0.3, 0.2]
    assert fpr_at_tpr(values, present, tpr=0.95) == 0
    assert fpr_at_tpr(values, present, tpr=0.96) == 1


def test_neighbours_among_the_floats():
    low, high = 0.5, np.nextafter(0.5, 1)
    assert best_threshold([high, low], [True, False]).value == high


@pytest.mark.parametrize("seed", range(3))
def test_libraries_agree(seed):
    classification = pytest.importorskip("torchmetrics.functional.classification")
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(seed)
    present = rng.random(300) < 0.4
    values = np.round(rng.random(300) * 0.7 + present * 0.3, 2)
    theirs = classification.binary_auroc(torch.from_numpy(values), torch.from_numpy(present).int()).item()
    assert auroc(values, present) == pytest.approx(theirs, abs=1e-6)
    u = stats.mannwhitneyu(values[present], values[~present]).statistic
    assert auroc(values, present) == pytest.approx(u / present.sum() / (~present).sum(), abs=1e-12)


@pytest.mark.parametrize(
    "function", [roc, auroc, fpr_at_tpr, best_threshold, brier_score, calibration_error, reliability]
)
@pytest.mark.parametrize(
    ("values", "present", "sentence"),
    [
        ([0.1, 0.2], [True, True], "one kind is missing"),
        ([0.1, 0.2], [False, False], "one kind is missing"),
        ([], [], "one kind is missing"),
        ([0.1], [True, False], "have the shapes"),
        ([[0.1, 0.2]], [[True, False]], "have the shapes"),
        ([0.1, float("nan")], [True, False], "not a finite number"),
        ([0.1, float("inf")], [True, False], "not a finite number"),
        ([0.1, 0.2], [2, 0], "True and False"),
    ],
)
def test_bad_input(function, values, present, sentence):
    with pytest.raises(ValueError, match=sentence):
        function(values, present)


@pytest.mark.parametrize("tpr", [0, -1, 1.01, float("nan")])
def test_a_rate_that_cannot_be(tpr):
    with pytest.raises(ValueError, match="cannot be asked for"):
        fpr_at_tpr([0.1, 0.2], [True, False], tpr=tpr)


@pytest.mark.parametrize(
    ("scores", "present", "sentence"),
    [([0.1], [True, False], "have the shapes"), ([[0.1]], [[True]], "have the shapes"), (0.1, 0.5, "Labels must be")],
)
def test_presence_refuses(scores, present, sentence):
    pytest.importorskip("torchmetrics")
    metric = PresenceAUROC()
    with pytest.raises(ValueError, match=sentence):
        metric.update(scores, present)
        metric.compute()
