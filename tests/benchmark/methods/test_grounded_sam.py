"""Grounding DINO + SAM: what the detector is asked, which box is taken, and what SAM is asked for it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import ScriptedModel, blob, random_sam

from persam.benchmark.methods.base import SharedPhoto
from persam.benchmark.methods.catalog import METHODS
from persam.benchmark.methods.grounded_sam import GroundedSam


class Detector(torch.nn.Module):
    """Says what it is told: logits of every box's tokens, and boxes as (x, y, width, height) in shares of the photo."""

    def __init__(self, logits: list[list[float]], boxes: list[list[float]]) -> None:
        super().__init__()
        self.config = SimpleNamespace(max_text_len=16)
        self.logits, self.boxes = torch.tensor([logits]), torch.tensor([boxes])

    def forward(self, **asked):
        self.asked = asked
        return SimpleNamespace(logits=self.logits, pred_boxes=self.boxes)


def load(folder, model=None) -> GroundedSam:
    return GroundedSam(str(folder), model or random_sam(), device="cpu")


@pytest.mark.parametrize(
    ("category", "text"),
    [
        ("duck toy", "duck toy."),
        ("Duck_Toy", "duck toy."),
        ("St. Bernard dog.", "st bernard dog."),
        (" a  cat ", "a cat."),
    ],
)
def test_the_category_becomes_one_phrase(detector_folder, category, text):
    assert load(detector_folder).learn([], category) == text


def test_the_detector_is_asked_in_its_own_words(detector_folder):
    method = load(detector_folder)
    method.detector.network = detector = Detector([[-9.0]], [[0.5, 0.5, 0.1, 0.1]])
    method.detector.boxes(draw_scene(60, 80)[0], "red disc.")
    assert detector.asked["input_ids"].tolist() == [[2, 10, 11, 5, 3]]  # [CLS] red disc . [SEP]
    assert detector.asked["pixel_values"].shape == (1, 3, 64, 85)
    assert detector.asked["pixel_mask"].min() == 1
    method.detector.boxes(draw_scene(60, 80)[0], " ".join(["dog"] * 100))
    assert detector.asked["input_ids"].shape == (1, 16)


def test_the_highest_scoring_box_goes_to_sam(detector_folder):
    model = ScriptedModel([blob((32, 32), (8, 16), (4, 20))])
    method = load(detector_folder, model)
    # a box's score is its best token's: 0.62 for the second, although the third's mean is higher
    method.detector.network = Detector(
        [[-1.0, -0.9], [-9.0, 0.5], [0.3, 0.3], [-torch.inf, -2.0]],
        [[0.1, 0.1, 0.2, 0.2], [0.5, 0.25, 0.4, 0.3], [0.7, 0.7, 0.2, 0.2], [0.5, 0.5, 1.0, 1.0]],
    )
    found = method.find(SharedPhoto(draw_scene(100, 200)[0]), "red disc.")
    [(prompts, multimask, guidance)] = model.calls
    assert not multimask
    assert guidance is None
    assert prompts.points is None
    assert prompts.logits is None
    # shares 0.3..0.7 and 0.1..0.4 of 200 x 100 are pixels 60..140 and 10..40; the canvas is 64 pixels wide
    np.testing.assert_allclose(prompts.boxes.numpy(), [[60 * 0.32, 10 * 0.32, 140 * 0.32, 40 * 0.32]], atol=1e-4)
    assert found.score == pytest.approx(1 / (1 + np.exp(-0.5)))
    assert found.peak == (pytest.approx(100, abs=1e-3), pytest.approx(25, abs=1e-3))
    assert found.present
    rows, columns = np.nonzero(found.mask)
    assert found.mask.shape == (100, 200)
    assert (rows.min(), rows.max()) == (pytest.approx(50, abs=2), pytest.approx(99, abs=2))
    assert (columns.min(), columns.max()) == (pytest.approx(25, abs=2), pytest.approx(124, abs=2))


def test_the_encoding_that_it_leaves_for_others_has_the_photos_pixels(detector_folder):
    """A photo is encoded once for all methods on a model, and PerSAM's colour cue wants to see it."""
    model = ScriptedModel([blob((32, 32), (8, 16), (4, 20))])
    method = load(detector_folder, model)
    method.detector.network = Detector([[0.5]], [[0.5, 0.25, 0.4, 0.3]])
    photo = SharedPhoto(draw_scene(100, 200)[0])
    method.find(photo, "red disc.")
    [encoding] = photo.kept.values()
    assert encoding.pixels is not None


def test_no_detection_is_an_empty_mask(detector_folder):
    model = ScriptedModel([])
    method = load(detector_folder, model)
    method.detector.network = Detector([[-1.2], [-3.0]], [[0.5, 0.5, 0.2, 0.2]] * 2)  # at most 0.23
    found = method.find(SharedPhoto(draw_scene(60, 80)[0]), "red disc.")
    assert found.mask.shape == (60, 80)
    assert not found.mask.any()
    assert (found.score, found.present, found.peak) == (0.0, False, None)
    assert model.calls == []


def test_a_box_over_the_edge_is_cut_at_it(detector_folder):
    method = load(detector_folder)
    method.detector.network = Detector([[2.0]], [[0.9, 0.1, 0.6, 0.6]])
    box = method.detector.boxes(draw_scene(100, 200)[0], "disc.")[0][0]
    np.testing.assert_allclose(box, [120, 0, 199, 40], atol=1e-4)


@pytest.mark.parametrize("size", [(2, 900), (900, 2)])
def test_a_strip_is_not_lost(detector_folder, size):
    """The detector's preprocessing alone would leave less than a pixel of it; places are shares, so none moves."""
    method = load(detector_folder)
    method.detector.network = Detector([[2.0]], [[0.5, 0.5, 0.5, 0.5]])
    box = method.detector.boxes(np.zeros((*size, 3), np.uint8), "disc.")[0][0]
    height, width = size
    expected = np.array([0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height])
    np.testing.assert_allclose(box, expected.clip(0, [width - 1, height - 1] * 2), atol=1e-3)


def test_the_word_matters_to_a_network(detector_folder):
    """Through the whole random network: another word, other scores."""
    method = load(detector_folder)
    method.detector.threshold = 0.0
    answers = {word: method.find(SharedPhoto(draw_scene(60, 80)[0]), f"{word}.") for word in ("cat", "dog", "red disc")}
    boxes = {found.peak for found in answers.values()} | {found.score for found in answers.values()}
    assert len(boxes) > 2
    assert all(found.mask.shape == (60, 80) for found in answers.values())


@pytest.mark.hub
def test_grounding_dino_of_the_hub():
    """Run with `HF_HUB_OFFLINE=0 pytest -m hub`."""
    from persam.models.loading import load_model

    method = METHODS["grounded-sam"].make(load_model("facebook/sam-vit-base", device="cpu"), device="cpu")
    image, truth = draw_scene(480, 640, center=(320, 240), radius=110)
    found = method.find(SharedPhoto(image), method.learn([], "red ball"))
    assert (found.mask & truth).sum() / (found.mask | truth).sum() > 0.8
