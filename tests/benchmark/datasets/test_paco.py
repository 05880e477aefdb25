"""PACO-Part from PACO's own JSON: parts point to their object, whose box is cut out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.datasets.checks import check_sound, described
from tests.benchmark.datasets.lookalikes import (
    SIZE,
    annotation,
    box_mask,
    compressed_code,
    image_entry,
    polygon,
    write_json,
    write_photo,
)

from persam.benchmark.datasets.catalog import read
from persam.errors import UsageError

OBJECTS = {1: "basket", 2: "mug"}
PARTS = {
    101: "basket:handle",
    102: "basket:base",
    103: "mug:handle",
    104: "mug:rim",
    105: "mug:text",
    106: "basket:lid",
}


@pytest.fixture
def paco(tmp_path):
    """Eight photos of a basket and two mugs; `mug:text` is small everywhere, `basket:lid` on one photo alone."""
    images, annotations, truth = [], [], {}

    def add(image, category, segmentation, box, **more):
        annotations.append(annotation(len(annotations) + 1, image, category, segmentation, box, **more))
        return len(annotations)

    for number in range(8):
        folder = "val2017" if number % 2 else "train2017"
        name = f"{number:012}"
        images.append(image_entry(number, file_name=f"{folder}/{name}.jpg"))
        write_photo(tmp_path / folder / f"{name}.jpg", number)
        boxes = [(1, 5 + number % 3, 26, 19), (3, 0, 17, 4 + number % 4), (18, 1, 29, 8)]
        for kind, (x0, y0, x1, y1) in zip((1, 2, 2), boxes, strict=True):
            whole = (x0, y0, x1, y1)
            identity = add(number, kind, polygon(whole), whole)
            annotations[-1]["bbox"] = [x0 + 0.3, y0 + 0.2, x1 - x0 - 0.6, y1 - y0 - 0.3]  # as COCO has them
            shapes = {
                101 if kind == 1 else 103: (x0, y0, x0 + 4, y1),
                102 if kind == 1 else 104: (x0 + 4, y0, x1 - 1, y0 + 3),
            }
            if kind == 2:
                shapes[105] = (x1 - 1, y1 - 1, x1, y1)
            elif number == 5:
                shapes[106] = (x0, y1 - 2, x1, y1)
            for category, box in shapes.items():
                mask = box_mask(box)
                pieces = [mask.copy(), mask.copy()]
                pieces[0][:, (box[0] + box[2]) // 2 :] = False  # two annotations of one part of one object
                pieces[1][:, : (box[0] + box[2]) // 2] = False
                for piece in pieces if category == 101 else [mask]:
                    add(number, category, compressed_code(piece), box, obj_ann_id=identity)
                    annotations[-1]["area"] = int(piece.sum())
                truth[PARTS[category].replace(":", "/"), name, identity] = (mask[y0:y1, x0:x1], whole)
    categories = [{"id": each, "name": name, "supercategory": "OBJECT"} for each, name in OBJECTS.items()]
    categories += [{"id": each, "name": name, "supercategory": "PART"} for each, name in PARTS.items()]
    write_json(tmp_path / "annotations/paco_lvis_v1_val.json", images, categories[::-1], annotations)
    return tmp_path, truth


def test_parts_on_their_objects(paco):
    root, truth = paco
    loaded = read("paco-part", root, episodes=30, min_area=6)
    check_sound(loaded)
    assert len(loaded.episodes) == 120
    for episode in loaded.episodes:
        for each in (*episode.references, *episode.tests):
            stem, identity = each.name.split("-")[-2:] if each in episode.tests else each.name.split("/")[-1].split("-")
            mask, (x0, y0, x1, y1) = truth[episode.object, stem[-12:], int(identity)]
            pixels, found = each.read()
            assert np.array_equal(found, mask)
            assert np.array_equal(pixels, np.asarray(Image.open(each.photo))[y0:y1, x0:x1])
            assert each.truth.read_ignore(found.shape) is None


def test_folds_are_of_parts_that_are_large_and_on_two_photos(paco):
    root, _ = paco
    for fold, part in enumerate(("basket/handle", "basket/base", "mug/handle", "mug/rim")):
        loaded = read("paco-part", root, fold=fold, episodes=10, min_area=6)
        assert {episode.object for episode in loaded.episodes} == {part}
        assert loaded.episodes[0].category == part.replace("/", " ")
    loaded = read("paco-part", root, fold=0, episodes=20, min_area=1)  # with the text, five classes
    assert {episode.object for episode in loaded.episodes} == {"basket/handle", "mug/text"}
    assert "has 5 parts of at least 1 pixels with at least two photos, not 303" in loaded.notes[-1]


def test_counts_and_seeds(paco):
    root, _ = paco
    loaded = read("paco-part", root, fold=2, min_area=6)
    assert len(loaded.episodes) == 2500
    assert described(loaded) == described(read("paco-part", root, fold=2, min_area=6))
    assert described(loaded) != described(read("paco-part", root, fold=2, min_area=6, seed=5))


def test_areas_that_are_not_given_are_counted(paco):
    root, _ = paco
    path = root / "annotations/paco_lvis_v1_val.json"
    before = described(read("paco-part", root, episodes=5, min_area=20))
    path.write_text(path.read_text().replace('"area"', '"surface"'))
    assert described(read("paco-part", root, episodes=5, min_area=20)) == before


def test_sentences(paco):
    root, _ = paco
    path = root / "annotations/paco_lvis_v1_val.json"
    with pytest.raises(UsageError, match="has no part of at least 1024 pixels with two photos"):
        read("paco-part", root)
    with pytest.raises(UsageError, match=r"looked for paco_lvis_v1_test.json in it or in annotations/"):
        read("paco-part", root, split="test")
    text = path.read_text()
    path.write_text(
        text.replace(":handle", " handle")
        .replace(":", ": ")
        .replace('"mug: ', '"mug ')
        .replace('"basket: ', '"basket ')
    )
    with pytest.raises(UsageError, match="has no classes of parts"):
        read("paco-part", root)
    path.write_text(
        text.replace('"category_id": 1,', '"category_id": 101,').replace('"bbox"', '"obj_ann_id": 1, "bbox"')
    )
    with pytest.raises(UsageError, match="has parts of object 1, but not the object"):
        read("paco-part", root, min_area=6)


def test_boxes_stay_within_the_photo():
    from persam.benchmark.datasets.coco import _crop

    assert _crop([-2.5, 3.2, 50, 0.1], SIZE).box == (0, 3, 30, 4)
    assert _crop([29.9, 19.9, 0, 0], SIZE).box == (29, 19, 30, 20)
