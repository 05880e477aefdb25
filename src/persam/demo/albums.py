"""The demo's albums: three things, each learned from a real photo and looked for in a handful of others.

Most of these are put together: a thing is cut out and pasted into a photograph; so the truth is known to the pixel.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import cv2
import numpy as np

from persam.demo.originals import LONGEST_SIDE, THINGS, original, other_view, scene, thing_mask
from persam.errors import UsageError
from persam.geometry import fit

Light = tuple[float, float, float]
LIGHTS: dict[str, Light] = {
    "day": (1.0, 1.0, 1.0),
    "warm": (1.08, 1.0, 0.86),
    "cool": (0.86, 0.97, 1.1),
    "dim": (0.7, 0.72, 0.82),
    "dusk": (0.92, 0.93, 1.02),
    "bright": (1.16, 1.14, 1.1),
}

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
    light: Light = LIGHTS["day"]

    def varied(self, rng: np.random.Generator) -> Placement:
        """The same, a little elsewhere, larger or smaller, turned, and in another light."""
        shift_x, shift_y, grow, turn, *tone = (float(value) for value in rng.uniform(-1, 1, 7))
        red, green, blue = (gain * (1 + 0.03 * change) for gain, change in zip(self.light, tone, strict=True))
        return replace(
            self,
            x=self.x + 0.015 * shift_x,
            y=self.y + 0.015 * shift_y,
            size=self.size * (1 + 0.06 * grow),
            angle=self.angle + 5 * turn,
            light=(red, green, blue),
        )


@dataclass(frozen=True)
class Layout:
    """What one photo of an album shows: a scene (file of scikit-image) and what stands in it, the last in front."""

    name: str
    scene: str
    places: tuple[Placement, ...] = ()


def layouts_of(album: str) -> tuple[Layout, ...]:
    """The photos of a thing's album, as ``layouts.csv`` has them; each of its lines is a thing that stands in one."""
    table = resources.files("persam.demo").joinpath("layouts.csv").read_text(encoding="utf-8")
    photos: dict[tuple[str, str], list[Placement]] = {}
    for row in csv.DictReader(table.splitlines()):
        if row["album"] == album:
            places = photos.setdefault((row["photo"], row["scene"]), [])
            if row["thing"]:
                x, y, size, angle = (float(row[column]) for column in ("x", "y", "size", "angle"))
                flip, light = row["mirrored"] == "yes", LIGHTS[row["light"]]
                places.append(Placement(row["thing"], x, y, size, angle, flip, light))
    return tuple(Layout(name, scene, tuple(places)) for (name, scene), places in photos.items())


@dataclass(frozen=True)
class AlbumPhoto:
    """A photo whose truth is known.

    Attributes:
        name: what it shows, good for a file name.
        pixels: (H, W, 3) uint8.
        truth: (H, W) bool, all of the thing in it.
        count: how many of the thing there are.
    """

    name: str
    pixels: np.ndarray
    truth: np.ndarray
    count: int


@dataclass(frozen=True)
class DemoAlbum:
    """A thing: its reference photo (H, W, 3) with its mask (H, W), and the photos to find it in."""

    thing: str
    reference: np.ndarray
    mask: np.ndarray
    photos: tuple[AlbumPhoto, ...]


def make_albums(
    things: Sequence[str] | None = None, *, photos: int | None = None, seed: int = 0
) -> Iterable[DemoAlbum]:
    """Make the albums, the same ones for the same seed.

    Args:
        things: which of `THINGS`; all by default.
        photos: how many photos of each at most, 2 or more; the last one, without the thing, always comes along.
        seed: for place, size, angle, light and noise.

    Raises:
        PersamError: scikit-image is not installed or lacks a photo.
        UsageError: there is no such thing, or too few photos.
    """
    for name in things or THINGS:
        if name not in THINGS:
            raise UsageError(f'The demo has no "{name}"; it has {", ".join(THINGS)}.')
    if photos is not None and photos < 2:
        raise UsageError(f"The demo needs at least 2 photos of each thing, one with it and one without, not {photos}.")
    return (_album(name, photos, seed) for name in things or THINGS)


def _album(thing: str, photos: int | None, seed: int) -> DemoAlbum:
    layouts = layouts_of(thing)
    if photos is not None and photos < len(layouts):
        layouts = (*layouts[: photos - 1], layouts[-1])
    reference = fit(original(THINGS[thing]), LONGEST_SIDE)
    mask = fit(thing_mask(thing).astype(np.float32), LONGEST_SIDE) > 0.5
    return DemoAlbum(thing, reference, mask, tuple(make_photo(layout, thing, seed) for layout in layouts))


def make_photo(layout: Layout, thing: str, seed: int = 0) -> AlbumPhoto:
    """Make one photo and its truth for one thing."""
    rng = np.random.default_rng((seed, zlib.crc32(f"{thing}/{layout.name}".encode())))
    pixels = scene(layout.scene)
    truth = np.zeros(pixels.shape[:2], bool)
    if layout.scene == "motorcycle_right.png" and thing == "motorcycle":  # a real second photo of the thing
        truth = fit(other_view(thing_mask(thing)).astype(np.float32), LONGEST_SIDE) > 0.5
        return AlbumPhoto(layout.name, pixels.copy(), truth, 1)
    photo = pixels.astype(np.float32)
    for place in layout.places:
        photo, share = paste(photo, _cutout(place.thing), place.varied(rng))
        truth = truth | (share > 0.5) if place.thing == thing else truth & ~(share > 0.5)
    count = sum(place.thing == thing for place in layout.places)
    return AlbumPhoto(layout.name, with_noise(photo, rng), truth, count)


@cache
def _cutout(thing: str) -> Cutout:
    return Cutout.of(original(THINGS[thing]), thing_mask(thing))


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
