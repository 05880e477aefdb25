"""Fitted numbers: the packaged ones belong to the packaged weights, and files that are none are named."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.fakes import random_sam

from persam import PerSAM
from persam.errors import PersamError
from persam.method.cues import BINS
from persam.method.find import SIGNS, SIGNS_FROM_AFAR
from persam.models.fitted import PACKAGED, Fitted, fitted_for, key_of, photo_colours, read_fitted
from persam.models.loading import load_model

NUMBERS = Fitted({"similarity": 4.0}, -0.5, refine=True, presence={"likeness": (4.0, 0.8)}, presence_offset=0.1)


def test_the_bundled_model_has_numbers():
    """Weights that were trained on need `training.fit` again: without numbers they would fall back to the paper."""
    model = load_model()
    numbers = fitted_for(model, None)
    assert numbers is not None
    assert set(numbers.cues) == {"similarity", "nearest", "beside", "colour"}
    assert numbers.cues["beside"] < 0 < min(numbers.cues[name] for name in ("similarity", "nearest", "colour"))
    assert set(numbers.presence) == set(SIGNS)
    assert set(numbers.presence_afar) == set(SIGNS_FROM_AFAR)
    assert PerSAM(model).fitted == numbers


def test_an_encoder_without_numbers_has_none():
    assert fitted_for(random_sam(), None) is None
    assert fitted_for(load_model(), random_sam()) is None  # numbers belong to the model and its encoder together


def test_the_file_says_what_it_was_fitted_on():
    for entry in json.loads(PACKAGED.read_text()).values():
        assert entry["model"]
        assert entry["figures"]["pairs"] >= 1000


def test_to_json_and_back(tmp_path):
    file = tmp_path / "fitted.json"
    afar = replace(NUMBERS, presence_afar={"explained_afar": (2.0, 0.5)}, presence_afar_offset=0.3)
    afar = replace(afar, identity="0123456789ab")
    both = {"abc": NUMBERS.to_dict() | {"encoder": "tiny", "figures": {}}, "def": afar.to_dict()}
    file.write_text(json.dumps(both))
    assert read_fitted(file) == {"abc": NUMBERS, "def": afar}
    older = {name: value for name, value in NUMBERS.to_dict().items() if "afar" not in name and name != "identity"}
    assert Fitted.from_dict(older) == NUMBERS  # as concepts and files of before have it


@pytest.mark.parametrize("text", ["", "[]", "{", '{"abc": {}}', '{"abc": {"cues": 3}}', '{"abc": 3}', "\xff\xfe"])
def test_a_file_that_is_none_is_named(tmp_path, text):
    file = tmp_path / "fitted.json"
    file.write_text(text, encoding="utf-16" if text.startswith("\xff") else "utf-8")
    with pytest.raises(PersamError, match=r"fitted\.json holds no fitted numbers .*training\.fit"):
        read_fitted(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PersamError, match=r"none\.json cannot be read .*training\.fit"):
        read_fitted(tmp_path / "none.json")


def test_colours_of_photos_in_general():
    general = photo_colours()
    assert general.shape == (BINS,) * 3
    assert np.isfinite(general).all()
    assert general.min() >= 0


def test_a_file_of_ones_own(tmp_path):
    """Made by training.fit for another model, named when that is loaded, and kept by its concepts."""
    model = load_model()
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({key_of(model, None): NUMBERS.to_dict()}))
    assert PerSAM.from_pretrained(fitted=file).fitted == NUMBERS
    file.write_text(json.dumps({"another": NUMBERS.to_dict()}))
    read_fitted.cache_clear()
    with pytest.raises(PersamError, match="no numbers of this model and encoder"):
        PerSAM.from_pretrained(fitted=file)


def test_a_concept_with_numbers_can_be_hashed():
    assert hash(NUMBERS) == hash(Fitted.from_dict(NUMBERS.to_dict()))
