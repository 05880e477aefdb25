"""Tokyo Multi-Spectral-4i: photos of four channels, label pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.datasets.checks import check_sound, described
from tests.benchmark.datasets.lookalikes import SIZE, box_mask, random_box, write_grey

from persam.benchmark.datasets.catalog import read
from persam.errors import UsageError


def build(root, classes):
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    for number in range(3 * classes):
        name = f"{number:05}{'DN'[number % 2]}"
        pixels = rng.integers(0, 256, (*SIZE, 4), dtype=np.uint8)  # the fourth: thermal, with zeros in it
        pixels[:5, :, 3] = 0
        Image.fromarray(pixels, mode="RGBA").save(root / f"images/{name}.png")
        labels = np.zeros(SIZE, np.uint8)
        for value in (number % classes + 1, (5 * number + 2) % classes + 1):
            labels[box_mask(random_box(rng))] = value
        labels[0, 0], labels[0, 1] = number % classes + 1, 255
        write_grey(root / f"labels/{name}.png", labels)
    return root


@pytest.fixture
def tokyo(tmp_path):
    return build(tmp_path / "ir_seg_dataset", 16)


def test_episodes_and_masks(tokyo):
    loaded = read("tokyo-ms4i", tokyo, episodes=20)
    check_sound(loaded)
    assert len(loaded.episodes) == 80
    for episode in loaded.episodes:
        value = int(episode.object.removeprefix("class_"))
        assert episode.category == f"class {value}"
        for each in (*episode.references, *episode.tests):
            pixels, truth = each.read()
            labels = np.asarray(Image.open(tokyo / f"labels/{each.photo.stem}.png"))
            assert np.array_equal(truth, labels == value)
            assert truth.any()
            assert np.array_equal(each.truth.read_ignore(SIZE), labels == 255)
            assert np.array_equal(pixels, np.asarray(Image.open(each.photo))[:, :, :3])  # thermal is no transparency


def test_folds_of_four_classes(tokyo):
    for fold in range(4):
        loaded = read("tokyo-ms4i", tokyo, fold=fold, episodes=100)
        assert {episode.object for episode in loaded.episodes} == {f"class_{4 * fold + k}" for k in (1, 2, 3, 4)}


def test_counts_and_seeds(tokyo):
    loaded = read("tokyo-ms4i", tokyo, fold=0)
    assert len(loaded.episodes) == 1000
    assert described(loaded) == described(read("tokyo-ms4i", tokyo, fold=0))
    assert described(loaded) != described(read("tokyo-ms4i", tokyo, fold=0, seed=1))


def test_eight_classes_are_mfnet_s(tmp_path):
    loaded = read("tokyo-ms4i", build(tmp_path / "x", 8), episodes=60)
    assert {each.object for each in loaded.episodes if each.fold == 0} == {"car", "person", "bike", "curve"}
    assert {each.category for each in loaded.episodes if each.fold == 1} == {
        "car stop", "guardrail", "color cone", "bump",
    }  # fmt: skip
    assert "passed over: folds without a class here (2, 3)" in loaded.notes
    with pytest.raises(UsageError, match="shows no class of fold 3"):
        read("tokyo-ms4i", tmp_path, fold=3)


def test_split(tokyo):
    assert "test.txt, so all photos are taken" in read("tokyo-ms4i", tokyo, episodes=1).notes[0]
    names = sorted(path.stem for path in (tokyo / "images").iterdir())[:32]
    (tokyo / "test.txt").write_text("\n".join([*names, "99999D"]))
    loaded = read("tokyo-ms4i", tokyo, episodes=50)
    assert {each.photo.stem for each in loaded.samples} <= set(names)
    assert "passed over: photos of split test that are not here (99999D)" in loaded.notes
    with pytest.raises(UsageError, match="has no split val"):
        read("tokyo-ms4i", tokyo, split="val")


def test_sentences(tokyo, tmp_path):
    with pytest.raises(UsageError, match=r"looked for images/\*\.png"):
        read("tokyo-ms4i", tokyo / "labels")
    (tokyo / "labels/00000D.png").unlink()
    with pytest.raises(UsageError, match=r"00000D\.png has no labels: looked for"):
        read("tokyo-ms4i", tokyo)
    write_grey(tokyo / "labels/00000D.png", np.full(SIZE, 17))
    with pytest.raises(UsageError, match="has label 17; the classes are 1 to 16"):
        read("tokyo-ms4i", tokyo)
