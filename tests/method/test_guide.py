"""Guidance in the form of each mode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from persam.geometry import Frame
from persam.method.confidence import ConfidenceMaps, photo_confidence
from persam.method.guide import guidance_for, logit_attention, printed_attention, published_attention
from persam.method.settings import Settings

SQUARE, TALL = Frame.padded((64, 64), 64, (8, 8)), Frame.padded((60, 30), 64, (8, 8))
seeds = st.integers(0, 500)


def random_map(seed: int, rows: int = 8, columns: int = 8) -> torch.Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@given(seed=seeds, alpha=st.floats(0.1, 100, allow_subnormal=False))
def test_printed_form_sums_to_alpha_and_leaves_the_padding_out(seed, alpha):
    cells = random_map(seed)
    attention = printed_attention(cells, TALL, alpha)
    assert attention.shape == (1, 1, 1, 64)
    assert float(attention.sum()) == pytest.approx(alpha, rel=1e-4)
    grid = attention.reshape(8, 8).numpy()
    assert (grid[:, 4:] == 0).all()
    within = np.exp(cells[:, :4].numpy())
    np.testing.assert_allclose(grid[:, :4], alpha * within / within.sum(), rtol=1e-4)


@given(seed=seeds, alpha=st.floats(0.1, 10, allow_subnormal=False))
def test_logit_form_is_the_z_score_and_the_padding_gets_the_lowest(seed, alpha):
    cells = random_map(seed)
    attention = logit_attention(cells, TALL, alpha)
    assert attention.shape == (1, 1, 1, 64)
    grid, within = attention.reshape(8, 8).numpy(), cells[:, :4].numpy()
    np.testing.assert_allclose(
        grid[:, :4], alpha * (within - within.mean()) / within.std(ddof=1), rtol=1e-3, atol=alpha * 1e-4
    )
    np.testing.assert_allclose(grid[:, 4:], grid[:, :4].min())


@given(seed=seeds)
def test_published_form_on_a_square_photo(seed):
    """Of the photo's size 64 x 64 down to 8 x 8: bilinear without antialias reads the 2 x 2 pixels in the middle."""
    photo = random_map(seed, 64, 64)
    attention = published_attention(photo, (8, 8))
    values = (photo.numpy() - photo.numpy().mean()) / photo.numpy().std(ddof=1)
    expected = np.array(
        [[values[8 * r + 3 : 8 * r + 5, 8 * c + 3 : 8 * c + 5].mean() for c in range(8)] for r in range(8)]
    )
    np.testing.assert_allclose(attention.reshape(8, 8), 1 / (1 + np.exp(-expected)), atol=1e-5)
    assert attention.shape == (1, 1, 1, 64)


def test_published_form_is_misplaced_on_a_photo_that_is_not_square():
    """Kept as published: the right half of a tall photo lights cells that are padding."""
    photo = torch.zeros(60, 30)
    photo[:, 15:] = 1
    grid = published_attention(photo, (8, 8)).reshape(8, 8)
    assert bool((grid[:, 4:] > 0.5).all())
    assert not bool(TALL.inside()[:, 4:].any())


class TestGuidanceFor:
    T = torch.arange(5.0)

    def maps(self, with_photo: bool = False) -> ConfidenceMaps:
        return ConfidenceMaps.of(random_map(0), TALL, TALL, (32, 32), with_photo)

    @pytest.mark.parametrize(
        ("attention", "where"), [("sigmoid", "after"), ("softmax", "after"), ("logits", "before"), ("off", "after")]
    )
    @pytest.mark.parametrize("semantic", ["mean", "unit", "off"])
    def test_switches(self, attention, where, semantic):
        settings = Settings.of("persam").but(attention=attention, semantic=semantic)
        guidance = guidance_for(settings, self.maps(), TALL, self.T)
        if attention == semantic == "off":
            assert guidance is None
            return
        assert guidance.where == where
        assert (guidance.attention is None) == (attention == "off")
        assert (guidance.semantic is None) == (semantic == "off")
        if guidance.attention is not None:
            assert guidance.attention.shape == (1, 1, 1, 64)

    def test_alpha(self):
        for form in ("softmax", "logits"):
            one, three = (
                guidance_for(Settings.of("persam").but(attention=form, alpha=a), self.maps(), TALL, self.T)
                for a in (1.0, 3.0)
            )
            torch.testing.assert_close(three.attention, 3 * one.attention)

    def test_sigmoid_reads_the_photo_map(self):
        settings = Settings.of("official")
        guidance = guidance_for(settings, self.maps(with_photo=True), TALL, self.T)
        torch.testing.assert_close(
            guidance.attention, published_attention(photo_confidence(random_map(0), TALL), (8, 8))
        )
        assert guidance.where == "after"

    def test_flat_map_gives_finite_guidance(self):
        maps = ConfidenceMaps.of(torch.full((8, 8), 0.3), TALL, TALL, (32, 32), with_photo=True)
        for form in ("sigmoid", "softmax", "logits"):
            guidance = guidance_for(Settings.of("persam").but(attention=form), maps, TALL, self.T)
            assert bool(guidance.attention.isfinite().all())
