"""The location prior: confidence map by brute force, points, dense prompt, guidance; padding never counts."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import draw_scene
from tests.fakes import ColourModel, blob, random_sam

from persam import Concept, PerSAM
from persam.geometry import Frame
from persam.method.learn import TargetFeatures, background_basis, without_background
from persam.method.prior import (
    NEARLY,
    OUTSIDE_LOGIT,
    canvas_confidence,
    canvas_points,
    confidence_cells,
    confident_box,
    guidance_for,
    logit_attention,
    photo_confidence,
    photo_points,
    printed_attention,
    prior_from,
    prior_of,
    published_attention,
    standard_map,
    suppressed,
    z_score,
)
from persam.method.segment import tight_box
from persam.method.settings import Settings
from persam.models.base import Guidance

PERSAM = Settings.of("persam")
SQUARE, WIDE = Frame.padded((64, 64), 64, (8, 8)), Frame.padded((30, 60), 64, (8, 8))
TALL = Frame.padded((60, 30), 64, (8, 8))
TARGETS = [TargetFeatures(torch.arange(5.0), torch.ones(5), torch.ones(5), torch.zeros(5, 0))]
seeds = st.integers(0, 1000)


def concept_of(settings: Settings) -> Concept:
    """A concept of one made-up reference."""
    unit = F.normalize(torch.ones(3), dim=0)
    targets = (TargetFeatures(unit, unit, unit, torch.zeros(3, 0)),)
    return Concept("thing", settings, "m", "m", "m", "m", targets, (), 0.5)


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


class TestResolutions:
    def test_photo_is_the_published_way(self):
        frame, cells = Frame.padded((50, 90), 64, (8, 8)), random(0, 8, 8)
        enlarged = F.interpolate(cells[None, None], (32, 32), mode="bilinear", align_corners=False)
        torch.testing.assert_close(photo_confidence(cells, frame), frame.to_photo_size(enlarged)[0, 0])

    def test_same_frame(self):
        frame, cells = Frame.padded((50, 90), 64, (8, 8)), random(0, 8, 8)
        expected = F.interpolate(cells[None, None], (32, 32), mode="bilinear", align_corners=False)[0, 0]
        torch.testing.assert_close(canvas_confidence(cells, frame, frame, (32, 32)), expected)

    def test_another_encoders_frame(self):
        """The peak stays on the same place of the photo, whatever the two models make of it."""
        source, to = Frame.stretched((60, 120), (112, 224), (8, 16)), Frame.padded((60, 120), 64, (8, 8))
        cells = torch.zeros(8, 16)
        cells[2, 11] = 1
        expected = source.to_photo(source.cell_centres(torch.tensor([2 * 16 + 11]), (8, 16)) + 0.5)[0]
        canvas = canvas_confidence(cells, source, to, (32, 32))
        peak = to.to_photo(to.cell_centres(canvas.flatten().argmax()[None], (32, 32)) + 0.5)[0]
        np.testing.assert_allclose(peak, expected, atol=4)
        photo = photo_confidence(cells, source)
        assert photo.shape == (60, 120)
        y, x = divmod(int(photo.argmax()), 120)
        np.testing.assert_allclose([x, y], expected, atol=4)


class TestPriorOf:
    """Of a learned concept in an encoded photo."""

    @pytest.mark.parametrize("encoder", [None, ColourModel(12)], ids=["own features", "another encoder"])
    @pytest.mark.parametrize("where", ["photo", "cells"])
    def test_maps_lie_on_the_decoders_grid(self, encoder, where):
        photo, mask = draw_scene()
        model = random_sam()
        persam = PerSAM(model, encoder=encoder, settings=Settings.of("persam").but(map=where))
        concept, image = persam.learn(photo, mask), persam.encode(photo)
        prior = prior_of(image, concept, model.low_resolution, tuned=False)
        assert prior.cells.shape == model.grid
        assert prior.canvas.shape == model.low_resolution
        assert (prior.photo is None) == (where == "cells")
        assert (prior.dense is None) == (where == "photo")
        if prior.photo is not None:
            assert prior.photo.shape == photo.shape[:2]
        if encoder is None:
            torch.testing.assert_close(prior.cells, confidence_cells((image.other or image).features, concept.targets))

    def test_tuned_takes_the_direction_of_tuned_concepts(self):
        photo, mask = draw_scene()
        model = random_sam()
        settings = Settings.of("persam").but(target="mean", tuned_target="max-mean", background_subspace=0.0)
        persam = PerSAM(model, settings=settings)
        concept, image = persam.learn(photo, mask), persam.encode(photo)
        plain, tuned = (prior_of(image, concept, model.low_resolution, tuned=tuned).cells for tuned in (False, True))
        assert not torch.equal(plain, tuned)
        torch.testing.assert_close(tuned, confidence_cells(image.features, concept.targets, tuned=True))

    def test_gradients_reach_the_features(self):
        """Training runs the same functions."""
        photo, mask = draw_scene()
        model = random_sam()
        concept = PerSAM(model).learn(photo, mask)
        targets = [TargetFeatures(*(part.clone() for part in vars(target).values())) for target in concept.targets]
        image = model.encode(photo)
        features = image.features.clone().requires_grad_(True)
        image = replace(image, features=features)
        prior = prior_of(image, replace(concept, targets=tuple(targets)), model.low_resolution, tuned=False)
        (prior.dense.square().sum() + prior.guidance.attention.square().sum()).backward()
        assert float(features.grad.abs().sum()) > 0


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


def smooth(seed: int, size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    """A smooth random map in [-1, 1] without ties."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, 5, 5, generator=generator) * 2 - 1
    fine = F.interpolate(coarse, size, mode="bicubic", align_corners=False)[0, 0]
    return (fine + 1e-4 * torch.rand(size, generator=generator)) / 1.5


def places(points, size: tuple[int, int] = (32, 32)) -> list[tuple[int, int]]:
    """(row, column) of the points on the map."""
    return [(round((y + 0.5) * size[0] / 64 - 0.5), round((x + 0.5) * size[1] / 64 - 0.5)) for x, y in points]


class TestCanvasPoints:
    @given(seed=seeds)
    def test_peak_and_lowest(self, seed):
        values = smooth(seed)
        points, labels = canvas_points(values, SQUARE, negative=True)
        assert labels.tolist() == [1, 0]
        assert places(points) == [divmod(int(values.argmax()), 32), divmod(int(values.argmin()), 32)]
        prior = prior_from(values[::4, ::4], values, None, SQUARE, PERSAM.but(dense_prior=False), TARGETS)
        assert prior.similarity == pytest.approx(float(values.max()))
        assert prior.dense is None

    @given(seed=seeds, positives=st.integers(1, 6))
    def test_padding_is_never_picked(self, seed, positives):
        values = smooth(seed)
        values[16:] = 5.0 if seed % 2 else -5.0  # would win both ways
        points, _ = canvas_points(values, WIDE, negative=True, positives=positives)
        assert all(row < 16 for row, _ in places(points))
        prior = prior_from(values[::4, ::4], values, None, WIDE, PERSAM.but(positive_points=positives), TARGETS)
        assert prior.similarity == pytest.approx(float(values[:16].max()))
        photo = WIDE.to_photo(points)
        assert (photo > -1).all()
        assert (photo < [60, 30]).all()

    def test_without_negative(self):
        assert canvas_points(smooth(0), SQUARE, negative=False)[1].tolist() == [1]

    def test_first_place_wins_on_ties(self):
        values = torch.zeros(32, 32)
        values[3, 5] = values[20, 20] = 1.0
        values[7, 7] = values[30, 2] = -1.0
        assert places(canvas_points(values, SQUARE, negative=True)[0]) == [(3, 5), (7, 7)]

    @pytest.mark.parametrize("value", [0.0, -0.5, 1.0])
    @pytest.mark.parametrize("positives", [1, 5])
    def test_a_flat_map_still_gives_a_point(self, value, positives):
        flat = torch.full((32, 32), value)
        points, labels = canvas_points(flat, WIDE, negative=True, positives=positives)
        assert labels[0] == 1
        assert np.isfinite(points).all()
        assert bool(standard_map(flat, WIDE.inside((32, 32))).isfinite().all())

    def test_one_cell_of_photo(self):
        frame = Frame.padded((1, 900), 64, (8, 8))
        points, _ = canvas_points(smooth(1), frame, negative=True, positives=4)
        assert all(row == 0 for row, _ in places(points))
        assert bool(standard_map(smooth(1), frame.inside((32, 32))).isfinite().all())

    @given(seed=seeds, positives=st.integers(1, 6), axis=st.sampled_from([0, 1]))
    def test_flipping_the_map_flips_the_points(self, seed, positives, axis):
        values = smooth(seed)
        points, _ = canvas_points(values, SQUARE, negative=True, positives=positives)
        flipped, _ = canvas_points(values.flip(axis), SQUARE, negative=True, positives=positives)
        column = 1 - axis
        mirrored = points.copy()
        mirrored[:, column] = 63 - mirrored[:, column]
        np.testing.assert_allclose(flipped, mirrored)

    def test_dense_prior_is_the_z_scored_map_with_the_padding_out(self):
        values = smooth(2)
        dense = prior_from(values[::4, ::4], values, None, WIDE, PERSAM, TARGETS).dense
        assert dense is not None
        assert dense.shape == (1, 1, 32, 32)
        inside = values[:16].numpy()
        np.testing.assert_allclose(dense[0, 0, :16], (inside - inside.mean()) / inside.std(ddof=1), atol=1e-4)
        assert bool((dense[0, 0, 16:] == OUTSIDE_LOGIT).all())


class TestConfidentBox:
    """Around what is nearly as confident as the peak."""

    @given(seed=seeds, frame=st.sampled_from([SQUARE, WIDE, TALL]))
    def test_holds_the_places_that_can_be_reached_from_the_peak(self, seed, frame):
        values = 3 * smooth(seed)
        rows, columns = (side // 2 for side in frame.content)  # of the map that show the photo
        shown = values[:rows, :columns]
        peak = divmod(int(shown.argmax()), columns)
        reached, front = {peak}, [peak]
        while front:
            y, x = front.pop()
            for near in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                inside = 0 <= near[0] < rows and 0 <= near[1] < columns and near not in reached
                if inside and shown[near] > shown[peak] - NEARLY:
                    reached.add(near)
                    front.append(near)
        region = torch.full((32, 32), -1.0)
        for place in reached:
            region[place] = 1.0
        np.testing.assert_allclose(confident_box(values, frame), tight_box(region, frame, photo=False))

    @given(seed=seeds, axis=st.sampled_from([0, 1]))
    def test_flipping_the_map_flips_the_box(self, seed, axis):
        values = 3 * smooth(seed)
        box = confident_box(values, SQUARE).reshape(2, 2)
        mirrored = box.copy()
        mirrored[:, 1 - axis] = 63 - box[::-1, 1 - axis]
        np.testing.assert_allclose(confident_box(values.flip(axis), SQUARE).reshape(2, 2), mirrored)

    def test_one_place_and_all_of_the_photo(self):
        values = torch.zeros(32, 32)
        values[3, 5] = NEARLY + 1
        np.testing.assert_allclose(confident_box(values, SQUARE), [9.5, 5.5, 11.5, 7.5])
        np.testing.assert_allclose(confident_box(torch.zeros(32, 32), WIDE), [-0.5, -0.5, 63.5, 31.5])

    def test_there_is_one_where_the_map_is_log_odds(self):
        values = smooth(4)
        maps = values[::4, ::4], values, None, SQUARE
        fused = prior_from(*maps, PERSAM, TARGETS, values)
        np.testing.assert_allclose(fused.box, confident_box(values, SQUARE))
        assert prior_from(*maps, PERSAM.but(prior_box=False), TARGETS, values).box is None
        assert prior_from(*maps, PERSAM, TARGETS).box is None  # a cosine of 2 less says nothing


class TestSpread:
    @given(seed=seeds, positives=st.integers(2, 8))
    def test_lie_in_the_region_of_the_peak_and_differ(self, seed, positives):
        values = smooth(seed)
        taken = places(canvas_points(values, SQUARE, negative=False, positives=positives)[0])
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
        taken = places(canvas_points(values, SQUARE, negative=False, positives=4)[0])
        assert len(taken) > 1
        assert all(4 <= row < 10 and 4 <= column < 14 for row, column in taken)

    def test_are_far_apart(self):
        values = torch.full((32, 32), 0.1)
        values[14:17, 2:30] = torch.linspace(0.80, 0.81, 28)
        taken = places(canvas_points(values, SQUARE, negative=False, positives=3)[0])
        columns = sorted(column for _, column in taken)
        assert columns[-1] - columns[0] > 15

    def test_negatives_only_give_the_peak(self):
        assert len(canvas_points(smooth(3) - 3, SQUARE, negative=False, positives=5)[0]) == 1


class TestPhotoPoints:
    @given(seed=seeds, negative=st.booleans())
    def test_published_form(self, seed, negative):
        values = smooth(seed, (30, 60))
        points, labels = photo_points(values, WIDE, negative)
        expected = [divmod(int(values.argmax()), 60)] + [divmod(int(values.argmin()), 60)] * negative
        np.testing.assert_allclose(WIDE.to_photo(points)[:, ::-1], expected, atol=1e-9)
        assert labels.tolist() == [1, 0][: 1 + negative]
        settings = PERSAM.but(map="photo", negative_point=negative)
        prior = prior_from(values[:8, :8], values[:8, :8], values, WIDE, settings, TARGETS)
        assert prior.similarity == pytest.approx(float(values.max()))
        np.testing.assert_array_equal(prior.points, points)

    def test_several_are_the_highest(self):
        values = smooth(5, (30, 60))
        points, labels = photo_points(values, WIDE, negative=True, positives=2)
        order = values.flatten().argsort(descending=True)[:2].numpy()
        expected = np.stack([order % 60, order // 60], 1)
        np.testing.assert_allclose(WIDE.to_photo(points)[:2], expected, atol=1e-9)
        assert labels.tolist() == [1, 1, 0]

    def test_one_pixel(self):
        points, _ = photo_points(torch.tensor([[0.4]]), Frame.padded((1, 1), 64, (8, 8)), negative=True)
        np.testing.assert_array_equal(points, [[0, 0], [0, 0]])


class TestSuppressed:
    def test_takes_the_place_of_the_mask_out_everywhere(self):
        concept = concept_of(PERSAM.but(map="photo"))
        flat = [torch.full((side, side), 0.7) for side in (8, 32, 64)]
        prior = prior_from(*flat, SQUARE, concept.settings, concept.targets)
        left = suppressed(prior, blob((32, 32), (8, 16), (0, 32)), concept, tuned=False)
        assert bool((left.cells[1:5] == 0).all())  # and a cell on either side
        assert bool((left.cells[[0, 5]] == 0.7).all())
        assert bool((left.canvas[4:20] == 0).all())
        assert bool((left.canvas[20:] == 0.7).all())
        assert bool((left.photo[8:40] == 0).all())
        assert bool((left.photo[42:] == 0.7).all())
        assert bool((prior.canvas == 0.7).all())  # the first one stays

    def test_never_raises_what_was_below_zero(self):
        concept = concept_of(PERSAM)
        flat = torch.full((8, 8), -0.4), torch.full((32, 32), -0.4)
        prior = prior_from(*flat, None, SQUARE, concept.settings, concept.targets)
        left = suppressed(prior, torch.ones(32, 32), concept, tuned=False)
        assert bool((left.cells == -0.4).all())
        assert bool((left.canvas == -0.4).all())


def random_map(seed: int, rows: int = 8, columns: int = 8) -> torch.Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@given(seed=seeds, alpha=st.floats(0.1, 100, allow_subnormal=False))
def test_printed_form_sums_to_alpha_and_leaves_the_padding_out(seed, alpha):
    cells = random_map(seed)
    attention = printed_attention(cells, TALL.inside(), alpha)
    assert attention.shape == (1, 1, 1, 64)
    assert float(attention.sum()) == pytest.approx(alpha, rel=1e-4)
    grid = attention.reshape(8, 8).numpy()
    assert (grid[:, 4:] == 0).all()
    within = np.exp(cells[:, :4].numpy())
    np.testing.assert_allclose(grid[:, :4], alpha * within / within.sum(), rtol=1e-4)


@given(seed=seeds, alpha=st.floats(0.1, 10, allow_subnormal=False))
def test_logit_form_is_the_z_score_and_the_padding_gets_the_lowest(seed, alpha):
    cells = random_map(seed)
    attention = logit_attention(cells, TALL.inside(), alpha)
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
    def guidance(self, settings: Settings, photo: torch.Tensor | None = None) -> Guidance | None:
        return guidance_for(settings, random_map(0), TALL.inside(), photo, TALL, TARGETS)

    @pytest.mark.parametrize(
        ("attention", "where"), [("sigmoid", "after"), ("softmax", "after"), ("logits", "before"), ("off", "after")]
    )
    @pytest.mark.parametrize("semantic", ["mean", "unit", "off"])
    def test_switches(self, attention, where, semantic):
        settings = Settings.of("persam").but(attention=attention, semantic=semantic)
        guidance = self.guidance(settings)
        if attention == semantic == "off":
            assert guidance is None
            return
        assert guidance.where == where
        assert (guidance.attention is None) == (attention == "off")
        assert (guidance.semantic is None) == (semantic == "off")
        if guidance.attention is not None:
            assert guidance.attention.shape == (1, 1, 1, 64)

    def test_the_semantic_prompt_is_the_mean_of_the_references(self):
        none = torch.zeros(5, 0)
        targets = [TargetFeatures(random(seed, 5), torch.ones(5), torch.ones(5), none) for seed in range(3)]
        guidance = guidance_for(PERSAM.but(semantic="mean"), random_map(0), TALL.inside(), None, TALL, targets)
        torch.testing.assert_close(guidance.semantic, sum(target.embedding for target in targets) / 3)

    def test_alpha(self):
        for form in ("softmax", "logits"):
            one, three = (self.guidance(Settings.of("persam").but(attention=form, alpha=a)) for a in (1.0, 3.0))
            torch.testing.assert_close(three.attention, 3 * one.attention)

    def test_sigmoid_reads_the_photo_map(self):
        photo = photo_confidence(random_map(0), TALL)
        guidance = self.guidance(Settings.of("official"), photo)
        torch.testing.assert_close(guidance.attention, published_attention(photo, (8, 8)))
        assert guidance.where == "after"

    def test_flat_map_gives_finite_guidance(self):
        flat = torch.full((8, 8), 0.3)
        for form in ("sigmoid", "softmax", "logits"):
            settings = Settings.of("persam").but(attention=form)
            guidance = guidance_for(settings, flat, TALL.inside(), photo_confidence(flat, TALL), TALL, TARGETS)
            assert bool(guidance.attention.isfinite().all())
