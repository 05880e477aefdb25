"""The demo's albums: three things, each learned from a real photo and looked for in a handful of others."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from persam.demo.compose import BRIGHT, COOL, DIM, DUSK, WARM, Cutout, Placement, paste, with_noise
from persam.demo.originals import LONGEST_SIDE, fit, original, other_view, scene
from persam.demo.outlines import cat_mask, cup_mask, motorcycle_mask
from persam.errors import UsageError


@dataclass(frozen=True)
class Thing:
    """Something to look for: its name, the photo that it comes from, and where it is in it."""

    name: str
    photo: str
    mask: Callable[[], np.ndarray]


THINGS = {
    "cup": Thing("cup", "coffee.png", cup_mask),
    "cat": Thing("cat", "chelsea.png", cat_mask),
    "motorcycle": Thing("motorcycle", "motorcycle_left.png", motorcycle_mask),
}


@dataclass(frozen=True)
class Layout:
    """What one photo of an album shows: a scene (file of scikit-image) and what stands in it, the last in front."""

    name: str
    scene: str
    places: tuple[Placement, ...] = ()


_LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "cup": (
        Layout("workshop", "motorcycle_left.png", (Placement("cup", 0.24, 0.74, 0.34, 4),)),
        Layout("launch", "rocket.jpg", (Placement("cup", 0.68, 0.6, 0.46, -12, True, DIM),)),
        Layout("portrait", "astronaut.png", (Placement("cup", 0.77, 0.68, 0.42, 8, False, COOL),)),
        Layout(
            "two-on-grass",
            "grass.png",
            (Placement("cup", 0.3, 0.36, 0.4, 15, False, BRIGHT), Placement("cup", 0.7, 0.64, 0.46, -10, True)),
        ),
        Layout(
            "with-the-cat",
            "brick.png",
            (Placement("cat", 0.74, 0.44, 0.42, 4, True), Placement("cup", 0.3, 0.6, 0.44, 10, False, WARM)),
        ),
        Layout("no-cup", "chelsea.png"),
    ),
    "cat": (
        Layout("on-the-table", "coffee.png", (Placement("cat", 0.79, 0.42, 0.38, -8, False, WARM),)),
        Layout("workshop", "motorcycle_left.png", (Placement("cat", 0.72, 0.6, 0.42, 6, True),)),
        Layout("launch", "rocket.jpg", (Placement("cat", 0.28, 0.5, 0.46, 12, False, DIM),)),
        Layout(
            "two-on-gravel",
            "gravel.png",
            (Placement("cat", 0.28, 0.4, 0.4, -14, False, BRIGHT), Placement("cat", 0.72, 0.6, 0.44, 10, True, COOL)),
        ),
        Layout(
            "with-the-cup",
            "grass.png",
            (Placement("cup", 0.72, 0.6, 0.42, -6, True), Placement("cat", 0.3, 0.45, 0.46, 8, False, COOL)),
        ),
        Layout("no-cat", "astronaut.png"),
    ),
    "motorcycle": (
        Layout("other-camera", "motorcycle_right.png"),
        Layout("launch", "rocket.jpg", (Placement("motorcycle", 0.46, 0.68, 0.6, 3, False, DUSK),)),
        Layout("portrait", "astronaut.png", (Placement("motorcycle", 0.5, 0.68, 0.66, -6, True, COOL),)),
        Layout(
            "two-on-gravel",
            "gravel.png",
            (
                Placement("motorcycle", 0.32, 0.3, 0.5, 10, False, BRIGHT),
                Placement("motorcycle", 0.66, 0.7, 0.56, -8, True, WARM),
            ),
        ),
        Layout(
            "with-the-cup",
            "brick.png",
            (Placement("cup", 0.84, 0.78, 0.24, 5), Placement("motorcycle", 0.4, 0.55, 0.58, -4, False, WARM)),
        ),
        Layout("no-motorcycle", "coffee.png"),
    ),
}


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
class Album:
    """A thing: its reference photo (H, W, 3) with its mask (H, W), and the photos to find it in."""

    thing: str
    reference: np.ndarray
    mask: np.ndarray
    photos: tuple[AlbumPhoto, ...]


def make_albums(things: Sequence[str] | None = None, *, photos: int | None = None, seed: int = 0) -> Iterable[Album]:
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
    return (_album(THINGS[name], photos, seed) for name in things or THINGS)


def _album(thing: Thing, photos: int | None, seed: int) -> Album:
    layouts = _LAYOUTS[thing.name]
    if photos is not None and photos < len(layouts):
        layouts = (*layouts[: photos - 1], layouts[-1])
    reference = fit(original(thing.photo), LONGEST_SIDE)
    mask = fit(thing.mask().astype(np.float32), LONGEST_SIDE) > 0.5
    return Album(thing.name, reference, mask, tuple(make_photo(layout, thing.name, seed) for layout in layouts))


def make_photo(layout: Layout, thing: str, seed: int = 0) -> AlbumPhoto:
    """Make one photo and its truth for one thing."""
    rng = np.random.default_rng((seed, zlib.crc32(f"{thing}/{layout.name}".encode())))
    pixels = scene(layout.scene)
    truth = np.zeros(pixels.shape[:2], bool)
    if layout.scene == "motorcycle_right.png" and thing == "motorcycle":  # a real second photo of the thing
        truth = fit(other_view(motorcycle_mask()).astype(np.float32), LONGEST_SIDE) > 0.5
        return AlbumPhoto(layout.name, pixels.copy(), truth, 1)
    photo = pixels.astype(np.float32)
    for place in layout.places:
        photo, share = paste(photo, _cutout(place.thing), place.varied(rng))
        truth = truth | (share > 0.5) if place.thing == thing else truth & ~(share > 0.5)
    count = sum(place.thing == thing for place in layout.places)
    return AlbumPhoto(layout.name, with_noise(photo, rng), truth, count)


@cache
def _cutout(name: str) -> Cutout:
    thing = THINGS[name]
    return Cutout.of(original(thing.photo), thing.mask())
