"""Scale-aware tuning: the losses by loops, and both solvers on random problems."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import draw_scene
from tests.fakes import ScriptedModel, random_sam

from persam import PerSAM
from persam.errors import PersamWarning
from persam.method.scale import (
    MOST_PIXELS,
    MOST_PUBLISHED_PIXELS,
    REACH,
    Shot,
    dice_loss,
    focal_loss,
    published_size,
    shot_of,
    tune_as_published,
    tune_directly,
    tuning_loss,
)

seeds = st.integers(0, 500)


def random_shot(seed: int, size: tuple[int, int] = (24, 30)) -> Shot:
    """Three nested smooth masks of growing size, with noise, and a truth like one of them or between."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, size[0]), torch.linspace(-1, 1, size[1]), indexing="ij")
    centre = torch.rand(2, generator=generator) - 0.5
    distance = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2).sqrt()
    radii = torch.sort(torch.rand(4, generator=generator) * 0.7 + 0.15).values
    noise = F.interpolate(torch.randn(1, 3, 4, 4, generator=generator), size, mode="bilinear")[0]
    logits = (radii[:3, None, None] - distance) * (5 + 10 * torch.rand(3, 1, 1, generator=generator)) + noise
    return Shot(logits, (distance < radii[int(torch.randint(4, (1,), generator=generator))]).float())


class TestLosses:
    @given(seed=seeds)
    def test_by_loops(self, seed):
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(3, 4, generator=generator) * 3
        mask = (torch.rand(3, 4, generator=generator) < 0.5).float()
        if seed % 3 == 0:  # shares, at the edge of a mask seen at low resolution
            mask = torch.rand(3, 4, generator=generator)
        crossed = both = p_sum = focal = 0.0
        for logit, t in zip(logits.flatten().tolist(), mask.flatten().tolist(), strict=True):
            p = 1 / (1 + math.exp(-logit))
            crossed += p * t
            p_sum += p
            both += t
            entropy = -(t * math.log(p) + (1 - t) * math.log(1 - p))
            p_t = p * t + (1 - p) * (1 - t)
            focal += (0.25 * t + 0.75 * (1 - t)) * (1 - p_t) ** 2 * entropy / 12
        assert float(dice_loss(logits, mask)) == pytest.approx(1 - (2 * crossed + 1) / (p_sum + both + 1), abs=1e-5)
        assert float(focal_loss(logits, mask)) == pytest.approx(focal, abs=1e-5)

    def test_perfect_and_worst(self):
        mask = torch.zeros(6, 6)
        mask[2:4] = 1
        right = (mask * 2 - 1) * 30
        assert float(dice_loss(right, mask) + focal_loss(right, mask)) < 1e-5
        assert float(dice_loss(-right, mask)) > 0.9
        assert bool(torch.isfinite(dice_loss(-right * 50, mask) + focal_loss(-right * 50, mask)))

    def test_empty_mask_is_finite(self):
        assert float(dice_loss(torch.full((5, 5), -30.0), torch.zeros(5, 5))) == pytest.approx(0, abs=1e-5)

    @given(seed=seeds)
    def test_of_many_weights_is_that_of_each(self, seed):
        shots = [random_shot(seed), random_shot(seed + 1, (12, 9))]
        weights = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(seed))
        together = tuning_loss(weights, shots)
        assert together.shape == (2, 4)
        for i in range(2):
            for j in range(4):
                assert float(together[i, j]) == pytest.approx(float(tuning_loss(weights[i, j], shots)), abs=1e-5)

    @given(seed=seeds)
    def test_is_the_mean_over_the_shots_in_any_order(self, seed):
        shots, weights = [random_shot(seed + i) for i in range(3)], torch.tensor([0.5, 0.2, 0.3])
        alone = np.mean([float(tuning_loss(weights, [shot])) for shot in shots])
        assert float(tuning_loss(weights, shots)) == pytest.approx(alone, abs=1e-5)
        assert float(tuning_loss(weights, shots[::-1])) == pytest.approx(alone, abs=1e-5)
        assert float(tuning_loss(weights, shots + shots)) == pytest.approx(alone, abs=1e-5)


class TestPublished:
    def test_written_out(self):
        """Five epochs against AdamW by hand (decoupled decay 0.01, cosine schedule), with numerical gradients."""
        shot = random_shot(0, (10, 12))
        shot = Shot(shot.logits.double(), shot.mask.double())

        def loss(w: np.ndarray) -> float:
            return float(tuning_loss(torch.tensor([1 - w.sum(), *w], dtype=torch.float64), [shot]))

        w, m, v = np.full(2, 1 / 3), np.zeros(2), np.zeros(2)
        losses = []
        for epoch in range(5):
            losses.append(loss(w))
            gradient = np.array([(loss(w + h) - loss(w - h)) / 2e-6 for h in np.eye(2) * 1e-6])
            rate = 1e-3 * (1 + math.cos(math.pi * epoch / 5)) / 2
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            w = w * (1 - rate * 0.01)
            w -= rate * (m / (1 - 0.9 ** (epoch + 1))) / (np.sqrt(v / (1 - 0.999 ** (epoch + 1))) + 1e-4)
        tuned = tune_as_published([Shot(shot.logits.float(), shot.mask.float())], epochs=5)
        np.testing.assert_allclose(tuned.losses, losses, atol=1e-5)
        np.testing.assert_allclose(tuned.weights, [1 - w.sum(), *w], atol=1e-4)

    def test_starts_at_a_third_and_reports_progress(self):
        shot, seen = random_shot(1), []
        tuned = tune_as_published([shot], epochs=7, progress=seen.append)
        assert seen == [1, 2, 3, 4, 5, 6, 7]
        assert len(tuned.losses) == 7
        assert tuned.losses[0] == pytest.approx(float(tuning_loss(torch.full((3,), 1 / 3), [shot])))
        assert float(tuned.weights.sum()) == pytest.approx(1, abs=1e-6)

    def test_works_under_inference_mode(self):
        with torch.inference_mode():
            shot = random_shot(2)
            assert len(tune_as_published([shot], epochs=3).losses) == 3


def brute_force(shots: list[Shot], steps: int = 61) -> float:
    """Lowest loss on a fine grid over all weights that the published procedure can reach."""
    side = torch.linspace(1 / 3 - REACH, 1 / 3 + REACH, steps)
    free = torch.cartesian_prod(side, side)
    weights = torch.cat([1 - free.sum(1, keepdim=True), free], 1)
    return min(float(tuning_loss(part, shots).min()) for part in weights.split(1500))


class TestDirect:
    @pytest.mark.parametrize("seeds_of_shots", [[24], [1, 2]])
    def test_never_worse_than_published(self, seeds_of_shots):
        shots = [random_shot(seed, (12, 14)) for seed in seeds_of_shots]
        published, direct = tune_as_published(shots), tune_directly(shots)
        assert float(tuning_loss(direct.weights, shots)) <= float(tuning_loss(published.weights, shots)) + 1e-5

    def test_is_as_low_as_a_fine_grid(self):
        """Of 16 random problems, some with a valley that is no paraboloid: nearly always within 1e-4 of the lowest."""
        gaps = []
        for seed in range(16):
            shots = [random_shot(seed, (16, 20))]
            tuned = tune_directly(shots)
            assert tuned.losses == (pytest.approx(float(tuning_loss(tuned.weights, shots)), abs=1e-5),)
            gaps.append(tuned.losses[0] - brute_force(shots))
        assert max(gaps) < 3e-3
        assert np.quantile(gaps, 0.8) < 2e-4

    @pytest.mark.parametrize("count", [2, 4])
    def test_several_references_are_tuned_jointly(self, count):
        shots = [random_shot(10 + i, (16 + i, 20 - i)) for i in range(count)]
        tuned = tune_directly(shots)
        assert tuned.losses[0] <= brute_force(shots) + 3e-3
        for shot in shots:  # the best for one alone is not better for all
            assert float(tuning_loss(tune_directly([shot]).weights, shots)) >= tuned.losses[0] - 3e-3

    @settings(max_examples=10)
    @given(seed=seeds)
    def test_order_of_the_references_does_not_matter(self, seed):
        shots = [random_shot(seed + i, (12, 14)) for i in range(3)]
        turned = tune_directly(shots[::-1])  # in a flat valley the weights may differ, the loss does not
        assert tune_directly(shots).losses[0] == pytest.approx(turned.losses[0], abs=3e-3)

    @settings(max_examples=15)
    @given(seed=seeds)
    def test_weights_sum_to_one_and_stay_in_reach(self, seed):
        weights = tune_directly([random_shot(seed, (12, 14))]).weights
        assert weights.shape == (3,)
        assert float(weights.sum()) == pytest.approx(1, abs=1e-5)
        assert float((weights[1:] - 1 / 3).abs().max()) <= REACH + 1e-5

    @pytest.mark.parametrize("scale", [0, 1, 2])
    def test_finds_the_scale_that_is_right(self, scale):
        """Two scales are nonsense, one is the truth."""
        shot = random_shot(7)
        logits = torch.stack([torch.full_like(shot.mask, -4.0)] * 3)
        logits[scale] = (shot.mask * 2 - 1) * 6
        weights = tune_directly([Shot(logits, shot.mask)]).weights
        assert int(weights.argmax()) == scale

    def test_large_references_are_solved_small_and_hardly_worse(self):
        shot = random_shot(3, (300, 400))
        tuned, published = tune_directly([shot]), tune_as_published([shot], epochs=30)
        assert shot.mask.numel() > MOST_PIXELS
        assert float(tuning_loss(tuned.weights, [shot])) <= float(tuning_loss(published.weights, [shot])) + 2e-3

    @pytest.mark.parametrize("value", [0.0, -50.0, 1e4])
    def test_flat_logits_give_finite_weights(self, value):
        shot = Shot(torch.full((3, 8, 8), value), torch.eye(8))
        assert bool(tune_directly([shot]).weights.isfinite().all())

    def test_does_not_change_its_input(self):
        shot = random_shot(5)
        before = shot.logits.clone(), shot.mask.clone()
        tune_directly([shot])
        tune_as_published([shot], epochs=2)
        torch.testing.assert_close((shot.logits, shot.mask), before)


def test_the_direct_solver_gives_the_same_weights_wherever_the_memory_lies():
    """Sums of floats depend on the alignment of the memory; in a flat valley that made other weights every time."""

    def moved(tensor: torch.Tensor, by: int) -> torch.Tensor:
        room = torch.empty(tensor.numel() + by)
        return room[by:].copy_(tensor.flatten()).view(tensor.shape)

    for seed in range(4):
        shot = random_shot(seed, (61, 47))
        found = {tuple(tune_directly([Shot(moved(shot.logits, by), shot.mask)]).weights.tolist()) for by in range(7)}
        assert len(found) == 1


class TestShot:
    @pytest.mark.parametrize("full_size", [True, False])
    def test_sizes_and_truth(self, scene, full_size):
        persam = PerSAM(random_sam())
        concept = persam.learn(*scene)
        shot = shot_of(persam.model, concept.material[0], concept, full_size=full_size)
        if full_size:
            assert shot.logits.shape == (3, 120, 160)
            np.testing.assert_array_equal(shot.mask.numpy(), scene[1])
        else:  # 120 x 160 is 48 x 64 on the canvas, 24 x 32 at the low resolution
            assert shot.logits.shape == (3, 24, 32)
            assert shot.mask.shape == (24, 32)
            assert float(shot.mask.mean()) == pytest.approx(scene[1].mean(), abs=0.005)

    def test_one_decoder_pass(self, scene):
        model = ScriptedModel(lambda *_: torch.randn(3, 32, 32))
        persam = PerSAM(model)
        concept = persam.learn(*scene)
        shot_of(model, concept.material[0], concept, full_size=False)
        assert len(model.calls) == 1
        assert model.calls[0][1]  # all three scales


class TestLargePhotos:
    """The published procedure at the photo's full size, up to a size that a phone's photo exceeds twenty times."""

    @given(height=st.integers(1, 9000), width=st.integers(1, 9000))
    def test_size(self, height, width):
        rows, columns = published_size((height, width))
        if height * width <= MOST_PUBLISHED_PIXELS:
            assert (rows, columns) == (height, width)
        else:
            assert rows * columns + rows + columns > 0.99 * MOST_PUBLISHED_PIXELS
            assert rows * columns <= MOST_PUBLISHED_PIXELS
            assert rows / columns == pytest.approx(height / width, rel=2 / min(rows, columns))

    def test_those_that_it_was_published_with_keep_theirs(self):
        for size in ((1280, 1280), (1440, 1440), (1080, 1920), (480, 854)):  # PerSeg's largest, and DAVIS
            assert published_size(size) == size

    def test_a_larger_one_is_tuned_on_smaller_and_says_so(self, monkeypatch):
        persam = PerSAM(random_sam())
        concept = persam.learn(*draw_scene())
        whole = persam.tune(concept, solver="adamw")
        monkeypatch.setattr("persam.method.scale.MOST_PUBLISHED_PIXELS", 80 * 60)
        with pytest.warns(PersamWarning, match=r"this photo of 160 x 120 pixels at 80 x 60, .*the solver direct"):
            shot = shot_of(persam.model, concept.material[0], concept, full_size=True)
        assert (shot.logits.shape, shot.mask.shape) == ((3, 60, 80), (60, 80))
        assert float(shot.mask.mean()) == pytest.approx(draw_scene()[1].mean(), abs=1e-6)
        with pytest.warns(PersamWarning):
            reduced = persam.tune(concept, solver="adamw")
        assert reduced.scale_weights == pytest.approx(whole.scale_weights, abs=0.03)
