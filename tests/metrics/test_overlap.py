"""IoU and pixel accuracy against sets of pixels, and their means over images, objects (PerSeg) and classes (HSNet)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.metrics import definitions
from tests.metrics.inputs import HARD, blob, triples

from persam.metrics import (
    Counts,
    ObjectIoU,
    class_iou,
    count,
    counted,
    fb_iou,
    iou,
    mean_class_iou,
    mean_image_iou,
    mean_object_accuracy,
    mean_object_iou,
    object_accuracy,
    object_iou,
    pixel_accuracy,
    pooled_iou,
)

groups = st.dictionaries(
    st.sampled_from(["mug", "cat", "toy", "hat"]), st.lists(triples(), min_size=1, max_size=3), min_size=1, max_size=3
)


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
def test_symmetry_flips_and_turns(triple):
    prediction, target, ignore = triple
    value = iou(*triple)
    assert iou(target, prediction, ignore) == value
    for change in (np.flipud, np.fliplr, np.transpose):
        assert iou(*(None if mask is None else change(mask) for mask in triple)) == value


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


@given(groups)
@settings(max_examples=20)
def test_the_means_over_objects_and_classes_are_the_definitions(images):
    ious = {name: definitions.pooled_iou(each) for name, each in images.items()}
    assert object_iou(images) == pytest.approx(ious, abs=1e-12)
    assert mean_object_iou(images) == pytest.approx(np.mean(list(ious.values())), abs=1e-12)
    shares = {name: definitions.pooled_accuracy(each) for name, each in images.items()}
    assert object_accuracy(images) == pytest.approx(shares, abs=1e-12)
    assert mean_object_accuracy(images) == pytest.approx(np.mean(list(shares.values())), abs=1e-12)
    exact = {name: definitions.pooled_iou(each, tiny=0) if _any(each) else 0 for name, each in images.items()}
    assert class_iou(images) == pytest.approx(exact, abs=1e-12)
    assert mean_class_iou(images) == pytest.approx(np.mean(list(exact.values())), abs=1e-12)
    everything = [image for each in images.values() for image in each]
    assert fb_iou(images) == pytest.approx(definitions.fb_iou(everything), abs=1e-12)


def _any(images):
    return any(definitions.places(p, i) | definitions.places(t, i) for p, t, i in images)


@given(groups)
@settings(max_examples=20)
def test_counts_do_as_well_as_masks_order_does_not_matter_and_fb_iou_knows_no_classes(images):
    counts = {name: [count(*image) for image in each][::-1] for name, each in reversed(images.items())}
    assert object_iou(counts) == object_iou(images)
    assert mean_object_iou(counts) == pytest.approx(mean_object_iou(images), abs=1e-12)
    assert class_iou(counts) == class_iou(images)
    assert fb_iou(counts) == fb_iou(images) == fb_iou({"all": [one for each in counts.values() for one in each]})


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


def test_values_by_hand():
    images = {"dog": [Counts(1, 2, 1, 4)], "owl": [Counts(1, 1, 2, 4)]}
    assert mean_class_iou(images) == pytest.approx(0.5)
    assert fb_iou(images) == pytest.approx((2 / 4 + 4 / 6) / 2)


def test_a_side_without_a_pixel():
    assert fb_iou({"dog": [Counts(4, 4, 4, 4)]}) == 1
    assert fb_iou({"dog": [Counts(0, 0, 0, 4)]}) == 1
    assert class_iou({"dog": [Counts(0, 0, 0, 4)]}) == {"dog": 0}


@pytest.mark.parametrize(
    "function",
    [object_iou, mean_object_iou, object_accuracy, mean_object_accuracy, class_iou, mean_class_iou, fb_iou],
)
def test_no_object_or_class(function):
    with pytest.raises(ValueError, match="no object or class"):
        function({})


def test_an_object_without_images_counts_as_0():
    pytest.importorskip("torchmetrics")
    metric = ObjectIoU(["mug", "cat"])
    metric.update(np.ones((2, 2), bool), np.ones((2, 2), bool), "mug")
    assert metric.compute().item() == pytest.approx(0.5)
    assert metric.totals()["cat"].total == 0
