"""Boundary IoU against loops over a king's moves, and against SciPy's erosion at a photo's size."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.metrics import definitions
from tests.metrics.inputs import HARD, blob, pairs, triples

from persam.metrics.functional import boundary, boundary_counts, boundary_iou, boundary_width, pooled

dilations = st.sampled_from([0.02, 0.1, 0.2, 0.5])


@given(triples(), dilations)
def test_the_definition(triple, dilation):
    expected = definitions.boundary_iou(*triple, dilation=dilation)
    assert boundary_iou(*triple, dilation=dilation) == pytest.approx(expected, abs=1e-12)
    assert definitions.places(boundary(triple[0], dilation)) == definitions.boundary(triple[0], dilation)


@pytest.mark.parametrize("triple", HARD.values(), ids=HARD.keys())
@pytest.mark.parametrize("dilation", [0.02, 0.2])
def test_hard_cases(triple, dilation):
    expected = definitions.boundary_iou(*triple, dilation=dilation)
    assert boundary_iou(*triple, dilation=dilation) == pytest.approx(expected, abs=1e-12)


def test_hard_cases_have_the_values_that_one_expects():
    found = {name: boundary_iou(*triple) for name, triple in HARD.items()}
    assert found["empty, empty"] == found["one pixel, itself"] == found["all ignored"] == found["full, full"] == 1
    assert found["empty, full"] == found["full, empty"] == found["corner, opposite corner"] == 0


@pytest.mark.parametrize("seed", range(6))
def test_scipys_erosion_agrees_at_a_photos_size(seed):
    ndimage = pytest.importorskip("scipy.ndimage")
    prediction, target = blob(seed), np.roll(blob(seed), (3, -5), (0, 1))
    width = round(0.02 * math.hypot(180, 240))
    assert width == boundary_width((180, 240)) == 6
    bands = [mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), width) for mask in (prediction, target)]
    expected = (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()
    assert boundary_iou(prediction, target) == pytest.approx(expected, abs=1e-12)


def test_width_is_that_of_the_definition():
    for height, width in ((1, 1), (10, 10), (100, 75), (480, 854), (1080, 1920), (2000, 3000)):
        assert boundary_width((height, width)) == max(1, int(np.round(0.02 * np.sqrt(height**2 + width**2))))


@given(pairs(), dilations)
def test_symmetry_flips_and_turns(pair, dilation):
    value = boundary_iou(*pair, dilation=dilation)
    assert boundary_iou(*pair[::-1], dilation=dilation) == value
    for change in (np.flipud, np.fliplr, np.transpose):
        assert boundary_iou(*map(change, pair), dilation=dilation) == value


@given(st.lists(triples(), min_size=1, max_size=3))
@settings(max_examples=20)
def test_counts_pool(images):
    counts = pooled(boundary_counts(*image) for image in images)
    both = either = 0
    for prediction, target, ignore in images:
        ignored = set() if ignore is None else definitions.places(ignore)
        one = definitions.boundary(prediction, 0.02) - ignored
        other = definitions.boundary(target, 0.02) - ignored
        both, either = both + len(one & other), either + len(one | other)
    assert (counts.intersection, counts.union) == (both, either)


def test_the_edge_of_an_ignored_region_is_no_boundary():
    full, ignore = np.ones((20, 20), bool), np.zeros((20, 20), bool)
    ignore[8:12, 8:12] = True
    whole, cut = boundary_counts(full, full), boundary_counts(full, full, ignore)
    assert cut.intersection == whole.intersection == 4 * 19
    assert cut.total == whole.total - 16


def test_a_thin_object_is_all_boundary():
    mask = np.zeros((200, 200), bool)
    mask[90:95, 20:180] = True
    np.testing.assert_array_equal(boundary(mask), mask)


@pytest.mark.parametrize("dilation", [0, -0.1, float("nan")])
def test_a_dilation_that_leaves_nothing(dilation):
    with pytest.raises(ValueError, match="leaves no boundary; give a share of the diagonal"):
        boundary_iou(np.ones((3, 3), bool), np.ones((3, 3), bool), dilation=dilation)
