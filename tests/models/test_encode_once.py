"""A model that remembers its last encodings."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import draw_scene
from tests.fakes import ColourModel, random_sam

from persam.models.base import PromptableModel
from persam.models.encode_once import KEPT, encode_once


def test_a_photo_is_encoded_once_and_its_copy_too():
    model = ColourModel()
    shared = encode_once(model)
    image, _ = draw_scene()
    first = shared.encode(image)
    assert shared.encode(image.copy()) is first
    assert model.encoded == 1
    assert shared.encode(image[:, ::-1]) is not first
    assert model.encoded == 2


def test_only_the_last_ones_are_kept():
    model = ColourModel()
    shared = encode_once(model)
    images = [np.full((8, 8, 3), number, np.uint8) for number in range(KEPT + 1)]
    for image in images:
        shared.encode(image)
    shared.encode(images[-1])
    shared.encode(images[1])
    assert model.encoded == KEPT + 1
    shared.encode(images[0])
    assert model.encoded == KEPT + 2


def test_it_is_the_model_otherwise():
    model = random_sam()
    shared = encode_once(model)
    assert isinstance(shared, PromptableModel)
    assert (shared.name, shared.fingerprint, shared.low_resolution) == (
        model.name,
        model.fingerprint,
        model.low_resolution,
    )
    assert shared.prepare == model.prepare
    with pytest.raises(AttributeError):
        shared.wings  # type: ignore[attr-defined]  # noqa: B018
