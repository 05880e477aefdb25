"""Windows and positions, with networks whose features are known."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from persam.models.encoder_features import in_windows, joined, positional_basis, without_positions

PATCH = 4


def means(pixels: Tensor) -> Tensor:
    """The mean of every patch: a network that sees no further than a patch, wherever it lies."""
    return F.avg_pool2d(pixels.float(), PATCH)


def photo(rows: int, columns: int) -> Tensor:
    return torch.randint(0, 255, (1, 3, rows * PATCH, columns * PATCH), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("window", [(5, 7), (1, 1), (1, 6), (4, 2)])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_windows_leave_no_seam(window, count):
    pixels = photo(window[0] * count, window[1] * count)
    found = in_windows(pixels, means, count=count, window=window, patch=PATCH)
    torch.testing.assert_close(found, means(pixels))


def test_one_window_is_the_photo():
    pixels = photo(5, 7)
    seen: list[Tensor] = []
    in_windows(pixels, lambda part: seen.append(part) or means(part), count=1, window=(5, 7), patch=PATCH)
    assert [part is pixels for part in seen] == [True]


def test_one_window_at_a_time_is_encoded_and_all_are_of_one_size():
    seen: list[tuple[int, ...]] = []

    def watched(part: Tensor) -> Tensor:
        seen.append(tuple(part.shape))
        return means(part)

    in_windows(photo(15, 18), watched, count=3, window=(5, 6), patch=PATCH)
    assert seen == [(1, 3, 5 * PATCH, 6 * PATCH)] * 16


def test_features_of_overlapping_windows_pass_into_one_another():
    """Features that tell where in its window a patch lies: side by side they would fall from 9 to 0."""

    def places(part: Tensor) -> Tensor:
        rows, columns = part.shape[2] // PATCH, part.shape[3] // PATCH
        return torch.arange(columns).float().expand(1, 1, rows, columns)

    found = in_windows(photo(20, 20), places, count=2, window=(10, 10), patch=PATCH)
    steps = found.diff(dim=3).abs()
    assert float(steps.max()) < 2.5
    torch.testing.assert_close(found, found[:, :, :1].expand_as(found))


def test_positions_are_taken_out_and_content_stays():
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(32, 6)).Q
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8), indexing="ij")
    place = torch.einsum("phw,cp->chw", torch.stack([rows, columns, rows * columns]), basis[:, :3])[None]
    offset = 3 * basis[:, 5].view(1, 32, 1, 1)  # what all patches share is no position
    found = positional_basis(offset + place)
    assert 2 <= found.shape[1] <= 4
    torch.testing.assert_close(found.T @ found, torch.eye(found.shape[1]), atol=1e-5, rtol=0)
    content = torch.einsum("nhw,cn->chw", torch.randn(2, 8, 8), basis[:, 3:5])[None]
    cleaned = without_positions(offset + place + content, found)
    left = cleaned - cleaned.mean((2, 3), keepdim=True)
    wanted = content - content.mean((2, 3), keepdim=True)
    assert float((left - wanted).norm() / wanted.norm()) < 0.2
    assert float(without_positions(place, found).norm() / place.norm()) < 0.2


def test_at_most_half_of_the_channels_are_positions():
    assert positional_basis(torch.randn(1, 16, 10, 10)).shape == (16, 8)


def test_patches_that_are_all_the_same_have_no_positions():
    same = torch.randn(1, 16, 1, 1).expand(1, 16, 5, 5)
    assert positional_basis(same).shape == (16, 0)
    torch.testing.assert_close(without_positions(same, positional_basis(same)), same)


def test_one_layer_stays_as_it_is():
    features = torch.randn(1, 4, 2, 2)
    assert joined([features]) is features
    assert joined([features, features]).shape == (1, 8, 2, 2)
