"""What counts as a mask, what is refused with which sentence, and how truths and predictions are paired by name."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from persam.metrics import (
    as_mask,
    as_masks,
    boundary_counts,
    boundary_f,
    boundary_iou,
    count,
    iou,
    mean_image_iou,
    pair_names,
    pixel_accuracy,
)

MASK = np.array([[True, False, True], [False, False, True]])

ACCEPTED = {
    "bool": MASK,
    "uint8 0/1": MASK.astype(np.uint8),
    "uint8 0/255": MASK.astype(np.uint8) * 255,
    "int64 0/1": MASK.astype(np.int64),
    "float 0/1": MASK.astype(np.float32),
    "float 0/255": MASK.astype(np.float64) * 255,
    "torch bool": torch.from_numpy(MASK),
    "torch uint8 0/255": torch.from_numpy(MASK).to(torch.uint8) * 255,
    "torch float with a gradient": torch.from_numpy(MASK).float().requires_grad_(),
    "not contiguous": np.asfortranarray(MASK),
    "a view turned twice": np.ascontiguousarray(MASK[::-1, ::-1])[::-1, ::-1],
}

REFUSED = {
    "probabilities": (np.array([[0.2, 0.9]]), "holds values other than 0 and 1"),
    "labels": (np.array([[0, 1, 2]]), "holds values other than 0 and 1"),
    "0/128": (np.array([[0, 128]], np.uint8), "holds values other than 0 and 1"),
    "0, 1 and 255": (np.array([[0, 1, 255]], np.uint8), "holds values other than 0 and 1"),
    "255 before 1": (np.array([[255, 1]], np.uint8), "holds values other than 0 and 1"),
    "-1": (np.array([[0, -1]]), "holds values other than 0 and 1"),
    "not a number": (np.array([[0.0, np.nan]]), "holds values other than 0 and 1"),
    "logits": (np.array([[-3.2, 5.0]]), "holds values other than 0 and 1"),
    "colours": (np.zeros((4, 5, 3), bool), r"has the shape \(4, 5, 3\); give \(H, W\)"),
    "a row": (np.zeros(4, bool), r"has the shape \(4,\)"),
    "no pixel": (np.zeros((0, 4), bool), "at least one pixel"),
}


@pytest.mark.parametrize("values", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_every_accepted_form_is_the_same_mask(values):
    mask = as_mask(values)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, MASK)


@pytest.mark.parametrize("function", [iou, boundary_iou, boundary_f, pixel_accuracy])
@pytest.mark.parametrize("values", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_every_metric_takes_every_form(function, values):
    other = np.array([[True, True, False], [False, False, True]])
    expected = function(MASK, other, MASK[::-1])
    flipped = values.flip(0) if isinstance(values, torch.Tensor) else values[::-1]
    assert function(values, other, flipped) == expected
    assert function(other, values) == function(other, MASK)


@pytest.mark.parametrize(("values", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_ambiguous_is_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        as_mask(values)
    with pytest.raises(ValueError, match=f"^The prediction {sentence}" if sentence[0] == "h" else sentence):
        iou(values, MASK)


def test_all_background_and_all_object_are_masks():
    assert not as_mask(np.zeros((2, 2), np.uint8)).any()
    assert as_mask(np.full((2, 2), 255, np.uint8)).all()


def test_the_argument_is_not_written_to():
    prediction, target, ignore = MASK.copy(), MASK[::-1].copy(), np.ones_like(MASK)
    for function in (count, boundary_counts, boundary_f):
        function(prediction, target, ignore)
    np.testing.assert_array_equal(prediction, MASK)
    np.testing.assert_array_equal(target, MASK[::-1])


@pytest.mark.parametrize("function", [count, iou, pixel_accuracy, boundary_counts, boundary_iou, boundary_f])
def test_masks_of_different_sizes(function):
    with pytest.raises(
        ValueError, match="the prediction has 3 rows and 2 columns, the target 2 and 3; they must agree, as no metric"
    ):
        function(MASK.reshape(3, 2), MASK)
    with pytest.raises(ValueError, match="the ignore mask has 1 rows and 3 columns, the target 2 and 3"):
        function(MASK, MASK, MASK[:1])


@pytest.mark.parametrize("function", [count, boundary_counts, iou, boundary_iou, boundary_f, pixel_accuracy])
def test_a_missing_prediction_is_an_empty_one(function):
    for target in (MASK, np.zeros_like(MASK)):
        assert function(None, target) == function(np.zeros_like(MASK), target)


def test_checked_masks_come_back_in_order():
    prediction, target, ignore = as_masks(MASK, ~MASK, MASK)
    np.testing.assert_array_equal(prediction, MASK)
    np.testing.assert_array_equal(target, ~MASK)
    np.testing.assert_array_equal(ignore, MASK)


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
