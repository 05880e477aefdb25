"""Things cut out of their photos, as the identity network sees them: turned, lit and blurred otherwise, and with masks
as wrong as those that are found.

In a photo in which a thing is looked for it lies any way round, is hidden in part or small; what the decoder draws goes
beyond it or leaves something out.  None of that makes it another thing.
"""

from __future__ import annotations

import math
from random import Random

import cv2
import numpy as np
from numpy.typing import NDArray

from persam.method.cues import FILLS, on_nothing
from persam.models.identity.network import SIDE

from .photos import Array
from .segments import Segment

Values = NDArray[np.float32]

AROUND = 0.35  # of a thing's longer side, of its photo that is kept around it
COARSE = 0.5  # scale below which a photo is shrunk before it is turned, lest its pixels alias


def with_surroundings(image: Array, segment: Segment) -> tuple[Array, NDArray[np.bool_]]:
    """The part of a photo (H, W, 3) around a segment, (h, w, 3), and its mask (h, w)."""
    x0, y0, x1, y1 = segment.box
    margin = int(AROUND * max(x1 - x0, y1 - y0)) + 2
    left, top = max(0, x0 - margin), max(0, y0 - margin)
    part = image[top : y1 + margin, left : x1 + margin]
    mask = np.zeros(part.shape[:2], bool)
    mask[y0 - top : y1 - top, x0 - left : x1 - left] = segment.inside
    return part, mask


def cutout(image: Array, segment: Segment, random: Random) -> Values:
    """One view of a segment of a photo (H, W, 3) on nothing, and its mask, (CHANNELS, SIDE, SIDE)."""
    image, share = _placed(*with_surroundings(image, segment), random)
    if random.random() < 0.3:
        image, share = image[:, ::-1], share[:, ::-1]
    if not segment.is_mistaken:  # which has such mistakes already
        share = _as_found(np.ascontiguousarray(share), random)
    image = _seen_otherwise(np.ascontiguousarray(image), random)
    shown = on_nothing(image, share)
    return np.ascontiguousarray(shown.transpose(2, 0, 1))


def _placed(image: Array, mask: NDArray[np.bool_], random: Random) -> tuple[Array, Values]:
    """The thing turned, stretched and about in the middle: (SIDE, SIDE, 3), and its share of the pixels."""
    angle = random.uniform(-math.pi, math.pi) if random.random() < 0.5 else random.gauss(0, 0.25)
    size, shear = math.exp(random.gauss(0, 0.12)), random.gauss(0, 0.15)
    stretch = math.exp(random.gauss(0, 0.15))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    form = turn @ np.array([[1, shear], [0, 1]]) @ np.diag([stretch**0.5, stretch**-0.5])
    places = np.argwhere(mask)[:: 7 if mask.sum() > 40 else 1, ::-1].T
    middle = (places.min(1) + places.max(1) + 1) / 2
    turned = form @ (places - middle[:, None])
    low, high = turned.min(1), turned.max(1)
    scale = size * FILLS * SIDE / max(float((high - low).max()), 4.0)
    shift = SIDE * (0.5 + np.array([random.gauss(0, 0.05), random.gauss(0, 0.05)]))
    way = np.column_stack([scale * form, shift - scale * (form @ middle + (low + high) / 2)])
    share = mask.astype(np.float32)
    if scale < COARSE:
        height, width = mask.shape
        smaller = max(1, round(1.2 * scale * width)), max(1, round(1.2 * scale * height))
        image = np.asarray(cv2.resize(image, smaller, interpolation=cv2.INTER_AREA), np.uint8)
        # Its share, and not where that is more than a half, or a wire would be lost.
        share = np.asarray(cv2.resize(share, smaller, interpolation=cv2.INTER_AREA), np.float32)
        way = way @ np.diag([width / smaller[0], height / smaller[1], 1.0])
    square = SIDE, SIDE
    seen = cv2.warpAffine(image, way, square, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    share = np.asarray(cv2.warpAffine(share, way, square, flags=cv2.INTER_LINEAR), np.float32)
    return np.asarray(seen, np.uint8), share


def _as_found(share: Values, random: Random) -> Values:
    """A mask with such mistakes as a decoder makes, in three of four: wider, narrower, grown together, cut off."""
    chance = random.random()
    if chance < 0.3:
        side = random.choice((3, 5, 7))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        changed = cv2.dilate if random.random() < 0.65 else cv2.erode
        share = np.asarray(changed(share, disc), np.float32)
    elif chance < 0.5:
        place = random.randrange(SIDE), random.randrange(SIDE)
        axes = random.randrange(SIDE // 12, SIDE * 5 // 12), random.randrange(SIDE // 12, SIDE * 5 // 12)
        cv2.ellipse(share, place, axes, random.uniform(0, 180), 0, 360, (1.0,), -1)
    elif chance < 0.75:
        angle = random.uniform(0, 2 * math.pi)
        y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
        share = share * (x * math.cos(angle) + y * math.sin(angle) < SIDE * random.uniform(-0.05, 0.4))
    return np.asarray(share, np.float32)


def _seen_otherwise(image: Array, random: Random) -> Array:
    """In other light, from farther away, by a worse camera; hardly another colour, which is the thing's own."""
    values = (image.astype(np.float32) / 255) ** math.exp(random.gauss(0, 0.2)) * math.exp(random.gauss(0, 0.18))
    values = values * np.exp(np.array([random.gauss(0, 0.06) for _ in range(3)], np.float32))
    grey = values.mean(2, keepdims=True)
    saturation = 0.0 if random.random() < 0.03 else math.exp(random.gauss(0, 0.25))
    values = grey + (values - grey) * saturation
    values = values.mean() + (values - values.mean()) * math.exp(random.gauss(0, 0.15))
    seen = np.asarray(values.clip(0, 1) * 255, np.uint8)
    if random.random() < 0.35:
        side = random.randrange(SIDE * 2 // 9, SIDE * 2 // 3)
        small = cv2.resize(seen, (side, side), interpolation=cv2.INTER_AREA)
        seen = np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)
    if random.random() < 0.2:
        noise = np.random.default_rng(random.getrandbits(32)).normal(0, random.uniform(2, 10), (SIDE, SIDE, 1))
        seen = np.asarray(np.clip(seen + noise, 0, 255), np.uint8)
    return seen
