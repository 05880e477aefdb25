from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest

from training import views
from training.photos import IGNORE, Photo, Photos, read_objects, read_photos
from training.views import OWN, PADDING, Mixture, View


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


def test_a_photo_of_many_things_is_drawn_as_often_as_one_of_one() -> None:
    """Else a facade's windows, which look the same, would be a quarter of what the network sees."""
    image, cat, facade = np.zeros((96, 96, 3), np.uint8), np.zeros((96, 96), np.uint8), np.zeros((96, 96), np.uint8)
    cat[20:60, 20:60] = 1
    for number in range(20):
        y, x = 19 * (number // 5), 19 * (number % 5)
        facade[y : y + 16, x : x + 16] = number + 1
    photos = Photos([Photo(image, cat, "pets", None), Photo(image, facade, "facade", None)])
    random = Random(0)
    drawn = [photos.draw(random) for _ in range(400)]
    assert 160 < sum(thing.photo == 0 for thing in drawn) < 240
    assert len({thing.id for thing in drawn if thing.photo == 1}) == 20
    assert {photos.draw(random, "facade").photo for _ in range(20)} == {1}


def test_reading_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no photo"):
        read_photos(tmp_path)


@pytest.mark.parametrize("sort", ["pasted", "same photo", "mixed"])
def test_both_views_show_the_shared_object(photos: Photos, sort: str) -> None:
    mixture = Mixture({"pasted": 0.0, "same photo": 1.0, "mixed": 0.5}[sort], same_kind=0.0, same_object=0.0)
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


def _objects_file(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_reading_names_the_physical_things(drawn_folder: Path, tmp_path: Path) -> None:
    items = {"000": {"objects": ["ball", "tile"]}, "001": {"objects": ["tile"]}, "002": {"part": "train"}}
    names = {"street": {"items": items, "note": "drawn"}, "elsewhere": {"items": {"000": {"objects": ["ball"]}}}}
    path = _objects_file(tmp_path / "names.json", names)
    assert read_objects(path)["street", "000"] == ("ball", "tile")
    named = read_photos(drawn_folder, objects=path)
    assert named.objects == ["street/tile"]  # the ball was seen once
    assert [(thing.photo, thing.id) for thing in named.by_object["street/tile"]] == [(3, 2), (4, 1)]
    assert read_photos(drawn_folder).objects == []


def test_things_of_one_class_are_of_one_kind(drawn_folder: Path, tmp_path: Path) -> None:
    """Where a photo shows one of them: of two hammers nobody could tell which is meant."""
    shutil.copytree(drawn_folder / "street", tmp_path / "tools")
    classes = {"000": ["hammer", "wrench"], "001": ["wrench", "hammer"], "002": ["hammer", "hammer"]}
    items = {stem: {"classes": names} for stem, names in classes.items()}
    path = _objects_file(tmp_path / "names.json", {"tools": {"items": items}})
    photos = read_photos(tmp_path, objects=path, classes=True)
    found = {kind: [(thing.photo, thing.id) for thing in things] for kind, things in photos.by_kind.items()}
    assert found == {"tools/hammer": [(0, 1), (1, 2)], "tools/wrench": [(0, 2), (1, 1)]}
    assert photos.kinds == ["tools/hammer", "tools/wrench"]
    assert photos.objects == []  # of one class is not the same thing
    assert read_photos(tmp_path, objects=path).kinds == []
    (tmp_path / "tools").rename(tmp_path / "facade")
    path = _objects_file(tmp_path / "names.json", {"facade": {"items": items}})
    assert read_photos(tmp_path, objects=path, classes=True).kinds == []  # whose classes are parts and stuff


def test_a_file_that_names_no_objects_is_an_error(drawn_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.json"):
        read_photos(drawn_folder, objects=tmp_path / "missing.json")
    for content in (["street"], {"street": {"000": ["ball"]}}, {"street": {"items": {"000": {"objects": 3}}}}):
        with pytest.raises(ValueError, match=r"broken\.json names no objects"):
            read_photos(drawn_folder, objects=_objects_file(tmp_path / "broken.json", content))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match="names no objects"):
        read_objects(tmp_path / "broken.json")


COLOURS = {"mug": (250, 10, 10), "can": (10, 250, 10), "box": (10, 10, 250)}


def _bin(scene: str, *objects: str, source: str = "bins") -> Photo:
    """A grey photo with a square of every object's colour, its id where it stands in the row."""
    image, mask = np.full((60, 40 * len(objects), 3), 120, np.uint8), np.zeros((60, 40 * len(objects)), np.uint8)
    for number, name in enumerate(objects, start=1):
        square = slice(15, 45), slice(40 * number - 35, 40 * number - 5)
        image[square], mask[square] = COLOURS[name], number
    return Photo(image, mask, source, None, scene, objects)


def _shows(view: View, number: int) -> set[str]:
    """The objects whose colours lie under an id of a view: relighting keeps which channel is the highest."""
    pixels = view.image[cv2.erode((view.mask == number).astype(np.uint8), np.ones((7, 7))) > 0]
    names = list(COLOURS)
    return {names[channel] for channel in pixels.argmax(1)}


def test_views_of_one_object_show_it_in_two_scenes_and_ignore_its_copies() -> None:
    bins = Photos(
        [
            _bin("a", "mug", "can", "mug"),
            _bin("a", "mug", "box"),
            _bin("b", "can", "mug", "box"),
            _bin("b", "box", "mug", "mug"),
            _bin("c", "can", "can", "mug"),
            _bin("d", "can"),
            _bin("d", "can", source="other"),  # of that name in another set: another thing
        ]
    )
    assert bins.objects == ["bins/box", "bins/can", "bins/mug"]
    assert len(bins.by_object["bins/mug"]) == 7
    random, ignored = Random(4), 0
    for _ in range(60):
        pair = views.same_object_pair(bins, 96, random)
        own = [_shows(view, OWN) for view in pair]
        assert own[0] == own[1]
        assert len(own[0]) == 1
        for view in pair:
            height, width = view.frame
            assert not any(own[0] & _shows(view, number) for number in (1, 2, 3))  # other things keep their ids
            ignored += bool((view.mask[:height, :width] == IGNORE).any())
    assert ignored > 10


def test_scenes_differ_where_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[Photo] = []
    crop = views.random_crop

    def seen(photo: Photo, *arguments: object, **options: object) -> object:
        chosen.append(photo)
        return crop(photo, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(views, "random_crop", seen)
    scenes = Photos([_bin("a", "mug"), _bin("a", "mug"), _bin("b", "mug"), _bin("e", "can"), _bin("e", "can")])
    random = Random(0)
    for _ in range(40):
        views.same_object_pair(scenes, 64, random)
    pairs = list(zip(chosen[::2], chosen[1::2], strict=True))
    assert all(one is not other for one, other in pairs)
    assert {(one.group, other.group) for one, other in pairs} == {("a", "b"), ("b", "a"), ("e", "e")}


def test_the_mixture_gives_each_sort_its_share_and_no_object_none(
    photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: dict[str, int] = {}

    def counted(name: str) -> None:
        made = getattr(views, name)

        def count(*arguments: object) -> object:
            counts[name] = counts.get(name, 0) + 1
            return made(*arguments)

        monkeypatch.setattr(views, name, count)

    for name in ("same_photo_pair", "same_kind_pair", "same_object_pair", "pasted_pair"):
        counted(name)
    bins = Photos([_bin("a", "mug", "can"), _bin("b", "mug"), _bin("c", "box")])
    random, mixture = Random(0), Mixture(same_photo=0.2, same_kind=0.3, same_object=0.4)
    for _ in range(200):
        views.sample_pair(bins, 32, random, mixture)
    shares = {name: count / sum(counts.values()) for name, count in counts.items()}
    assert shares == pytest.approx({"same_photo_pair": 0.2, "same_object_pair": 0.4, "pasted_pair": 0.4}, abs=0.1)
    counts.clear()
    for _ in range(20):
        views.sample_pair(photos, 32, random, mixture)
    assert counts.keys() == {"same_photo_pair", "pasted_pair"}


def test_the_shared_object_can_be_asked_of_one_set() -> None:
    two = Photos([_bin("a", "mug"), _bin("b", "mug"), _bin("a", "can", source="tins"), _bin("b", "can", source="tins")])
    random = Random(1)
    for source, name in (("bins", "mug"), ("tins", "can")):
        for _ in range(30):
            for view in views.sample_pair(two, 96, random, Mixture(0.3, 0.1, 0.3), source):
                assert _shows(view, OWN) <= {name}  # nothing where it is too small to tell


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
