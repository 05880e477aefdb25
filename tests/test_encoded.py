"""A photo, encoded once."""

from __future__ import annotations

import numpy as np
import torch
from tests.conftest import draw_scene
from tests.fakes import ColourModel, random_sam

from persam import PerSAM
from persam.encoded import EncodedImage
from persam.method.confidence import confidence_cells
from persam.method.settings import Settings


def test_without_another_encoder_both_encodings_are_one():
    model = ColourModel()
    image = EncodedImage.of(draw_scene()[0], model, None, "a.jpg")
    assert image.matching is image.prompting
    assert image.source == "a.jpg"
    assert model.encoded == 1


def test_with_another_encoder_each_is_asked_once():
    model, encoder = ColourModel(), ColourModel(12)
    image = EncodedImage.of(draw_scene()[0], model, encoder)
    assert (model.encoded, encoder.encoded) == (1, 1)
    assert image.matching.frame.grid == (12, 12)
    assert image.prompting.frame.grid == (16, 16)


def test_maps_lie_on_the_decoders_grid():
    photo, mask = draw_scene()
    for encoder in (None, ColourModel(12)):
        for where in ("photo", "cells"):
            model = random_sam()
            persam = PerSAM(model, encoder=encoder, settings=Settings.of("persam").but(map=where))
            concept, image = persam.learn(photo, mask), persam.encode(photo)
            maps = image.maps(concept, model, tuned=False)
            assert maps.cells.shape == model.grid
            assert maps.canvas.shape == model.low_resolution
            assert (maps.photo is None) == (where == "cells")
            if maps.photo is not None:
                assert maps.photo.shape == photo.shape[:2]
            if encoder is None:
                torch.testing.assert_close(maps.cells, confidence_cells(image.matching.features, concept.targets))


def test_tuned_takes_the_direction_of_tuned_concepts():
    photo, mask = draw_scene()
    model = random_sam()
    settings = Settings.of("persam").but(target="mean", tuned_target="max-mean", background_subspace=0.0)
    persam = PerSAM(model, settings=settings)
    concept, image = persam.learn(photo, mask), persam.encode(photo)
    plain, tuned = (image.maps(concept, model, tuned=tuned).cells for tuned in (False, True))
    assert not torch.equal(plain, tuned)
    torch.testing.assert_close(tuned, confidence_cells(image.matching.features, concept.targets, tuned=True))


def test_an_encoding_is_not_changed_by_its_use():
    photo, mask = draw_scene()
    persam = PerSAM(random_sam())
    image = persam.encode(photo)
    before = image.prompting.features.clone()
    concept = persam.tune(persam.learn(photo, mask))
    first = persam.segment(image, concept, max_instances=2)
    again = persam.segment(image, concept, max_instances=2)
    torch.testing.assert_close(image.prompting.features, before, atol=0, rtol=0)
    np.testing.assert_array_equal(first.mask, again.mask)
