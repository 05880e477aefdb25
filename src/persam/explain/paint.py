"""Paint values and places on a photo so that they can be read on any ground."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from persam.drawing import Colour, font
from persam.reports.pictures import INK, PAPER

POSITIVE: Colour = (40, 210, 90)
NEGATIVE: Colour = (240, 40, 40)

_MAP = cv2.COLORMAP_INFERNO  # perceptually uniform: equal steps of the value look equal, in grey print too
_FINE = 4  # markers are drawn so much larger and then reduced, which makes their edges smooth


def heat(photo: np.ndarray, values: np.ndarray, low: float, high: float, strength: float = 0.72) -> np.ndarray:
    """Blend values over a photo.

    Args:
        photo: (H, W, 3) uint8.
        values: (H, W).
        low: value that gets the darkest colour.
        high: value that gets the lightest colour.
        strength: how much of the colour lies over the (grey) photo, 0 to 1.

    Returns:
        (H, W, 3) uint8.
    """
    grey = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(colours((values - low) / max(high - low, 1e-8)), strength, grey, 1 - strength, 0)


def colours(shares: np.ndarray) -> np.ndarray:
    """Colour values from 0 to 1, (H, W), as (H, W, 3) uint8 RGB."""
    levels = np.nan_to_num(np.clip(shares, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(levels, _MAP)[:, :, ::-1])


def colour_bar(width: int, low: float, high: float) -> np.ndarray:
    """A bar of the colours with the values at its ends, (26, width, 3) uint8."""
    bar = Image.new("RGB", (width, 26), PAPER)
    draw, letters = ImageDraw.Draw(bar), font(13)
    left, right = f"{low:.2f}", f"{high:.2f}"
    start, stop = round(letters.getlength(left)) + 8, width - round(letters.getlength(right)) - 8
    if stop - start > 8:
        bar.paste(Image.fromarray(colours(np.tile(np.linspace(0, 1, stop - start), (12, 1)))), (start, 8))
    draw.text((0, 6), left, font=letters, fill=INK)
    draw.text((stop + 8, 6), right, font=letters, fill=INK)
    return np.asarray(bar)


def mark_points(picture: np.ndarray, points: np.ndarray, labels: np.ndarray, size: int = 9) -> np.ndarray:
    """Mark points (N, 2) as (x, y): the first positive one a green star, others green dots, negative ones red dots.

    Every mark has a white and a dark rim, so that it reads on every ground. Returns a new (H, W, 3) uint8.
    """
    out = Image.fromarray(picture)
    stars = np.flatnonzero(labels == 1)[:1].tolist()
    for index in sorted(range(len(points)), key=lambda i: i in stars):  # the star lies on top
        is_positive = labels[index] == 1
        mark = _mark(size, POSITIVE if is_positive else NEGATIVE, star=index in stars)
        x, y = (round(float(v)) for v in points[index])
        x, y = _within(x, size, out.width), _within(y, size, out.height)
        out.paste(mark, (x - mark.width // 2, y - mark.height // 2), mark)
    return np.asarray(out)


def _within(value: int, size: int, length: int) -> int:
    """Move a mark at the edge inwards until it is whole, as far as there is room."""
    room = min(round(size * 0.55) + 3, (length - 1) // 2)
    return min(max(value, room), length - 1 - room)


def _mark(size: int, colour: Colour, *, star: bool) -> Image.Image:
    """One mark of radius `size` as RGBA."""
    side = 2 * size + 9
    big = Image.new("RGBA", (side * _FINE, side * _FINE), (0, 0, 0, 0))
    draw, middle = ImageDraw.Draw(big), side * _FINE / 2
    for rim, fill in ((3.0, (0, 0, 0, 150)), (2.0, (255, 255, 255, 255)), (0.0, (*colour, 255))):
        if star:
            draw.polygon(_star(middle, (size + 1.6 * rim) * _FINE), fill=fill)
        else:
            reach = (size * 0.55 + rim) * _FINE
            draw.ellipse((middle - reach, middle - reach, middle + reach, middle + reach), fill=fill)
    return big.resize((side, side), Image.Resampling.LANCZOS)


def _star(middle: float, reach: float) -> list[tuple[float, float]]:
    turns = np.arange(10) * np.pi / 5 - np.pi / 2
    lengths = np.where(np.arange(10) % 2 == 0, reach, reach * 0.45)
    return [(middle + float(r * np.cos(t)), middle + float(r * np.sin(t))) for t, r in zip(turns, lengths, strict=True)]


def draw_box(picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """Draw the outline of a box (x0, y0, x1, y1), white within black; returns a new (H, W, 3) uint8."""
    out = Image.fromarray(picture)
    draw = ImageDraw.Draw(out)
    x0, x1 = (min(max(float(v), 0), out.width - 1) for v in (box[0], box[2]))
    y0, y1 = (min(max(float(v), 0), out.height - 1) for v in (box[1], box[3]))
    x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    draw.rectangle((x0, y0, x1, y1), outline=(0, 0, 0), width=3)
    if x1 - x0 > 3 and y1 - y0 > 3:
        draw.rectangle((x0 + 1, y0 + 1, x1 - 1, y1 - 1), outline=(255, 255, 255), width=1)
    return np.asarray(out)
