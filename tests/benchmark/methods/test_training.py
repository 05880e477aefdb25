"""Views of the reference: varied, but photo and mask stay together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import draw_scene

from persam.benchmark.methods.base import Example, SharedPhoto
from persam.benchmark.methods.training import Lesson, Views, fitted, seeded

CPU = torch.device("cpu")
STILL = Views(zoom=(1.0, 1.0), turn=0.0, light=0.0, tint=0.0)
NO_LIGHT = Views(light=0.0, tint=0.0)


def lesson_of(mask: np.ndarray, side: int) -> Lesson:
    """A photo that shows its own mask."""
    return Lesson.of(
        Example(SharedPhoto(np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255), mask), side, CPU
    )


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 1000))
@settings(max_examples=30)
def test_the_mask_moves_with_the_photo(height, width, seed):
    """Photos that show their own mask still do so when flipped, turned, magnified and moved."""
    mask = np.zeros((height, width), bool)
    mask[height // 3 :, : 1 + width // 2] = True
    lesson = Lesson(torch.from_numpy(np.repeat(mask[None], 3, axis=0)).float(), torch.from_numpy(mask).float())
    pixels, seen = NO_LIGHT.one(lesson, 48, torch.Generator().manual_seed(seed))
    assert pixels.shape == (3, 48, 48)
    for channel in pixels:
        torch.testing.assert_close(channel, seen, atol=1e-5, rtol=0)


def test_a_still_view_is_a_piece_of_the_photo_or_of_its_mirror_image():
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.random((3, 64, 64))).float()
    lesson = Lesson(values, torch.ones(64, 64))
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        pixels, mask = STILL.one(lesson, 16, generator)
        torch.testing.assert_close(mask, torch.ones(16, 16))
        # moved by parts of a pixel, so values are between those of the photo
        assert float(pixels.min()) >= float(values.min()) - 1e-5
        assert float(pixels.max()) <= float(values.max()) + 1e-5


def test_views_differ_and_repeat_with_the_seed():
    lesson = Lesson.of(Example(SharedPhoto(draw_scene()[0]), draw_scene()[1]), 64, CPU)
    first, masks = Views().batch([lesson], 6, 32, torch.Generator().manual_seed(1))
    again, _ = Views().batch([lesson], 6, 32, torch.Generator().manual_seed(1))
    other, _ = Views().batch([lesson], 6, 32, torch.Generator().manual_seed(2))
    assert first.shape == (6, 3, 32, 32)
    assert masks.shape == (6, 32, 32)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({tuple(view.flatten().tolist()) for view in first}) == 6
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1


def test_a_small_object_is_seen_often():
    mask = np.zeros((200, 200), bool)
    mask[20:26, 180:186] = True
    generator = torch.Generator().manual_seed(0)
    _, always = Views(on_object=1.0).batch([lesson_of(mask, 200)], 30, 64, generator)
    _, never = Views(on_object=0.0).batch([lesson_of(mask, 200)], 30, 64, generator)
    assert (always.amax((1, 2)) > 0.5).float().mean() > 0.9
    assert (never.amax((1, 2)) > 0.5).float().mean() < 0.5


def test_every_reference_is_seen():
    black, white = lesson_of(np.zeros((20, 30), bool), 32), lesson_of(np.ones((50, 20), bool), 32)
    pixels, masks = NO_LIGHT.batch([black, white], 20, 16, torch.Generator().manual_seed(0))
    shown = {(round(float(view.mean())), round(float(mask.mean()))) for view, mask in zip(pixels, masks, strict=True)}
    assert shown == {(0, 0), (1, 1)}


@pytest.mark.parametrize(
    ("photo", "size"), [((100, 200), (80, 160)), ((200, 100), (160, 80)), ((1, 1), (160, 160)), ((1, 900), (1, 160))]
)
def test_sizes(photo, size):
    assert fitted(photo, 160) == size
    lesson = Lesson.of(Example(SharedPhoto(np.full((*photo, 3), 51, np.uint8)), np.ones(photo, bool)), 160, CPU)
    assert lesson.pixels.shape == (3, *size)
    torch.testing.assert_close(lesson.pixels, torch.full((3, *size), 0.2))
    torch.testing.assert_close(lesson.mask, torch.ones(size))


def test_other_chance_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1, CPU) as generator:
        torch.rand(10)
        torch.rand(10, generator=generator)
    assert torch.equal(torch.rand(3), expected)
