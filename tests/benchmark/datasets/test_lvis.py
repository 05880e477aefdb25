"""LVIS-92i from LVIS v1's own JSON: no file names, photos of two COCO folders."""

from __future__ import annotations

import numpy as np
import pytest
from tests.benchmark.datasets.checks import check_sound, described
from tests.benchmark.datasets.lookalikes import (
    SIZE,
    annotation,
    box_mask,
    image_entry,
    polygon,
    random_box,
    write_json,
    write_photo,
)

from persam.benchmark.datasets.catalog import read
from persam.errors import UsageError

CLASSES = 27  # ids 1 to 27; 5 and 9 are on one photo alone, 11 on none


@pytest.fixture
def lvis(tmp_path):
    rng = np.random.default_rng(0)
    images, annotations, truth = [], [], {}
    for number in range(40):
        folder, name = ("val2017" if number % 3 else "train2017"), f"{number:012}"
        images.append(
            image_entry(
                number,
                coco_url=f"http://images.cocodataset.org/{folder}/{name}.jpg",
                neg_category_ids=[1],
                not_exhaustive_category_ids=[],
            )
        )
        write_photo(tmp_path / folder / f"{name}.jpg", number)
        for identity in {number % CLASSES + 1, (7 * number + 3) % CLASSES + 1}:
            if identity == 11 or (identity in (5, 9) and any(key[0] == f"thing_{identity}" for key in truth)):
                continue
            for _ in range(2):
                box = random_box(rng)
                mask = truth.setdefault((f"thing_{identity}", name), np.zeros(SIZE, bool))
                mask |= box_mask(box)
                annotations.append(annotation(len(annotations) + 1, number, identity, polygon(box), box))
    categories = [
        {"id": identity, "name": f"thing_{identity}", "synset": "x.n.01", "frequency": "r"}
        for identity in range(1, CLASSES + 1)
    ]
    write_json(tmp_path / "lvis_v1_val.json", images, categories, annotations)
    return tmp_path, truth


def usable(truth):
    photos = {identity: {name for thing, name in truth if thing == f"thing_{identity}"} for identity in range(1, 28)}
    return [identity for identity, names in photos.items() if len(names) >= 2]


def test_episodes_and_masks(lvis):
    root, truth = lvis
    loaded = read("lvis92i", root, episodes=15)
    check_sound(loaded)
    assert len(loaded.episodes) == 150
    folders = set()
    for episode in loaded.episodes:
        for each in (*episode.references, *episode.tests):
            assert np.array_equal(each.read()[1], truth[episode.object, each.photo.stem])
            folders.add(each.photo.parent.name)
    assert folders == {"train2017", "val2017"}
    assert loaded.episodes[0].category == loaded.episodes[0].object.replace("_", " ")


def test_folds_are_of_the_classes_with_two_photos(lvis):
    root, truth = lvis
    identities = usable(truth)
    assert not {5, 9, 11} & set(identities)
    assert len(identities) >= 20
    for fold in range(10):
        loaded = read("lvis92i", root, fold=fold, episodes=80)
        assert {episode.object for episode in loaded.episodes} == {f"thing_{each}" for each in identities[fold::10]}
        assert {episode.fold for episode in loaded.episodes} == {fold}


def test_counts_and_seeds(lvis):
    root, _ = lvis
    loaded = read("lvis92i", root, fold=3)
    assert len(loaded.episodes) == 2300
    assert described(read("lvis92i", root, fold=3)) == described(loaded)
    assert described(read("lvis92i", root, fold=3, seed=1)) != described(loaded)
    assert "LVIS-92i, val: fold 3 of 10, 2300 random episodes a fold" in loaded.protocol
    assert "not 920" in loaded.notes[-1]


def test_photos_below_coco_as_matcher_has_them(lvis):
    root, _ = lvis
    (root / "coco").mkdir()
    for name in ("train2017", "val2017"):
        (root / name).rename(root / "coco" / name)
    (root / "annotations").mkdir()
    (root / "lvis_v1_val.json").rename(root / "annotations/lvis_v1_val.json")
    check_sound(read("lvis92i", root, episodes=2))


def test_sentences(lvis, tmp_path_factory):
    root, _ = lvis
    with pytest.raises(UsageError, match=r"looked for lvis_v1_train.json in it or in annotations/"):
        read("lvis92i", root, split="train")
    (root / "train2017").rename(root / "elsewhere")
    with pytest.raises(UsageError, match="has no folder train2017 of photos"):
        read("lvis92i", root)
    bare = tmp_path_factory.mktemp("bare")
    write_json(bare / "lvis_v1_val.json", [], [], [])
    with pytest.raises(UsageError, match="has no class with two photos"):
        read("lvis92i", bare)
