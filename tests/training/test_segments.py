"""What the bundled model draws in training photos, and what the identity network makes of it."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from persam.metrics import iou
from persam.models.loading import BUNDLED, load_model
from training import identity
from training.photos import MIN_AREA
from training.segments import LARGEST, LIKE, Segment, Segments, draw_segments


@pytest.fixture(scope="module")
def drawn(photos) -> Segments:
    return draw_segments(load_model(BUNDLED, device="cpu"), photos, 100, Random(0))


def mask_of(photos, segment: Segment) -> np.ndarray:
    mask = np.zeros(photos[segment.photo].mask.shape, bool)
    x0, y0, x1, y1 = segment.box
    mask[y0:y1, x0:x1] = segment.inside
    return mask


def test_a_thing_is_the_segment_under_its_mask(photos):
    for thing in photos.things:
        photo = photos[thing.photo]
        labelled, under = Segment.of(photo, thing), Segment.under(thing.photo, photo.mask == thing.id)
        assert labelled.box == under.box
        np.testing.assert_array_equal(labelled.inside, under.inside)
        assert labelled.inside.sum() == thing.area


def test_things_are_drawn_about_as_they_are_labelled(photos, drawn):
    assert drawn.things
    for thing, segment in drawn.things.items():
        assert segment.photo == thing.photo
        assert segment.is_mistaken
        assert iou(mask_of(photos, segment), photos[thing.photo].mask == thing.id) >= LIKE


def test_what_is_drawn_beside_things_lies_beside_them_and_apart(photos, drawn):
    assert any(drawn.beside.values())
    for index, segments in drawn.beside.items():
        masks = [mask_of(photos, each) for each in segments]
        assert not (np.sum(masks, axis=0) > 1).any()
        for mask in masks:
            assert not mask[photos[index].mask > 0].any()
            assert mask.sum() >= MIN_AREA
            assert mask.mean() <= LARGEST


def test_the_same_seed_draws_the_same(photos, drawn):
    again = draw_segments(load_model(BUNDLED, device="cpu"), photos, 100, Random(0))
    assert [each.box for each in again.things.values()] == [each.box for each in drawn.things.values()]
    assert {index: len(each) for index, each in again.beside.items()} == {
        index: len(each) for index, each in drawn.beside.items()
    }


def test_of_no_photo_nothing_is_drawn(photos):
    none = draw_segments(load_model(BUNDLED, device="cpu"), photos, 0, Random(0))
    assert not none.things
    assert not none.beside


def test_what_was_drawn_beside_a_thing_comes_along_as_a_stranger(photos, drawn):
    material = identity.Material(photos, segments=drawn)
    parts = [part for seed in range(20) for part in material.draw(8, Random(seed))]
    beside = [part for part in parts if isinstance(part, Segment)]
    assert beside
    assert all(part in drawn.beside[part.photo] for part in beside)
    assert {material.names(part) for part in beside} == {(None, None)}
    assert all(material.again(part, Random(0)) is part for part in beside)


def test_a_drawn_mask_stands_for_its_thing_at_times(photos, drawn, monkeypatch):
    seen = []
    monkeypatch.setattr(identity, "cutout", lambda image, segment, random: seen.append(segment) or np.zeros((1, 2, 2)))
    material = identity.Material(photos, segments=Segments(things=drawn.things))
    for seed in range(20):
        material.batch(len(photos.things), Random(seed))
    labelled = {(thing.photo, thing.box) for thing in drawn.things}
    mistaken = [segment for segment in seen if segment.is_mistaken]
    right = [segment for segment in seen if not segment.is_mistaken and (segment.photo, segment.box) in labelled]
    assert set(mistaken) == set(drawn.things.values())
    assert len(mistaken) / len(mistaken + right) == pytest.approx(identity.DRAWN, abs=0.12)
