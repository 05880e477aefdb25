"""Open a picture file safely: found, whole, of a sane size, or one sentence that says why not."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from persam.errors import PersamError, UsageError

#: Pixels above which a picture is refused; 200-megapixel phones stay below it.
DEFAULT_MAX_PIXELS = 250_000_000
MAX_PIXELS_VARIABLE = "PERSAM_MAX_PIXELS"

# What Pillow's decoders raise on data that ends early or makes no sense.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_MAGIC_NUMBERS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_EXIF_ORIENTATION = 0x0112
_pillow_limit_lock = threading.Lock()


def max_pixels_allowed() -> int:
    """Return the largest number of pixels that a picture may have (environment variable ``PERSAM_MAX_PIXELS``)."""
    text = os.environ.get(MAX_PIXELS_VARIABLE, "").replace("_", "")
    if not text:
        return DEFAULT_MAX_PIXELS
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"{MAX_PIXELS_VARIABLE} must be a number of pixels such as 500000000, not {text!r}.")
    return int(text)


def open_picture(path: str | Path, *, what: str = "photo", max_pixels: int | None = None) -> Image.Image:
    """Open and decode the first frame of a picture file, still in its own mode and stored orientation.

    Args:
        path: The file. ``~`` is expanded.
        what: The word for it in error sentences ("photo", "mask").
        max_pixels: Refuse more pixels than this; default `max_pixels_allowed`.

    Raises:
        PersamError: The file is missing, a folder, empty, not a picture, truncated, or too large.
    """
    file = check_file(path, what=what)
    picture = _open(file, what)
    width, height = picture.size
    limit = max_pixels_allowed() if max_pixels is None else max_pixels
    if width * height > limit:
        picture.close()
        raise PersamError(
            f"The {what} {file} has {width} x {height} = {width * height / 1e6:,.0f} million pixels, more than the "
            f"{limit / 1e6:,.0f} million allowed; make it smaller, or set {MAX_PIXELS_VARIABLE}={width * height} "
            "if you trust it."
        )
    try:
        with picture:  # closes the file; the decoded pixels stay
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                picture.load()
            return picture.copy() if getattr(picture, "n_frames", 1) > 1 else picture
    except (*_DECODE_ERRORS, Image.DecompressionBombError) as error:
        raise _damaged(file, what) from error


def check_file(path: str | Path, *, what: str) -> Path:
    """Return ``path`` as an existing, readable file that is not empty, or raise `PersamError`."""
    file = Path(path).expanduser()
    try:
        if file.is_dir():
            raise PersamError(f"{file} is a folder, not a {what}; give one of the files in it.")
        if not file.exists():
            raise PersamError(f"There is no {what} at {file}; check the path.")
        if file.stat().st_size == 0:
            raise PersamError(f"The {what} {file} is empty (0 bytes); copy or download it again.")
        with file.open("rb") as stream:
            stream.read(1)
    except PermissionError as error:
        raise PersamError(f"The {what} {file} may not be read; change its permissions.") from error
    except (OSError, ValueError) as error:
        raise PersamError(f"The {what} {file} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return file


def upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF orientation says, which is how every viewer shows it."""
    try:
        return ImageOps.exif_transpose(picture)
    except _DECODE_ERRORS:  # unreadable EXIF: viewers show the picture as stored
        return picture


def exif_orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 (stored upright) to 8."""
    try:
        value = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except _DECODE_ERRORS:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _open(file: Path, what: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return Image.open(file)
            except Image.DecompressionBombError:  # Pillow's limit lies below ours
                with _pillow_limit_lock, _without_pillow_limit():
                    return Image.open(file)
    except UnidentifiedImageError as error:
        if file.suffix.lower() in {".heic", ".heif"}:
            return _open_heic(file, what)
        with file.open("rb") as stream:
            start = stream.read(12)
        if start.startswith(_MAGIC_NUMBERS) or (start[:4], start[8:]) == (b"RIFF", b"WEBP"):
            raise _damaged(file, what) from error
        raise PersamError(
            f"The {what} {file} is not a picture that can be read; give a JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF file."
        ) from error
    except _DECODE_ERRORS as error:
        raise _damaged(file, what) from error


def _open_heic(file: Path, what: str) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise PersamError(
            f"The {what} {file} is a HEIC picture, which needs one more package: pip install 'persam[heic]'."
        ) from error
    pillow_heif.register_heif_opener()
    try:
        return Image.open(file)
    except (UnidentifiedImageError, *_DECODE_ERRORS) as error:
        raise _damaged(file, what) from error


@contextlib.contextmanager
def _without_pillow_limit() -> Iterator[None]:
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _damaged(file: Path, what: str) -> PersamError:
    return PersamError(f"The {what} {file} is truncated or damaged; copy or download it again.")
