"""PerSeg's protocol: pooled by object, then averaged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.metrics import definitions
from tests.metrics.inputs import triples

from persam.metrics.functional import (
    Counts,
    count,
    mean_object_accuracy,
    mean_object_iou,
    object_accuracy,
    object_iou,
    pooled_iou,
)

groups = st.dictionaries(
    st.sampled_from(["mug", "cat", "toy", "hat"]), st.lists(triples(), min_size=1, max_size=3), min_size=1, max_size=3
)


@given(groups)
@settings(max_examples=20)
def test_the_definition(images):
    expected = {name: definitions.pooled_iou(each) for name, each in images.items()}
    assert object_iou(images) == pytest.approx(expected, abs=1e-12)
    assert mean_object_iou(images) == pytest.approx(np.mean(list(expected.values())), abs=1e-12)
    found = {name: definitions.pooled_accuracy(each) for name, each in images.items()}
    assert object_accuracy(images) == pytest.approx(found, abs=1e-12)
    assert mean_object_accuracy(images) == pytest.approx(np.mean(list(found.values())), abs=1e-12)


@given(groups)
@settings(max_examples=20)
def test_counts_do_as_well_as_masks_and_order_does_not_matter(images):
    counts = {name: [count(*image) for image in each][::-1] for name, each in reversed(images.items())}
    assert object_iou(counts) == object_iou(images)
    assert mean_object_iou(counts) == pytest.approx(mean_object_iou(images), abs=1e-12)


def test_large_masks_weigh_more_within_an_object_and_objects_weigh_the_same():
    large, small = Counts(90, 90, 90, 1000), Counts(0, 5, 5, 1000)
    assert object_iou({"mug": [large, small]})["mug"] == pytest.approx(0.9)
    assert mean_object_iou({"mug": [large] * 9, "cat": [small]}) == pytest.approx(0.5)


def test_an_object_without_predictions_counts_as_0():
    target = np.ones((2, 2), bool)
    images = {"mug": [(target, target)], "cat": [(None, target), (None, target)], "toy": []}
    assert object_iou(images) == pytest.approx({"mug": 1, "cat": 0, "toy": 0})
    assert mean_object_iou(images) == pytest.approx(1 / 3)


def test_empty_against_empty_is_0_in_this_protocol_and_adds_nothing_to_a_pool():
    nothing = Counts(0, 0, 0, 100)
    assert pooled_iou(nothing) == 0
    assert pooled_iou(Counts(1, 2, 1, 100) + nothing) == pooled_iou(Counts(1, 2, 1, 100))


@pytest.mark.parametrize("function", [object_iou, mean_object_iou, object_accuracy, mean_object_accuracy])
def test_no_object(function):
    with pytest.raises(ValueError, match="no object or class"):
        function({})
