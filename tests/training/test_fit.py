"""Fitting: logistic regression against a known truth, and the whole command on photos that the test draws."""

from __future__ import annotations

import json
from random import Random

import cv2
import numpy as np
import pytest
import torch
from tests.fakes import ColourModel
from transformers import Dinov2Config, Dinov2Model

from persam import PerSAM
from persam.method.find import SIGNS
from persam.metrics import auroc
from persam.models.encoder_name import EncoderName
from persam.models.encoders import TransformersEncoder
from persam.models.fitted import Fitted, read_fitted
from persam.models.loading import load_model
from training import fit
from training.photos import Photo, Photos


class TestLogisticRegression:
    @pytest.mark.parametrize("weights", [{"a": 2.0}, {"a": 1.0, "b": -3.0}])
    def test_finds_the_weights_that_made_the_truth(self, weights):
        chance = np.random.default_rng(0)
        rows = {name: chance.normal(1, 2, 20000) for name in weights}
        odds = sum(weight * rows[name] for name, weight in weights.items()) - sum(weights.values())
        truth = chance.random(20000) < 1 / (1 + np.exp(-odds))
        examples = fit.Examples()
        for value in (True, False):
            for index in np.flatnonzero(truth == value):
                examples.add({name: [float(values[index])] for name, values in rows.items()}, value)
        found, offset = fit.logistic_regression(examples, ridge=0.0)
        for name, weight in weights.items():
            assert found[name] == pytest.approx(weight, rel=0.08)
        assert offset == pytest.approx(-sum(weights.values()), abs=0.15)

    def test_what_is_rare_counts_as_much_as_what_is_frequent(self):
        """The same two heaps, one seen ten times as often: the border stays in the middle."""
        examples = fit.Examples()
        for value, centre, count in ((True, 1.0, 4000), (False, -1.0, 400)):
            for number in np.random.default_rng(1).normal(centre, 1, count):
                examples.add({"a": [float(number)]}, value)
        found, offset = fit.logistic_regression(examples)
        assert abs(offset / found["a"]) < 0.1

    def test_rows_of_one_example_count_as_one(self):
        examples = fit.Examples()
        examples.add({"a": [0.0] * 10}, True)
        examples.add({"a": [1.0]}, True)
        examples.add({"a": [2.0]}, False)
        assert sum(examples.weight[:10]) == pytest.approx(examples.weight[10])


@pytest.fixture(scope="module")
def photos() -> Photos:
    """Photos of two coloured things each on noise."""
    random, made = Random(0), []
    for number in range(6):
        image = np.random.default_rng(number).integers(90, 150, (160, 200, 3), dtype=np.uint8)
        mask = np.zeros((160, 200), np.uint8)
        for identity, x in ((1, 55), (2, 145)):
            disc = np.zeros_like(mask)
            cv2.circle(disc, (x, random.randrange(60, 100)), random.randrange(22, 36), 1, -1)
            image[disc > 0] = [random.randrange(256) for _ in range(3)]
            mask[disc > 0] = identity
        made.append(Photo(image, mask, "drawn", None))
    return Photos(made)


def test_fitting_says_that_what_is_alike_speaks_for_and_what_is_beside_against(photos):
    persam = PerSAM(ColourModel())  # features are colours, and every thing has one of its own
    numbers, figures = fit.fit(persam, fit.learnable_pairs(photos, 128, 40, seed=0))
    others = fit.cue_examples(PerSAM(persam.model, fitted=numbers), fit.learnable_pairs(photos, 128, 10, seed=9))
    odds = sum(numbers.cues[name] * np.array(values) for name, values in others.columns.items())
    assert auroc(odds, np.array(others.truth, bool)) > 0.9
    assert set(numbers.presence) == set(SIGNS)
    assert figures["presence_auroc"] > 0.5
    again, _ = fit.fit(persam, fit.learnable_pairs(photos, 128, 40, seed=0))
    assert again == numbers


def test_what_is_seen_from_afar_has_numbers_if_enough_pairs_show_it():
    """A half of the pairs is for the signs; of the drawn things none fills its view."""
    random = np.random.default_rng(0)
    seen = [{"colour_afar": float(x + truth)} for x, truth in zip(random.normal(size=40), [1, 0] * 20, strict=True)]
    truth = [True, False] * 20
    numbers, offset = fit.fit_signs(seen, truth, ("colour_afar",))
    assert numbers["colour_afar"][0] > 0
    assert numbers["colour_afar"][1] == pytest.approx(np.mean([each["colour_afar"] for each in seen]))
    assert np.isfinite(offset)
    others = [{"colour": 1.0}] * 40  # which are not seen from afar make no difference
    assert fit.fit_signs(seen + others, truth * 2, ("colour_afar",)) == (numbers, offset)
    assert fit.fit_signs(seen[:14] + others, [*truth[:14], *truth], ("colour_afar",), 16) == ({}, 0.0)


def test_half_of_what_is_fitted_for_the_identity_counts(monkeypatch):
    seen = [{"colour": (number % 5) / 5, "identity": number / 20} for number in range(20)]
    truth = [number % 7 > 2 for number in range(20)]
    half, offset = fit.fit_signs(seen, truth, ("colour", "identity"))
    monkeypatch.setattr(fit, "IDENTITY", 1.0)
    whole, same = fit.fit_signs(seen, truth, ("colour", "identity"))
    assert half["identity"] == (whole["identity"][0] / 2, whole["identity"][1])
    assert (half["colour"], offset) == (whole["colour"], same)


def test_fitting_another_encoder(photos):
    """Its own features are compared, whatever the model that makes the masks."""
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 112}
    network = Dinov2Model(Dinov2Config(**small, patch_size=14))
    cpu = torch.device("cpu")
    encoder = TransformersEncoder(network, name=EncoderName("dino"), kind="dinov2", device=cpu, dtype=torch.float32)
    persam = PerSAM(load_model(), encoder=encoder)
    assert persam.fitted is None
    numbers, _ = fit.fit(persam, fit.learnable_pairs(photos, 96, 12, seed=0))
    assert set(numbers.cues) == {"similarity", "nearest", "beside", "colour"}
    assert set(numbers.presence) == set(SIGNS)
    assert all(np.isfinite(value) for value in numbers.cues.values())


def test_pairs_show_the_object_and_something_else(photos):
    for pair in fit.learnable_pairs(photos, 96, 10, seed=1):
        for view in (pair.reference, pair.test):
            assert 0 < (view.photo()[1] == fit.OWN).mean() < 1


def test_colours_are_a_distribution(photos):
    colours = fit.colours_of(photos)
    assert colours.dtype == np.float16
    assert colours.astype(float).sum() == pytest.approx(1, abs=0.01)


OWN_NAMES = {"model": "tiny", "encoder": None}


def test_the_command_adds_to_the_file_and_replaces_its_own_entry(photos, tmp_path):
    folder = tmp_path / "photos" / "drawn"
    folder.mkdir(parents=True)
    for number, photo in enumerate(photos.photos):
        cv2.imwrite(str(folder / f"{number}.jpg"), photo.image[..., ::-1])
        cv2.imwrite(str(folder / f"{number}.png"), photo.mask)
    output = tmp_path / "fitted.json"
    entry = Fitted({"similarity": 1.0}, 0.0, refine=False, presence={}, presence_offset=0.0).to_dict()
    output.write_text(json.dumps({"other": entry | {"model": "tiny", "encoder": "dino"}, "older": entry | OWN_NAMES}))
    fit.main(["--data", str(folder.parent), "--pairs", "12", "--size", "96", "--output", str(output)])
    found = read_fitted(output)
    assert set(found) == {"other", load_model().fingerprint}
    assert json.loads(output.read_text())[load_model().fingerprint]["figures"]["pairs"] == 12
