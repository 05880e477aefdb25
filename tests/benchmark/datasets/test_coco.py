"""COCO-20i from COCO's own JSON: polygons, both run-length codes, crowds."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from tests.benchmark.datasets.checks import check_sound, described
from tests.benchmark.datasets.lookalikes import (
    SIZE,
    annotation,
    box_mask,
    compressed_code,
    image_entry,
    plain_code,
    polygon,
    random_box,
    write_json,
    write_photo,
)

from persam.benchmark.datasets.catalog import read
from persam.benchmark.episodes import fingerprint
from persam.errors import PersamError, UsageError

# Ids as in COCO: with gaps, and not in order in the file. Ten classes: folds of 3, 3, 2, 2.
IDS = {"person": 1, "car": 3, "dog": 18, "cup": 47, "bicycle": 2, "bed": 65, "tv": 72, "cat": 17, "fork": 48, "bus": 6}
IN_ORDER = sorted(IDS, key=IDS.__getitem__)
PHOTOS = 24


class Lookalike:
    def __init__(self, root, subset="val2014", prefix="COCO_val2014_"):
        rng = np.random.default_rng(0)
        self.root, self.subset = root, subset
        self.objects: dict[tuple[str, str], np.ndarray] = {}
        self.crowds: dict[tuple[str, str], np.ndarray] = {}
        images, annotations = [], []
        for number in range(PHOTOS):
            stem = f"{prefix}{number:012}"
            images.append(image_entry(number, file_name=f"{stem}.jpg"))
            write_photo(root / subset / f"{stem}.jpg", number)
            for name in (IN_ORDER[number % 10], IN_ORDER[(3 * number + 1) % 10]):
                for form in (
                    polygon,
                    lambda box: plain_code(box_mask(box)),
                    lambda box: compressed_code(box_mask(box)),
                ):
                    box = random_box(rng)
                    mask = self.objects.setdefault((name, stem), np.zeros(SIZE, bool))
                    mask |= box_mask(box)
                    annotations.append(annotation(len(annotations) + 1, number, IDS[name], form(box), box, iscrowd=0))
        for number in (3, 5, 8):  # beside objects of the class, and overlapping them
            name, stem, box = IN_ORDER[number % 10], f"{prefix}{number:012}", (2, 3, 20, 15)
            self.crowds[name, stem] = box_mask(box)
            annotations.append(
                annotation(len(annotations) + 1, number, IDS[name], plain_code(box_mask(box)), box, iscrowd=1)
            )
        # A crowd alone does not make a photo one of its class.
        box = (0, 0, 5, 5)
        annotations.append(annotation(9000, 0, IDS["tv"], plain_code(box_mask(box)), box, iscrowd=1))
        order = rng.permutation(len(annotations))
        categories = [{"id": identity, "name": name, "supercategory": "x"} for name, identity in IDS.items()]
        write_json(
            root / f"annotations/instances_{subset}.json", images, categories, [annotations[place] for place in order]
        )


@pytest.fixture
def coco(tmp_path):
    return Lookalike(tmp_path)


def test_episodes_and_masks(coco):
    loaded = read("coco20i", coco.root, episodes=60)
    check_sound(loaded)
    assert len(loaded.episodes) == 240
    assert Counter(episode.fold for episode in loaded.episodes) == dict.fromkeys(range(4), 60)
    seen = Counter()
    for episode in loaded.episodes:
        for each in (*episode.references, *episode.tests):
            key = (episode.object, each.photo.stem)
            pixels, truth = each.read()
            assert pixels.shape == (*SIZE, 3)
            assert np.array_equal(truth, coco.objects[key])
            ignore = each.truth.read_ignore(SIZE)
            if key in coco.crowds:
                assert np.array_equal(ignore, coco.crowds[key] & ~coco.objects[key])
                seen["crowd"] += 1
            else:
                assert ignore is None
    assert seen["crowd"] > 5


def test_folds_interleave(coco):
    for fold in range(4):
        loaded = read("coco20i", coco.root, episodes=200, fold=fold)
        assert {episode.object for episode in loaded.episodes} == set(IN_ORDER[fold::4])
        assert {episode.fold for episode in loaded.episodes} == {fold}
        assert f"fold {fold} of 4, 200 random episodes a fold, 1 reference each, seed 0" in loaded.protocol


def test_a_fold_alone_and_fewer_episodes_are_the_same_draws(coco):
    whole = described(read("coco20i", coco.root, episodes=30))
    assert described(read("coco20i", coco.root, episodes=30, fold=2)) == whole[60:90]
    assert described(read("coco20i", coco.root, episodes=10, fold=2)) == whole[60:70]


def test_seed(coco):
    def draw(seed):
        return described(read("coco20i", coco.root, episodes=30, seed=seed))

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert read("coco20i", coco.root).settings["seed"] == 0


def test_1000_episodes_a_fold_are_the_default_and_classes_are_drawn_alike(coco):
    loaded = read("coco20i", coco.root, fold=0)
    assert len(loaded.episodes) == 1000
    counts = Counter(episode.object for episode in loaded.episodes)
    assert all(abs(count - 1000 / 3) < 80 for count in counts.values())  # 5 standard deviations


def test_queries_that_repeat_have_names_of_their_own(coco):
    loaded = read("coco20i", coco.root, episodes=100, fold=1)
    names = [episode.tests[0].name for episode in loaded.episodes]
    assert len(set(names)) == 100
    assert len({episode.tests[0].photo for episode in loaded.episodes}) < 30
    first = loaded.episodes[0]
    assert names[0] == f"fold1/0000-{first.object}-{first.tests[0].photo.stem}"
    assert loaded.episodes[0].references[0].name == f"{first.object}/{first.references[0].photo.stem}"


def test_shots(coco):
    loaded = read("coco20i", coco.root, episodes=20, shots=2)
    check_sound(loaded, shots=2)


def test_classes_with_too_few_photos_are_named(coco):
    most = Counter(name for name, _ in coco.objects)
    few = [name for name in IN_ORDER[0::4] if most[name] <= 4]
    loaded = read("coco20i", coco.root, episodes=20, shots=4, fold=0)
    assert few
    assert any("classes of fold 0 with fewer than 5 photos" in note for note in loaded.notes)
    assert not {episode.object for episode in loaded.episodes} & set(few)
    with pytest.raises(UsageError, match="No class of fold 0 has the 21 photos"):
        read("coco20i", coco.root, shots=20, fold=0)


def test_not_the_80_classes_is_noted(coco):
    assert read("coco20i", coco.root, episodes=1).notes[-1].endswith("has 10 classes, not 80")


def test_photos_below_images_and_of_2017(tmp_path):
    Lookalike(tmp_path, "val2017", "")
    (tmp_path / "images").mkdir()
    (tmp_path / "val2017").rename(tmp_path / "images/val2017")
    loaded = read("coco20i", tmp_path, episodes=5)
    check_sound(loaded)
    assert loaded.settings["split"] == "val2017"
    assert "COCO-20i, val2017" in loaded.protocol


def test_fingerprint_is_of_content(coco, tmp_path_factory):
    one = read("coco20i", coco.root, episodes=20)
    other = Lookalike(tmp_path_factory.mktemp("copy"))
    assert fingerprint(read("coco20i", other.root, episodes=20).samples) == fingerprint(one.samples)
    path = coco.root / "annotations/instances_val2014.json"
    path.write_text(path.read_text().replace("[[", "[[0, 0, 3, 0, 0, 3], ["))
    assert fingerprint(read("coco20i", coco.root, episodes=20).samples) != fingerprint(one.samples)


class TestSentences:
    def refused(self, root, **options) -> str:
        with pytest.raises(UsageError) as caught:
            read("coco20i", root, **options)
        return str(caught.value)

    def test_another_layout(self, tmp_path):
        assert "looked for annotations/instances_SPLIT.json and SPLIT/*.jpg" in self.refused(tmp_path)

    def test_split(self, coco):
        assert "is not laid out as expected" in self.refused(coco.root, split="val2017")

    def test_no_photos(self, coco):
        (coco.root / "val2014").rename(coco.root / "elsewhere")
        assert "has no folder val2014 of photos" in self.refused(coco.root)

    def test_partial_copy(self, coco):
        drawn = read("coco20i", coco.root, episodes=30)
        drawn.episodes[7].tests[0].photo.unlink()
        assert "1 photos of the episodes are not there: " in self.refused(coco.root, episodes=30)

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", '{"images": []}', '{"images": 3, "categories": [], "annotations": []}']
    )
    def test_no_annotations(self, coco, text):
        path = coco.root / "annotations/instances_val2014.json"
        path.write_text(text)
        assert f"{path} is no JSON of annotations" in self.refused(coco.root)

    def test_fold(self, coco):
        assert "COCO-20i has no fold 4; choose 0, 1, 2, 3." in self.refused(coco.root, fold=4)

    def test_photo_of_another_size(self, coco):
        sample = read("coco20i", coco.root, episodes=1).samples[0]
        write_photo(sample.photo, 0, (10, 10))
        with pytest.raises(PersamError, match=r"instances_val2014.json, photo \d+ is annotated at 30 x 20 pixels"):
            sample.read()
