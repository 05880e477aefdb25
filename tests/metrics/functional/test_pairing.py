"""Truths and predictions are paired by name; the missing are named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persam.metrics.functional import mean_image_iou, pair_names

names = st.lists(st.text("ab/01", min_size=1, max_size=4), unique=True)


@given(names, names, st.randoms(use_true_random=False))
def test_every_truth_once_with_its_own_name(truths, predictions, random):
    pairing = pair_names(truths, predictions)
    assert [truth for truth, _ in pairing.pairs] == truths
    assert all(prediction in (truth, None) for truth, prediction in pairing.pairs)
    assert set(pairing.missing) == set(truths) - set(predictions)
    assert set(pairing.unexpected) == set(predictions) - set(truths)
    assert len(pairing.missing) == sum(prediction is None for _, prediction in pairing.pairs)
    random.shuffle(predictions)
    assert pair_names(truths, predictions).pairs == pairing.pairs


def test_a_missing_prediction_shifts_nothing_and_counts_as_empty():
    truths = {f"mug/{number:02}": np.eye(4, dtype=bool) for number in range(4)}
    predictions = {name: truth for name, truth in truths.items() if name != "mug/01"}
    pairing = pair_names(truths, predictions)
    assert pairing.missing == ("mug/01",)
    images = [(None if found is None else predictions[found], truths[name]) for name, found in pairing.pairs]
    assert mean_image_iou(images) == 0.75


def test_a_key_leaves_out_what_need_not_agree():
    pairing = pair_names(["mug/01.png", "mug/02.png"], ["mug/02.jpg"], key=lambda name: name.rsplit(".", 1)[0])
    assert pairing.pairs == (("mug/01.png", None), ("mug/02.png", "mug/02.jpg"))
    assert pairing.missing == ("mug/01.png",)


def test_two_of_one_name():
    with pytest.raises(ValueError, match="Two predictions are called 02: 02.jpg and 02.png; keep one of them"):
        pair_names(["02"], ["02.jpg", "02.png"], key=lambda name: name[:2])
    with pytest.raises(ValueError, match="Two truths are called 02"):
        pair_names(["02", "02"], [])
