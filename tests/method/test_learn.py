"""From a reference to its target features: cells, directions, the background's subspace, masks under prompts."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import ColourModel, ScriptedModel, blob, random_sam

from persam import EncodedImage, PerSAM
from persam.errors import PersamError, UsageError
from persam.geometry import Frame, covered_cells
from persam.method.learn import (
    background_basis,
    direction_of,
    learn_reference,
    prompted_mask,
    published_cells,
    target_features,
    without_background,
)
from persam.method.settings import Settings
from persam.method.threshold import threshold_of
from persam.reference import Reference

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
        model = SimpleNamespace(prepare=lambda *_: values)
        image = EncodedImage(torch.zeros(1, 3, 4, 4), Frame.padded((16, 32), 32, (4, 4)))
        mask = torch.ones(16, 32, dtype=torch.bool)
        if red * kept <= 123.675:
            with pytest.raises(PersamError, match="finds no object in this mask"):
                published_cells(model, image, mask)
            return
        cells = published_cells(model, image, mask)
        assert bool(cells[0, 0])
        assert int(cells.sum()) == 1


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


PERSAM, OFFICIAL = Settings.of("persam"), Settings.of("official")


def learned(image: np.ndarray, mask: np.ndarray, settings: Settings = PERSAM, model=None):
    model = model or random_sam()
    reference = Reference.read(image, mask)
    return learn_reference(model, model.encode(image), torch.as_tensor(reference.mask), settings, reference.mask_values)


def one_pixel_mask(shape: tuple[int, int], y: int, x: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y, x] = True
    return mask


class TestLearn:
    def test_record(self, scene):
        model = random_sam()
        (record,) = PerSAM(model).learn(*scene).references
        assert record.size == (120, 160)
        assert record.coverage == pytest.approx(scene[1].mean(), abs=1e-5)
        coverage = model.encode(scene[0]).frame.cover(torch.as_tensor(scene[1]))
        assert record.cells == int((coverage >= 0.5).sum()) > 1
        assert len(record.sha256) == 64

    def test_target_is_the_mean_of_the_covered_cells(self, scene):
        model = random_sam()
        found = learned(*scene, settings=PERSAM.but(semantic="mean", background_subspace=0.0), model=model)
        encoding = model.encode(scene[0])
        cells = encoding.frame.cover(torch.as_tensor(scene[1])) >= 0.5
        torch.testing.assert_close(found.target.embedding, encoding.features[0][:, cells].mean(1))

    @pytest.mark.parametrize("place", [(0, 0), (119, 159), (60, 70)])
    def test_a_mask_of_one_pixel(self, scene, place):
        found = learned(scene[0], one_pixel_mask((120, 160), *place))
        assert int(found.cells.sum()) == 1
        assert bool(found.target.direction.isfinite().all())
        assert np.isfinite(threshold_of(found))

    def test_a_mask_of_all_but_one_pixel_has_no_background(self, scene):
        found = learned(scene[0], ~one_pixel_mask((120, 160), 0, 0))
        assert found.target.background.shape[1] in {0, 1}
        assert np.isfinite(threshold_of(found))

    @pytest.mark.parametrize("size", [(1, 40), (40, 1), (2, 2), (500, 4)])
    def test_odd_photos(self, size):
        rng = np.random.default_rng(0)
        mask = np.zeros(size, bool)
        mask[: max(1, size[0] // 2), : max(1, size[1] // 2)] = True
        found = learned(rng.integers(0, 255, (*size, 3), np.uint8), mask)
        assert bool(found.target.direction.isfinite().all())

    def test_another_encoder_decides_with_its_own_cells(self, scene):
        model, encoder = random_sam(), ColourModel(20)
        image = replace(model.encode(scene[0]), other=encoder.encode(scene[0]))
        found = learn_reference(model, image, torch.as_tensor(scene[1]), PERSAM)
        assert found.target.embedding.shape == (32,)
        assert found.target.direction.shape == (3,)
        assert int(found.cells.sum()) > 10


class TestAsPublished:
    """The same mask with other values is another object to the published code."""

    def cells(self, scene, values) -> int:
        reference = Reference.read(scene[0], values)
        model = random_sam()
        mask = torch.as_tensor(reference.mask)
        return int(published_cells(model, model.encode(scene[0]), mask, reference.mask_values).sum())

    def test_128_erodes_and_255_does_not(self, scene):
        grey, white = (self.cells(scene, scene[1].astype(np.uint8) * value) for value in (128, 255))
        assert 0 < grey <= white

    @pytest.mark.parametrize("value", [1, 100])
    def test_values_that_vanish_say_so(self, scene, value):
        with pytest.raises(PersamError, match=r"Mode official finds no object in this mask.* use mode persam\."):
            self.cells(scene, scene[1].astype(np.uint8) * value)

    def test_without_a_mask_file_it_is_stored_with_128(self, scene):
        model = random_sam()
        found = published_cells(model, model.encode(scene[0]), torch.as_tensor(scene[1]))
        assert int(found.sum()) == self.cells(scene, scene[1].astype(np.uint8) * 128)

    def test_a_model_without_sams_preprocessing(self, scene):
        with pytest.raises(UsageError, match="Mode official needs SAM's own preprocessing"):
            learned(*scene, settings=OFFICIAL, model=ColourModel())


class TestPromptedMask:
    @pytest.mark.parametrize(
        "form",
        [{"box": (30, 40, 90, 100)}, {"points": [(60, 70)]}, {"points": [(60, 70), (5, 5)], "labels": [1, 0]},
         {"box": (30, 40, 90, 100), "points": [(60, 70)]}],
    )  # fmt: skip
    def test_prompts_reach_the_model_on_its_canvas(self, scene, form):
        mask = blob((32, 32), (5, 20), (6, 18))
        model = ScriptedModel(lambda *_: torch.stack([-mask, mask]), scores=[0.1, 0.8])
        image = model.encode(scene[0])
        found = prompted_mask(model, image, **form)
        frame = image.frame
        np.testing.assert_array_equal(found, (frame.to_photo_size(mask[None, None])[0, 0] > 0).numpy())
        first, second = (prompts for prompts, _, _ in model.calls)
        assert first.logits is None
        torch.testing.assert_close(second.logits, mask[None, None])  # the better one of the first pass
        for prompts in (first, second):
            if "points" in form:
                np.testing.assert_allclose(prompts.points[0], np.array(form["points"]) * 64 / 160, atol=1e-4)
                assert prompts.labels.tolist() == [form.get("labels", [1])]
            else:
                assert prompts.points is None
            if "box" in form:
                np.testing.assert_allclose(prompts.boxes[0], np.array(form["box"]) * 64 / 160, atol=1e-4)

    def test_scribble_becomes_points_on_its_strokes(self, scene):
        strokes = np.zeros((120, 160), bool)
        strokes[68:72, 40:85] = True
        model = ScriptedModel(lambda *_: blob((32, 32), (5, 20), (6, 18)))
        PerSAM(model).mask_of(Reference.read(scene[0], scribble=strokes))
        points = model.encode(scene[0]).frame.to_photo(model.calls[0][0].points[0].numpy()).round().astype(int)
        assert len(points) > 1
        assert all(strokes[y, x] for x, y in points)
        assert model.calls[0][0].labels.min() == 1

    def test_a_given_mask_is_taken_as_it_is(self, scene):
        model = ScriptedModel([])
        reference = Reference.read(*scene)
        assert PerSAM(model).mask_of(reference) is reference.mask

    def test_nothing_there(self, scene):
        model = ScriptedModel(lambda *_: torch.full((32, 32), -4.0))
        with pytest.raises(PersamError, match="The model finds no object at the given place; give a larger box"):
            prompted_mask(model, model.encode(scene[0]), points=[(3, 3)])
