"""One object after the other: how many, when it stops, which comes first; and the way to one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import ColourModel, ScriptedModel, blob, random_sam

from persam import Concept, PerSAM
from persam.geometry import Frame
from persam.instance import Instance
from persam.method import find as finding
from persam.method.find import find, prompts_at_once, side_by_side
from persam.method.learn import TargetFeatures
from persam.method.prior import Prior, suppressed
from persam.method.settings import Settings
from persam.models.base import Decoded, EncodedImage, Prompts
from persam.models.fitted import Fitted

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
    (found,) = find(model, model.encode(image), [red_concept(settings)], most=most, threshold=threshold)
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
        ((_,),) = find(model, image, [concept_of(everywhere)], most=9, threshold=0.5)

    @pytest.mark.parametrize("scores", [(0.6, 0.9, 0.7), (0.9, 0.8, 0.6)])
    def test_the_surest_comes_first_whatever_was_found_first(self, scores, monkeypatch):
        """A fitted score depends on the mask, so what is found later may be surer."""
        given = iter(scores)
        monkeypatch.setattr("persam.method.find.similarity_score", lambda *_: next(given))
        _, _, found = search(drawing((30, 30, 16), (95, 30, 16), (60, 95, 16))[0], most=3, threshold=0.0)
        assert [each.score for each in found] == sorted(scores, reverse=True)

    def test_an_empty_mask_ends_the_search(self):
        first = blob((32, 32), (4, 12), (4, 12))
        model = ScriptedModel(lambda number, *_: first if number < 3 else torch.full((32, 32), -1.0))
        everywhere = torch.nn.functional.normalize(torch.ones(6), dim=0)
        image = EncodedImage(torch.ones(1, 6, 8, 8), SQUARE)
        ((_,),) = find(model, image, [concept_of(everywhere)], most=9, threshold=0.5)


class TestPlaces:
    """Where the score says neither yes nor no, the next places are looked at, too."""

    NUMBERS = Fitted({}, 0.0, refine=False, presence={}, presence_offset=0.0)
    ALIKE = DRAWN.but(nearest_cue=False, background_cue=False, colour_cue=False)

    def looked(
        self, scores, monkeypatch, *, most=1, threshold=0.5, places=3, numbers: Fitted | None = NUMBERS, whole=True
    ):
        """What is found where places get these scores one after the other, and how many were looked at."""
        given = iter(scores)
        monkeypatch.setattr(finding, "score_in", lambda *_: next(given))
        image, _ = drawing((30, 30, 16), (95, 30, 16), (60, 95, 16), (100, 100, 14))
        concept = replace(red_concept(self.ALIKE.but(places=places)), fitted=numbers)
        model = ColourModel()
        (found,) = find(
            model,
            model.encode(image),
            [concept],
            most=most,
            threshold=threshold,
            encode=model.encode if whole else None,
        )
        return [one.score for one in found], len(scores) - len(list(given))

    def test_the_surer_place_counts(self, monkeypatch):
        assert self.looked((0.3, 0.9, 0.99), monkeypatch) == ([0.9], 2)  # sure enough: no third place
        assert self.looked((0.3, 0.6, 0.7), monkeypatch) == ([0.7], 3)

    def test_what_is_surely_found_or_hopeless_is_not_compared(self, monkeypatch):
        assert self.looked((0.8, 0.99), monkeypatch) == ([0.8], 1)
        assert self.looked((0.05, 0.99), monkeypatch) == ([0.05], 1)

    def test_no_more_places_than_asked_for(self, monkeypatch):
        assert self.looked((0.3, 0.4, 0.35, 0.99), monkeypatch) == ([0.4], 3)
        assert self.looked((0.3, 0.9), monkeypatch, places=1) == ([0.3], 1)
        assert self.looked((0.3, 0.4, 0.35, 0.99), monkeypatch, places=9) == ([0.99], 4)

    def test_without_numbers_a_score_compares_nothing(self, monkeypatch):
        assert self.looked((0.3, 0.9), monkeypatch, numbers=None) == ([0.3], 1)

    @pytest.mark.parametrize(("most", "looks"), [(1, [0.4]), (2, [0.3, 0.4, 0.35])])
    def test_of_one_alone_the_place_that_counts_is_looked_at_from_near(self, most, looks, monkeypatch):
        """Of several each one, for what is seen from near decides whether another one is looked for."""
        near = []
        monkeypatch.setattr(finding, "look_closer", lambda one, *_: near.append(one.score) or one)
        self.looked((0.3, 0.4, 0.35), monkeypatch, most=most)
        assert near == looks

    def test_the_window_of_a_closer_look_is_one_place(self, monkeypatch):
        assert self.looked((0.3, 0.9), monkeypatch, whole=False) == ([0.3], 1)

    def test_several_are_looked_for_as_long_as_there_are_any(self, monkeypatch):
        assert self.looked((0.9, 0.6, 0.2, 0.8), monkeypatch, most=5) == ([0.9, 0.6], 3)
        assert self.looked((0.3, 0.6, 0.4), monkeypatch, most=5) == ([0.6], 3)
        assert self.looked((0.6, 0.7, 0.65), monkeypatch, most=2) == ([0.7, 0.65], 3)

    def test_what_evidence_leads_back_to_is_not_found_twice(self, monkeypatch):
        """A handle that was left out is a place of its own, but evidence adds the mug to it, or it lies in the mug."""
        image, discs = drawing((30, 30, 16), (95, 30, 16), (60, 95, 16), (100, 100, 14))
        masks = {"mug": discs[0], "other": discs[1], "handle": drawing((30, 30, 4))[1][0]}
        concept = replace(red_concept(self.ALIKE), fitted=replace(self.NUMBERS, refine=True))
        model = ColourModel()
        encoded = replace(model.encode(image), pixels=image)
        monkeypatch.setattr(finding, "score_in", lambda *_: 0.9)

        def found(*drawn: str, most: int) -> tuple[list[str], int]:
            given = iter(drawn)
            monkeypatch.setattr(finding, "photo_mask", lambda *_, **__: masks[next(given)])
            (seen,) = find(model, encoded, [concept], most=most, threshold=0.5)
            names = [name for one in seen for name, mask in masks.items() if np.array_equal(one.mask, mask)]
            return names, len(drawn) - len(list(given))

        assert found("mug", "mug", "other", most=2) == (["mug", "other"], 3)
        assert found("mug", "handle", "other", most=2) == (["mug", "other"], 3)
        assert found("mug", "handle", "mug", "other", most=2) == (["mug"], 3)  # not for ever

    def test_the_map_has_a_say(self, monkeypatch):
        """Of two scores that hardly differ the higher place of the map counts, but what is likely comes before that."""
        image = np.zeros((8, 8), bool)

        def one(score: float, peak: float) -> Instance:
            flat = torch.zeros(32, 32)
            return Instance(image, score, 0.5, 0.5, Prior(SQUARE, flat, flat, flat, None, 0.5, None, None, peak=peak))

        def best(*seen: Instance, threshold: float = 0.5, most: int = 1) -> list[float]:
            return [each.score for each in finding._surest(seen, most, threshold)]

        assert best(one(0.6, 4.0), one(0.62, 1.0)) == [0.6]
        assert best(one(0.6, 4.0), one(0.99, 1.0)) == [0.99]
        assert best(one(0.6, 2.0), one(0.8, 1.0)) == [0.6]  # by a hair: odds of 1.5 and 4, the map's e times
        assert best(one(0.45, 9.0), one(0.55, 1.0)) == [0.55]
        assert best(one(0.45, 9.0), one(0.47, 1.0)) == [0.45]
        assert best(one(0.6, 4.0), one(0.62, 1.0), one(0.2, 9.0), most=3) == [0.62, 0.6]
        assert best(one(0.0, 4.0), one(1.0, 1.0)) == [1.0]


class Counted:
    """A model that writes down how many prompts it is given in every pass."""

    def __init__(self, model) -> None:
        self.model, self.prompts = model, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def decode(self, encoding: EncodedImage, prompts: Prompts, **how) -> Decoded:
        self.prompts.append(len(prompts.points))
        return self.model.decode(encoding, prompts, **how)


def learned_discs(mode: str, count: int) -> list[Concept]:
    """Discs of several colours, learned by a random SAM of this mode; every other one is tuned."""
    model = PerSAM(SAM, settings=Settings.of(mode))
    concepts = [model.learn(*draw_scene(48, 64, center=(20 + 4 * i, 24), radius=12, seed=i)) for i in range(count)]
    return [model.tune(each) if i % 2 else each for i, each in enumerate(concepts)]


SAM = random_sam()


class TestSideBySide:
    """Several concepts: each finds what it finds by itself, to rounding, in as few passes as it takes one of them."""

    @pytest.mark.parametrize("modes", [("persam",), ("paper",), ("official",), ("persam", "paper", "official")])
    def test_what_one_finds_does_not_depend_on_the_others(self, modes):
        concepts = [each for mode in modes for each in learned_discs(mode, 4)]
        with torch.inference_mode():
            image = PerSAM(SAM).encode(draw_scene(48, 64, center=(34, 20), radius=10, seed=9)[0])
            together = find(SAM, image, concepts, most=2)
            for concept, found in zip(concepts, together, strict=True):
                (alone,) = find(SAM, image, [concept], most=2)
                assert len(found) == len(alone)
                for one, other in zip(found, alone, strict=True):
                    np.testing.assert_array_equal(one.mask, other.mask)
                    assert one.score == pytest.approx(other.score, abs=1e-6)
                    np.testing.assert_array_equal(one.prior.points, other.prior.points)
                    assert [step.best for step in one.steps] == [step.best for step in other.steps]
                    for step, same in zip(one.steps, other.steps, strict=True):
                        scale = float(same.logits.abs().max())
                        torch.testing.assert_close(step.logits, same.logits, atol=1e-5 * scale, rtol=0)

    def test_the_passes_of_all_are_one(self):
        model = Counted(ColourModel())
        image = model.encode(drawing((40, 60, 22))[0])
        learned, tuned = [red_concept()] * 4, [red_concept(weights=(0.3, 0.3, 0.4))] * 3
        find(model, image, learned)
        assert model.prompts == [4, 4, 4]
        model.prompts.clear()
        find(model, image, learned + tuned)
        assert model.prompts == [7, 4, 3, 7]  # the tuned ones' second pass has a box already

    def test_those_that_go_on_go_on_together(self):
        """The concept of which more is found is asked for again, the other one not."""
        image, truth = drawing((30, 30, 16), (95, 30, 16))
        y, x = np.mgrid[:128, :128]
        image[(x - 60) ** 2 + (y - 95) ** 2 <= 256] = (30, 220, 30)
        model = Counted(ColourModel())
        green = concept_of(torch.nn.functional.normalize(torch.tensor([30.0, 220, 30]) / 127.5 - 1, dim=0))
        found, others = find(model, model.encode(image), [red_concept(), green], most=5, threshold=0.8)
        assert (len(found), len(others)) == (2, 1)
        assert {max(range(2), key=lambda i: iou(each.mask, truth[i])) for each in found} == {0, 1}
        first = [number for number in model.prompts if number == 2]
        assert len(first) >= 3  # both are looked for once
        assert model.prompts[-1] == 1
        assert model.prompts == sorted(model.prompts, reverse=True)

    def test_no_more_prompts_at_once_than_the_memory_takes(self, monkeypatch):
        monkeypatch.setattr(finding, "TOGETHER", 2)
        model = Counted(ColourModel())
        find(model, model.encode(drawing((40, 60, 22))[0]), [red_concept()] * 5)
        assert model.prompts == [2, 2, 1] * 3

    @pytest.mark.parametrize(
        ("device", "low_resolution", "number"),
        [("cpu", 128, 16), ("cpu", 256, 4), ("cpu", 512, 1), ("cpu", 1024, 1), ("cuda", 256, 16), ("mps", 256, 16)],
    )
    def test_a_cpu_takes_few_of_many_cells(self, device, low_resolution, number):
        model = ScriptedModel([])
        model.device = torch.device(device)
        model.grid = (low_resolution // 4, low_resolution // 4)
        assert prompts_at_once(model) == number

    @pytest.mark.parametrize(
        ("where", "photo", "number"),
        [
            ("cells", (6000, 8000), 16),
            ("photo", (480, 640), 16),
            ("photo", (2000, 4000), 2),
            ("photo", (6000, 8000), 1),
        ],
    )
    def test_maps_of_large_photos_are_not_all_in_memory(self, where, photo, number):
        image = EncodedImage(torch.ones(1, 3, 8, 8), Frame.padded(photo, 64, (8, 8)))
        assert finding.concepts_at_once(image, [red_concept(), red_concept(DRAWN.but(map=where))]) == number

    def test_of_no_concept_and_of_ways_that_ask_nothing(self):
        image = SAM.encode(draw_scene(48, 64, seed=9)[0])
        assert find(SAM, image, []) == []

        def knows():
            return 7
            yield

        assert side_by_side(SAM, image, [knows(), knows()]) == [7, 7]


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
        ((found,),) = find(model, model.encode(drawing((40, 60, 22))[0]), [concept])
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
