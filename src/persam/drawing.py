"""Show a mask on a photo so that it reads on every background and at every size."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable

import cv2
import numpy as np
from PIL import ImageFont

from persam.errors import printable

Colour = tuple[int, int, int]

#: Colours that stay apart from each other, also for most colour-blind eyes (after Okabe and Ito).
PALETTE: tuple[Colour, ...] = (
    (255, 64, 129),
    (0, 158, 255),
    (255, 176, 0),
    (0, 190, 120),
    (170, 90, 255),
    (255, 110, 40),
    (86, 210, 233),
    (240, 228, 66),
)

_SYSTEM_FONTS = ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial Unicode.ttf", "Arial.ttf", "msyh.ttc", "arial.ttf")


def colour_of(name: str) -> Colour:
    """Return the colour of a concept, always the same for the same name."""
    return PALETTE[_place_of(name)]


def colours_of(names: Iterable[str]) -> dict[str, Colour]:
    """Colours of concepts that are shown together: those of `colour_of`, but no two alike while there are others."""
    taken: dict[str, int] = {}
    for name in sorted(set(names)):
        first, free = _place_of(name), set(range(len(PALETTE))) - set(taken.values())
        places = [(first + step) % len(PALETTE) for step in range(len(PALETTE))]
        taken[name] = next((place for place in places if place in free), first)
    return {name: PALETTE[place] for name, place in taken.items()}


def _place_of(name: str) -> int:
    return zlib.crc32(name.encode(errors="surrogatepass")) % len(PALETTE)


def draw_overlay(
    image: np.ndarray,
    mask: np.ndarray,
    colour: Colour = PALETTE[0],
    *,
    tint: float = 0.35,
    dim: float = 0.0,
    line: int | None = None,
) -> np.ndarray:
    """Tint the masked part of a photo and draw its outline, light inside dark, so that it reads everywhere.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool.
        colour: RGB of the tint and the outline.
        tint: How much of the colour lies over the object, 0 to 1.
        dim: How much darker the rest becomes, 0 to 1.
        line: Width of the outline in pixels; by default it fits the photo's size.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    if mask.shape != image.shape[:2]:
        raise ValueError(f"image {image.shape[:2]} and mask {mask.shape} differ in size")
    if not mask.any():
        return image.copy()
    shown = image if dim == 0 else (image * np.where(mask, 1.0, 1.0 - dim)[:, :, None]).astype(np.uint8)
    flat = np.empty_like(image)
    flat[:] = colour
    out = np.where(mask[:, :, None], cv2.addWeighted(shown, 1 - tint, flat, tint, 0), shown)
    # The line is a ring between two sizes of the mask, so it cannot leave the photo or tear at thin parts.
    width = max(1, round(max(mask.shape) / 240)) if line is None else line
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    out[_ring(padded, 0, width)] = 0 if sum(colour) > 200 else 255
    out[_ring(padded, -width, 0)] = colour
    return out


def _ring(padded: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return the pixels between the mask grown (or, below 0, shrunk) by ``start`` and by ``stop`` pixels."""
    inner, outer = _grown(padded, start), _grown(padded, stop)
    return (outer & ~inner)[1:-1, 1:-1]


def _grown(padded: np.ndarray, by: int) -> np.ndarray:
    if by == 0:
        return padded.astype(bool)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(by) + 1, 2 * abs(by) + 1))
    change = cv2.dilate if by > 0 else cv2.erode
    return change(padded, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool)


def font(size: int, text: str = "") -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font of all pictures: the one that Pillow brings, or one of the system that knows more letters.

    Args:
        size: Pixels.
        text: What it is for: Pillow's own font knows little more than ASCII.
    """
    if all(" " <= letter <= "~" or letter in "·…“”" for letter in text):
        return ImageFont.load_default(size)
    for name in _SYSTEM_FONTS:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def fit_text(text: str, width: int, size: int) -> str:
    """Shorten a text in its middle until it fits: the ends of file names tell them apart."""
    text = printable(text)
    letters, shown = font(size, text), text
    keep = len(text)
    while keep > 4 and letters.getlength(shown) > width:
        keep -= 1
        shown = f"{text[: keep // 2]}…{text[len(text) - keep // 2 :]}"
    return shown
