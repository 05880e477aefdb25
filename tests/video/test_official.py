"""The published scripts' results on a clip (tests/golden/README.md), and what was wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.fakes import ScriptedModel, blob

from persam import PerSAM
from persam.geometry import Frame
from persam.images import read_image
from persam.method.prior import Prior
from persam.method.segment import Step
from persam.video.official import Faults, OfficialObjects, widened_box

HERE = Path(__file__).parents[1] / "golden"
GOLDEN = HERE / "video_two_objects"


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "expected.npz") as values:
        return dict(values)


@pytest.fixture(scope="module")
def model() -> PerSAM:
    return PerSAM.from_pretrained(
        HERE / "landscape_to_square" / "sam_tiny.pth", device="cpu", dtype="float32", decoder_heads=4
    )


def started(model: PerSAM, *, tune: bool, faults: Faults) -> OfficialObjects:
    labels = np.array(Image.open(GOLDEN / "first_mask.png"))
    masks = [labels == number for number in (1, 2)]
    return OfficialObjects(model, frame(0), masks, tune=tune, faults=faults)


def frame(number: int) -> np.ndarray:
    return read_image(GOLDEN / f"frames/{number:05d}.png")


@pytest.mark.parametrize("script", ["persam", "persam_f"])
def test_the_published_results(model: PerSAM, expected: dict[str, np.ndarray], script: str) -> None:
    """To the pixel, whichever of equally similar points the published run took.

    In frames 3 to 6 the second object's map is flat at the photo's edge: five pixels are equal up to the last digit of
    a float, and rounding, which is another in our encoder, chooses. In most frames it chooses alike.
    """
    alike = 0
    objects = started(model, tune=script == "persam_f", faults=Faults.published())
    if script == "persam_f":
        weights = [concept.scale_weights for concept in objects.concepts]
        np.testing.assert_allclose(weights, expected["persam_f_weights"], atol=2e-3)
        objects.concepts = [
            replace(concept, scale_weights=tuple(map(float, published)))
            for concept, published in zip(objects.concepts, expected["persam_f_weights"], strict=True)
        ]
    for number, labels in enumerate(expected[f"{script}_labels"], start=1):
        boxes = list(objects.boxes)
        found, _ = objects.follow(frame(number))
        if np.array_equal(found, labels):
            alike += 1
            continue
        assert (found == labels).mean() >= 0.965
        assert any(np.array_equal(other, labels) for other in with_equal_points(objects, boxes, frame(number)))
        objects.boxes = [widened_box(labels == each) for each in (1, 2)]
    assert alike >= 2


def with_equal_points(objects: OfficialObjects, boxes: list[Any], pixels: np.ndarray) -> Iterator[np.ndarray]:
    """The labels, with each choice of points for the second object that are equally similar in single precision."""
    chosen, concept = type(objects)._prior, objects.concepts[1]
    with torch.inference_mode():
        tuned = concept.tuned
        prior = chosen(objects, objects.persam.encode(pixels), concept, boxes[1], tuned=tuned)
    values = prior.photo.flatten()
    count = len(prior.points) - 1
    equal = (values >= values.topk(count).values[-1] - 3e-7).nonzero()[:, 0].numpy()
    width = pixels.shape[1]
    for picked in permutations(equal, count):
        points = prior.frame.to_canvas(np.array([[place % width, place // width] for place in picked]))

        def with_these(self: Any, image: Any, of: Any, box: Any, *, tuned: bool, points: Any = points) -> Prior:
            found = chosen(self, image, of, box, tuned=tuned)
            return replace(found, points=np.concatenate([points, found.points[-1:]])) if of is concept else found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(OfficialObjects, "_prior", with_these)
            objects.boxes = list(boxes)
            yield objects.follow(pixels)[0]


# ------------------------------------------------------------------------------------ the faults, one by one


PLACES = {"one": (5, 5), "two": (5, 40), "three": (35, 20)}  # row and column of squares of 10 pixels


class Scripted(OfficialObjects):
    """Finds an object where it is, if it is sought there; it is where `PLACES` says, if it is `visible`."""

    def __init__(self, faults: Faults) -> None:
        self.faults, self.visible = faults, set(PLACES)
        self.persam = SimpleNamespace(  # type: ignore[assignment]
            encode=lambda pixels: SimpleNamespace(frame=Frame(pixels.shape[:2], (64, 64), (64, 64), (8, 8)))
        )
        self.concepts = [SimpleNamespace(name=name) for name in PLACES]  # type: ignore[misc]
        self.boxes = [widened_box(square(name)) for name in PLACES]

    def _found(self, image: Any, concept: Any, box: Any, carried: Any) -> Step:
        row, column = PLACES[concept.name]
        is_sought = box[0] <= column + 5 <= box[2] and box[1] <= row + 5 <= box[3]
        mask = square(concept.name) & (concept.name in self.visible and is_sought)
        return Step("", torch.zeros(1), torch.zeros(1), 0, torch.from_numpy(mask).float() * 2 - 1, 0.9)


def square(name: str) -> np.ndarray:
    mask = np.zeros((64, 64), bool)
    row, column = PLACES[name]
    mask[row : row + 10, column : column + 10] = True
    return mask


@pytest.mark.parametrize(("faults", "back"), [(Faults(), {1, 2, 3}), (Faults(shifted_boxes=True), {1})])
def test_an_object_out_of_sight_takes_no_other_with_it(faults: Faults, back: set[int]) -> None:
    objects, pixels = Scripted(faults), np.zeros((64, 64, 3), np.uint8)
    objects.visible.discard("two")
    assert set(np.unique(objects.follow(pixels)[0])) == {0, 1, 3}
    objects.visible.add("two")
    labels, steps = objects.follow(pixels)
    assert set(np.unique(labels)) == {0, *back}
    assert len(steps) == 3


@pytest.mark.parametrize("faults", [Faults(), Faults.published()])
def test_when_all_are_out_of_sight_nothing_is_labelled(faults: Faults) -> None:
    objects, pixels = Scripted(faults), np.zeros((64, 64, 3), np.uint8)
    objects.visible.clear()
    for _ in range(3):
        labels, steps = objects.follow(pixels)
        assert labels.shape == (64, 64)
        assert labels.dtype == np.uint8
        assert not labels.any()
        assert len(steps) == 3


def test_areas_wrap_only_if_asked_for() -> None:
    masks = torch.stack(
        [blob((32, 32), (0, 12), (0, 25)), blob((32, 32), (0, 10), (0, 10)), blob((32, 32), (0, 5), (0, 5))]
    )
    frame = Frame((32, 32), (32, 32), (32, 32), (8, 8))  # areas 300, 100 and 25; 300 - 256 = 44
    for faults, best in ((Faults(), 0), (Faults(wrapped_areas=True), 1)):
        assert first_step(masks, faults, None, frame).best == best


def test_an_empty_sum_falls_back_on_the_best_mask() -> None:
    frame = Frame((32, 32), (32, 32), (32, 32), (8, 8))
    masks = torch.stack(
        [blob((32, 32), (0, 8), (0, 8)), blob((32, 32), (0, 9), (0, 9)), blob((32, 32), (0, 5), (0, 5))]
    )
    weights = torch.tensor([-1.0, -1.0, 0.1])  # every sum is negative
    masks[:, 0, 0] = 1.0
    assert first_step(masks.clamp(min=0) + 0.01, Faults(), weights, frame).best == 0
    assert first_step(masks.clamp(min=0) + 0.01, Faults(scaled_scores=True), weights, frame).best == 2


def first_step(masks: torch.Tensor, faults: Faults, weights: torch.Tensor | None, frame: Frame) -> Step:
    objects = Scripted(faults)
    objects.persam = SimpleNamespace(model=ScriptedModel(lambda *_: masks))  # type: ignore[assignment]
    flat = torch.zeros(32, 32)
    prior = Prior(frame, flat, flat, flat, None, 0.0, np.zeros((1, 2)), np.ones(1))
    return objects._first_step(None, prior, weights)  # type: ignore[arg-type]


def test_boxes_are_widened_within_the_frame() -> None:
    mask = np.zeros((40, 60), bool)
    mask[2:20, 30:55] = True
    assert widened_box(mask) == (20, 0, 60, 29)
