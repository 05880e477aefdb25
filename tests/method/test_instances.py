"""One object, or several of one concept, with a model that finds colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.fakes import ColourModel, ScriptedModel, blob

from persam.geometry import Frame
from persam.method.confidence import ConfidenceMaps, confidence_cells
from persam.method.features import TargetFeatures
from persam.method.instances import Target, find_instances, find_one, locate, without
from persam.method.settings import Settings

PLAIN = Settings.of("persam").but(
    background_subspace=0.0,
    positive_points=1,
    negative_point=True,
    dense_prior=False,
    map="cells",
    agreement=0.0,
    final_agreement=0.0,
)
RED, GROUND = (220, 30, 30), (60, 90, 160)
SQUARE = Frame.padded((64, 64), 64, (8, 8))


def drawing(*discs: tuple[int, int, int], size: tuple[int, int] = (128, 128)) -> tuple[np.ndarray, list[np.ndarray]]:
    """Red discs (x, y, radius) on blue; the photo and the mask of each."""
    y, x = np.mgrid[: size[0], : size[1]]
    masks = [(x - cx) ** 2 + (y - cy) ** 2 <= radius**2 for cx, cy, radius in discs]
    image = np.broadcast_to(np.array(GROUND, np.uint8), (*size, 3)).copy()
    for mask in masks:
        image[mask] = RED
    return image, masks


def red_target(settings: Settings = PLAIN) -> tuple[TargetFeatures, Target]:
    unit = torch.nn.functional.normalize(torch.tensor(RED) / 127.5 - 1, dim=0)
    features = TargetFeatures(unit, unit, unit, torch.zeros(3, 0))
    return features, Target(unit, None, settings)


def search(image: np.ndarray, most: int, threshold: float = 0.6, settings: Settings = PLAIN):
    model = ColourModel()
    encoding = model.encode(image)
    features, target = red_target(settings)
    cells = confidence_cells(encoding.features, [features])
    maps = ConfidenceMaps.of(
        cells, encoding.frame, encoding.frame, model.low_resolution, with_photo=settings.map == "photo"
    )
    found = list(find_instances(model, encoding, maps, target, most, threshold))
    return model, [(encoding.frame.to_photo_size(f.logits[None, None])[0, 0] > 0).numpy() for f in found], found


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


class TestSeveral:
    @pytest.mark.parametrize("where", ["cells", "photo"])
    @pytest.mark.parametrize("size", [(128, 128), (128, 200)])
    def test_two_objects_are_both_found_and_then_it_stops(self, where, size):
        image, truth = drawing((30, 40, 20), (95, 80, 26), size=size)
        _, masks, found = search(image, most=5, settings=PLAIN.but(map=where))
        assert len(masks) == 2
        for mask in truth:
            assert max(iou(mask, other) for other in masks) > 0.85
        assert iou(masks[0], masks[1]) < 0.05
        assert all(each.confidence > 0.6 for each in found)

    @pytest.mark.parametrize("most", [1, 2, 3])
    def test_at_most_so_many(self, most):
        image, _ = drawing((30, 30, 16), (95, 30, 16), (60, 95, 16))
        _, masks, found = search(image, most)
        assert len(masks) == most
        assert [each.confidence for each in found] == sorted((each.confidence for each in found), reverse=True)

    def test_the_image_is_encoded_once(self):
        model, _, _ = search(drawing((30, 30, 16), (95, 30, 16))[0], most=4)
        assert model.encoded == 1

    def test_the_first_comes_whatever_its_confidence(self):
        image, _ = drawing()
        _, masks, found = search(image, most=4, threshold=0.99)
        assert len(masks) == 1
        assert found[0].confidence < 0.99

    def test_threshold_stops_before_what_is_only_similar(self):
        image, _ = drawing((30, 40, 20))
        y, x = np.mgrid[:128, :128]
        image[(x - 95) ** 2 + (y - 80) ** 2 <= 400] = (200, 120, 110)  # reddish
        assert len(search(image, most=3, threshold=0.97)[1]) == 1
        assert len(search(image, most=2, threshold=-1.0)[1]) == 2

    def test_the_same_mask_never_comes_twice(self):
        """A model that always answers with the same mask, with confidence left all around it."""
        same = blob((32, 32), (4, 12), (4, 12))
        model = ScriptedModel(lambda *_: same)
        encoding = model.encode(np.zeros((64, 64, 3), np.uint8))
        maps = ConfidenceMaps(torch.full((8, 8), 0.9), torch.full((32, 32), 0.9))
        target = Target(torch.zeros(6), None, PLAIN)
        assert len(list(find_instances(model, encoding, maps, target, 9, 0.5))) == 1

    def test_an_empty_mask_ends_the_search(self):
        first = blob((32, 32), (4, 12), (4, 12))
        model = ScriptedModel(lambda number, *_: first if number < 3 else torch.full((32, 32), -1.0))
        encoding = model.encode(np.zeros((64, 64, 3), np.uint8))
        maps = ConfidenceMaps(torch.full((8, 8), 0.9), torch.full((32, 32), 0.9))
        target = Target(torch.zeros(6), None, PLAIN)
        assert len(list(find_instances(model, encoding, maps, target, 9, 0.5))) == 1


class TestWithout:
    def test_takes_the_place_of_the_mask_out_everywhere(self):
        maps = ConfidenceMaps(torch.full((8, 8), 0.7), torch.full((32, 32), 0.7), torch.full((64, 64), 0.7))
        left = without(maps, blob((32, 32), (8, 16), (0, 32)), SQUARE)
        assert bool((left.cells[1:5] == 0).all())  # and a cell on either side
        assert bool((left.cells[[0, 5]] == 0.7).all())
        assert bool((left.canvas[4:20] == 0).all())
        assert bool((left.canvas[20:] == 0.7).all())
        assert bool((left.photo[8:40] == 0).all())
        assert bool((left.photo[42:] == 0.7).all())
        assert bool((maps.canvas == 0.7).all())  # the maps themselves stay

    def test_never_raises_what_was_below_zero(self):
        maps = ConfidenceMaps(torch.full((8, 8), -0.4), torch.full((32, 32), -0.4))
        left = without(maps, torch.ones(32, 32), SQUARE)
        assert bool((left.cells == -0.4).all())
        assert bool((left.canvas == -0.4).all())


class TestOne:
    def test_trace_and_confidence(self):
        image, truth = drawing((40, 60, 22))
        _, masks, (found,) = search(image, most=1)
        assert iou(masks[0], truth[0]) > 0.85
        trace = found.trace
        x, y = trace.frame.to_photo(trace.points)[0]
        assert truth[0][round(y), round(x)]
        x, y = trace.frame.to_photo(trace.points)[1]
        assert not truth[0][round(y), round(x)]
        assert trace.confidence.shape == (64, 64)
        assert found.confidence == pytest.approx(float(trace.confidence.max()))
        assert trace.confidence_map().shape == (128, 128)
        assert [mask.shape for mask in trace.masks()] == [(128, 128)] * len(trace.steps)
        assert found.predicted_iou == pytest.approx(0.9)

    @pytest.mark.parametrize("attention", ["sigmoid", "softmax", "logits", "off"])
    def test_trace_holds_the_guidance_on_the_grid(self, attention):
        image, _ = drawing((40, 60, 22))
        _, _, (found,) = search(image, most=1, settings=PLAIN.but(attention=attention))
        assert (found.trace.guidance is None) == (attention == "off")
        if found.trace.guidance is not None:
            assert found.trace.guidance.shape == (16, 16)

    @pytest.mark.parametrize("tuned_prior", [True, False])
    def test_published_tuned_prior_has_no_negative_point_and_no_guidance(self, tuned_prior):
        model = ColourModel()
        encoding = model.encode(drawing((40, 60, 22))[0])
        settings = PLAIN.but(tuned_prior=tuned_prior, attention="logits", semantic="mean")
        maps = ConfidenceMaps.of(
            confidence_cells(encoding.features, [red_target()[0]]), encoding.frame, encoding.frame, (64, 64), False
        )
        target = Target(torch.ones(3), torch.tensor([0.3, 0.3, 0.4]), settings)
        found = find_one(model, encoding, maps, target)
        assert found.trace.labels.tolist() == ([1, 0] if tuned_prior else [1])
        assert (model.decoded[0][2] is not None) == tuned_prior

    def test_location_is_read_where_the_settings_say(self):
        canvas, photo = torch.zeros(32, 32), torch.zeros(64, 64)
        canvas[3, 4] = photo[50, 60] = 1
        on_canvas = locate(ConfidenceMaps(torch.zeros(8, 8), canvas), SQUARE, PLAIN)
        np.testing.assert_allclose(on_canvas.points[0], [8.5, 6.5])
        on_photo = locate(ConfidenceMaps(torch.zeros(8, 8), canvas, photo), SQUARE, PLAIN)
        np.testing.assert_allclose(on_photo.points[0], [60, 50])
