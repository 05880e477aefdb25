"""What other trainers read: each layout is read back by the rules that its trainer documents."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.dreambooth.drawn_subjects import pixels_of, prepared

from persam.dreambooth import Framing, Prepared, recheck

# Of a dataset whose subsets all have a conditioning_data_dir, sd-scripts takes these keys and refuses all others.
DATASET_KEYS = {
    *("batch_size", "resolution", "enable_bucket", "bucket_no_upscale", "bucket_reso_steps", "min_bucket_reso"),
    *("max_bucket_reso", "network_multiplier", "num_repeats", "caption_extension", "subsets"),
}
SUBSET_KEYS = {
    *("image_dir", "conditioning_data_dir", "caption_extension", "num_repeats", "shuffle_caption", "keep_tokens"),
    *("flip_aug", "color_aug", "random_crop", "caption_prefix", "caption_suffix", "cache_info"),
}


def read_as_kohya(config: Path) -> list[dict[str, Any]]:
    """As sd-scripts' ``--dataset_config`` with ``--masked_loss``: image, caption, weights of the loss, repeats."""
    told = tomllib.loads(config.read_text(encoding="utf-8"))
    assert set(told) <= {"general", "datasets"}
    samples = []
    for dataset in told["datasets"]:
        assert set(dataset) <= DATASET_KEYS
        assert dataset["min_bucket_reso"] <= dataset["resolution"] <= dataset["max_bucket_reso"]
        for subset in dataset["subsets"]:
            assert set(subset) <= SUBSET_KEYS
            suffixes = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
            photos = [file for file in Path(subset["image_dir"]).iterdir() if file.suffix in suffixes]
            for photo in sorted(photos):
                lines = photo.with_suffix(subset["caption_extension"]).read_text(encoding="utf-8").splitlines()
                beside = Path(subset["conditioning_data_dir"]).iterdir()
                (mask,) = (file for file in beside if file.stem == photo.stem)
                image, weights = pixels_of(photo), np.asarray(Image.open(mask).convert("RGB"))[:, :, 0] / 255
                assert weights.shape == image.shape[:2]  # asserted there, with buckets
                samples.append(
                    {
                        "image": image,
                        "caption": lines[0].strip(),
                        "weights": weights,
                        "repeats": subset["num_repeats"],
                        "resolution": dataset["resolution"],
                    }
                )
    return samples


def read_as_imagefolder(folder: Path) -> list[tuple[np.ndarray, str]]:
    """As ``load_dataset(folder)["train"]``: a line of metadata beside the pictures for each, and none is without."""
    (split,) = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    assert split.name == "train"
    lines = [json.loads(line) for line in (split / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    pictures = {entry.name for entry in split.iterdir()} - {"metadata.jsonl"}
    assert {line["file_name"] for line in lines} == pictures
    assert all(set(line) == {"file_name", "text"} for line in lines)
    return [(pixels_of(split / line["file_name"]), line["text"]) for line in lines]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Two subjects, one of them named as `datasets` would call a split, in a folder with an awkward name."""
    home = tmp_path_factory.mktemp("two")
    prepared(home, "disc", output='my "[set]', framing=Framing("whole", 64))
    return prepared(home, "test", output='my "[set]', caption="{identifier} in colour")


@pytest.fixture
def copy(two: Prepared, tmp_path: Path) -> Path:
    """The same, to be changed; it was moved, so what names its place has to be written anew."""
    shutil.copytree(two.folder, tmp_path / "copy")
    recheck(tmp_path / "copy")
    return tmp_path / "copy"


def photos_of(done: Prepared) -> list[tuple[np.ndarray, np.ndarray, str]]:
    photos = [photo for subject in done.subjects for photo in subject.photos]
    return [(pixels_of(photo.image), pixels_of(photo.mask), photo.caption) for photo in photos]


def test_kohyas_scripts_find_photos_masks_and_captions(two: Prepared) -> None:
    samples = read_as_kohya(two.folder / "kohya" / "dataset.toml")
    truth = photos_of(two)
    assert len(samples) == len(truth) == 6
    for sample, (image, mask, caption) in zip(samples, truth, strict=True):
        assert np.array_equal(sample["image"], image)
        assert np.array_equal(sample["weights"], mask / 255)
        assert set(np.unique(sample["weights"])) == {0.0, 1.0}
        assert sample["caption"] == caption
        assert sample["resolution"] == 64


def test_a_subject_with_fewer_photos_is_seen_as_often(copy: Path) -> None:
    for number in (0, 1):
        (copy / "test" / "images" / f"{number}.png").unlink()
    recheck(copy)
    repeats = {sample["caption"]: sample["repeats"] for sample in read_as_kohya(copy / "kohya" / "dataset.toml")}
    assert repeats == {"a photo of t@y disc": 10, "s@z in colour": 30}


def test_diffusers_scripts_find_a_folder_of_pictures_alone(two: Prepared) -> None:
    for name in ("disc", "test"):
        entries = list((two.folder / name / "images").iterdir())  # each is opened there, hidden ones too
        assert [Image.open(entry).convert("RGB").size for entry in entries]
        assert len(entries) == 3


def test_diffusers_scripts_find_a_data_set_with_captions(two: Prepared) -> None:
    found = read_as_imagefolder(two.folder / "diffusers")
    for (picture, text), (image, _, caption) in zip(found, photos_of(two), strict=True):
        assert np.array_equal(picture, image)
        assert text == caption
    assert not any("test" in file.name for file in (two.folder / "diffusers").rglob("*"))


def test_the_datasets_library_reads_it_too(two: Prepared, copy: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")  # it takes brackets in a folder's name for a pattern
    found = datasets.load_dataset(str(copy / "diffusers"), cache_dir=str(tmp_path / "cache"))["train"]
    assert list(found["text"]) == [caption for _, _, caption in photos_of(two)]


def test_one_large_photo_does_not_set_the_resolution_of_all(copy: Path) -> None:
    Image.fromarray(np.full((640, 900, 3), 90, np.uint8)).save(copy / "disc" / "images" / "own.png")
    Image.fromarray(np.pad(np.full((300, 300), 255, np.uint8), ((170, 170), (300, 300)))).save(
        copy / "disc" / "masks" / "own.png"
    )
    assert recheck(copy).problems == []
    assert {sample["resolution"] for sample in read_as_kohya(copy / "kohya" / "dataset.toml")} == {64}


def test_a_mask_that_is_painted_over_counts_for_kohya_at_once(copy: Path) -> None:
    mask = copy / "disc" / "masks" / "0.png"
    Image.fromarray(255 - pixels_of(mask)).save(mask)
    sample = read_as_kohya(copy / "kohya" / "dataset.toml")[0]
    assert np.array_equal(sample["weights"], pixels_of(mask) / 255)
