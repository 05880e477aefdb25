"""`persam segment` where several photos are encoded in one pass, as on a GPU: it comes out as with one at a time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import draw_photos
from tests.test_encoding import until

from persam import PerSAM
from persam.album import batch
from persam.encoding import PhotoEncoder, read_photo
from persam.models.base import EncodedImage
from persam.models.sam import Sam

AT_ONCE = 3
SIZES = [(120, 180), (150, 150), (90, 200), (200, 90), (130, 170), (160, 120), (120, 180)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seven of different sizes."""
    return draw_photos(tmp_path / "photos", SIZES)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As on a GPU. How many photos were in each pass that went well, the first of which waits until others are read."""
    found: list[int] = []
    read: list[object] = []
    several = Sam.encode_many

    def counted(photo: Any) -> Any:
        try:
            return read_photo(photo)
        finally:
            read.append(photo)

    def encode_many(sam: Sam, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        if read:  # not what the command asks of the model before
            assert until(lambda: len(read) > AT_ONCE)
        encoded = several(sam, images)
        found.append(len(images))
        return encoded

    monkeypatch.setattr(PhotoEncoder, "at_once", AT_ONCE)
    monkeypatch.setattr(batch, "read_photo", counted)
    monkeypatch.setattr(Sam, "encode_many", encode_many)
    return found


def lines_in(folder: Path) -> dict[str, dict]:
    lines = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    return {Path(line["image"]).name: line for line in lines}


def pictures_in(folder: Path) -> dict[str, np.ndarray]:
    return {str(file.relative_to(folder)): np.asarray(Image.open(file)) for file in sorted(folder.rglob("*.png"))}


def same_results(one: Path, other: Path) -> None:
    found, expected = pictures_in(one), pictures_in(other)
    assert list(found) == list(expected)
    for name, picture in found.items():
        np.testing.assert_array_equal(picture, expected[name], err_msg=name)
    for name, line in lines_in(one).items():
        wanted = lines_in(other)[name]
        assert line["box"] == wanted["box"]
        assert line["score"] == pytest.approx(wanted["score"], abs=1e-5)


@pytest.fixture
def alone(run: Callable[..., Any], learned: Path, photos: Path, tmp_path: Path) -> Path:
    """What is found one photo at a time. Asked for before `passes`."""
    result = run("segment", learned, photos, "-o", "alone", "--dtype", "float32", "--overlay", "--cutout")
    assert result.exit_code == 0, result.output
    return tmp_path / "alone"


def test_as_one_by_one(alone, run, learned, photos, tmp_path, passes):
    arguments = ("segment", learned, photos, "-o", "together", "--dtype", "float32", "--overlay", "--cutout")
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    assert max(passes) == AT_ONCE
    assert sum(passes) == len(SIZES)
    data = json.loads(result.stdout)
    assert [Path(line["image"]).name for line in data["results"]] == [f"{number}.png" for number in range(len(SIZES))]
    assert len(pictures_in(tmp_path / "together")) >= 2 * len(SIZES)
    same_results(tmp_path / "together", alone)
    passes.clear()
    again = run(*arguments)
    assert again.exit_code == 0, again.output
    assert "7 of 7 were done before" in again.stderr
    assert passes == []


def test_bad_ones_in_the_middle_are_named_and_the_others_go_on(
    alone, run, learned, photos, tmp_path, passes, monkeypatch
):
    """One that cannot be read, one that the encoder refuses, and one of which it makes no numbers."""
    (photos / "1.png").write_bytes(b"")
    refused, nothing = (np.asarray(Image.open(photos / f"{number}.png")) for number in (2, 5))
    prepare = Sam.prepare

    def odd(sam: Sam, image: np.ndarray, frame: Any) -> torch.Tensor:
        if np.array_equal(image, refused):
            raise RuntimeError("what a picture\nand more")
        pixels = prepare(sam, image, frame)
        return pixels * float("nan") if np.array_equal(image, nothing) else pixels

    monkeypatch.setattr(Sam, "prepare", odd)
    result = run("segment", learned, photos, "-o", "together", "--dtype", "float32", "--overlay", "--cutout", "--json")
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    failed = {Path(each["image"]).name: each["error"] for each in json.loads(result.stdout)["failed"]}
    assert list(failed) == ["1.png", "2.png", "5.png"]
    assert "is empty (0 bytes)" in failed["1.png"]
    assert failed["2.png"].endswith("2.png could not be segmented (RuntimeError: what a picture).")
    assert "gives NaN or infinity for" in failed["5.png"]
    assert "5.png" in failed["5.png"]
    assert max(passes) > 1
    for name in ("1", "2", "5"):
        for file in alone.rglob(f"{name}.png"):
            file.unlink()
    same_results(tmp_path / "together", alone)


def test_without_the_memory_for_several(alone, run, learned, photos, tmp_path, passes, monkeypatch):
    several, tried = Sam.encode_many, []

    def short(sam: Sam, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        if len(images) > 1:
            tried.append(len(images))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return several(sam, images)

    monkeypatch.setattr(Sam, "encode_many", short)
    result = run("segment", learned, photos, "-o", "together", "--dtype", "float32", "--overlay", "--cutout")
    assert result.exit_code == 0, result.output
    assert len(tried) == 1
    assert passes == [1] * len(SIZES)
    same_results(tmp_path / "together", alone)


def test_stopped_between_photos_of_one_pass(run, learned, photos, tmp_path, passes, monkeypatch):
    original, done = PerSAM.segment, []

    def stopped(model: PerSAM, *arguments: Any, **options: Any) -> Any:
        if passes[-1] == AT_ONCE and len(done) == sum(passes) - 1:
            raise KeyboardInterrupt
        done.append(1)
        return original(model, *arguments, **options)

    monkeypatch.setattr(PerSAM, "segment", stopped)
    result = run("segment", learned, photos, "-o", "out")
    assert result.exit_code == 130
    assert f"Stopped. {len(done)} of 7 photos are done" in result.stderr
    assert len(done) == len(lines_in(tmp_path / "out")) < 7
    assert until(lambda: all(thread.name != "persam-ahead" for thread in threading.enumerate()))
    monkeypatch.setattr(PerSAM, "segment", original)
    result = run("segment", learned, photos, "-o", "out")
    assert result.exit_code == 0, result.output
    assert f"({len(done)} of 7 were done before)" in result.stderr
    assert len(lines_in(tmp_path / "out")) == 7
