"""Frame: photo pixels, canvas pixels and feature cells."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from persam.geometry import Frame, fit_mask, shrink

SIZES = [(64, 64), (48, 64), (64, 40), (120, 161), (1, 1), (1000, 3), (3, 1000), (1, 50), (333, 200)]
sides = st.integers(1, 300)


def exact_cover(frame: Frame, mask: np.ndarray) -> np.ndarray:
    """Share of each cell under the mask, from areas of overlap between photo pixels and cells."""

    def overlap(photo: int, content: int, canvas: int, cells: int) -> np.ndarray:
        pixel = np.arange(photo + 1) * content / photo
        cell = np.arange(cells + 1) * canvas / cells
        low = np.maximum(pixel[None, :-1], cell[:-1, None])
        high = np.minimum(pixel[None, 1:], cell[1:, None])
        return np.maximum(high - low, 0) / (canvas / cells)

    rows = overlap(frame.photo[0], frame.content[0], frame.canvas[0], frame.grid[0])
    columns = overlap(frame.photo[1], frame.content[1], frame.canvas[1], frame.grid[1])
    return rows @ mask @ columns.T


class TestSizes:
    @pytest.mark.parametrize(
        ("photo", "content"),
        [
            ((480, 854), (576, 1024)),  # SAM's own rounding: int(x + 0.5)
            ((1, 1), (1024, 1024)),
            ((1000, 3), (1024, 3)),
            ((10_000, 3), (1024, 1)),
            ((3, 10_000), (1, 1024)),
            ((1024, 1024), (1024, 1024)),
            ((683, 1024), (683, 1024)),
            ((427, 640), (683, 1024)),
        ],
    )
    def test_padded(self, photo, content):
        frame = Frame.padded(photo, 1024, (64, 64))
        assert frame.content == content
        assert frame.canvas == (1024, 1024)

    @given(height=sides, width=sides)
    def test_padded_fills_the_longest_side_and_keeps_proportions(self, height, width):
        frame = Frame.padded((height, width), 128, (16, 16))
        assert max(frame.content) == 128
        assert min(frame.content) >= 1
        assert abs(frame.content[0] * max(height, width) - 128 * height) <= max(height, width)

    @given(height=sides, width=sides)
    def test_stretched_has_no_padding(self, height, width):
        frame = Frame.stretched((height, width), (112, 154), (8, 11))
        assert bool(frame.inside().all())
        assert frame.content == frame.canvas == (112, 154)


class TestPoints:
    @given(
        height=sides,
        width=sides,
        padded=st.booleans(),
        x=st.floats(0, 1, allow_subnormal=False),
        y=st.floats(0, 1, allow_subnormal=False),
    )
    def test_round_trip(self, height, width, padded, x, y):
        photo = (height, width)
        frame = Frame.padded(photo, 128, (16, 16)) if padded else Frame.stretched(photo, (96, 160), (12, 20))
        xy = np.array([[x * (width - 1), y * (height - 1)]])
        np.testing.assert_allclose(frame.to_photo(frame.to_canvas(xy)), xy, atol=1e-9)
        canvas = frame.to_canvas(xy)
        assert (canvas >= 0).all()
        assert (canvas <= [frame.content[1], frame.content[0]]).all()

    def test_x_is_across(self):
        frame = Frame.padded((100, 200), 400, (8, 8))
        np.testing.assert_array_equal(frame.to_canvas(np.array([[10, 20], [199, 0]])), [[20, 40], [398, 0]])

    def test_cell_centres_are_the_mean_of_their_pixels(self):
        frame = Frame.padded((100, 70), 64, (8, 8))
        for size in [(8, 8), (32, 32), (64, 64)]:
            rows = np.arange(64).reshape(size[0], -1).mean(1)
            centres = frame.cell_centres(torch.arange(size[0] * size[1]), size)
            assert centres.shape == (size[0] * size[1], 2)
            np.testing.assert_allclose(centres[:, 1], np.repeat(rows, size[1]))
            np.testing.assert_allclose(centres[:, 0], np.tile(rows, size[0]))

    @given(height=sides, width=sides, seed=st.integers(0, 9))
    def test_the_centre_of_a_cell_lies_in_it(self, height, width, seed):
        frame = Frame.padded((height, width), 128, (16, 16))
        cell = int(np.random.default_rng(seed).integers(256))
        x, y = frame.cell_centres(torch.tensor([cell]), (16, 16))[0]
        assert (int((y + 0.5) // 8), int((x + 0.5) // 8)) == divmod(cell, 16)


class TestInside:
    @pytest.mark.parametrize("photo", SIZES)
    @pytest.mark.parametrize("size", [None, (8, 8), (64, 64)])
    def test_cells_with_more_photo_than_padding(self, photo, size):
        frame = Frame.padded(photo, 128, (16, 16))
        inside = frame.inside(size).numpy()
        rows, columns = size or frame.grid
        share = np.outer(
            np.clip(frame.content[0] / (128 / rows) - np.arange(rows), 0, 1),
            np.clip(frame.content[1] / (128 / columns) - np.arange(columns), 0, 1),
        )
        share_rows, share_columns = share.max(1), share.max(0)
        expected = np.outer(share_rows > 0.5, share_columns > 0.5)
        decided = np.outer(share_rows != 0.5, share_columns != 0.5)  # exactly half a cell may go either way
        if expected.any():
            np.testing.assert_array_equal(inside[decided], expected[decided])
        assert inside.any()
        assert inside[0, 0]
        np.testing.assert_array_equal(frame.inside_of(torch.zeros(2, rows, columns)).numpy(), inside)

    @given(height=sides, width=sides)
    def test_never_empty_and_a_rectangle_at_the_upper_left(self, height, width):
        inside = Frame.padded((height, width), 64, (8, 8)).inside().numpy()
        assert inside.any()
        np.testing.assert_array_equal(inside, np.outer(inside[:, 0], inside[0]))
        assert (np.diff(inside[:, 0].astype(int)) <= 0).all()


class TestCover:
    @pytest.mark.parametrize("photo", [(64, 64), (128, 128), (256, 256), (64, 128), (128, 32), (256, 64)])
    def test_brute_force_where_pixels_divide_evenly(self, photo):
        frame = Frame.padded(photo, 128, (16, 16))
        mask = np.random.default_rng(0).random(photo) < 0.5
        cover = frame.cover(torch.from_numpy(mask)).numpy()
        np.testing.assert_allclose(cover, exact_cover(frame, mask), atol=1e-6)

    @pytest.mark.parametrize("photo", [(100, 140), (333, 200), (61, 47), (1000, 3), (3, 1000), (30, 30)])
    @pytest.mark.parametrize("stretched", [False, True])
    def test_brute_force_elsewhere(self, photo, stretched):
        frame = Frame.stretched(photo, (112, 154), (8, 11)) if stretched else Frame.padded(photo, 128, (16, 16))
        y, x = np.mgrid[: photo[0], : photo[1]]
        mask = ((x / photo[1] - 0.4) ** 2 + (y / photo[0] - 0.5) ** 2) < 0.09
        cover = frame.cover(torch.from_numpy(mask)).numpy()
        expected = exact_cover(frame, mask)
        np.testing.assert_allclose(cover, expected, atol=0.2)  # resized by whole pixels
        assert abs(cover.mean() - expected.mean()) < 0.01

    @pytest.mark.parametrize("photo", SIZES)
    def test_everything_covers_the_photo_and_nothing_the_padding(self, photo):
        frame = Frame.padded(photo, 128, (16, 16))
        cover = frame.cover(torch.ones(photo, dtype=torch.bool))
        assert bool((cover >= 0).all())
        assert bool((cover <= 1).all())
        assert float(cover.sum() * 64) == pytest.approx(frame.content[0] * frame.content[1], rel=1e-5)
        beyond = torch.zeros(16, 16, dtype=torch.bool)
        beyond[-(-frame.content[0] // 8) :], beyond[:, -(-frame.content[1] // 8) :] = True, True
        assert float(cover[beyond].sum()) == 0

    @pytest.mark.parametrize("photo", SIZES)
    def test_one_pixel_stays_where_it_is(self, photo):
        frame = Frame.padded(photo, 128, (16, 16))
        mask = torch.zeros(photo, dtype=torch.bool)
        y, x = photo[0] // 2, photo[1] // 2
        mask[y, x] = True
        cover = frame.cover(mask).numpy()
        rows, columns = np.nonzero(cover)
        for cells, place, axis in ((rows, y, 0), (columns, x, 1)):
            scale = frame.content[axis] / photo[axis] / 8
            assert cells.min() >= int(place * scale - 0.2)  # a canvas pixel may reach over a cell's border
            assert cells.max() <= int((place + 1) * scale + 0.2)

    @given(seed=st.integers(0, 99), height=st.integers(2, 150), width=st.integers(2, 150))
    def test_a_mask_and_its_complement_add_up(self, seed, height, width):
        frame = Frame.padded((height, width), 64, (8, 8))
        mask = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < 0.3
        total = frame.cover(torch.ones(height, width))
        torch.testing.assert_close(frame.cover(mask) + frame.cover(~mask), total, atol=1e-5, rtol=0)

    def test_flips_with_a_square_photo(self):
        frame = Frame.padded((96, 96), 64, (8, 8))
        mask = torch.rand(96, 96, generator=torch.Generator().manual_seed(0)) < 0.4
        torch.testing.assert_close(frame.cover(mask.flip(1)), frame.cover(mask).flip(1), atol=1e-6, rtol=0)
        torch.testing.assert_close(frame.cover(mask.T), frame.cover(mask).T, atol=1e-6, rtol=0)

    def test_shares_and_other_divisions(self):
        frame = Frame.padded((64, 64), 128, (16, 16))
        share = torch.full((64, 64), 0.25)
        torch.testing.assert_close(frame.cover(share), torch.full((16, 16), 0.25))
        assert frame.cover(share, (64, 64)).shape == (64, 64)


class TestToPhotoSize:
    @pytest.mark.parametrize("photo", [(64, 64), (48, 64), (100, 37), (1, 1), (1, 200), (300, 2)])
    @pytest.mark.parametrize("padded", [True, False])
    def test_is_the_published_two_steps(self, photo, padded):
        frame = Frame.padded(photo, 64, (8, 8)) if padded else Frame.stretched(photo, (48, 80), (6, 10))
        maps = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        enlarged = F.interpolate(maps, frame.canvas, mode="bilinear", align_corners=False)
        cropped = enlarged[..., : frame.content[0], : frame.content[1]]
        expected = F.interpolate(cropped, photo, mode="bilinear", align_corners=False)
        torch.testing.assert_close(frame.to_photo_size(maps), expected)

    def test_half_precision_maps_become_float(self):
        assert Frame.padded((5, 9), 64, (8, 8)).to_photo_size(torch.zeros(1, 1, 4, 4).bfloat16()).dtype == torch.float32


class TestTransfer:
    def test_identity_within_the_photo(self):
        frame = Frame.padded((60, 100), 64, (8, 8))
        maps = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
        whole = frame.content[0] // 8, frame.content[1] // 8  # cells that are photo all over
        out = frame.transfer(maps, frame, (8, 8))
        torch.testing.assert_close(out[..., : whole[0], : whole[1]], maps[..., : whole[0], : whole[1]])

    def test_identity_without_padding(self):
        frame = Frame.stretched((60, 100), (56, 98), (4, 7))
        maps = torch.randn(2, 3, 4, 7, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(frame.transfer(maps, frame, (4, 7)), maps, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("photo", [(60, 100), (100, 60), (64, 64), (200, 50)])
    @pytest.mark.parametrize("across", [True, False])
    def test_a_ramp_stays_a_ramp(self, photo, across):
        """A map that holds the place in the photo still does after it moved to another model's cells."""
        source = Frame.stretched(photo, (140, 140), (20, 20))
        to = Frame.padded(photo, 128, (16, 16))
        centres = torch.from_numpy(source.to_photo(source.cell_centres(torch.arange(400), (20, 20)) + 0.5)).float()
        ramp = centres[:, 0 if across else 1].reshape(1, 1, 20, 20)
        moved = source.transfer(ramp, to, (64, 64))[0, 0]
        target = to.to_photo(to.cell_centres(torch.arange(64 * 64), (64, 64)) + 0.5)
        expected = target[:, 0 if across else 1].reshape(64, 64)
        side = photo[1] if across else photo[0]
        margin = side / 40  # beyond the outermost centres the edge's value goes on
        decided = (expected > margin) & (expected < side - margin) & to.inside((64, 64)).numpy()
        assert decided.sum() > 500
        np.testing.assert_allclose(moved.numpy()[decided], expected[decided], atol=side * 1e-4)

    def test_padding_takes_the_edge(self):
        source = Frame.stretched((60, 100), (56, 98), (4, 7))
        to = Frame.padded((60, 100), 64, (8, 8))
        ramp = torch.arange(4.0)[None, None, :, None].expand(1, 1, 4, 7)
        assert bool((source.transfer(ramp, to, (8, 8))[0, 0, 5:] == 3).all())

    @given(seed=st.integers(0, 50))
    def test_flips(self, seed):
        source, to = Frame.stretched((50, 90), (56, 98), (4, 7)), Frame.stretched((50, 90), (64, 64), (8, 8))
        maps = torch.randn(1, 1, 4, 7, generator=torch.Generator().manual_seed(seed))
        for axis in (-1, -2):
            flipped = source.transfer(maps.flip(axis), to, (8, 8))
            torch.testing.assert_close(flipped, source.transfer(maps, to, (8, 8)).flip(axis), atol=1e-5, rtol=1e-5)

    @given(seed=st.integers(0, 50), height=st.integers(2, 200), width=st.integers(2, 200))
    def test_stays_within_its_range(self, seed, height, width):
        source = Frame.stretched((height, width), (56, 98), (4, 7))
        maps = torch.randn(1, 1, 4, 7, generator=torch.Generator().manual_seed(seed))
        moved = source.transfer(maps, Frame.padded((height, width), 64, (8, 8)), (32, 32))
        assert moved.shape == (1, 1, 32, 32)
        assert float(moved.max()) <= float(maps.max()) + 1e-5
        assert float(moved.min()) >= float(maps.min()) - 1e-5


@pytest.mark.parametrize("size", [(2300, 2100), (3, 2_000_000), (2_000_000, 3)])
def test_a_large_mask_is_made_smaller_in_bands_as_at_once(size: tuple[int, int]) -> None:
    mask = np.zeros(size, bool)
    mask[size[0] // 3 :, size[1] // 3 :] = True
    picture = shrink(np.zeros((*size, 3), np.uint8), 480)
    at_once = cv2.resize(mask.astype(np.float32), picture.shape[1::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(fit_mask(mask, picture), at_once >= 0.5)
    lone = np.zeros(size, bool)
    lone[-1, -1] = True
    assert fit_mask(lone, picture).any()
