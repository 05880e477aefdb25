"""HSNet's protocol: class-pooled mIoU and FB-IoU."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.metrics import definitions
from tests.metrics.inputs import triples

from persam.metrics.functional import Counts, class_iou, count, fb_iou, mean_class_iou

groups = st.dictionaries(
    st.sampled_from(["dog", "owl", "bus"]), st.lists(triples(), min_size=1, max_size=3), min_size=1, max_size=3
)


@given(groups)
@settings(max_examples=20)
def test_the_definition(images):
    expected = {name: definitions.pooled_iou(each, tiny=0) if _any(each) else 0 for name, each in images.items()}
    assert class_iou(images) == pytest.approx(expected, abs=1e-12)
    assert mean_class_iou(images) == pytest.approx(np.mean(list(expected.values())), abs=1e-12)
    everything = [image for each in images.values() for image in each]
    assert fb_iou(images) == pytest.approx(definitions.fb_iou(everything), abs=1e-12)


def _any(images):
    return any(definitions.places(p, i) | definitions.places(t, i) for p, t, i in images)


@given(groups)
@settings(max_examples=20)
def test_hsnets_buffers(images):
    """The protocol as its logger keeps it: two rows (background, foreground) of sums, a column a class."""
    intersection, union = np.zeros((2, len(images))), np.zeros((2, len(images)))
    for column, each in enumerate(images.values()):
        for prediction, target, ignore in each:
            counted = np.ones(target.shape, bool) if ignore is None else ~ignore
            for row in (0, 1):
                one, other = prediction[counted] == row, target[counted] == row
                intersection[row, column] += np.logical_and(one, other).sum()
                union[row, column] += np.logical_or(one, other).sum()
    assert mean_class_iou(images) == pytest.approx((intersection / union.clip(1))[1].mean(), abs=1e-12)
    if union.sum(1).all():
        assert fb_iou(images) == pytest.approx((intersection.sum(1) / union.sum(1)).mean(), abs=1e-12)


@given(groups)
@settings(max_examples=20)
def test_counts_do_as_well_as_masks_and_fb_iou_knows_no_classes(images):
    counts = {name: [count(*image) for image in each] for name, each in images.items()}
    assert class_iou(counts) == class_iou(images)
    assert fb_iou(counts) == fb_iou(images) == fb_iou({"all": [one for each in counts.values() for one in each]})


def test_values_by_hand():
    images = {"dog": [Counts(1, 2, 1, 4)], "owl": [Counts(1, 1, 2, 4)]}
    assert mean_class_iou(images) == pytest.approx(0.5)
    assert fb_iou(images) == pytest.approx((2 / 4 + 4 / 6) / 2)


def test_a_side_without_a_pixel():
    assert fb_iou({"dog": [Counts(4, 4, 4, 4)]}) == 1
    assert fb_iou({"dog": [Counts(0, 0, 0, 4)]}) == 1
    assert class_iou({"dog": [Counts(0, 0, 0, 4)]}) == {"dog": 0}


@pytest.mark.parametrize("function", [class_iou, mean_class_iou, fb_iou])
def test_no_class(function):
    with pytest.raises(ValueError, match="no object or class"):
        function({})
