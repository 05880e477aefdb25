"""References made from a true mask: of stated area, never empty, and always on the object."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from tests.conftest import draw_scene

from persam.benchmark.suites.robustness import FORMS, _depth, resized_mask, shown_as
from persam.reference import Reference

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12))
areas = st.floats(0.01, 20)


@given(mask=masks, area=areas)
def test_the_area_is_the_stated_one_and_never_nothing_or_everything(mask, area):
    assume(mask.any() and not mask.all())
    resized = resized_mask(mask, area)
    assert resized.dtype == bool
    assert resized.shape == mask.shape
    wanted = round(area * int(mask.sum()))
    assert resized.sum() == min(max(wanted, 1), mask.size - 1)


@given(mask=masks, first=areas, second=areas)
def test_masks_of_rising_areas_contain_one_another(mask, first, second):
    assume(mask.any() and not mask.all())
    small, large = (resized_mask(mask, area) for area in sorted((first, second)))
    assert not (small & ~large).any()
    assert np.array_equal(resized_mask(mask, 1), mask)
    if first <= 1:
        assert not (resized_mask(mask, first) & ~mask).any()
    else:
        assert not (mask & ~resized_mask(mask, first)).any()


@given(mask=masks, area=areas)
def test_what_is_taken_lies_deeper_than_what_is_left(mask, area):
    """The squared distance to the edge, by looking at every pair of pixels; whole numbers, so ties are exact."""
    assume(mask.any() and not mask.all())
    places = np.stack(np.nonzero(np.ones_like(mask)), axis=1)
    flat = mask.ravel()
    distance = np.square(places[:, None] - places[None]).sum(axis=2)
    depth = np.where(flat, distance[:, ~flat].min(axis=1), -distance[:, flat].min(axis=1))
    taken = resized_mask(mask, area).ravel()
    assert depth[taken].min() >= depth[~taken].max()


def test_equal_distances_are_equal_to_the_last_bit_wherever_the_mask_lies_in_memory():
    """OpenCV's distances are not, and the places of clicks moved from run to run."""
    _, mask = draw_scene(480, 853, center=(400, 200), radius=90)
    room = np.zeros(mask.size + 64, bool)
    first = shown_as("3 points", mask)["points"]
    for shift in range(1, 64, 7):
        moved = room[shift : shift + mask.size].reshape(mask.shape)
        moved[:] = mask
        assert np.array_equal(shown_as("3 points", moved)["points"], first)
    squared = _depth(mask) ** 2
    assert np.abs(squared - np.rint(squared)).max() < 1e-9


@pytest.mark.parametrize("mask", [np.zeros((3, 3), bool), np.ones((3, 3), bool)])
def test_a_mask_without_an_edge_is_refused(mask):
    with pytest.raises(ValueError, match="no edge"):
        resized_mask(mask, 0.5)


@pytest.mark.parametrize("area", [0, -1, float("nan")])
def test_an_area_that_is_none_is_refused(area):
    with pytest.raises(ValueError, match="above 0"):
        resized_mask(np.eye(3, dtype=bool), area)


@given(mask=masks, seed=st.integers(0, 99))
def test_forms_lie_on_the_object(mask, seed):
    assume(mask.any() and not mask.all())
    rows, columns = np.nonzero(mask)
    assert shown_as("box", mask)["box"] == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    scribble = shown_as("scribble", mask, seed)["scribble"]
    assert scribble.any()
    assert not (scribble & ~mask).any()
    for form, count in (("1 point", 1), ("3 points", 3)):
        points = shown_as(form, mask, seed)["points"]
        assert 1 <= len(points) <= count
        assert len(np.unique(points, axis=0)) == len(points)
        assert mask[points[:, 1], points[:, 0]].all()
    assert shown_as("mask", mask)["mask"] is mask


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_repeatable_and_a_reference(form):
    image, mask = draw_scene()
    shown, again = shown_as(form, mask, 3), shown_as(form, mask, 3)
    for key, value in shown.items():
        assert np.array_equal(value, again[key])
    reference = Reference.read(image, **shown)
    assert (reference.mask is not None) == (form == "mask")
    if form in {"scribble", "3 points", "1 point"}:
        (value,), (other,) = shown.values(), shown_as(form, mask, 4).values()
        assert not np.array_equal(value, other)


def test_clicks_lie_in_the_deeper_half():
    _, mask = draw_scene(radius=28)
    for seed in range(20):
        points = shown_as("3 points", mask, seed)["points"]
        assert np.hypot(points[:, 0] - 60, points[:, 1] - 70).max() <= 28 * 0.75  # half of a disc's area: 0.71 of r


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="no form lasso"):
        shown_as("lasso", np.eye(3, dtype=bool))
