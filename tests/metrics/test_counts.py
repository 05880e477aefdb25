"""Counts of pixels: plain numbers that add up, and do not mind where a pixel lies."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.metrics.inputs import pairs, triples

from persam.metrics import Counts, count, pooled


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
