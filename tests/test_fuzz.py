"""Damaged pictures, concept files and names of any kind: a result, or one sentence, and nothing of the user's changes.

`PERSAM_FUZZ=10` looks at ten times as many cases, `PERSAM_FUZZ_SEED=3` at others.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from safetensors import safe_open
from safetensors.torch import save
from tests.conftest import draw_scene
from typer.testing import CliRunner

from persam import PerSAM
from persam.cli.main import app

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="names of files are another matter there"),
    pytest.mark.filterwarnings("ignore"),
]
MOST_PIXELS = 1_000_000  # the user's own limit, so that no case may take much memory
MOST_MEMORY = 1_500  # megabytes that all cases of a test may add
SLOW = pytest.mark.slow


def cases(count: int, slow: int) -> Any:
    """So many, times `PERSAM_FUZZ`; far more with `-m slow`."""
    times = int(os.environ.get("PERSAM_FUZZ", "1"))
    return pytest.mark.parametrize("count", [count * times, pytest.param(slow * times, marks=SLOW)])


def fuzz(count: int, check: Callable[..., None], **strategies: st.SearchStrategy[Any]) -> None:
    """Call `check` with so many examples, the same in every run, and see that memory stays flat."""
    before = _megabytes()
    deterministic = settings(
        max_examples=count,
        phases=[Phase.generate],  # the changes are few: to look for fewer would take longer than all the cases
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    deterministic(seed(int(os.environ.get("PERSAM_FUZZ_SEED", "0")))(given(**strategies)(check)))()
    assert _megabytes() - before < MOST_MEMORY


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A photo, its mask, and a concept of it; the bundled model is loaded once for all cases."""
    folder = tmp_path_factory.mktemp("desk")
    image, mask = draw_scene(48, 64, center=(24, 30), radius=14)
    Image.fromarray(image).save(folder / "photo.png")
    Image.fromarray(mask).save(folder / "mask.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PerSAM, "from_pretrained", functools.cache(PerSAM.from_pretrained))
        patch.setenv("PERSAM_MAX_PIXELS", str(MOST_PIXELS))
        patch.chdir(folder)
        run("learn", "photo.png", "mask.png", "-o", "disc.safetensors", "--name", "disc", expected={0})
        yield folder


@contextlib.contextmanager
def case(desk: Path) -> Iterator[Path]:
    """A folder of one case, in which all that is there at the end of setting up stays as it is."""
    place = Path(tempfile.mkdtemp(dir=desk, prefix="case-"))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def run(*arguments: object, expected: frozenset[int] | set[int] = frozenset((0, 1, 2))) -> dict[str, Any]:
    """Call `persam` and return its JSON: a result, or an error of one sentence."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    told = f"{arguments}\n{result.output}"
    assert result.exception is None or isinstance(result.exception, SystemExit), told
    assert result.exit_code in expected, told
    for unwanted in ("Traceback", "its own fault", "could not be segmented ("):
        assert unwanted not in result.output, told
    for line in result.stderr.splitlines():
        assert line.endswith("."), told
    data: dict[str, Any] = json.loads(result.stdout)
    assert (result.exit_code == 0) == (not data.get("error") and not data.get("failed")), told
    return data


def run_beside(place: Path, *arguments: object) -> dict[str, Any]:
    """`run`, with what is in a folder looked at before and after, but for what was asked for, in ``out``."""
    before = _users_files(place)
    data = run(*arguments)
    assert _users_files(place) == before
    assert not list(place.rglob(".*.tmp*"))  # what is being written is called so
    return data


def _users_files(place: Path) -> dict[bytes, str]:
    files = {path.relative_to(place): path for path in place.rglob("*") if path.is_file()}
    return {
        os.fsencode(name): hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
        if not name.parts[0].startswith("out")
    }


# ---------------------------------------------------------------------------------------------------- damaged bytes

Change = tuple[str, float, bytes]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "drop", "overwrite"]),
        # Headers are short and say much, so that half of the changes fall on the first bytes.
        st.one_of(st.floats(0, 1), st.floats(0, 0.05)),
        st.one_of(
            st.binary(min_size=1, max_size=8), st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\x7f\xff", b"\1\0\0\0"])
        ),
    ),
    min_size=1,
    max_size=4,
)


def damaged(data: bytes, changes: list[Change]) -> bytes:
    for kind, share, value in changes:
        at = min(int(share * len(data)), max(0, len(data) - 1))
        if kind == "flip" and data:
            data = data[:at] + bytes([data[at] ^ (value[0] or 255)]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + value + data[at:]
        elif kind == "drop":
            data = data[:at] + data[at + len(value) :]
        elif kind == "overwrite":
            data = data[:at] + value + data[at + len(value) :]
    return data


# -------------------------------------------------------------------------------------------------------- pictures


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


@functools.cache
def pictures() -> dict[str, bytes]:
    """Sound pictures of every format that people have, by name."""
    photo = Image.fromarray(draw_scene(32, 40, center=(16, 18), radius=10)[0])
    others = [photo.rotate(90), photo.rotate(180)]
    exif = Image.Exif()
    exif[0x0112] = 6
    sixteen = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    colours = np.asarray(photo)[:, :, ::-1].astype(np.float32) / 255
    found = {
        "a.jpg": encoded(photo, "JPEG", exif=exif),
        "grey.jpg": encoded(photo.convert("L"), "JPEG"),
        "progressive.jpg": encoded(photo, "JPEG", progressive=True),
        "cmyk.jpg": encoded(photo.convert("CMYK"), "JPEG"),
        "a.png": encoded(photo, "PNG", exif=exif),
        "palette.png": encoded(photo.convert("P"), "PNG"),
        "alpha.png": encoded(photo.convert("RGBA"), "PNG"),
        "16.png": encoded(sixteen, "PNG"),
        "1.png": encoded(photo.convert("1"), "PNG"),
        "frames.png": encoded(photo, "PNG", save_all=True, append_images=others),
        "a.webp": encoded(photo, "WEBP"),
        "lossless.webp": encoded(photo.convert("RGBA"), "WEBP", lossless=True),
        "frames.webp": encoded(photo, "WEBP", save_all=True, append_images=others),
        "a.gif": encoded(photo, "GIF"),
        "frames.gif": encoded(photo, "GIF", save_all=True, append_images=others),
        "a.bmp": encoded(photo, "BMP"),
        "palette.bmp": encoded(photo.convert("P"), "BMP"),
        "a.tif": encoded(photo, "TIFF"),
        "16.tif": encoded(sixteen, "TIFF"),
        "float.tif": encoded(photo.convert("F"), "TIFF"),
        "colours.tif": cv2.imencode(".tif", colours)[1].tobytes(),
        "pages.tif": encoded(photo, "TIFF", save_all=True, append_images=others),
        "a.avif": encoded(photo, "AVIF"),
        "a.tga": encoded(photo, "TGA"),
        "a.ppm": encoded(photo, "PPM"),
        "a.jp2": encoded(photo, "JPEG2000"),
        "a.ico": encoded(photo, "ICO"),
    }
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4"):
        kept = photo.convert("1") if compression == "group4" else photo
        found[f"{compression}.tif"] = encoded(kept, "TIFF", compression=compression)
    return found


@cases(230, 12_000)
def test_damaged_pictures(desk: Path, count: int) -> None:
    def check(name: str, changes: list[Change], role: str) -> None:
        with case(desk) as place:
            file = place / name
            file.write_bytes(damaged(pictures()[name], changes))
            look_at(file, role, place)

    names = st.sampled_from(sorted(pictures()))
    fuzz(count, check, name=names, changes=CHANGES, role=st.sampled_from(["photo", "photo", "reference", "mask"]))


def look_at(file: Path, role: str, place: Path) -> dict[str, Any]:
    """Use a picture as a photo to search in, as a reference, or as a mask."""
    if role == "photo":
        return run_beside(place, "segment", "disc.safetensors", file, "-o", place / "out")
    pair = ("photo.png", file) if role == "mask" else (file, "mask.png")
    return run_beside(place, "learn", *pair, "-o", place / "out.safetensors")


MODES = [
    "1",
    "L",
    "P",
    "PA",
    "LA",
    "La",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "I;16",
]
KINDS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".gif": "GIF", ".bmp": "BMP", ".tga": "TGA"}
SIDES = st.one_of(st.integers(1, 40), st.sampled_from([1, 2, 3, 1000]))


@cases(60, 2_500)
def test_pictures_of_odd_modes_and_sizes(desk: Path, count: int) -> None:
    def check(mode: str, suffix: str, width: int, height: int, role: str, draw: int) -> None:
        picture = Image.fromarray(np.random.default_rng(draw).integers(0, 256, (height, width, 3), np.uint8))
        try:
            data = encoded(_converted(picture, mode), KINDS[suffix])
        except (OSError, ValueError, KeyError):
            return  # that format has not this mode
        with case(desk) as place:
            file = place / f"a{suffix}"
            file.write_bytes(data)
            found = look_at(file, role, place)
        assert role != "photo" or not found.get("error")  # a sound picture, whatever its mode

    fuzz(
        count,
        check,
        mode=st.sampled_from(MODES),
        suffix=st.sampled_from(sorted(KINDS)),
        width=SIDES,
        height=SIDES,
        role=st.sampled_from(["photo", "mask", "reference"]),
        draw=st.integers(0, 9),
    )


def _converted(picture: Image.Image, mode: str) -> Image.Image:
    if mode in ("La", "RGBa"):
        return picture.convert(mode.upper()).convert(mode)
    if mode == "I;16":
        return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    if mode == "LAB":
        return ImageCms.profileToProfile(picture, *map(ImageCms.createProfile, ("sRGB", "LAB")), outputMode="LAB")
    return picture.convert(mode)


# ---------------------------------------------------------------------------------------------------- concept files

ODD = st.one_of(
    st.sampled_from([None, True, False, 0, 1, -1, 10**30, 1.5, 1e308, float("nan"), float("-inf")]),
    st.sampled_from(["", "x", "1", "\ud800", "a\nb", "../x", "9" * 5000, "tiny", "nobody/x"]),
    st.sampled_from([[], {}, [None], [[[[]]]], {"x": 1}, ["x"] * 3, [0, 0], [-1, -1], [10**9, 10**9]]),
)


@cases(90, 2_500)
def test_damaged_concept_files(desk: Path, count: int) -> None:
    whole = (desk / "disc.safetensors").read_bytes()
    head = 8 + int.from_bytes(whole[:8], "little")

    def check(changes: list[Change], is_head: bool) -> None:
        data = (
            damaged(whole[:head], changes) + whole[head:] if is_head else whole[:head] + damaged(whole[head:], changes)
        )
        look_at_concept(desk, data)

    fuzz(count, check, changes=CHANGES, is_head=st.booleans())


@cases(70, 1_500)
def test_concept_files_with_odd_values(desk: Path, count: int) -> None:
    with safe_open(desk / "disc.safetensors", "pt") as file:
        words = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    meta = json.loads(words["persam"])
    places = list(_places(meta))

    def check(place: tuple[Any, ...], value: Any, is_gone: bool) -> None:
        changed = json.loads(json.dumps(meta))
        inner = functools.reduce(lambda each, key: each[key], place[:-1], changed)
        if is_gone:
            del inner[place[-1]]
        else:
            inner[place[-1]] = value
        look_at_concept(desk, save(tensors, words | {"persam": json.dumps(changed)}))

    fuzz(count, check, place=st.sampled_from(places), value=ODD, is_gone=st.booleans())


@cases(30, 1_000)
def test_concept_files_with_odd_tensors(desk: Path, count: int) -> None:
    with safe_open(desk / "disc.safetensors", "pt") as file:
        words = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def check(name: str, how: str) -> None:
        changed = dict(tensors)
        match how:
            case "gone":
                del changed[name]
            case "empty":
                changed[name] = torch.zeros(0)
            case "scalar":
                changed[name] = torch.tensor(1.0)
            case "more":
                changed[name] = torch.cat([tensors[name], tensors[name]])
            case "turned":
                changed[name] = tensors[name].T.contiguous() if tensors[name].ndim == 2 else tensors[name][None]
            case "integers":
                changed[name] = torch.ones(tensors[name].shape, dtype=torch.int64)
            case _:
                changed[name] = torch.full(tensors[name].shape, float(how))
        look_at_concept(desk, save(changed, words))

    ways = ["gone", "empty", "scalar", "more", "turned", "integers", "0", "nan", "inf", "1e38", "-1"]
    fuzz(count, check, name=st.sampled_from(sorted(tensors)), how=st.sampled_from(ways))


def look_at_concept(desk: Path, data: bytes) -> None:
    """Show a concept's file, and search with it where that went well: both read it in the same way."""
    with case(desk) as place:
        (place / "c.safetensors").write_bytes(data)
        if "error" not in run_beside(place, "show", place / "c.safetensors"):
            run_beside(place, "segment", place / "c.safetensors", "photo.png", "-o", place / "out")


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to every value in JSON."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from _places(inner, (*path, key))


# ------------------------------------------------------------------------------------------------------------ names

LETTERS = st.text(st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1, max_size=80)
BYTES = st.binary(min_size=1, max_size=120).map(
    lambda data: os.fsdecode(data.translate(bytes.maketrans(b"/\0", b"__")))
)
SPECIAL = st.sampled_from(
    ["-", "--", "-o", "~", "~nobody", "[red]", "[/]", ":mug:", "*", "?", "[1]", "a\nb", "a\u2028b", "..a", " ", "é"]
)
NAMES = st.one_of(LETTERS, BYTES, SPECIAL)


@cases(20, 500)
def test_names_of_any_kind(desk: Path, count: int) -> None:
    def check(photo: str, called: str) -> None:
        with case(desk) as place:
            (place / "album").mkdir()
            try:
                file = place / "album" / f"{photo}.png"
                file.write_bytes((desk / "photo.png").read_bytes())
            except (OSError, ValueError):
                return  # no name of a file, here
            learned = run_beside(
                place, "learn", "photo.png", "mask.png", f"--name={called}", "-o", place / "out.safetensors"
            )
            if "error" in learned:
                return  # no name of a thing
            options = ("--overlay", "--coco", "--sheet")
            found = run_beside(
                place, "segment", place / "out.safetensors", place / "album", "-o", place / "out", *options
            )
            if not photo.startswith("."):  # hidden
                assert found["photos"] == 1
                assert all((place / "out" / name).is_file() for name in found["results"][0]["files"].values())

    fuzz(count, check, photo=NAMES, called=NAMES)
