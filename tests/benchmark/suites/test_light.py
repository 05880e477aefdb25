"""Other light: what it does to a photo, that only the photos change, and the table."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from tests.conftest import draw_scene
from tests.fakes import random_sam

from persam.benchmark.methods.base import Example, SharedPhoto
from persam.benchmark.suites.light import AS_IT_IS, LIGHTS, LitMethod, exposed, grey, relight
from persam.benchmark.suites.suite import Trial, read_photos
from persam.method.settings import Settings


@pytest.mark.parametrize("name", [name for name in LIGHTS if name != AS_IT_IS])
def test_a_light_changes_the_photo_and_not_its_size(name):
    image, _ = draw_scene()
    before = image.copy()
    lit = LIGHTS[name](image)
    assert lit.shape == image.shape
    assert lit.dtype == np.uint8
    assert np.abs(lit.astype(int) - image).mean() > 3
    np.testing.assert_array_equal(image, before)  # the photo is shared


def test_more_light_is_clipped_and_grey_has_no_colour():
    image = np.full((2, 2, 3), (10, 100, 200), np.uint8)
    assert exposed(image, 2, 2, 2)[0, 0].tolist() == [20, 200, 255]
    assert exposed(image, 0.5, 1, 1)[0, 0].tolist() == [5, 100, 200]
    assert len(set(grey(image)[0, 0].tolist())) == 1
    assert cv2.cvtColor(LIGHTS["faded"](image), cv2.COLOR_RGB2HSV)[..., 1].max() < 255 * 0.95


def test_the_reference_stays_as_it_is():
    image, mask = draw_scene()
    plain, lit = (LitMethod("PerSAM", name, random_sam(), Settings.of("persam")) for name in (AS_IT_IS, "grey"))
    learned = [each.learn([Example(SharedPhoto(image), mask)], "disc") for each in (plain, lit)]
    for one, other in zip(vars(learned[0].targets[0]).values(), vars(learned[1].targets[0]).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    encodings = [each.encode(SharedPhoto(image)) for each in (plain, lit)]
    np.testing.assert_array_equal(encodings[1].pixels, grey(encodings[0].pixels))


def test_findings(data):
    photos = read_photos(data / "perseg", "perseg")
    found = relight(Trial(photos, random_sam()))
    assert len(found.rows) == 3 * len(LIGHTS)
    assert [row["change"] is None for row in found.rows] == [row["light"] == AS_IT_IS for row in found.rows]
    assert len(found.tables) == 3
    json.dumps(found.to_dict())


def test_a_mode_without_cues_has_one_table(data):
    photos = read_photos(data / "perseg", "perseg")
    assert len(relight(Trial(photos, random_sam()), mode="official").tables) == 1
