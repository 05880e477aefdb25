"""Target features: cells, directions, the background's subspace."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from persam.method.features import (
    background_basis,
    covered_cells,
    direction_of,
    published_cells,
    target_features,
    without_background,
)
from persam.method.settings import Settings

seeds = st.integers(0, 1000)


def random_features(seed: int, channels: int = 12, rows: int = 6, columns: int = 7) -> torch.Tensor:
    return torch.randn(channels, rows, columns, generator=torch.Generator().manual_seed(seed))


def random_cells(seed: int, share: float = 0.3, rows: int = 6, columns: int = 7) -> torch.Tensor:
    cells = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < share
    cells[2, 3] = True
    return cells


class TestCells:
    def test_half_covered_counts(self):
        assert covered_cells(torch.tensor([[0.5, 0.49], [1.0, 0.0]])).tolist() == [[True, False], [True, False]]

    def test_otherwise_the_most_covered(self):
        assert covered_cells(torch.tensor([[0.1, 0.3], [0.2, 0.0]])).tolist() == [[False, True], [False, False]]

    @given(seed=seeds)
    def test_never_empty(self, seed):
        coverage = torch.rand(5, 5, generator=torch.Generator().manual_seed(seed)) * 0.7
        assert bool(covered_cells(coverage).any())

    @pytest.mark.parametrize(("red", "kept"), [(128, 0.97), (128, 1.0), (255, 0.5), (255, 0.47), (128, 0.9)])
    def test_published_threshold_depends_on_the_value(self, red, kept):
        """0 -> -2.118 and the padding -> 0: a cell counts if its mean value exceeds SAM's mean of red, 123.675."""
        values = torch.full((1, 3, 32, 32), (0 - 123.675) / 58.395)
        values[..., 16:] = 0
        cell = np.full((2, 2), red * kept)  # the mean of the 2 x 2 pixels that bilinear resizing reads
        values[0, 0, 3:5, 3:5] = torch.from_numpy((cell - 123.675) / 58.395).float()
        cells = published_cells(values, (4, 4))
        assert bool(cells[0, 0]) == (red * kept > 123.675)
        assert int(cells.sum()) == int(cells[0, 0])


class TestDirection:
    @given(seed=seeds, count=st.integers(1, 9))
    def test_forms(self, seed, count):
        target = torch.randn(8, count, generator=torch.Generator().manual_seed(seed))
        columns = target.numpy().T
        mean = columns.mean(0)
        np.testing.assert_allclose(direction_of(target, "mean"), mean / np.linalg.norm(mean), atol=1e-5)
        mixed = columns.max(0) / 2 + mean / 2
        np.testing.assert_allclose(direction_of(target, "max-mean"), mixed / np.linalg.norm(mixed), atol=1e-5)
        units = np.stack([column / np.linalg.norm(column) for column in columns]).mean(0)
        np.testing.assert_allclose(direction_of(target, "cosines"), units, atol=1e-5)

    def test_of_one_cell_all_forms_agree(self):
        target = torch.randn(8, 1, generator=torch.Generator().manual_seed(0))
        for kind in ("mean", "max-mean", "cosines"):
            torch.testing.assert_close(direction_of(target, kind), F.normalize(target[:, 0], dim=0))


class TestBackground:
    @given(seed=seeds, share=st.sampled_from([0.005, 0.05, 0.1, 0.3, 1.0]))
    def test_orthonormal_and_of_rank_share(self, seed, share):
        features, background = random_features(seed), random_cells(seed, 0.7)
        basis = background_basis(features, background, share)
        rank = min(math.ceil(share * int(background.sum()) - 1e-9), features.shape[0] - 1)
        assert basis.shape == (12, rank)
        torch.testing.assert_close(basis.T @ basis, torch.eye(rank), atol=1e-5, rtol=0)

    @given(seed=seeds)
    def test_is_removed(self, seed):
        features = random_features(seed)
        basis = background_basis(features, random_cells(seed, 0.6), 0.2)
        left = without_background(features, basis)
        assert float((basis.T @ left.flatten(1)).abs().max()) < 1e-4
        torch.testing.assert_close(without_background(left, basis), left, atol=1e-4, rtol=1e-4)

    def test_takes_the_main_direction_out(self):
        """A background of one colour, more or less, loses it, and the object keeps the rest."""
        background_colour, object_colour = F.normalize(torch.randn(2, 12, generator=torch.manual_seed(0)), dim=1)
        features = background_colour[:, None, None] + 0.01 * random_features(1)
        cells = torch.zeros(6, 7, dtype=torch.bool)
        cells[2:4, 2:5] = True
        features[:, cells] = object_colour[:, None]
        basis = background_basis(features, ~cells, 0.005)
        assert basis.shape == (12, 1)
        assert abs(float(basis[:, 0] @ background_colour)) > 0.99
        assert float(without_background(features, basis)[:, cells].norm(dim=0).min()) > 0.5

    @pytest.mark.parametrize(("share", "background"), [(0.0, True), (0.5, False)])
    def test_empty(self, share, background):
        features = random_features(0)
        basis = background_basis(features, torch.full((6, 7), background), share)
        assert basis.shape == (12, 0)
        torch.testing.assert_close(without_background(features, basis), features)

    def test_one_background_cell(self):
        features, one = random_features(0), torch.zeros(6, 7, dtype=torch.bool)
        one[0, 0] = True
        basis = background_basis(features, one, 0.005)
        assert abs(float(basis[:, 0] @ F.normalize(features[:, 0, 0], dim=0))) == pytest.approx(1, abs=1e-5)

    def test_never_takes_everything(self):
        features = random_features(0, channels=4)
        assert background_basis(features, torch.ones(6, 7, dtype=torch.bool), 1.0).shape == (4, 3)


class TestTargetFeatures:
    SETTINGS = Settings.of("persam").but(target="cosines", tuned_target="mean", background_subspace=0.0)

    @pytest.mark.parametrize("semantic", ["mean", "unit", "off"])
    def test_embedding(self, semantic):
        features, cells = random_features(3), random_cells(4)
        made = target_features(features, cells, features, cells, ~cells, self.SETTINGS.but(semantic=semantic))
        foreground = features[:, cells]
        expected = (F.normalize(foreground, dim=0) if semantic == "unit" else foreground).mean(1)
        torch.testing.assert_close(made.embedding, expected)

    def test_two_encoders(self):
        features, cells = random_features(3), random_cells(4)
        matching, matching_cells = random_features(5, 9, 4, 5), random_cells(6, rows=4, columns=5)
        made = target_features(features, cells, matching, matching_cells, ~matching_cells, self.SETTINGS)
        assert made.embedding.shape == (12,)
        assert made.direction.shape == made.tuned_direction.shape == (9,)
        torch.testing.assert_close(made.direction, direction_of(matching[:, matching_cells], "cosines"))
        torch.testing.assert_close(made.tuned_direction, direction_of(matching[:, matching_cells], "mean"))

    def test_direction_lies_beside_the_background(self):
        features, cells = random_features(3), random_cells(4)
        made = target_features(features, cells, features, cells, ~cells, self.SETTINGS.but(background_subspace=0.2))
        assert made.background.shape[1] > 1
        assert float((made.background.T @ made.direction).abs().max()) < 1e-5

    def test_embedding_keeps_the_background_in(self):
        """The decoder sees unprojected features, so T is one of them."""
        features, cells = random_features(3), random_cells(4)
        with_subspace = target_features(
            features, cells, features, cells, ~cells, self.SETTINGS.but(background_subspace=0.2)
        )
        without = target_features(features, cells, features, cells, ~cells, self.SETTINGS)
        torch.testing.assert_close(with_subspace.embedding, without.embedding)
