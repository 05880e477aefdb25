"""An album with every sort of bad file among good ones: it finishes, each is named, and a rerun tries these alone."""

from __future__ import annotations

import errno
import json
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.conftest import draw_scene
from tests.fakes import random_sam

from persam import PerSAM
from persam.album import worker

HEIC = b"\0\0\0\x18ftypheic" + bytes(40)


def photo(seed: int = 0, height: int = 120) -> Image.Image:
    return Image.fromarray(draw_scene(height, 180, center=(90, height // 2), radius=30, seed=seed)[0])


def saved(picture: Image.Image, **options: object) -> Callable[[Path], object]:
    return lambda path: picture.save(path, **options)


def cut(picture: Image.Image, share: float) -> Callable[[Path], object]:
    """The first part of a file alone, as after a broken copy."""

    def write(path: Path) -> None:
        picture.save(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])

    return write


def of_16_bits(path: Path) -> None:
    cv2.imwrite(str(path), np.asarray(photo(5))[..., ::-1].astype(np.uint16) * 257)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(6).save(path, exif=exif)


def transparent(path: Path) -> None:
    picture = photo(7)
    picture.putalpha(200)
    picture.save(path)


def bomb(path: Path) -> None:
    """The head of a PNG of 20,000 x 20,000 pixels: that is enough to know."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(9))
    chunks = [struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in (chunk, data)]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


# Odd, and good: all of these are photos.
GOOD: dict[str, Callable[[Path], object]] = {
    "plain.jpg": saved(photo(1)),
    "grey.jpg": saved(photo(2).convert("L")),
    "cmyk.jpg": saved(photo(3).convert("CMYK")),
    "palette.png": saved(photo(4).convert("P")),
    "of 16 bits.png": of_16_bits,
    "turned.jpg": turned,
    "transparent.png": transparent,
    "animated.gif": saved(photo(8), save_all=True, append_images=[photo(9), photo(10)]),
    "boolean.png": saved(photo(11).convert("1")),
    "one pixel.png": saved(Image.new("RGB", (1, 1))),
    "a line.png": saved(Image.new("RGB", (300, 1))),
    "progressive.jpg": saved(photo(12), progressive=True),
    "named as another.png": saved(photo(13), format="JPEG"),
    "with ünïcode 写真 and\nanother line.jpg": saved(photo(14)),
}

# What is in the file, and words of what is said of it.
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.jpg": (lambda path: None, "There is no photo at"),
    "a link to nothing.jpg": (lambda path: path.symlink_to("gone.jpg"), "There is no photo at"),
    "a link to itself.jpg": (lambda path: path.symlink_to(path.name), "There is no photo at"),
    "empty.jpg": (lambda path: path.touch(), "is empty"),
    "truncated.jpg": (cut(photo(), 0.5), "is truncated or damaged"),
    "truncated.png": (cut(photo(), 0.5), "is truncated or damaged"),
    "only a beginning.jpg": (cut(photo(), 0.02), "is truncated or damaged"),
    "text.jpg": (lambda path: path.write_text("dear diary"), "is not a picture that can be read"),
    "postscript.jpg": (
        lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"),
        "is not a picture that can be read",
    ),
    "a page.png": (lambda path: path.write_text("<!doctype html><h1>404</h1>"), "is not a picture that can be read"),
    "noise.jpg": (lambda path: path.write_bytes(bytes(range(256)) * 9), "is not a picture that can be read"),
    "bomb.png": (bomb, "400 million pixels"),
    "raw.CR2": (saved(photo(), format="TIFF"), "is a RAW photo"),
    "heic.jpg": (lambda path: path.write_bytes(HEIC), "is a HEIC picture"),
    "locked.jpg": (saved(photo()), "cannot be read"),
}


@pytest.fixture
def named(tmp_path, monkeypatch) -> list[Path]:
    """All of these files, in turns, so that bad ones come first, last and between good ones."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    folder = tmp_path / "photos"
    folder.mkdir()
    writers = GOOD | {name: write for name, (write, _) in BAD.items()}
    paths = [folder / name for pair in zip([*BAD, *BAD], [*GOOD, *GOOD], strict=False) for name in pair]
    paths = list(dict.fromkeys([*paths, *(folder / name for name in BAD)]))
    for path in paths:
        writers[path.name](path)
    (folder / "locked.jpg").chmod(0)
    return paths


@pytest.fixture
def bad(named) -> dict[str, str]:
    """Those that cannot be done, and words of what is said of each. Nothing is locked for a superuser."""
    words = {name: told for name, (_, told) in BAD.items()}
    if os.access(named[0].parent / "locked.jpg", os.R_OK):
        del words["locked.jpg"]
    return words


def lines(folder: Path) -> dict[str, dict]:
    rows = (folder / "results.jsonl").read_text().split("\n")[:-1]
    return {Path(line["image"]).name: line for line in map(json.loads, rows)}


def test_all_of_them_at_once(run, learned, named, bad, tmp_path, monkeypatch):
    """Some seconds, for the bundled model sees every good photo: what is odd may trip any part of the way."""
    call = ["album", learned, *named, "-o", "out", "--overlay", "--cutout", "--cache", "50MB"]
    first = run(*call)
    assert first.exit_code == 1
    assert "Traceback" not in first.output
    good = [path for path in named if path.name not in bad]
    *told, summary = first.stderr.strip().splitlines()
    assert f"{len(good)} photos done" in first.stderr
    assert f"{len(bad)} of {len(named)} photos could not be segmented" in summary
    for name, words in bad.items():
        (sentence,) = [each for each in told if f"{name} " in each or f"{name};" in each or f"{name}," in each]
        assert words in sentence
        assert sentence.endswith(".")
    assert lines(tmp_path / "out").keys() == {path.name for path in good}
    for path in good:
        line = lines(tmp_path / "out")[path.name]
        with Image.open(tmp_path / "out" / line["files"]["mask"]) as mask:
            assert mask.size == (line["width"], line["height"])
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}

    looked_for: list[Path] = []
    reads = worker.read_smaller
    monkeypatch.setattr(worker, "read_smaller", lambda path, *more: looked_for.append(path) or reads(path, *more))
    again = run(*call, "--json")
    assert again.exit_code == 1
    report = json.loads(again.stdout)
    assert (report["done_now"], report["done_before"]) == (0, len(good))
    assert {Path(each["image"]).name for each in report["failed"]} == bad.keys()
    assert {path.name for path in looked_for} <= bad.keys()
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")} == before

    looked_for.clear()
    for name in bad:  # mended: now there is a photo under every name
        path = named[0].parent / name
        path.unlink(missing_ok=True)
        photo(20 + len(looked_for)).save(path, format="JPEG" if name.endswith("jpg") else "PNG")
    mended = run(*call, "--json")
    raw = [Path(each["image"]).name for each in json.loads(mended.stdout)["failed"]]
    assert raw == ["raw.CR2"]  # whatever is in a file of that name
    assert json.loads(mended.stdout)["done_now"] == len(bad) - 1
    assert len(lines(tmp_path / "out")) == len(named) - 1


# Files that are no photos. With each the call is refused before anything is done, and the album stays as it is.
def of_another_model(path: Path) -> None:
    image, mask = draw_scene()
    PerSAM(random_sam()).learn(image, mask, name="theirs").save(path)


BAD_CONCEPTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "There is no concept"),
    "empty": (lambda path: path.touch(), "is damaged or no safetensors file"),
    "text": (lambda path: path.write_text("dear diary"), "is damaged or no safetensors file"),
    "pickled": (lambda path: torch.save({"a": torch.zeros(3)}, path), "is damaged or no safetensors file"),
    "foreign": (lambda path: save_file({"a": torch.zeros(3)}, path), "holds no concept of persam"),
    "of another model": (of_another_model, "was made with the model random"),
}
BAD_MODELS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("dear diary"),
    "a photo": saved(photo(), format="JPEG"),
}
BAD_MASKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "There is no mask"),
    "empty": (lambda path: path.touch(), "is empty"),
    "text": (lambda path: path.write_text("dear diary"), "is not a picture"),
    "truncated": (cut(photo(), 0.5), "is truncated or damaged"),
    "of another aspect": (saved(Image.new("L", (50, 120), 255)), "aspect"),
    "of everything": (saved(Image.new("L", (180, 120), 255)), "everything"),
}


@pytest.fixture
def filled(run, learned, album, tmp_path) -> Path:
    """An album of three good photos."""
    assert run("album", learned, album, "-o", "out").exit_code == 0
    return tmp_path / "out"


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".persam" not in path.parts}


def test_concepts_and_models_and_masks_that_are_none(filled, run, refused, learned, album, tmp_path):
    before = tree(filled)
    for name, (write, words) in BAD_CONCEPTS.items():
        file = tmp_path / f"{name}.safetensors"
        write(file)
        assert words in refused("album", learned, file, album, "-o", "out", code=1), name
    for name, write in BAD_MODELS.items():
        write(tmp_path / f"{name}.pth")
        said = refused("album", learned, album, "-o", "new", "--model", tmp_path / f"{name}.pth", code=1)
        assert f"{name}.pth" in said, name
        assert tree(tmp_path / "new") == {}
    for name, (write, words) in BAD_MASKS.items():
        write(tmp_path / f"{name}.png")
        assert words in refused("album", "fix", "out", learned, album / "0.jpg", tmp_path / f"{name}.png", code=1), name
    assert not list(tmp_path.glob("*-fixed.safetensors"))
    assert tree(filled) == before
    assert "0 photos done, 3 were done before" in run("album", learned, album, "-o", "out").stderr


def test_no_room_on_the_disk_after_a_while(run, learned, album, tmp_path, monkeypatch):
    """The run ends with a sentence, what was done is kept, and the same call goes on once there is room."""
    replaces, masks = os.replace, []

    def until_full(source: Path, target: Path, **options: object) -> None:
        masks.append(target)
        if len(masks) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        replaces(source, target, **options)

    monkeypatch.setattr(os, "replace", until_full)
    stopped = run("album", learned, album, "-o", "out")
    assert stopped.exit_code == 1
    *_, sentence = stopped.stderr.strip().splitlines()
    assert "there is no room left on the disk; free some and run this again" in sentence
    assert "Traceback" not in stopped.output
    assert len(list((tmp_path / "out").rglob("*.png"))) == 1
    monkeypatch.setattr(os, "replace", replaces)
    again = run("album", learned, album, "-o", "out")
    assert again.exit_code == 0
    # What was found in the second is known; only its mask had no room.
    assert "2 photos done, 1 of them without looking again, 1 were done before" in again.stderr
    assert len(lines(tmp_path / "out")) == 3
    assert not list((tmp_path / "out").rglob(".*.tmp*"))
