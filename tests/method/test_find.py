"""One object after the other: how many, when it stops, which comes first; and the way to one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.fakes import ColourModel, ScriptedModel, blob

from persam import Concept
from persam.geometry import Frame
from persam.method.find import find
from persam.method.learn import TargetFeatures
from persam.method.prior import suppressed
from persam.method.settings import Settings
from persam.models.base import EncodedImage

SQUARE = Frame.padded((64, 64), 64, (8, 8))
DRAWN = Settings.of("persam").but(
    background_subspace=0.0,
    positive_points=1,
    negative_point=True,
    dense_prior=False,
    map="cells",
    agreement=0.0,
    final_agreement=0.0,
)
RED, GROUND = (220, 30, 30), (60, 90, 160)


def drawing(*discs: tuple[int, int, int], size: tuple[int, int] = (128, 128)) -> tuple[np.ndarray, list[np.ndarray]]:
    """Red discs (x, y, radius) on blue; the photo and the mask of each."""
    y, x = np.mgrid[: size[0], : size[1]]
    masks = [(x - cx) ** 2 + (y - cy) ** 2 <= radius**2 for cx, cy, radius in discs]
    image = np.broadcast_to(np.array(GROUND, np.uint8), (*size, 3)).copy()
    for mask in masks:
        image[mask] = RED
    return image, masks


def concept_of(vector: torch.Tensor, settings: Settings = DRAWN, weights=None) -> Concept:
    targets = (TargetFeatures(vector, vector, vector, torch.zeros(len(vector), 0)),)
    return Concept("disc", settings, "m", "m", "m", "m", targets, (), 0.5, scale_weights=weights)


def red_concept(settings: Settings = DRAWN, weights=None) -> Concept:
    return concept_of(torch.nn.functional.normalize(torch.tensor(RED) / 127.5 - 1, dim=0), settings, weights)


def search(image: np.ndarray, most: int, threshold: float = 0.8, settings: Settings = DRAWN):
    model = ColourModel()
    found = list(find(model, model.encode(image), red_concept(settings), most=most, threshold=threshold))
    return model, [trace.mask for trace in found], found


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


class TestSeveral:
    @pytest.mark.parametrize("where", ["cells", "photo"])
    @pytest.mark.parametrize("size", [(128, 128), (128, 200)])
    def test_two_objects_are_both_found_and_then_it_stops(self, where, size):
        image, truth = drawing((30, 40, 20), (95, 80, 26), size=size)
        _, masks, found = search(image, most=5, settings=DRAWN.but(map=where))
        assert len(masks) == 2
        for mask in truth:
            assert max(iou(mask, other) for other in masks) > 0.85
        assert iou(masks[0], masks[1]) < 0.05
        assert all(each.prior.similarity > 0.6 for each in found)

    @pytest.mark.parametrize("most", [1, 2, 3])
    def test_at_most_so_many(self, most):
        image, _ = drawing((30, 30, 16), (95, 30, 16), (60, 95, 16))
        _, masks, found = search(image, most)
        assert len(masks) == most
        assert [each.prior.similarity for each in found] == sorted(
            (each.prior.similarity for each in found), reverse=True
        )

    def test_the_image_is_encoded_once(self):
        model, _, _ = search(drawing((30, 30, 16), (95, 30, 16))[0], most=4)
        assert model.encoded == 1

    def test_the_first_comes_whatever_its_score(self):
        image, _ = drawing()
        _, masks, found = search(image, most=4, threshold=1.0)
        assert len(masks) == 1
        assert found[0].prior.similarity < 0.99

    def test_threshold_stops_before_what_is_only_similar(self):
        image, _ = drawing((30, 40, 20))
        y, x = np.mgrid[:128, :128]
        image[(x - 95) ** 2 + (y - 80) ** 2 <= 400] = (200, 120, 110)  # reddish
        assert len(search(image, most=3, threshold=0.9995)[1]) == 1
        assert len(search(image, most=2, threshold=0.0)[1]) == 2

    def test_the_same_mask_never_comes_twice(self):
        """A model that always answers with the same mask, with confidence left all around it."""
        same = blob((32, 32), (4, 12), (4, 12))
        model = ScriptedModel(lambda *_: same)
        everywhere = torch.nn.functional.normalize(torch.ones(6), dim=0)
        image = EncodedImage(torch.ones(1, 6, 8, 8), SQUARE)
        assert len(list(find(model, image, concept_of(everywhere), most=9, threshold=0.5))) == 1

    @pytest.mark.parametrize("scores", [(0.6, 0.9, 0.7), (0.9, 0.8, 0.6)])
    def test_the_surest_comes_first_whatever_was_found_first(self, scores, monkeypatch):
        """A fitted score depends on the mask, so what is found later may be surer."""
        given = iter(scores)
        monkeypatch.setattr("persam.method.find.similarity_score", lambda similarity, threshold: next(given))
        _, _, found = search(drawing((30, 30, 16), (95, 30, 16), (60, 95, 16))[0], most=3, threshold=0.0)
        assert [each.score for each in found] == sorted(scores, reverse=True)

    def test_an_empty_mask_ends_the_search(self):
        first = blob((32, 32), (4, 12), (4, 12))
        model = ScriptedModel(lambda number, *_: first if number < 3 else torch.full((32, 32), -1.0))
        everywhere = torch.nn.functional.normalize(torch.ones(6), dim=0)
        image = EncodedImage(torch.ones(1, 6, 8, 8), SQUARE)
        assert len(list(find(model, image, concept_of(everywhere), most=9, threshold=0.5))) == 1


class TestOne:
    def test_trace_and_confidence(self):
        image, truth = drawing((40, 60, 22))
        _, masks, (found,) = search(image, most=1)
        assert iou(masks[0], truth[0]) > 0.85
        prior = found.prior
        x, y = prior.frame.to_photo(prior.points)[0]
        assert truth[0][round(y), round(x)]
        x, y = prior.frame.to_photo(prior.points)[1]
        assert not truth[0][round(y), round(x)]
        assert prior.canvas.shape == (64, 64)
        assert prior.similarity == pytest.approx(float(prior.canvas.max()))
        assert found.confidence_map().shape == (128, 128)
        assert [mask.shape for mask in found.masks()] == [(128, 128)] * len(found.steps)
        assert found.predicted_iou == pytest.approx(0.9)

    @pytest.mark.parametrize("tuned_prior", [True, False])
    def test_published_tuned_prior_has_no_negative_point_and_no_guidance(self, tuned_prior):
        model = ColourModel()
        settings = DRAWN.but(tuned_prior=tuned_prior, attention="logits", semantic="mean")
        concept = red_concept(settings, (0.3, 0.3, 0.4))
        (found,) = find(model, model.encode(drawing((40, 60, 22))[0]), concept)
        assert found.prior.labels.tolist() == ([1, 0] if tuned_prior else [1])
        assert (found.prior.guidance is not None) == (model.decoded[0][2] is not None) == tuned_prior

    def test_nothing_is_suppressed_for_nobody(self, monkeypatch):
        """After the last instance that was asked for, the map stays as it is."""
        calls = []

        def counted(*given, **more):
            calls.append(1)
            return suppressed(*given, **more)

        monkeypatch.setattr("persam.method.find.suppressed", counted)
        image, _ = drawing((30, 30, 16), (95, 30, 16), (60, 95, 16))
        for most in (1, 2):
            calls.clear()
            assert len(search(image, most)[1]) == most
            assert len(calls) == most - 1
