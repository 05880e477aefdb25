from __future__ import annotations

import tarfile
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest

from training import views
from training.photos import IGNORE, Photos, read_photos
from training.views import OWN, PADDING, Mixture


def test_reading_indexes_things_and_kinds(photos: Photos, drawn_folder: Path, tmp_path: Path) -> None:
    assert photos.counts() == {"pets": 3, "street": 3}
    assert len(photos.things) == 12
    assert photos[0].kind == "pets/spotted"
    assert photos[5].kind is None
    assert photos.kinds == []  # two things in every photo: which of them the name means is unclear
    with tarfile.open(tmp_path / "drawn.tar", "w") as archive:
        archive.add(drawn_folder, arcname=".")
    packed = read_photos(tmp_path / "drawn.tar")
    assert len(packed) == len(photos)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(packed.photos, photos.photos, strict=True))
    assert max(read_photos(drawn_folder, longest=96)[0].mask.shape) == 96


def test_reading_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no photo"):
        read_photos(tmp_path)


@pytest.mark.parametrize("sort", ["pasted", "same photo", "mixed"])
def test_both_views_show_the_shared_object(photos: Photos, sort: str) -> None:
    mixture = Mixture(same_photo={"pasted": 0.0, "same photo": 1.0, "mixed": 0.5}[sort], same_kind=0.0)
    random = Random(0)
    for _ in range(25):
        for view in views.sample_pair(photos, 96, random, mixture):
            assert view.image.shape == (96, 96, 3)
            assert view.mask.shape == (96, 96)
            assert (view.mask == OWN).sum() >= views.MIN_VISIBLE * 96 * 96
            height, width = view.frame
            assert max(height, width) == 96
            assert (view.mask[height:] == IGNORE).all()
            assert (view.mask[:, width:] == IGNORE).all()
            assert (view.image[height:] == PADDING).all()
            assert (view.image[:, width:] == PADDING).all()


def test_views_of_one_kind_ignore_other_things(photos: Photos) -> None:
    things = [thing for thing in photos.things if thing.photo < 3 and thing.id == 1]
    photos.by_kind["pets/spotted"] = things
    photos.kinds = ["pets/spotted"]
    try:
        pair = views.same_kind_pair(photos, 96, Random(3))
    finally:
        photos.by_kind, photos.kinds = {}, []
    for view in pair:
        assert set(np.unique(view.mask)) <= {0, OWN, IGNORE}
        assert (view.mask == OWN).any()


def test_the_same_seed_gives_the_same_views(photos: Photos) -> None:
    first = views.sample_pair(photos, 64, Random(5))
    second = views.sample_pair(photos, 64, Random(5))
    assert all(
        np.array_equal(a.image, b.image) and np.array_equal(a.mask, b.mask) for a, b in zip(first, second, strict=True)
    )


def test_a_pasted_thing_lies_in_the_frame_and_covers_what_its_mask_says(photos: Photos) -> None:
    thing = photos.things[0]
    random = Random(2)
    for _ in range(20):
        image, mask = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
        views.paste(image, mask, (48, 64), photos[thing.photo], thing, 9, random)
        assert not mask[48:].any()
        assert not image[48:].any()
        near = cv2.dilate((mask == 9).astype(np.uint8), np.ones((9, 9), np.uint8))
        assert not image[near == 0].any()


def test_relighting_with_no_strength_changes_next_to_nothing(photos: Photos) -> None:
    image = photos[0].image
    lit = views.relight(image, Random(0), 0.0)
    assert np.abs(lit.astype(int) - image).max() <= 1
    assert np.abs(views.relight(image, Random(0), 1.0).astype(int) - image).mean() > 2
