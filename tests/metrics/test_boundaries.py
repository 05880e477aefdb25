"""Boundary IoU and F against loops over pixels, and against SciPy's erosion and distances at a photo's size."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.metrics import definitions
from tests.metrics.inputs import HARD, blob, pairs, triples

from persam.metrics import boundary, boundary_counts, boundary_f, boundary_iou, boundary_width, contour, iou, pooled

dilations = st.sampled_from([0.02, 0.1, 0.2, 0.5])
bounds = st.sampled_from([0.008, 0.1, 0.3, 1, 2, 3])

REAL = Path(__file__).parents[3] / "shared" / "data" / "davis" / "Annotations" / "480p"


@given(triples(), dilations)
def test_boundary_iou_is_the_definition(triple, dilation):
    expected = definitions.boundary_iou(*triple, dilation=dilation)
    assert boundary_iou(*triple, dilation=dilation) == pytest.approx(expected, abs=1e-12)
    assert definitions.places(boundary(triple[0], dilation)) == definitions.boundary(triple[0], dilation)


@pytest.mark.parametrize("triple", HARD.values(), ids=HARD.keys())
@pytest.mark.parametrize("dilation", [0.02, 0.2])
def test_boundary_iou_of_hard_cases(triple, dilation):
    expected = definitions.boundary_iou(*triple, dilation=dilation)
    assert boundary_iou(*triple, dilation=dilation) == pytest.approx(expected, abs=1e-12)


def test_hard_cases_have_the_boundary_iou_that_one_expects():
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
def test_boundary_iou_under_symmetry_flips_and_turns(pair, dilation):
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


@given(triples(), bounds)
def test_f_is_the_definition(triple, bound):
    assert definitions.places(contour(triple[0])) == definitions.contour(triple[0])
    assert boundary_f(*triple, bound=bound) == pytest.approx(definitions.boundary_f(*triple, bound=bound), abs=1e-12)


@pytest.mark.parametrize("triple", HARD.values(), ids=HARD.keys())
def test_f_of_hard_cases(triple):
    assert boundary_f(*triple) == pytest.approx(definitions.boundary_f(*triple), abs=1e-12)


def test_hard_cases_have_the_f_that_one_expects():
    found = {name: boundary_f(*triple) for name, triple in HARD.items()}
    assert found["empty, empty"] == found["one pixel, itself"] == found["all ignored"] == 1
    # DAVIS looks at contours alone, and what fills the picture has none.
    assert found["empty, full"] == found["full, empty"] == found["full, full"] == 1
    assert found["half, full"] == 0


def scipy_f(prediction, target):
    """With exact Euclidean distances to the other contour."""
    ndimage = pytest.importorskip("scipy.ndimage")
    height, width = target.shape
    padded = [np.pad(mask, ((0, 1), (0, 1)), mode="edge") for mask in (prediction, target)]
    found, true = (
        (mask[:-1, :-1] != mask[1:, :-1]) | (mask[:-1, :-1] != mask[:-1, 1:]) | (mask[:-1, :-1] != mask[1:, 1:])
        for mask in padded
    )
    radius = math.ceil(0.008 * math.hypot(height, width))
    precision = (ndimage.distance_transform_edt(~true)[found] <= radius + 1e-9).mean()
    recall = (ndimage.distance_transform_edt(~found)[true] <= radius + 1e-9).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(6))
def test_scipys_distances_agree_at_a_photos_size(seed):
    prediction, target = blob(seed), np.roll(blob(seed), (1 + seed, -2), (0, 1))
    value = boundary_f(prediction, target)
    assert value == pytest.approx(scipy_f(prediction, target), abs=1e-9)
    assert 0 < value < 1


def test_real_masks():
    """Frames of DAVIS, each against the one three later, as if it were a prediction for it."""
    ndimage = pytest.importorskip("scipy.ndimage")
    if not REAL.is_dir():
        pytest.skip("DAVIS is not here (shared/data beside the repository)")
    for sequence in sorted(REAL.iterdir())[:3]:
        first, later = (np.asarray(Image.open(sequence / f"{frame:05}.png").convert("L")) > 0 for frame in (0, 3))
        assert boundary_f(first, later) == pytest.approx(scipy_f(first, later), abs=1e-9)
        width = round(0.02 * math.hypot(*first.shape))
        bands = [mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), width) for mask in (first, later)]
        assert boundary_iou(first, later) == pytest.approx(plain_iou(*bands), abs=1e-12)
        assert iou(first, later) == pytest.approx(plain_iou(first, later), abs=1e-12)
        assert boundary_iou(first, later) < iou(first, later)


def plain_iou(one, other):
    return np.logical_and(one, other).sum() / np.logical_or(one, other).sum()


@given(pairs(), bounds)
def test_f_under_symmetry_and_transposition(pair, bound):
    value = boundary_f(*pair, bound=bound)
    assert boundary_f(*pair[::-1], bound=bound) == pytest.approx(value, abs=1e-12)
    assert boundary_f(pair[0].T, pair[1].T, bound=bound) == pytest.approx(value, abs=1e-12)


@given(pairs())
def test_a_wider_bound_never_lowers_it(pair):
    values = [boundary_f(*pair, bound=bound) for bound in (0, 1, 2, 4, 8, 20)]
    assert values == sorted(values)
    if contour(pair[0]).any() and contour(pair[1]).any():
        assert values[-1] == 1


@given(triples())
def test_ignored_pixels_are_cleared(triple):
    prediction, target, ignore = triple
    if ignore is not None:
        assert boundary_f(*triple) == boundary_f(prediction & ~ignore, target & ~ignore)


def test_a_shift_within_the_bound_costs_nothing():
    mask = np.zeros((300, 400), bool)
    mask[100:200, 150:250] = True
    assert math.ceil(0.008 * math.hypot(300, 400)) == 4
    assert boundary_f(np.roll(mask, 4, axis=1), mask) == 1
    assert boundary_f(np.roll(mask, 5, axis=1), mask) < 1


@pytest.mark.parametrize("bound", [-1, float("nan")])
def test_a_bound_that_makes_no_sense(bound):
    with pytest.raises(ValueError, match="give a share of the diagonal"):
        boundary_f(np.ones((3, 3), bool), np.ones((3, 3), bool), bound=bound)
