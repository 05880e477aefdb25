"""Photos as people have them, as (H, W, 3) uint8 RGB, upright; any picture file opened safely.

Found, whole, of a sane size, or one sentence that says why not.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from persam.errors import NoPictureError, PersamError, PersamWarning, UsageError, first_line
from persam.files import expanded
from persam.places import Place, RemotePath, is_remote, place_of

ImageSource = str | Path | Image.Image | np.ndarray  # a text may be a URL
_Source = TypeVar("_Source")

#: File names that a folder or a glob is searched for.
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif")
)

# Cameras and instruments write 10, 12 or 14 bits into 16-bit files.
_SENSOR_MAXIMA = (255, 1023, 4095, 16383, 65535)

#: Pixels above which a picture is refused; 200-megapixel phones stay below it.
DEFAULT_MAX_PIXELS = 250_000_000
MAX_PIXELS_VARIABLE = "PERSAM_MAX_PIXELS"

HEIC_SUFFIXES = frozenset((".heic", ".heif"))
HEIC_EXTRA = "pip install 'persam[heic]'"
#: Photos as sensors give them. Many are TIFF files that hold a tiny preview, which is not the photo.
RAW_SUFFIXES = frozenset(
    (
        *(".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".dng", ".raf", ".orf", ".rw2", ".pef"),
        *(".srw", ".3fr", ".fff", ".iiq", ".erf", ".mef", ".mos", ".kdc", ".dcr", ".x3f", ".rwl"),
    )
)

# Pillow knows more, such as EPS, for which it runs another program.
_FORMATS = (
    *("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "AVIF", "HEIF"),
    *("JPEG2000", "PPM", "TGA", "ICO", "PCX", "SGI", "PSD"),
)
_PAGED = {"GIF": "frames", "PNG": "frames", "WEBP": "frames", "AVIF": "frames", "TIFF": "pages"}
_TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_MAGIC_NUMBERS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", *_TIFF_STARTS)
_AVIF_BRANDS = (b"avif", b"avis")  # others are of videos
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_EXIF_ORIENTATION = 0x0112
# Of TIFF files: a number by which large ones are known, and tags.
_BIG_TIFF, _WIDTH, _HEIGHT, _BITS, _STARTS, _LENGTHS, _PLANES = 43, 256, 257, 258, 273, 279, 284
_COMPRESSION, _COLOURS, _YCBCR = 259, 262, 6
_RGB_OF_BGR = {1: [0], 2: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}  # OpenCV's order of channels
_pillow_limit_lock = threading.Lock()

# What Pillow warns of (EXIF that makes no sense, a size above its own limit) is of no use to who has the photo. Photos
# are read in threads, for which `warnings.catch_warnings` is not made; who asked for these warnings gets them.
warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\.", append=True)


def read_image(source: ImageSource | RemotePath, *, max_pixels: int | None = None, what: str = "photo") -> np.ndarray:
    """Read a photo as every viewer shows it.

    EXIF rotation is applied; grey, palette, CMYK, 16-bit and float pictures become RGB; of an animation the first
    frame is taken; transparent places become white. 16-bit values are scaled by the smallest usual bit depth (8, 10,
    12, 14 or 16) that holds the largest of them; float values in [0, 1] by 255, others from their range.

    Args:
        source: A path or URL, a Pillow image, or an array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8, uint16 or
            bool.
        max_pixels: Refuse larger pictures; default 250 million, or the environment variable ``PERSAM_MAX_PIXELS``.
        what: The word for it in error sentences.

    Returns:
        (H, W, 3) uint8, RGB, 0 to 255, contiguous.

    Raises:
        PersamError: The file is missing, empty, truncated, no picture or too large; the array has another form.
    """
    if isinstance(source, np.ndarray):
        if source.dtype == np.uint8 and source.ndim == 3 and source.shape[2] == 3 and source.size:
            return np.array(source, order="C")  # what was read before is only copied
        picture = _picture_from_array(source, what)
    elif isinstance(source, Image.Image):
        picture = source
    elif isinstance(source, (str, os.PathLike, RemotePath)):
        picture = open_picture(source, what=what, max_pixels=max_pixels)
    else:
        raise UsageError(
            f"A {what} must be a path, a Pillow image or an (H, W, 3) uint8 array, not {type(source).__name__}."
        )
    if picture.width == 0 or picture.height == 0:
        raise PersamError(f"The {what} has no pixels ({picture.width} x {picture.height}); give another.")
    try:
        return np.array(_to_rgb(upright(picture)))  # a copy: contiguous and writable
    except (ValueError, OSError) as error:  # Pillow converts many modes, not each into each
        words = f"A picture of the mode {picture.mode} cannot be read as a {what}; save it as RGB."
        raise PersamError(words) from error


def read_smaller(
    file: str | Place, longest: int | None, data: bytes | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Read a photo as `read_image` does, but a large JPEG at a half, a quarter or an eighth of its size.

    That takes a part of the time and memory, and a model that looks at fewer pixels sees the same.

    Args:
        file: A path or URL.
        longest: Its longest side will not be shorter than this, unless the photo's own is; None: as it is.
        data: What is in it, if that was read before.

    Returns:
        (h, w, 3) uint8, RGB, and the photo's own size (H, W).

    Raises:
        PersamError: As `read_image`.
    """
    picture, (width, height) = _decoded(file, "photo", None, longest, data)
    sideways = exif_orientation(picture) >= 5
    return read_image(picture), (width, height) if sideways else (height, width)


def read_orientation(source: ImageSource) -> int:
    """Return the EXIF orientation of a photo, 1 (stored upright) to 8; 1 for arrays."""
    if isinstance(source, np.ndarray):
        return 1
    return exif_orientation(source if isinstance(source, Image.Image) else open_picture(source))


def read_once(source: _Source, what: str = "photo") -> _Source | Image.Image:
    """Read a pipe, such as ``<(cat mug.jpg)``, which gives its picture only once, or what is not on this disk; return
    all else as it is."""
    if is_remote(source):
        return open_picture(str(source), what=what)
    if isinstance(source, (str, os.PathLike)) and is_pipe(expanded(Path(source))):
        return open_picture(Path(source), what=what)
    return source


# ------------------------------------------------------------------------------------------ any picture file


def max_pixels_allowed() -> int:
    """Return the largest number of pixels that a picture may have (environment variable ``PERSAM_MAX_PIXELS``)."""
    text = os.environ.get(MAX_PIXELS_VARIABLE, "").replace("_", "")
    if not text:
        return DEFAULT_MAX_PIXELS
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"{MAX_PIXELS_VARIABLE} must be a number of pixels such as 500000000, not {text!r}.")
    return int(text)


def open_picture(
    path: str | Place, *, what: str = "photo", max_pixels: int | None = None, data: bytes | None = None
) -> Image.Image:
    """Open and decode the first frame of a picture file, still in its own mode and stored orientation.

    Args:
        path: The file, or its URL. ``~`` is expanded.
        what: The word for it in error sentences ("photo", "mask").
        max_pixels: Refuse more pixels than this; default `max_pixels_allowed`.
        data: What is in it, if that was read before.

    Raises:
        PersamError: The file is missing, a folder, empty, not a picture, truncated, or too large.
    """
    return _decoded(path, what, max_pixels, data=data)[0]


def _decoded(
    path: str | Place, what: str, max_pixels: int | None, longest: int | None = None, data: bytes | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """The picture, and its width and height as they were before a JPEG was decoded at a part of its size."""
    place = place_of(path)
    file = place if data is not None or isinstance(place, RemotePath) else check_file(place, what=what)
    if file.suffix.lower() in RAW_SUFFIXES:
        raise PersamError(f"The {what} {file} is a RAW photo, which persam does not read; export it as JPEG or TIFF.")
    limit = max_pixels_allowed() if max_pixels is None else max_pixels
    try:
        with _stream(file) if data is None else io.BytesIO(data) as stream:
            picture = open_header(stream, file, what, limit)
            size = picture.size
            check_pixels(size, limit, file, what)
            if longest is not None and longest < max(size):
                share = longest / max(size)
                picture.draft(None, (math.ceil(size[0] * share), math.ceil(size[1] * share)))  # of JPEGs alone
            picture.load()
            count = getattr(picture, "n_frames", 1)
            whole = picture.copy() if count > 1 else picture
    except (PersamError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise a dozen kinds on data that ends early or makes no sense
        raise _damaged(file, what, error) from error
    if count > 1 and picture.format in _PAGED:
        words = f"The {what} {file} has {count} {_PAGED[picture.format]}; only the first is taken."
        warnings.warn(words, PersamWarning, stacklevel=2)
    return whole, size


def check_file(path: str | Path, *, what: str) -> Path:
    """Return ``path`` as an existing, readable file that is not empty (or a pipe), or raise `PersamError`."""
    file = expanded(path)
    try:
        if file.is_dir():
            raise PersamError(f"{file} is a folder, not a {what}; give one of the files in it.")
        if not file.exists():
            kind = "photo or folder" if what == "photo" and not file.suffix else what  # of photos a folder will do
            raise PersamError(f"There is no {kind} at {file}; check the path.")
        if is_pipe(file):
            return file  # looking into it would take something out of it
        if not file.is_file():
            raise PersamError(f"{file} is a device, not a {what}; give a file.")
        if file.stat().st_size == 0:
            raise PersamError(f"The {what} {file} is empty (0 bytes); copy or download it again.")
        with file.open("rb") as stream:
            stream.read(1)
    except PermissionError as error:
        raise PersamError(f"The {what} {file} may not be read; change its permissions.") from error
    except (OSError, ValueError) as error:
        raise PersamError(f"The {what} {file} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return file


def is_pipe(file: Path) -> bool:
    """Whether a path is a pipe, which can be read once."""
    try:
        return file.is_fifo()
    except (OSError, ValueError):
        return False


def upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF orientation says, which is how every viewer shows it."""
    try:
        return ImageOps.exif_transpose(picture)
    except MemoryError:
        raise
    except Exception:  # unreadable EXIF: viewers show the picture as stored
        return picture


def exif_orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 (stored upright) to 8."""
    try:
        value = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # unreadable EXIF
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def check_pixels(size: tuple[int, int], limit: int, file: str | Place, what: str) -> None:
    """See that a picture, or a clip's frames, of this (width, height) may be decoded.

    Raises:
        PersamError: it has more pixels than the limit.
    """
    width, height = size
    if width * height > limit:
        raise PersamError(
            f"The {what} {file} has {width} x {height} = {width * height / 1e6:,.0f} million pixels, more than the "
            f"{limit / 1e6:,.0f} million allowed; make it smaller, or set {MAX_PIXELS_VARIABLE}={width * height} "
            "if you trust it."
        )


def _stream(file: Place) -> BinaryIO:
    if isinstance(file, RemotePath):
        return io.BytesIO(file.read_whole())
    return io.BytesIO(file.read_bytes()) if is_pipe(file) else file.open("rb")


def open_header(stream: BinaryIO, file: Place, what: str, limit: int) -> Image.Image:
    """Look what a stream holds, which tells a picture's size before it is decoded.

    Raises:
        NoPictureError: something else than a picture.
        PersamError: it is damaged, or needs one more package.
    """
    try:
        return _opened(stream, file, what, limit)
    except (PersamError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise a dozen kinds on heads that make no sense
        raise _damaged(file, what, error) from error


def _opened(stream: BinaryIO, file: Place, what: str, limit: int) -> Image.Image:
    try:
        picture = _identified(stream)
        if picture.format != "TIFF" or _is_known(picture):
            return picture
    except UnidentifiedImageError:
        pass
    stream.seek(0)
    start = stream.read(12)
    if not start:
        raise PersamError(f"The {what} {file} is empty (0 bytes); copy or download it again.")
    if start[4:8] == b"ftyp" and start[8:] in _HEIC_BRANDS:
        return _open_heic(stream, file, what)
    if start.startswith(_TIFF_STARTS):
        return _open_tiff(stream, file, what, limit)
    is_avif = start[4:8] == b"ftyp" and start[8:] in _AVIF_BRANDS
    if start.startswith(_MAGIC_NUMBERS) or (start[:4], start[8:]) == (b"RIFF", b"WEBP") or is_avif:
        raise _damaged(file, what)
    raise NoPictureError(
        f"The {what} {file} is not a picture that can be read; give a JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF file."
    )


def _identified(stream: BinaryIO) -> Image.Image:
    Image.init()
    formats = [each for each in _FORMATS if each in Image.OPEN]
    stream.seek(0)
    try:
        return Image.open(stream, formats=formats)
    except Image.DecompressionBombError:  # Pillow's limit lies below ours
        with _pillow_limit_lock, _without_pillow_limit():
            stream.seek(0)
            return Image.open(stream, formats=formats)


def _open_heic(stream: BinaryIO, file: Place, what: str) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise PersamError(
            f"The {what} {file} is a HEIC picture, which needs one more package: {HEIC_EXTRA}."
        ) from error
    pillow_heif.register_heif_opener()
    return _identified(stream)


def _open_tiff(stream: BinaryIO, file: Place, what: str, limit: int) -> Image.Image:
    """Open a TIFF of values for which Pillow has no mode, such as colours in float, as 8-bit colours."""
    stream.seek(0)
    head = stream.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(head + stream.read(8) if head[2] == _BIG_TIFF else head)
    stream.seek(tags.next)
    tags.load(stream)
    ends = [sum(part) for part in zip(tags[_STARTS], tags[_LENGTHS], strict=True)] if _STARTS in tags else []
    if max(ends, default=0) > stream.seek(0, os.SEEK_END):
        raise _damaged(file, what)
    check_pixels((int(tags[_WIDTH]), int(tags[_HEIGHT])), limit, file, what)
    values = None if tags.get(_PLANES, 1) != 1 else _decoded_by_opencv(stream)
    if values is None:
        raise PersamError(
            f"The {what} {file} is a TIFF of values that cannot be read; save it with 8 or 16 bits, colours together."
        )
    picture = Image.fromarray(_to_uint8(values if values.ndim == 2 else values[:, :, _RGB_OF_BGR[values.shape[2]]]))
    picture.getexif()[_EXIF_ORIENTATION] = int(tags.get(_EXIF_ORIENTATION, 1))
    return picture


def _is_known(picture: Image.Image) -> bool:
    """Whether Pillow reads the values of a TIFF as they are: one colour after the other with 16 bits it takes for 8,
    and before version 13 it looks for a fourth byte in uncompressed YCbCr."""
    tags = getattr(picture, "tag_v2", {})
    if tags.get(_COLOURS) == _YCBCR and tags.get(_COMPRESSION, 1) == 1:
        return False
    return tags.get(_PLANES, 1) == 1 or max(tags.get(_BITS, (8,))) <= 8


def _decoded_by_opencv(stream: BinaryIO) -> np.ndarray | None:
    import cv2

    stream.seek(0)
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it would write pages to stderr
    try:
        values = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(before)
    return values


@contextlib.contextmanager
def _without_pillow_limit() -> Iterator[None]:
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _damaged(file: Place, what: str, error: Exception | None = None) -> PersamError:
    if isinstance(error, OSError) and error.errno is not None:  # the disk's fault, not the file's
        return PersamError(f"The {what} {file} cannot be read: {error.strerror}.")
    if isinstance(error, Warning):
        return PersamError(f"The {what} {file} is not read where warnings are errors: {first_line(error)}")
    return PersamError(f"The {what} {file} is truncated or damaged; copy or download it again.")


# ------------------------------------------------------------------------------------------------ which values


def _picture_from_array(array: np.ndarray, what: str) -> Image.Image:
    wanted = "give an (H, W, 3) uint8 RGB array"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0:
        raise PersamError(f"The {what} is an array without pixels, shape {array.shape}; {wanted}.")
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise PersamError(f"The {what} is an array of shape {array.shape}; {wanted}.")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = _to_uint8(array)
    elif array.dtype != np.uint8:
        raise PersamError(f"The {what} is an array of {array.dtype}; {wanted} with values from 0 to 255.")
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
