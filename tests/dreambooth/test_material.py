"""Photos as they are trained on: crop, flip and scale take the mask along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.dreambooth.tiny_pipelines import tiny_vae

from persam.dreambooth.loss import latent_weights
from persam.dreambooth.material import cropped, encode, read_square
from persam.dreambooth.subjects import TrainingPhoto


def marked(height: int, width: int, top: int, left: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A black photo with a white square, and the square's mask."""
    mask = np.zeros((height, width), bool)
    mask[top : top + size, left : left + size] = True
    return np.repeat(mask[..., None] * np.uint8(255), 3, axis=2), mask


@given(st.integers(20, 90), st.integers(20, 90), st.data())
def test_the_mask_shows_the_same_as_the_photo_and_the_subject_stays_in(height: int, width: int, data: Any) -> None:
    size = data.draw(st.integers(2, min(height, width) // 2))
    top, left = data.draw(st.integers(0, height - size)), data.draw(st.integers(0, width - size))
    photo, mask = marked(height, width, top, left, size)
    square = cropped(photo, mask, min(height, width))  # not scaled
    assert square.mask is not None
    for each in (square, square.flipped()):
        assert np.array_equal(each.pixels[..., 0] == 255, each.mask)
        assert each.mask.sum() == size**2  # all of the subject
    assert np.array_equal(square.flipped().pixels, square.pixels[:, ::-1])
    assert square.size_ids[:2] == (height, width)


def test_a_flipped_photo_tells_the_crop_of_the_photo_that_is_flipped() -> None:
    photo, mask = marked(40, 100, 10, 50, 20)
    square = cropped(photo, mask, 20)
    assert square.flipped().size_ids == (40, 100, 0, 10, 20, 20)
    assert square.flipped().size_ids == cropped(photo[:, ::-1], mask[:, ::-1], 20).size_ids
    assert square.flipped().flipped().size_ids == square.size_ids
    upright = cropped(*marked(100, 40, 50, 10, 20), 20)
    assert upright.flipped().size_ids == upright.size_ids == (100, 40, 20, 0, 20, 20)


def test_the_subject_is_as_near_the_middle_as_can_be() -> None:
    square = cropped(*marked(40, 100, 10, 50, 20), 20)
    assert square.pixels.shape == (20, 20, 3)
    assert square.size_ids == (40, 100, 0, 20, 20, 20)  # 40 columns from the left, at half the size
    columns = np.flatnonzero(square.mask.any(axis=0))
    assert (columns.min(), columns.max()) == (10, 29)
    without = cropped(marked(40, 100, 10, 70, 20)[0], None, 20)
    assert without.size_ids == (40, 100, 0, 15, 20, 20)  # the middle


def test_a_mask_of_any_size_is_averaged_over_the_places_of_the_latents() -> None:
    """Not over the scaled photo: what a place counts is the exact share of the crop's pixels."""
    rng = np.random.default_rng(0)
    mask = rng.random((48, 48)) < 0.5
    weights = latent_weights(mask, (8, 8))[0, 0]
    expected = mask.reshape(8, 6, 8, 6).mean(axis=(1, 3))
    assert torch.allclose(weights, torch.from_numpy(expected).float())


def test_latents_are_moved_and_scaled_as_the_pipeline_undoes_it() -> None:
    vae = tiny_vae(scaling_factor=0.5, shift_factor=0.25)
    photo, mask = marked(32, 32, 8, 8, 16)
    found = encode(vae, cropped(photo, mask, 32), "a mug", 0.0)
    pixels = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        expected = vae.encode(pixels).latent_dist
    assert torch.allclose(found.mean / 0.5 + 0.25, expected.mean, atol=1e-5)
    assert torch.allclose(found.std / 0.5, expected.std, rtol=1e-5)
    drawn = torch.stack([found.draw(torch.Generator().manual_seed(seed)) for seed in range(400)])
    assert torch.allclose(drawn.mean(0), found.mean, atol=float(6 * found.std.max() / 20))


def test_without_masks_the_crop_is_the_same(tmp_path: Path) -> None:
    pixels, mask = marked(40, 100, 10, 70, 20)
    photo = TrainingPhoto(tmp_path / "photo.png", tmp_path / "mask.png", "")
    Image.fromarray(pixels).save(photo.image)
    Image.fromarray(mask).save(photo.mask)
    masked, plain = (read_square(photo, 40, masked=each) for each in (True, False))
    assert np.array_equal(masked.pixels, plain.pixels)
    assert masked.mask is not None
    assert plain.mask is None
    Image.new("L", (100, 40)).save(photo.mask)  # an empty one does not matter then
    assert read_square(photo, 40, masked=False).size_ids == (40, 100, 0, 30, 40, 40)


@pytest.mark.parametrize("resolution", [8, 64])
def test_photos_are_scaled_down_and_up(resolution: int) -> None:
    photo, mask = marked(32, 32, 8, 8, 16)
    square = cropped(photo, mask, resolution)
    assert square.pixels.shape == (resolution, resolution, 3)
    assert abs(square.pixels.mean() - photo.mean()) < 3
