"""Portraits as references: what is cut, that only the references change, and the table."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.conftest import draw_scene
from tests.fakes import random_sam

from persam import PerSAM, UsageError
from persam.benchmark.methods.base import Example, SharedPhoto
from persam.benchmark.suites.portraits import AS_IT_IS, PORTRAIT, PortraitMethod, portrait, show_portraits
from persam.benchmark.suites.suite import Trial, read_photos
from persam.method.settings import Settings


@pytest.mark.parametrize("center", [(60, 70), (5, 110), (155, 3)])
def test_a_portrait_shows_all_of_the_object_and_little_else(center):
    photo, mask = draw_scene(center=center, radius=20)
    cut, shown = portrait(photo, mask)
    assert cut.shape[:2] == shown.shape
    assert shown.sum() == mask.sum()
    assert shown.mean() > 0.5
    np.testing.assert_array_equal(cut[shown], photo[mask])


def test_nothing_is_cut_where_there_is_no_object():
    photo, mask = draw_scene(radius=0, center=(-50, -50))
    assert portrait(photo, mask)[0].shape == photo.shape


def test_only_the_references_change():
    tiny, (photo, mask) = PerSAM.from_pretrained("tiny", device="cpu").model, draw_scene(radius=20)
    methods = [PortraitMethod("PerSAM", how, tiny, Settings.of("persam")) for how in (AS_IT_IS, PORTRAIT)]
    plain, cut = (each.learn([Example(SharedPhoto(photo), mask)], "disc") for each in methods)
    assert (plain.from_afar, cut.from_afar) == (0, 1)
    assert plain.references[0].size == photo.shape[:2] != cut.references[0].size
    encodings = [each.encode(SharedPhoto(photo)) for each in methods]
    np.testing.assert_array_equal(*(each.features for each in encodings))


def test_findings(data):
    tiny = PerSAM.from_pretrained("tiny", device="cpu").model
    found = show_portraits(Trial(read_photos(data / "perseg", "perseg"), tiny))
    assert [(row["form"], row["reference"], row["change"] is None) for row in found.rows] == [
        ("as it is seen", AS_IT_IS, True),
        ("from afar, too", AS_IT_IS, False),
        ("as it is seen", PORTRAIT, True),
        ("from afar, too", PORTRAIT, False),
    ]
    json.dumps(found.to_dict())


def test_where_nothing_is_learned_from_afar_is_said(data):
    photos = read_photos(data / "perseg", "perseg")
    with pytest.raises(UsageError, match="mode official"):
        show_portraits(Trial(photos, random_sam()), mode="official")
    with pytest.raises(UsageError, match="with this model"):
        show_portraits(Trial(photos, random_sam()))
