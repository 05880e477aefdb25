"""DAVIS' statistics of a sequence: mean, recall, decay, J&F."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.metrics import definitions

from persam.metrics import DavisJF, davis_score, sequence_statistics

values = st.lists(st.floats(0, 1), min_size=1, max_size=120)


@given(values)
def test_the_definition(frames):
    found = sequence_statistics(frames)
    assert (found.mean, found.recall, found.decay) == pytest.approx(definitions.sequence_statistics(frames), abs=1e-9)


@pytest.mark.parametrize(
    ("count", "first", "last"),
    [
        (1, [0], [0]),
        (2, [0], [1]),
        (3, [0, 1], [2]),  # ids 0, 1 (1.5 goes up), 1, 2 (2.5 goes up, by the hair that is added), 2
        (4, [0, 1], [2, 3]),
        (5, [0, 1], [3, 4]),
        (10, [0, 1, 2], [7, 8, 9]),
        (300, list(range(76)), list(range(224, 300))),
    ],
)
def test_quarters_share_their_ends(count, first, last):
    for frame in range(count):
        only = np.zeros(count)
        only[frame] = 1
        expected = (frame in first) / len(first) - (frame in last) / len(last)
        assert sequence_statistics(only).decay == pytest.approx(expected)


@given(values)
def test_running_backwards_turns_the_decay_round_where_quarters_mirror(frames):
    frames = frames[: len(frames) // 4 * 4 + 1] if len(frames) > 4 else [*frames, *frames][:1] * 5
    if (len(frames) - 1) % 4 == 0:  # then every id is whole
        assert sequence_statistics(frames[::-1]).decay == pytest.approx(-sequence_statistics(frames).decay, abs=1e-9)


def test_recall_is_above_a_half_and_not_at_it():
    assert sequence_statistics([0.5, 0.5, 0.51, 0.2]).recall == 0.25


def test_a_score_is_a_mean_over_objects_whatever_their_length():
    j = {"bear/1": [1.0] * 50, "dog/1": [0.5, 0.5], "dog/2": [0.0]}
    f = {"bear/1": [0.8] * 50, "dog/1": [0.6, 0.2], "dog/2": [0.0]}
    score = davis_score(j, f)
    assert score.objects == 3
    assert score.j.mean == pytest.approx(0.5)
    assert score.j.recall == pytest.approx(1 / 3)
    assert score.f.mean == pytest.approx((0.8 + 0.4 + 0) / 3)
    assert score.f.decay == pytest.approx((0 + 0.4 + 0) / 3)
    assert score.j_and_f == pytest.approx((0.5 + 0.4) / 2)


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [([], "at least one frame"), ([[0.5]], r"give \(N,\)"), ([0.5, 1.5], "between 0 and 1"), ([np.nan], "between")],
)
def test_values_that_are_none(frames, sentence):
    with pytest.raises(ValueError, match=sentence):
        sequence_statistics(frames)


def test_objects_must_agree():
    with pytest.raises(ValueError, match="cat/1, dog/1 has only one of them"):
        davis_score({"dog/1": [1.0]}, {"cat/1": [1.0]})
    with pytest.raises(ValueError, match="no object"):
        davis_score({}, {})


def test_a_frame_that_came_twice():
    pytest.importorskip("torchmetrics")
    metric = DavisJF(["bear/1"])
    mask = np.ones((2, 2), bool)
    for _ in range(2):
        metric.update(mask, mask, "bear/1", 3)
    with pytest.raises(ValueError, match="Frame 3 of bear/1 came twice"):
        metric.compute()
