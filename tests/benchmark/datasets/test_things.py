"""Photos of many things, each named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.benchmark.datasets.checks import check_sound
from tests.benchmark.datasets.lookalikes import SIZE, write_grey, write_photo

from persam.benchmark.datasets.catalog import read
from persam.benchmark.datasets.things import ids_of
from persam.benchmark.episodes import limited
from persam.benchmark.records import presence_queries
from persam.errors import UsageError

# By photo: the name of every id, and how many columns of the mask it takes.
BINS = {
    "a__0": [("mug", 4), ("key", 2)],
    "a__1": [("mug", 5), ("key", 2)],
    "b__0": [("key", 3), ("key", 1), ("cup", 2)],
    "c__0": [("cup", 6), ("mug", 2), ("key", 0)],  # the key is named, and nothing of it is marked
    "d__0": [("cup", 3), ("fork", 5)],
}
FRAMES = {"toy__001": [("toy", 3)], "toy__002": [("toy", 4)], "toy__010": [("toy", 2)]}


def fill(root, **sets):
    """Photos, masks of columns with one of ids 255 at the right, and the JSON; returns the folder."""
    named = {}
    for name, photos in sets.items():
        for number, (stem, things) in enumerate(photos.items()):
            write_photo(root / name / f"{stem}.webp", number)
            labels, at = np.zeros(SIZE, np.uint8), 0
            for value, (_, columns) in enumerate(things, 1):
                labels[:, at : at + columns] = value
                at += columns
            labels[:, -1] = 255
            write_grey(root / name / f"{stem}.png", labels)
        items = {stem: {"part": "val", "objects": [thing for thing, _ in things]} for stem, things in photos.items()}
        named[name] = {"items": items}
    write(root, named)
    return root


def write(root, named, name="objects.json"):
    (root / name).write_text(json.dumps(named))


def names(root):
    return json.loads((root / "objects.json").read_text())


def stems(samples):
    return [each.photo.stem for each in samples]


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path, bins=BINS, frames=FRAMES)


def by_object(loaded):
    return {episode.object: episode for episode in loaded.episodes}


def test_every_thing_in_photos_of_other_scenes(folder):
    loaded = read("things", folder)
    check_sound(loaded)
    found = by_object(loaded)
    assert list(found) == ["bins/cup", "bins/key", "bins/mug", "frames/toy"]
    # The largest view is the reference; a__0 and a__1 are of one scene.
    assert {name: (stems(each.references), stems(each.tests)) for name, each in found.items()} == {
        "bins/cup": (["c__0"], ["b__0", "d__0"]),
        "bins/key": (["b__0"], ["a__0", "a__1"]),
        "bins/mug": (["a__1"], ["c__0"]),
        "frames/toy": (["toy__002"], ["toy__001", "toy__010"]),
    }
    assert found["bins/mug"].category == "mug"
    assert loaded.notes == (
        "passed over: things seen once, or in one scene alone (bins/fork)",
        "sets in which no thing is in two scenes, so that tests are of the reference's: frames",
    )
    assert loaded.settings == {"objects": "objects.json", "part": None}


def test_a_mask_is_all_ids_of_the_thing(folder):
    key = by_object(read("things", folder))["bins/key"]
    (reference,), (test, _) = key.references, key.tests
    assert reference.read()[1].any(axis=0).nonzero()[0].tolist() == [0, 1, 2, 3]
    assert test.read()[1].any(axis=0).nonzero()[0].tolist() == [4, 5]
    for sample in (reference, test):
        ignored = sample.truth.read_ignore(SIZE)
        assert ignored[:, -1].all()
        assert not ignored[:, :-1].any()
    assert reference.digest() != test.digest()
    assert reference.digest() == by_object(read("things", folder))["bins/key"].references[0].digest()


def asked(episodes):
    """(thing, photo, whether it is there) of all that `--absent` asks."""
    return {
        (query.episode.object, query.sample.photo.stem, bool(query.sample.read()[1].any()))
        for look in presence_queries(episodes)
        for query in look
    }


def test_what_is_asked_where_absent_things_are_looked_for(folder):
    found = asked(read("things", folder).episodes)
    assert {row[:2] for row in found if row[2]} == {
        ("bins/cup", "b__0"), ("bins/cup", "d__0"), ("bins/key", "a__0"), ("bins/key", "a__1"), ("bins/mug", "c__0"),
        ("frames/toy", "toy__001"), ("frames/toy", "toy__010"),
    }  # fmt: skip
    # Not the mug in a__0 (of its reference's scene), nor the key in c__0 (which is there), nor the toy in the bins.
    assert {row[:2] for row in found if not row[2]} == {
        ("bins/cup", "a__0"), ("bins/cup", "a__1"), ("bins/key", "d__0"), ("bins/mug", "b__0"), ("bins/mug", "d__0"),
    }  # fmt: skip


@pytest.mark.parametrize("limit", range(1, 9))
def test_a_photo_with_the_thing_is_never_one_without(folder, limit):
    """Also where only a few photos of each thing are taken, and another thing keeps those that one gives up."""
    whole = read("things", folder).episodes
    some = [episode for episode in limited(whole, limit) if episode.tests]
    assert asked(some) <= asked(whole)


def test_parts_and_another_json(folder):
    named = names(folder)
    for stem in ("c__0", "d__0"):
        named["bins"]["items"][stem]["part"] = "train"
    named["frames"]["items"]["toy__099"] = {"part": "val", "objects": ["toy"]}
    write(folder, named, "other.json")
    loaded = read("things", folder, objects=str(folder / "other.json"), part="val")
    assert list(by_object(loaded)) == ["bins/key", "frames/toy"]
    assert loaded.notes[0] == "passed over: photos of the JSON that are not here (frames/toy__099)"
    assert loaded.settings == {"objects": "other.json", "part": "val"}
    assert "of part val" in loaded.protocol


def test_photos_that_nobody_named_are_left_out(folder):
    named = names(folder)
    del named["bins"]["items"]["c__0"]["objects"]
    write(folder, named)
    loaded = read("things", folder)
    assert "c__0" not in {each.photo.stem for each in loaded.samples}
    assert not any(row[1] == "c__0" for row in asked(loaded.episodes))


class TestSentences:
    def refused(self, root, **options) -> str:
        with pytest.raises(UsageError) as caught:
            read("things", root, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_no_json(self, folder):
        assert "There is no gone.json: looked for SET/STEM.webp" in self.refused(folder, objects="gone.json")
        (folder / "objects.json").unlink()
        assert f"There is no {folder / 'objects.json'}" in self.refused(folder)

    @pytest.mark.parametrize(
        "text",
        [
            "", "{", "[]", "3", "\xff", "[" * 9999, '{"bins": []}', '{"bins": {"photos": {}}}',
            '{"bins": {"items": [1]}}',
            '{"bins": {"items": {"a__0": ["mug"]}}}',
            '{"bins": {"items": {"a__0": {"objects": "mug"}}}}',
            '{"bins": {"items": {"a__0": {"objects": ["mug", 3]}}}}',
        ],
    )  # fmt: skip
    def test_a_damaged_json(self, folder, text):
        (folder / "objects.json").write_bytes(text.encode("latin-1"))
        assert "objects.json is damaged or another JSON: looked for {SET: {" in self.refused(folder)

    @pytest.mark.parametrize("items", [{}, {"a__0": {"part": "val"}}, {"a__0": {"objects": []}}])
    def test_a_json_without_objects(self, folder, items):
        write(folder, {"bins": {"items": items}})
        assert "objects.json names no objects: looked for items with a list" in self.refused(folder)

    def test_no_thing_twice(self, tmp_path):
        root = fill(tmp_path, bins={"a": [("mug", 3)], "b": [("key", 3)]})
        assert "is seen in two photos here" in self.refused(root)

    def test_no_such_part(self, folder):
        assert "has no part test with named objects; there are val." in self.refused(folder, part="test")

    def test_none_of_the_photos(self, folder):
        (folder / "bins").rename(folder / "boxes")
        (folder / "frames").rename(folder / "films")
        assert f"{folder} has none of the photos" in self.refused(folder)

    def test_a_photo_without_a_mask(self, folder):
        (folder / "bins/b__0.png").unlink()
        assert f"b__0.webp has no mask: looked for {folder / 'bins/b__0.png'}." in self.refused(folder)

    def test_an_id_without_a_name(self, folder):
        named = names(folder)
        named["bins"]["items"]["b__0"]["objects"].pop()
        write(folder, named)
        assert "b__0.png has id 3, but" in self.refused(folder)
        assert "names 2 things for bins/b__0" in self.refused(folder)


class TestKinds:
    """The list of kinds instead of that of physical things."""

    def test_the_reference_shows_one_alone_if_any_photo_does(self, tmp_path):
        fill(tmp_path, bins={"a": [("key", 4), ("key", 4)], "b": [("key", 2)], "c": [("key", 3), ("cup", 2)]})
        named = names(tmp_path)
        for item in named["bins"]["items"].values():
            item["classes"] = item.pop("objects")
        write(tmp_path, named)
        loaded = read("things", tmp_path, names="classes")
        (key,) = loaded.episodes
        assert (stems(key.references), stems(key.tests)) == (["c"], ["a", "b"])
        assert [len(ids_of(each)) for each in key.tests] == [2, 1]
        assert loaded.settings["names"] == "classes"
        with pytest.raises(UsageError, match="names no objects: looked for items with a list of objects"):
            read("things", tmp_path)
