"""IoU and pixel accuracy against sets of pixels, and Counts as something that adds up."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.metrics import definitions
from tests.metrics.inputs import HARD, blob, pairs, triples

from persam.metrics.functional import Counts, count, counted, iou, mean_image_iou, pixel_accuracy, pooled


@given(triples())
def test_iou_and_accuracy_are_the_definitions(triple):
    assert iou(*triple) == pytest.approx(definitions.iou(*triple), abs=1e-12)
    assert pixel_accuracy(*triple) == pytest.approx(definitions.accuracy(*triple), abs=1e-12)


@pytest.mark.parametrize("triple", HARD.values(), ids=HARD.keys())
def test_hard_cases(triple):
    assert iou(*triple) == pytest.approx(definitions.iou(*triple), abs=1e-12)
    assert pixel_accuracy(*triple) == pytest.approx(definitions.accuracy(*triple), abs=1e-12)


def test_hard_cases_have_the_values_that_one_expects():
    found = {name: iou(*triple) for name, triple in HARD.items()}
    assert found["empty, empty"] == found["full, full"] == found["one pixel, itself"] == found["all ignored"] == 1
    assert found["empty, full"] == found["full, empty"] == found["one pixel, its neighbour"] == 0
    assert found["ignored object"] == 0  # all that is left of the truth is background, and it is predicted as object
    assert found["ignored half"] == 1
    assert pixel_accuracy(*HARD["all ignored"]) == 1


@given(triples())
def test_counts_are_plain_numbers_that_add_up(triple):
    prediction, target, ignore = triple
    counts = count(*triple)
    assert json.loads(json.dumps(vars(counts))) == vars(counts)
    ignored = 0 if ignore is None else int(ignore.sum())
    assert counts.total == target.size - ignored
    back = counts.background
    assert back == count(~prediction, ~target, ignore)
    assert counts.union + back.intersection == back.union + counts.intersection == counts.total


@given(triples())
def test_symmetry_flips_and_turns(triple):
    prediction, target, ignore = triple
    value = iou(*triple)
    assert iou(target, prediction, ignore) == value
    for change in (np.flipud, np.fliplr, np.transpose):
        assert iou(*(None if mask is None else change(mask) for mask in triple)) == value


@given(pairs(), st.randoms(use_true_random=False))
def test_shuffling_the_pixels_of_both_masks_changes_nothing(pair, random):
    order = list(range(pair[0].size))
    random.shuffle(order)
    assert count(*pair) == count(*(mask.reshape(1, -1)[:, order] for mask in pair))


@given(triples())
def test_ignoring_pixels_is_cutting_them_out(triple):
    prediction, target, ignore = triple
    if ignore is None or ignore.all():
        return
    assert count(*triple) == count(prediction[~ignore][None], target[~ignore][None])


@given(st.lists(triples(), min_size=1, max_size=4))
@settings(max_examples=20)
def test_pooling_is_counting_one_long_image(images):
    rows = [tuple(mask.reshape(1, -1) for mask in _with_ignore(image)) for image in images]
    long = [np.concatenate(masks, axis=1) for masks in zip(*rows, strict=True)]
    assert pooled(images) == pooled(count(*image) for image in images) == count(*long)


def _with_ignore(image):
    prediction, target, ignore = image
    return prediction, target, np.zeros_like(target) if ignore is None else ignore


def test_pooling_nothing_gives_nothing():
    assert pooled([]) == Counts(0, 0, 0, 0)
    assert pooled([]).iou == pooled([]).accuracy == 1


@given(st.lists(triples(), min_size=1, max_size=4))
@settings(max_examples=20)
def test_mean_over_images(images):
    expected = sum(definitions.iou(*image) for image in images) / len(images)
    assert mean_image_iou(images) == pytest.approx(expected, abs=1e-12)
    assert mean_image_iou([counted(image) for image in images]) == mean_image_iou(images)
    assert mean_image_iou(images[::-1]) == pytest.approx(expected, abs=1e-12)


def test_mean_over_no_image():
    with pytest.raises(ValueError, match="no image"):
        mean_image_iou([])


@pytest.mark.parametrize("seed", range(5))
def test_torchmetrics_agrees(seed):
    classification = pytest.importorskip("torchmetrics.functional.classification")
    pair = blob(seed), blob(seed + 1)
    prediction, target = (torch.from_numpy(mask).int() for mask in pair)
    assert pixel_accuracy(*pair) == pytest.approx(classification.binary_accuracy(prediction, target).item(), abs=1e-6)
    assert iou(*pair) == pytest.approx(classification.binary_jaccard_index(prediction, target).item(), abs=1e-6)
