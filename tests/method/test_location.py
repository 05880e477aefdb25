"""The location prior: peak, spread points, the negative point, the dense prompt; padding never counts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from persam.geometry import Frame
from persam.method.location import OUTSIDE_LOGIT, canvas_location, photo_location

SQUARE = Frame.padded((64, 64), 64, (8, 8))
WIDE = Frame.padded((30, 60), 64, (8, 8))
seeds = st.integers(0, 500)


def smooth(seed: int, size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    """A smooth random map in [-1, 1] without ties."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, 5, 5, generator=generator) * 2 - 1
    fine = F.interpolate(coarse, size, mode="bicubic", align_corners=False)[0, 0]
    return (fine + 1e-4 * torch.rand(size, generator=generator)) / 1.5


def places(location, size: tuple[int, int] = (32, 32)) -> list[tuple[int, int]]:
    """(row, column) of the points on the map."""
    return [(round((y + 0.5) * size[0] / 64 - 0.5), round((x + 0.5) * size[1] / 64 - 0.5)) for x, y in location.points]


class TestCanvas:
    @given(seed=seeds)
    def test_peak_and_lowest(self, seed):
        values = smooth(seed)
        location = canvas_location(values, SQUARE)
        assert location.labels.tolist() == [1, 0]
        assert places(location) == [divmod(int(values.argmax()), 32), divmod(int(values.argmin()), 32)]
        assert location.confidence == pytest.approx(float(values.max()))
        assert location.dense is None

    @given(seed=seeds, positives=st.integers(1, 6))
    def test_padding_is_never_picked(self, seed, positives):
        values = smooth(seed)
        values[16:] = 5.0 if seed % 2 else -5.0  # would win both ways
        location = canvas_location(values, WIDE, positives=positives)
        assert all(row < 16 for row, _ in places(location))
        assert location.confidence == pytest.approx(float(values[:16].max()))
        photo = WIDE.to_photo(location.points)
        assert (photo > -1).all()
        assert (photo < [60, 30]).all()

    def test_without_negative(self):
        assert canvas_location(smooth(0), SQUARE, negative=False).labels.tolist() == [1]

    def test_first_place_wins_on_ties(self):
        values = torch.zeros(32, 32)
        values[3, 5] = values[20, 20] = 1.0
        values[7, 7] = values[30, 2] = -1.0
        assert places(canvas_location(values, SQUARE)) == [(3, 5), (7, 7)]

    @pytest.mark.parametrize("value", [0.0, -0.5, 1.0])
    @pytest.mark.parametrize("positives", [1, 5])
    def test_a_flat_map_still_gives_a_point(self, value, positives):
        location = canvas_location(torch.full((32, 32), value), WIDE, positives=positives, dense=True)
        assert location.labels[0] == 1
        assert np.isfinite(location.points).all()
        assert bool(location.dense.isfinite().all())

    def test_one_cell_of_photo(self):
        frame = Frame.padded((1, 900), 64, (8, 8))
        location = canvas_location(smooth(1), frame, positives=4, dense=True)
        assert all(row == 0 for row, _ in places(location))
        assert bool(location.dense.isfinite().all())

    @given(seed=seeds, positives=st.integers(1, 6), axis=st.sampled_from([0, 1]))
    def test_flipping_the_map_flips_the_points(self, seed, positives, axis):
        values = smooth(seed)
        points = canvas_location(values, SQUARE, positives=positives).points
        flipped = canvas_location(values.flip(axis), SQUARE, positives=positives).points
        column = 1 - axis
        mirrored = points.copy()
        mirrored[:, column] = 63 - mirrored[:, column]
        np.testing.assert_allclose(flipped, mirrored)

    def test_dense_prior_is_the_z_scored_map_with_the_padding_out(self):
        values = smooth(2)
        dense = canvas_location(values, WIDE, dense=True).dense
        assert dense.shape == (1, 1, 32, 32)
        inside = values[:16].numpy()
        np.testing.assert_allclose(dense[0, 0, :16], (inside - inside.mean()) / inside.std(ddof=1), atol=1e-4)
        assert bool((dense[0, 0, 16:] == OUTSIDE_LOGIT).all())


class TestSpread:
    @given(seed=seeds, positives=st.integers(2, 8))
    def test_lie_in_the_region_of_the_peak_and_differ(self, seed, positives):
        values = smooth(seed)
        location = canvas_location(values, SQUARE, positives=positives, negative=False)
        taken = places(location)
        assert 1 <= len(taken) <= positives
        assert len(set(taken)) == len(taken)
        grid = values.numpy()
        above = grid[grid > 0]
        if len(above) < 2:
            assert len(taken) == 1
            return
        floor = min(above.mean() + above.std(ddof=1) / 2, grid.max())
        _, parts = cv2.connectedComponents((grid >= floor - 1e-6).astype(np.uint8))
        peak = np.unravel_index(grid.argmax(), grid.shape)
        assert taken[0] == tuple(int(i) for i in peak)
        assert all(parts[place] == parts[peak] for place in taken)

    def test_stay_on_one_of_two_objects(self):
        values = torch.full((32, 32), -0.3)
        values[4:10, 4:14] = 0.8
        values[20:30, 20:30] = 0.79
        values[6, 6] = 0.9
        taken = places(canvas_location(values, SQUARE, positives=4, negative=False))
        assert len(taken) > 1
        assert all(4 <= row < 10 and 4 <= column < 14 for row, column in taken)

    def test_are_far_apart(self):
        values = torch.full((32, 32), 0.1)
        values[14:17, 2:30] = torch.linspace(0.80, 0.81, 28)
        taken = places(canvas_location(values, SQUARE, positives=3, negative=False))
        columns = sorted(column for _, column in taken)
        assert columns[-1] - columns[0] > 15

    def test_negatives_only_give_the_peak(self):
        assert len(canvas_location(smooth(3) - 3, SQUARE, positives=5, negative=False).points) == 1


class TestPhoto:
    @given(seed=seeds, negative=st.booleans())
    def test_published_form(self, seed, negative):
        values = smooth(seed, (30, 60))
        location = photo_location(values, WIDE, negative)
        expected = [divmod(int(values.argmax()), 60)] + [divmod(int(values.argmin()), 60)] * negative
        np.testing.assert_allclose(WIDE.to_photo(location.points)[:, ::-1], expected, atol=1e-9)
        assert location.labels.tolist() == [1, 0][: 1 + negative]
        assert location.confidence == pytest.approx(float(values.max()))

    def test_several_are_the_highest(self):
        values = smooth(5, (30, 60))
        location = photo_location(values, WIDE, negative=True, positives=2)
        order = values.flatten().argsort(descending=True)[:2].numpy()
        expected = np.stack([order % 60, order // 60], 1)
        np.testing.assert_allclose(WIDE.to_photo(location.points)[:2], expected, atol=1e-9)
        assert location.labels.tolist() == [1, 1, 0]

    def test_one_pixel(self):
        location = photo_location(torch.tensor([[0.4]]), Frame.padded((1, 1), 64, (8, 8)), negative=True)
        np.testing.assert_array_equal(location.points, [[0, 0], [0, 0]])
