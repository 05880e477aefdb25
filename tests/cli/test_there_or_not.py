"""`persam segment` on photos without the thing, with one of it and with two: what its files say, in real photos."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as codes

from persam import PerSAM
from persam.demo.albums import make_albums

pytest.importorskip("skimage")


@pytest.fixture(scope="module")
def cup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The concept that is learned from the reference, and the album's photos and truths."""
    folder = tmp_path_factory.mktemp("cup")
    (album,) = make_albums(["cup"])
    PerSAM.from_pretrained().learn(album.reference, album.mask, name="cup").save(folder / "cup.safetensors")
    for photo in album.photos:
        Image.fromarray(photo.pixels).save(folder / f"{photo.name}.png")
        Image.fromarray(photo.truth).save(folder / f"{photo.name}-truth.png")
    return folder


@pytest.fixture
def line_of(run, cup, tmp_path):
    """Segment one photo; returns its line and the folder."""

    def call(name: str, *options: object) -> tuple[dict, Path]:
        result = run("segment", cup / "cup.safetensors", cup / f"{name}.png", "-o", "out", *options)
        assert result.exit_code == 0, result.output
        return json.loads((tmp_path / "out" / "results.jsonl").read_text()), tmp_path / "out"

    return call


def test_what_is_not_there_leaves_nothing_marked(line_of, cup):
    line, out = line_of("no-cup", "--overlay", "--cutout", "--coco", "--sheet")
    assert line["present"] is False
    assert line["box"] is None
    assert line["area"] == 0
    assert line["instances"] == []
    assert line["candidate"]["box"] is not None  # what was rejected stays at hand, under its own name
    assert not np.asarray(Image.open(out / line["files"]["mask"])).any()
    assert "cutout" not in line["files"]
    assert not (out / "cutouts").exists()
    overlay = np.asarray(Image.open(out / line["files"]["overlay"]).convert("RGB")).astype(int)
    photo = np.asarray(Image.open(cup / "no-cup.png").convert("RGB")).astype(int)
    assert np.abs(overlay - photo).mean() < 4  # JPEG's noise, no tint
    coco = json.loads((out / "coco.json").read_text())
    assert len(coco["images"]) == 1
    assert coco["annotations"] == []


def test_one_is_one_however_many_may_be_there(line_of):
    line, _ = line_of("launch", "--max-instances", 5)
    assert len(line["instances"]) == 1


def test_two_are_two_each_with_its_own_mask(line_of, cup):
    line, out = line_of("two-on-grass", "--max-instances", 5, "--coco")
    assert len(line["instances"]) == 2
    truth = np.asarray(Image.open(cup / "two-on-grass-truth.png")) > 0
    count, parts = cv2.connectedComponents(truth.astype(np.uint8))
    assert count == 3
    masks = [
        codes.decode(each["segmentation"]).astype(bool)
        for each in json.loads((out / "coco.json").read_text())["annotations"]
    ]
    for part in (1, 2):
        own = parts == part
        assert max((mask & own).sum() / (mask | own).sum() for mask in masks) > 0.8
