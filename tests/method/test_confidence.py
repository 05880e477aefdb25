"""The confidence map: brute force, pooling, invariances, and its resolutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from persam.geometry import Frame
from persam.method.confidence import ConfidenceMaps, canvas_confidence, confidence_cells, photo_confidence, z_score
from persam.method.features import TargetFeatures, background_basis, without_background

seeds = st.integers(0, 1000)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def target_of(cells: torch.Tensor, background: torch.Tensor | None = None) -> TargetFeatures:
    """Of target cells (C, n), the way of the paper; `background` is a basis (C, s)."""
    basis = torch.zeros(len(cells), 0) if background is None else background
    direction = F.normalize(without_background(cells, basis), dim=0).mean(1)
    return TargetFeatures(cells.mean(1), direction, F.normalize(cells.mean(1), dim=0), basis)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


class TestCells:
    @given(seed=seeds, count=st.integers(1, 8))
    def test_is_the_mean_of_the_cosines_with_every_target_cell(self, seed, count):
        features, cells = random(seed, 1, 10, 4, 5), random(seed + 1, 10, count)
        found = confidence_cells(features, [target_of(cells)])
        for row in range(4):
            for column in range(5):
                here = features[0, :, row, column].numpy()
                expected = np.mean([cosine(cell, here) for cell in cells.numpy().T])
                assert float(found[row, column]) == pytest.approx(expected, abs=1e-5)

    @given(seed=seeds)
    def test_with_the_background_removed_from_both(self, seed):
        features, cells = random(seed, 1, 10, 4, 5), random(seed + 1, 10, 3)
        basis = background_basis(random(seed + 2, 10, 4, 5), torch.ones(4, 5, dtype=torch.bool), 0.1)
        found = confidence_cells(features, [target_of(cells, basis)])
        projection = np.eye(10) - basis.numpy() @ basis.numpy().T
        for row, column in [(0, 0), (3, 4), (2, 1)]:
            here = projection @ features[0, :, row, column].numpy()
            expected = np.mean([cosine(projection @ cell, here) for cell in cells.numpy().T])
            assert float(found[row, column]) == pytest.approx(expected, abs=1e-4)

    @given(seed=seeds, count=st.integers(1, 5))
    def test_references_are_pooled_by_maximum_in_any_order(self, seed, count):
        features = random(seed, 1, 10, 4, 5)
        targets = [target_of(random(seed + 1 + i, 10, 3)) for i in range(count)]
        found = confidence_cells(features, targets)
        alone = torch.stack([confidence_cells(features, [target]) for target in targets])
        torch.testing.assert_close(found, alone.amax(0))
        torch.testing.assert_close(confidence_cells(features, targets[::-1]), found)

    @given(seed=seeds)
    def test_scale_of_the_features_does_not_matter(self, seed):
        features, cells = random(seed, 1, 10, 4, 5), random(seed + 1, 10, 3)
        basis = background_basis(random(seed + 2, 10, 4, 5), torch.ones(4, 5, dtype=torch.bool), 0.1)
        scale = random(seed + 3, 1, 1, 4, 5).exp()  # of each cell its own
        found = confidence_cells(features, [target_of(cells, basis)])
        torch.testing.assert_close(confidence_cells(features * scale, [target_of(cells, basis)]), found)
        torch.testing.assert_close(confidence_cells(features, [target_of(cells * 7, basis)]), found)

    @given(seed=seeds)
    def test_range(self, seed):
        found = confidence_cells(random(seed, 1, 3, 6, 6), [target_of(random(seed + 1, 3, 1))])
        assert float(found.abs().max()) <= 1 + 1e-5

    def test_tuned_takes_the_other_direction(self):
        features, target = random(0, 1, 10, 4, 5), target_of(random(1, 10, 3))
        swapped = TargetFeatures(target.embedding, target.tuned_direction, target.direction, target.background)
        torch.testing.assert_close(
            confidence_cells(features, [target], tuned=True), confidence_cells(features, [swapped])
        )

    def test_a_cell_of_zeros_is_no_nan(self):
        features = random(0, 1, 10, 4, 5)
        features[0, :, 1, 1] = 0
        found = confidence_cells(features, [target_of(random(1, 10, 3))])
        assert float(found[1, 1]) == 0
        assert bool(found.isfinite().all())


class TestMaps:
    def test_photo_is_the_published_way(self):
        frame, cells = Frame.padded((50, 90), 64, (8, 8)), random(0, 8, 8)
        enlarged = F.interpolate(cells[None, None], (32, 32), mode="bilinear", align_corners=False)
        torch.testing.assert_close(photo_confidence(cells, frame), frame.to_photo_size(enlarged)[0, 0])

    def test_same_frame(self):
        frame, cells = Frame.padded((50, 90), 64, (8, 8)), random(0, 8, 8)
        maps = ConfidenceMaps.of(cells, frame, frame, (32, 32), with_photo=False)
        assert maps.cells is cells
        assert maps.photo is None
        expected = F.interpolate(cells[None, None], (32, 32), mode="bilinear", align_corners=False)[0, 0]
        torch.testing.assert_close(maps.canvas, expected)
        assert ConfidenceMaps.of(cells, frame, frame, (32, 32), with_photo=True).photo.shape == (50, 90)

    def test_another_encoders_frame(self):
        """The peak stays on the same place of the photo, whatever the two models make of it."""
        source, to = Frame.stretched((60, 120), (112, 224), (8, 16)), Frame.padded((60, 120), 64, (8, 8))
        cells = torch.zeros(8, 16)
        cells[2, 11] = 1
        maps = ConfidenceMaps.of(cells, source, to, (32, 32), with_photo=True)
        assert maps.cells.shape == (8, 8)
        assert maps.photo.shape == (60, 120)
        expected = source.to_photo(source.cell_centres(torch.tensor([2 * 16 + 11]), (8, 16)) + 0.5)[0]
        peak = to.to_photo(to.cell_centres(maps.canvas.flatten().argmax()[None], (32, 32)) + 0.5)[0]
        np.testing.assert_allclose(peak, expected, atol=4)
        y, x = divmod(int(maps.photo.argmax()), 120)
        np.testing.assert_allclose([x, y], expected, atol=4)
        torch.testing.assert_close(canvas_confidence(cells, source, to, (32, 32)), maps.canvas)


class TestZScore:
    @given(seed=seeds)
    def test_definition(self, seed):
        values = random(seed, 5, 6) * 3 + 2
        inside = random(seed + 1, 5, 6) > -0.5
        expected = (values.numpy() - values.numpy()[inside].mean()) / values.numpy()[inside].std(ddof=1)
        np.testing.assert_allclose(z_score(values, inside), expected, atol=1e-4)
        everywhere = (values.numpy() - values.numpy().mean()) / values.numpy().std(ddof=1)
        np.testing.assert_allclose(z_score(values), everywhere, atol=1e-4)

    def test_flat_and_single_values_give_zero(self):
        assert float(z_score(torch.full((3, 3), 0.7)).abs().max()) < 0.2
        assert float(z_score(torch.tensor([[0.3]])).abs().max()) == 0
        one = torch.zeros(3, 3, dtype=torch.bool)
        one[1, 1] = True
        assert bool(z_score(torch.eye(3), one).isfinite().all())
