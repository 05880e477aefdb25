"""Plain SAM at the peak of the confidence map: what it asks of the model, and what it finds."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import draw_scene
from tests.fakes import ColourModel, random_sam

from persam.benchmark.methods.base import Example, SharedPhoto
from persam.benchmark.methods.ours import PersamMethod, SamPoint
from persam.method.settings import PRESETS, Settings
from persam.models.loading import load_model

MODES = pytest.mark.parametrize("mode", list(PRESETS))


@MODES
def test_one_pass_on_one_point_and_nothing_else(mode, monkeypatch):
    model = random_sam()
    calls = []
    decode = model.decode

    def remember(encoding, prompts, **options):
        calls.append((encoding, prompts, options, decode(encoding, prompts, **options)))
        return calls[-1][-1]

    image, mask = draw_scene(60, 90, center=(40, 30), radius=15)
    method = SamPoint(model, mode)
    learned = method.learn([Example(SharedPhoto(image), mask)], "disc")
    monkeypatch.setattr(model, "decode", remember)
    found = method.find(SharedPhoto(image), learned)

    [(encoding, prompts, options, decoded)] = calls
    assert options == {"multimask": True, "guidance": None}
    assert prompts.points.shape == (1, 1, 2)
    assert prompts.labels.tolist() == [[1]]
    assert prompts.boxes is None
    assert prompts.logits is None
    assert decoded.scores.shape == (1, 3)
    best = int(decoded.scores[0].argmax())
    expected = encoding.frame.to_photo_size(decoded.logits)[0, best] > 0
    np.testing.assert_array_equal(found.mask, expected.numpy())
    others = [encoding.frame.to_photo_size(decoded.logits)[0, each] > 0 for each in range(3) if each != best]
    assert all((other != expected).any() for other in others), "else the choice would not be tested"


@MODES
def test_its_point_is_the_peak_of_that_modes_map(mode):
    model = random_sam()
    image, mask = draw_scene()
    photo = SharedPhoto(draw_scene(100, 180, center=(130, 40), radius=26, seed=2)[0])
    shots = [Example(SharedPhoto(image), mask)]
    plain, whole = SamPoint(model, mode), PersamMethod("persam", model, Settings.of(mode))
    found = plain.find(photo, plain.learn(shots, "disc"))
    assert found.peak == whole.find(photo, whole.learn(shots, "disc")).peak
    assert plain.describe()["settings"]["mode"] == mode
    assert plain.describe()["method"] == "SAM, positive point"


def test_it_finds_what_one_point_can_find():
    def scene(size, center, radius):
        y, x = np.mgrid[: size[0], : size[1]]
        truth = (x - center[0]) ** 2 + (y - center[1]) ** 2 <= radius**2
        image = np.full((*size, 3), 110, np.uint8)
        image[truth] = (200, 30, 40)
        return image, truth

    method = SamPoint(ColourModel())
    image, mask = scene((120, 160), (60, 70), 28)
    other, truth = scene((100, 180), (130, 40), 26)
    found = method.find(SharedPhoto(other), method.learn([Example(SharedPhoto(image), mask)], "disc"))
    assert (found.mask & truth).sum() / (found.mask | truth).sum() > 0.8
    x, y = np.round(found.peak).astype(int)
    assert truth[y, x]


def test_plain_sam_is_not_refined():
    """With a model whose masks would gain from it: the baseline is one decoder pass and nothing else."""
    method = SamPoint(load_model())
    assert method.persam.fitted is not None
    assert method.persam.fitted.refine
    assert not method.persam.settings.refine


def test_the_fitted_numbers_belong_to_what_a_run_depends_on():
    method = PersamMethod("persam", load_model(), Settings.of("persam"))
    assert method.describe()["fitted"] == method.persam.fitted.to_dict()
    assert PersamMethod("persam", random_sam(), Settings.of("persam")).describe()["fitted"] is None
