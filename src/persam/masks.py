"""Masks in every form that people save them in, as (H, W) bool."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image

from persam.errors import PersamError, UsageError
from persam.images import check_file, open_picture, upright
from persam.labels import Label, LabelMap

MaskSource = str | Path | Image.Image | np.ndarray

_ASPECT_TOLERANCE = 0.01
_LABEL_LIMIT = 32  # a mask whose largest value is below this holds labels (0, 1, 2...), not brightness
_FEW_LEVELS = 8  # so many different values or fewer are labels or colours; more are soft edges or JPEG noise
# So many levels, and so much of the picture neither dark nor bright: a photo. Soft edges are a small share of a mask.
_PHOTO_LEVELS, _PHOTO_MIDDLE = 64, 0.3
#: What a viewer does to show a picture of this EXIF orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # those that show a photo on its side


def read_mask(
    source: MaskSource,
    size: tuple[int, int] | None = None,
    *,
    what: str = "mask",
    photo_orientation: int = 1,
    as_stored: bool = False,
    label: Label | None = None,
    may_be_trivial: bool = False,
) -> np.ndarray:
    """Read a mask: which pixels are the object.

    Understood are 0/1, 0/128, 0/255, 16-bit, boolean and float values, 1-bit, palette and coloured pictures (every
    colour but black is the object), soft edges and JPEG noise (cut at half of the largest value), and transparency
    (opaque is the object) when the colours do not tell. A mask is never inverted by guess.

    Args:
        source: A path, a Pillow image, or an array (H, W), (1, H, W), (H, W, 1), (H, W, 3) or (H, W, 4).
        size: (H, W) of the upright photo. A mask of another size but the same aspect (1 %) is resized, nearest.
        what: The word for it in error sentences.
        photo_orientation: The photo's EXIF orientation: a mask of another size that lies as the photo is stored is
            turned with it.
        as_stored: The mask was drawn on the photo as stored, so turn it whatever its size; one that says itself how
            it is to be turned (EXIF) has been.
        label: Which label is the object, see `persam.labels`; by default all of them are.
        may_be_trivial: Accept a mask of no pixel or of every pixel, as the truth of a test photo may be.

    Returns:
        (H, W) bool, True on the object; unless `may_be_trivial`, at least one pixel is True and at least one is False.

    Raises:
        PersamError: The file cannot be read, is a photo, has another aspect, or no pixel or every pixel is the object.
        UsageError: The label is not in it.
    """
    name = name_of(source, what)
    try:
        if label is not None:
            mask = read_labels(source, what).pick(label, name)
        elif isinstance(source, np.ndarray):
            mask = _mask_from_array(source, what)
        elif isinstance(source, Image.Image):
            mask = _mask_from_picture(upright(source))
        elif isinstance(source, (str, os.PathLike)):
            mask = _mask_from_picture(upright(open_picture(source, what=what)))
        else:
            raise UsageError(f"A {what} must be a path, a Pillow image or an array, not {type(source).__name__}.")
    except _PhotoError:
        raise PersamError(
            f"{name} looks like a photo; give a picture in which the object is white and all else black."
        ) from None
    if not may_be_trivial:
        _check_not_trivial(mask, name)
    if as_stored and not says_its_orientation(source):
        mask, photo_orientation = turned(mask, photo_orientation), 1
    if size is not None and mask.shape != tuple(size):
        mask = _fit(mask, size, name, photo_orientation)
        if not may_be_trivial:
            _check_not_trivial(mask, name)
    return mask


def name_of(source: MaskSource, what: str = "mask") -> str:
    """Call a mask by its file, at the beginning of a sentence."""
    return f"The {what} {source}" if isinstance(source, (str, os.PathLike)) else f"The {what}"


def read_labels(source: MaskSource, what: str = "mask") -> LabelMap:
    """Read what tells things apart in a mask."""
    if isinstance(source, np.ndarray):
        return LabelMap.of(_without_batch(source))
    return LabelMap.of(upright(source if isinstance(source, Image.Image) else open_picture(source, what=what)))


def says_its_orientation(source: MaskSource) -> bool:
    """Whether a mask's own EXIF says how it is shown, so that it is known how it lies."""
    if isinstance(source, np.ndarray):
        return False
    picture = source if isinstance(source, Image.Image) else open_picture(source, what="mask")
    try:
        return picture.getexif().get(ExifTags.Base.Orientation) is not None
    except Exception:  # unreadable EXIF
        return False


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (H, W) bool or (H, W, 3) uint8 as a viewer turns a picture of this EXIF orientation, 1 to 8."""
    if orientation not in TURNS:
        return pixels
    picture = Image.fromarray(pixels.astype(np.uint8)).transpose(TURNS[orientation])
    return np.array(picture).astype(pixels.dtype)


def lies_as_stored(shape: tuple[int, ...], size: tuple[int, int], orientation: int) -> bool:
    """Whether a mask of this shape can only have been drawn on the photo as stored, which lies on its side there."""
    return orientation in _SIDEWAYS and not same_aspect(shape, size) and same_aspect((shape[1], shape[0]), size)


def read_mask_values(source: MaskSource) -> np.ndarray:
    """Read a mask as the published code sees it (``cv2.imread``, then RGB): raw values, no threshold.

    Returns:
        (H, W, 3) uint8, RGB. Boolean arrays become 0 and 255; of other arrays the values are kept, clipped to 0..255.
    """
    if isinstance(source, np.ndarray):
        values = _without_batch(source)
        values = values.astype(np.uint8) * 255 if values.dtype == np.bool_ else np.clip(values, 0, 255).astype(np.uint8)
        values = values[:, :, None] if values.ndim == 2 else values
        return np.ascontiguousarray(np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values[:, :, :3])
    if isinstance(source, Image.Image):
        return np.array(upright(source).convert("RGB"))
    picture = open_picture(source, what="mask")  # refuses what is too large or damaged, in a sentence
    decoded = cv2.imdecode(np.fromfile(check_file(source, what="mask"), np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:  # a format that OpenCV does not know
        return np.array(upright(picture).convert("RGB"))
    return np.ascontiguousarray(decoded[:, :, ::-1])


def read_alpha(source: MaskSource) -> np.ndarray | None:
    """Read the opaque part of a transparent cut-out as (H, W) bool, or None if all of it is equally opaque."""
    if isinstance(source, np.ndarray):
        has_alpha = source.ndim == 3 and source.shape[2] == 4
        return _informative(source[:, :, 3]) if has_alpha else None
    picture = source if isinstance(source, Image.Image) else open_picture(source)
    if not picture.has_transparency_data:
        return None
    return _informative(np.asarray(upright(picture).convert("RGBA"))[:, :, 3])


def _mask_from_array(array: np.ndarray, what: str) -> np.ndarray:
    array = _without_batch(array)
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise PersamError(f"The {what} is an array of shape {array.shape}; give an (H, W) array.")
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_) or np.iscomplexobj(array):
        raise PersamError(f"The {what} is an array of {array.dtype}; give boolean values, or 0 and 1.")
    if array.ndim == 3 and array.shape[2] == 4:
        return _mask_from_rgba(array)
    return _mask_from_levels(_levels(array))


def _without_batch(array: np.ndarray) -> np.ndarray:
    """Take the mask out of (1, H, W), which models return; (H, W, 1) with one row keeps its meaning."""
    return array[0] if array.ndim == 3 and array.shape[0] == 1 and array.shape[2] != 1 else array


def _mask_from_picture(picture: Image.Image) -> np.ndarray:
    if picture.has_transparency_data:
        return _mask_from_rgba(np.asarray(picture.convert("RGBA")))
    if picture.mode in ("P", "PA"):
        colours = _levels(np.asarray(picture.convert("RGB")))
        # Label maps are sometimes saved with a palette that says nothing: then the labels themselves count.
        return _mask_from_levels(colours if colours.min() < colours.max() else _levels(np.asarray(picture)))
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        picture = picture.convert("RGB")
    return _mask_from_levels(_levels(np.asarray(picture)))


def _mask_from_rgba(rgba: np.ndarray) -> np.ndarray:
    colours, alpha = _levels(rgba[:, :, :3]), _informative(rgba[:, :, 3])
    if alpha is None:
        return _mask_from_levels(colours)
    visible = colours[alpha]
    # A black-and-white mask with see-through corners is still that mask; any other colours are a cut-out's.
    if visible.min() == 0 < visible.max() and len(np.unique(visible)) <= 2:
        return _mask_from_levels(np.where(alpha, colours, 0))
    return alpha


def _levels(values: np.ndarray) -> np.ndarray:
    """Return (H, W) brightness: the largest channel, so that every colour but black counts."""
    values = np.nan_to_num(values) if np.issubdtype(values.dtype, np.floating) else values
    return values.max(axis=2) if values.ndim == 3 else values


def _mask_from_levels(levels: np.ndarray) -> np.ndarray:
    """Cut levels into object and background, by the kind of values that they are."""
    if levels.dtype == np.bool_:
        return np.array(levels)
    top = float(levels.max())
    if top <= 0:
        return np.zeros(levels.shape, bool)
    if np.issubdtype(levels.dtype, np.floating) and top <= 1:
        return levels > top / 2
    if top < _LABEL_LIMIT:
        return levels > 0
    count = len(np.unique(levels))
    if levels.dtype == np.uint8 and count > _PHOTO_LEVELS:
        _check_no_photo(levels, top)
    few = count <= _FEW_LEVELS
    return levels > (top / 8 if few else top / 2)


def _check_no_photo(levels: np.ndarray, top: float) -> None:
    """Refuse a photo that was given where its mask belongs, instead of cutting it at half of its brightness."""
    if float(((levels > 0.15 * top) & (levels < 0.85 * top)).mean()) > _PHOTO_MIDDLE:
        raise _PhotoError


class _PhotoError(Exception):
    """The picture has the brightness of a photo, not of a mask."""


def _informative(alpha: np.ndarray) -> np.ndarray | None:
    opaque = alpha > float(alpha.max()) / 2
    return opaque if opaque.any() and not opaque.all() else None


def _check_not_trivial(mask: np.ndarray, name: str) -> None:
    if not mask.any():
        raise PersamError(f"{name} has no object: every pixel is background; paint the object white on black.")
    if mask.all():
        raise PersamError(f"{name} covers everything: every pixel is object; paint what is not the object black.")


def _fit(mask: np.ndarray, size: tuple[int, int], name: str, photo_orientation: int) -> np.ndarray:
    height, width = size
    if lies_as_stored(mask.shape, size, photo_orientation):
        mask = turned(mask, photo_orientation)
    if same_aspect(mask.shape, (height, width)):
        resized = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return resized.astype(bool)
    shown = f"{name} is {mask.shape[1]} x {mask.shape[0]} pixels, the photo {width} x {height}"
    if same_aspect(mask.shape[::-1], (height, width)):
        raise PersamError(f"{shown}: it lies on its side; turn it by 90 degrees as the photo is turned.")
    raise PersamError(f"{shown}: another aspect; give a mask that was drawn on this photo.")


def same_aspect(one: tuple[int, ...], other: tuple[int, int], *, pixels: float = 0.5) -> bool:
    """Whether two sizes (H, W, ...) have the same proportions, as far as pixels allow.

    Args:
        one: of a mask, or of another copy.
        other: of the photo.
        pixels: of the copy by which it may be off, for a small one cannot keep the aspect any better: half of one if
            its sides were rounded.
    """
    left, right = one[1] * other[0], one[0] * other[1]
    return abs(left - right) <= max(_ASPECT_TOLERANCE * max(left, right), pixels * max(other))


def check_copy(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    """See that a picture (H, W, ...) may be a smaller copy of a photo of this size (H, W).

    Raises:
        UsageError: it has another aspect.
    """
    if min(size) < 1 or not same_aspect(shape, size, pixels=1):  # decoders of JPEG round up
        raise UsageError(
            f"The copy is {shape[:2]} and the photo {tuple(size)} pixels (H, W), which is another aspect; give the "
            "height and the width of the photo that it is a copy of."
        )
