"""Put cut-out things into a photograph so that the truth is known to the pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from persam.demo.originals import fit

Light = tuple[float, float, float]
DAY: Light = (1.0, 1.0, 1.0)
WARM: Light = (1.08, 1.0, 0.86)
COOL: Light = (0.86, 0.97, 1.1)
DIM: Light = (0.7, 0.72, 0.82)
DUSK: Light = (0.92, 0.93, 1.02)
BRIGHT: Light = (1.16, 1.14, 1.1)

_NOISE = 2.5  # grey levels, one standard deviation
_SHADOW = 0.38


@dataclass(frozen=True)
class Cutout:
    """A thing out of its photo.

    Attributes:
        pixels: (H, W, 3) uint8, cropped to the thing with a margin.
        alpha: (H, W) float32, 0 to 1.
    """

    pixels: np.ndarray
    alpha: np.ndarray

    @classmethod
    def of(cls, photo: np.ndarray, mask: np.ndarray) -> Cutout:
        """Cut out what the mask (H, W) covers of the photo (H, W, 3)."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        # a margin, so that the edge can be soft and turned; repeated pixels keep it of the thing's own colour
        pixels = cv2.copyMakeBorder(photo[part], 4, 4, 4, 4, cv2.BORDER_REPLICATE)
        alpha = cv2.copyMakeBorder(mask[part].astype(np.float32), 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=0)
        return cls(pixels, alpha)


@dataclass(frozen=True)
class Placement:
    """Where and how a thing stands in a scene.

    Attributes:
        thing: its name.
        x, y: its middle, as shares of the scene's width and height.
        size: its longest side, as a share of the scene's longest side.
        angle: degrees, anticlockwise.
        flip: mirrored.
        light: gains of red, green and blue.
    """

    thing: str
    x: float
    y: float
    size: float
    angle: float = 0.0
    flip: bool = False
    light: Light = DAY

    def varied(self, rng: np.random.Generator) -> Placement:
        """The same, a little elsewhere, larger or smaller, turned, and in another light."""
        shift_x, shift_y, grow, turn, *tone = (float(value) for value in rng.uniform(-1, 1, 7))
        red, green, blue = (gain * (1 + 0.03 * change) for gain, change in zip(self.light, tone, strict=True))
        return Placement(
            self.thing,
            self.x + 0.015 * shift_x,
            self.y + 0.015 * shift_y,
            self.size * (1 + 0.06 * grow),
            self.angle + 5 * turn,
            self.flip,
            (red, green, blue),
        )


def paste(photo: np.ndarray, cutout: Cutout, place: Placement) -> tuple[np.ndarray, np.ndarray]:
    """Put one thing into a photo, with a soft edge and a faint shadow.

    Args:
        photo: (H, W, 3) float32, 0 to 255.
        cutout: the thing.
        place: where and how.

    Returns:
        The new photo (H, W, 3) float32, and how much of every pixel is the thing, (H, W) float32.
    """
    height, width = photo.shape[:2]
    longest = max(8, round(place.size * max(height, width)))
    pixels, alpha = fit(cutout.pixels, longest).astype(np.float32), fit(cutout.alpha, longest)
    if place.flip:
        pixels, alpha = pixels[:, ::-1], alpha[:, ::-1]
    middle = ((pixels.shape[1] - 1) / 2, (pixels.shape[0] - 1) / 2)
    turn = cv2.getRotationMatrix2D(middle, place.angle, 1.0)
    turn[:, 2] += (place.x * width - middle[0], place.y * height - middle[1])
    warped = cv2.warpAffine(
        np.ascontiguousarray(pixels), turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    share = cv2.warpAffine(np.ascontiguousarray(alpha), turn, (width, height), flags=cv2.INTER_LINEAR)
    share = np.clip(cv2.GaussianBlur(share, (0, 0), 0.8), 0, 1)
    warped = cv2.GaussianBlur(warped, (0, 0), 0.5) * np.array(place.light, np.float32)
    shadow = _shadow(share, longest)[:, :, None]
    over = share[:, :, None]
    return photo * (1 - _SHADOW * shadow * (1 - over)) * (1 - over) + warped * over, share


def _shadow(share: np.ndarray, longest: int) -> np.ndarray:
    """A soft patch under the thing, a little lower than it, (H, W) in [0, 1]."""
    height, width = share.shape
    down = np.array([[1, 0, 0.012 * longest], [0, 1, 0.03 * longest]], np.float32)
    return cv2.GaussianBlur(cv2.warpAffine(share, down, (width, height)), (0, 0), max(1.0, 0.03 * longest))


def with_noise(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the noise of a camera and round to (H, W, 3) uint8."""
    return np.clip(np.round(photo + _NOISE * rng.standard_normal(photo.shape, np.float32)), 0, 255).astype(np.uint8)
