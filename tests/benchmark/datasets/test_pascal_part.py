"""PASCAL-Part from .mat files of its structure."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.datasets.checks import check_sound, described
from tests.benchmark.datasets.lookalikes import SIZE, box_mask, write_photo

from persam.benchmark.datasets.catalog import read
from persam.benchmark.datasets.pascal_part import FOLDS, merged
from persam.errors import PersamError, UsageError

scipy_io = pytest.importorskip("scipy.io")

PARTS = {
    "dog": {"head": (4, 2, 9, 8), "lear": (4, 2, 6, 4), "rear": (7, 2, 9, 4), "lfleg": (5, 9, 6, 12),
            "tail": (0, 0, 0, 0)},
    "person": {"head": (10, 1, 14, 5), "luarm": (9, 5, 11, 9)},
    "car": {"wheel_1": (15, 10, 18, 13), "wheel_2": (20, 10, 23, 13), "frontside": (14, 5, 16, 10)},
    "bottle": {"cap": (25, 1, 27, 3), "body": (24, 3, 28, 9)},
    "chair": {},
}  # fmt: skip


def struct(**fields):
    """A MATLAB struct of one element."""
    array = np.empty((1, 1), dtype=[(name, object) for name in fields])
    for name, value in fields.items():
        array[name][0, 0] = value
    return array


def struct_array(elements):
    """A 1 x N struct array; of none, what MATLAB writes for an empty one."""
    return np.concatenate(elements, axis=1) if elements else np.zeros((0, 0))


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2010"
    truth = {}
    for number in range(10):
        stem = f"2008_{number:06}"
        write_photo(root / f"JPEGImages/{stem}.jpg", number)
        # One object alone on some photos: scipy then gives no array.
        kinds = ["dog"] if number == 3 else ["dog", "person", "car", "bottle", "chair", "dog"]
        objects = []
        for place, kind in enumerate(kinds):
            shift = number % 2 + (3 if place == 5 else 0)
            whole = np.zeros(SIZE, bool)
            parts = []
            for name, (x0, y0, x1, y1) in PARTS[kind].items():
                mask = box_mask((x0 + shift, y0 + shift, x1 + shift, y1 + shift))
                whole |= mask
                parts.append(struct(part_name=name, mask=mask.astype(np.uint8)))
                key = (kind, merged(name), stem, place)
                truth[key] = truth.get(key, np.zeros(SIZE, bool)) | mask
            whole[18, 25] |= kind == "chair"
            objects.append(
                struct(**{"class": kind, "class_ind": 1, "mask": whole.astype(np.uint8), "parts": struct_array(parts)})
            )
        anno = struct(imname=stem, objects=struct_array(objects))
        (root / "Annotations_Part").mkdir(exist_ok=True)
        scipy_io.savemat(root / f"Annotations_Part/{stem}.mat", {"anno": anno}, do_compression=True)
    return tmp_path, truth


def whole_of(truth, kind, stem, place):
    return np.any([mask for (k, _, s, p), mask in truth.items() if (k, s, p) == (kind, stem, place)], axis=0)


def test_parts_on_their_objects(voc):
    root, truth = voc
    loaded = read("pascal-part", root, episodes=25)
    check_sound(loaded)
    assert len(loaded.episodes) == 100
    for episode in loaded.episodes:
        kind, part = episode.object.split("/")
        for each in (*episode.references, *episode.tests):
            stem, place = each.photo.stem, int(each.name.split("-")[-1])
            whole = whole_of(truth, kind, stem, place)
            rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            pixels, found = each.read()
            assert found.any()
            assert np.array_equal(found, truth[kind, part, stem, place][box])
            assert np.array_equal(pixels, np.asarray(Image.open(each.photo))[box])


def test_folds_are_kinds_of_objects(voc):
    root, _ = voc
    seen = []
    for fold in range(4):
        loaded = read("pascal-part", root, fold=fold, episodes=60)
        assert {episode.object.split("/")[0] for episode in loaded.episodes} <= set(FOLDS[fold])
        seen.append({episode.object for episode in loaded.episodes})
    assert seen == [
        {"dog/head", "dog/ear", "dog/leg"},  # the tail has no pixel
        {"bottle/cap", "bottle/body"},
        {"person/head", "person/upper arm"},
        {"car/wheel", "car/side"},
    ]


def test_sides_and_numbers_are_merged():
    assert merged("lear") == merged("rear") == "ear"
    assert merged("wheel_12") == merged("fwheel") == "wheel"
    assert merged("cfrontside_2") == "coach side"
    assert merged("torso") == "torso"


def test_counts_and_seeds(voc):
    root, _ = voc
    loaded = read("pascal-part", root, fold=1)
    assert len(loaded.episodes) == 2500
    assert described(loaded) == described(read("pascal-part", root, fold=1))
    assert described(loaded) != described(read("pascal-part", root, fold=1, seed=1))
    assert loaded.episodes[0].category in ("bottle cap", "bottle body")


def test_split(voc):
    root, _ = voc
    main = root / "VOCdevkit/VOC2010/ImageSets/Main"
    assert "so all photos with parts are taken" in read("pascal-part", root, episodes=1).notes[0]
    main.mkdir(parents=True)
    (main / "val.txt").write_text("2008_000001\n2008_000002\n2008_000003\n2008_999999\n")
    loaded = read("pascal-part", root, episodes=30, fold=0)
    assert {each.photo.stem for each in loaded.samples} == {"2008_000001", "2008_000002", "2008_000003"}
    assert loaded.notes == ("passed over: photos of split val without a .mat (2008_999999)",)
    assert len(read("pascal-part", root, episodes=1, split="all").episodes) == 4
    with pytest.raises(UsageError, match="has no split train: looked for"):
        read("pascal-part", root, split="train")


def test_parts_and_photos_in_folders_of_their_own(voc):
    root, _ = voc
    shutil.move(root / "VOCdevkit/VOC2010/Annotations_Part", root / "Annotations_Part")
    check_sound(read("pascal-part", root, episodes=3))


class TestSentences:
    def test_another_layout(self, tmp_path):
        with pytest.raises(UsageError, match=r"looked for Annotations_Part/\*\.mat and JPEGImages"):
            read("pascal-part", tmp_path)

    @pytest.mark.parametrize("content", [b"", b"no mat at all", b"MATLAB 5.0 MAT-file" + bytes(200)])
    def test_a_damaged_file(self, voc, content):
        path = voc[0] / "VOCdevkit/VOC2010/Annotations_Part/2008_000004.mat"
        path.write_bytes(content)
        with pytest.raises(PersamError, match=r"2008_000004\.mat (is no \.mat of PASCAL-Part|is empty)"):
            read("pascal-part", voc[0])

    def test_another_mat(self, voc):
        path = voc[0] / "VOCdevkit/VOC2010/Annotations_Part/2008_000004.mat"
        scipy_io.savemat(path, {"something": np.eye(3)})
        with pytest.raises(PersamError, match="download it again"):
            read("pascal-part", voc[0])

    def test_photos_that_are_not_there(self, voc):
        shutil.rmtree(voc[0] / "VOCdevkit/VOC2010/JPEGImages")
        (voc[0] / "VOCdevkit/VOC2010/JPEGImages").mkdir()
        with pytest.raises(UsageError, match="photos of the episodes are not there"):
            read("pascal-part", voc[0], episodes=3)

    def test_a_photo_of_another_size(self, voc):
        sample = read("pascal-part", voc[0], episodes=3).samples[0]
        write_photo(sample.photo, 0, (9, 9))
        with pytest.raises(PersamError, match="is 9 x 9 pixels, its annotation 30 x 20"):
            sample.read()
