"""Photos as people have them, as (H, W, 3) uint8 RGB, upright; any picture file opened safely.

Found, whole, of a sane size, or one sentence that says why not.
"""

from __future__ import annotations

import contextlib
import glob
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from persam.errors import PersamError, UsageError

ImageSource = str | Path | Image.Image | np.ndarray

#: File names that a folder or a glob is searched for.
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif")
)

# Cameras and instruments write 10, 12 or 14 bits into 16-bit files.
_SENSOR_MAXIMA = (255, 1023, 4095, 16383, 65535)

#: Pixels above which a picture is refused; 200-megapixel phones stay below it.
DEFAULT_MAX_PIXELS = 250_000_000
MAX_PIXELS_VARIABLE = "PERSAM_MAX_PIXELS"

# What Pillow's decoders raise on data that ends early or makes no sense.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_MAGIC_NUMBERS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_EXIF_ORIENTATION = 0x0112
_pillow_limit_lock = threading.Lock()


def read_image(source: ImageSource, *, max_pixels: int | None = None) -> np.ndarray:
    """Read a photo as every viewer shows it.

    EXIF rotation is applied; grey, palette, CMYK, 16-bit and float pictures become RGB; of an animation the first
    frame is taken; transparent places become white. 16-bit values are scaled by the smallest usual bit depth (8, 10,
    12, 14 or 16) that holds the largest of them; float values in [0, 1] by 255, others from their range.

    Args:
        source: A path, a Pillow image, or an array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8, uint16 or bool.
        max_pixels: Refuse larger pictures; default 250 million, or the environment variable ``PERSAM_MAX_PIXELS``.

    Returns:
        (H, W, 3) uint8, RGB, 0 to 255, contiguous.

    Raises:
        PersamError: The file is missing, empty, truncated, no picture or too large; the array has another form.
    """
    if isinstance(source, np.ndarray):
        if source.dtype == np.uint8 and source.ndim == 3 and source.shape[2] == 3 and source.size:
            return np.array(source, order="C")  # what was read before is only copied
        picture = _picture_from_array(source)
    elif isinstance(source, Image.Image):
        picture = source
    elif isinstance(source, (str, os.PathLike)):
        picture = open_picture(source, what="photo", max_pixels=max_pixels)
    else:
        raise UsageError(
            f"A photo must be a path, a Pillow image or an (H, W, 3) uint8 array, not {type(source).__name__}."
        )
    if picture.width == 0 or picture.height == 0:
        raise PersamError(f"The photo has no pixels ({picture.width} x {picture.height}); give another.")
    return np.array(_to_rgb(upright(picture)))  # a copy: contiguous and writable


def read_orientation(source: ImageSource) -> int:
    """Return the EXIF orientation of a photo, 1 (stored upright) to 8; 1 for arrays."""
    if isinstance(source, np.ndarray):
        return 1
    return exif_orientation(source if isinstance(source, Image.Image) else open_picture(source))


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """List the photos that files, folders and globs name, each once, in the order given, folders sorted by name.

    A folder gives the pictures directly in it (by suffix, hidden ones left out); a glob such as ``'album/**/*.jpg'``
    gives what it matches. A file that was named itself is listed whatever its suffix, even if it is missing: reading
    it will say what is wrong with it, and the others go on.

    Raises:
        UsageError: A folder or a glob has no picture, or nothing was named at all.
    """
    found: dict[str, Path] = {}
    for given in paths:
        for file in _files_of(Path(given).expanduser()):
            found.setdefault(str(file.absolute()), file)
    if not found:
        raise UsageError("No photos were named; give files, folders or globs.")
    return list(found.values())


# ------------------------------------------------------------------------------------------ any picture file


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


# ------------------------------------------------------------------------------------- which files, which values


def _files_of(path: Path) -> Sequence[Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if _is_photo_name(file))
        if not files:
            raise UsageError(
                f"There are no pictures in the folder {path}; for those in its subfolders give '{path}/**/*.jpg'."
            )
        return files
    if not path.exists() and glob.has_magic(str(path)):
        files = sorted(Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207 (absolute patterns too)
        files = [file for file in files if _is_photo_name(file)]
        if not files:
            raise UsageError(f"No picture matches {str(path)!r}; check the pattern.")
        return files
    return [path]


def _is_photo_name(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()


def _picture_from_array(array: np.ndarray) -> Image.Image:
    wanted = "give an (H, W, 3) uint8 RGB array"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0:
        raise PersamError(f"The photo is an array without pixels, shape {array.shape}; {wanted}.")
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise PersamError(f"The photo is an array of shape {array.shape}; {wanted}.")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = _to_uint8(array)
    elif array.dtype != np.uint8:
        raise PersamError(f"The photo is an array of {array.dtype}; {wanted} with values from 0 to 255.")
    return Image.fromarray(np.ascontiguousarray(array))


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return Image.fromarray(_to_uint8(np.asarray(picture))).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Scale values of more than 8 bits, integer or float, to 0..255."""
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    is_fraction = bool(np.any(values != np.floor(values)))
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > _SENSOR_MAXIMA[-1]:  # no usual range: take its own
        values, high = values - low, high - low
        top = high or 1.0
    elif is_fraction and high <= 1.0:
        top = 1.0
    else:
        top = next(maximum for maximum in _SENSOR_MAXIMA if high <= maximum)
    return np.round(values * (255.0 / top)).astype(np.uint8)
