"""Pairs of training views that share one personal object.

Four sorts of pairs: a thing pasted into two scenes among distractors; one photo seen twice; two photos of one kind;
two photos of one physical object.
In both views the shared object has the id `OWN`; 0 is background, other ids are other things, 255 is ignored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np

from .photos import IGNORE, Array, Photo, Photos, Thing

OWN = 250
TWIN = 249
DISTRACTORS = (240, 241, 242)
PADDING = (124, 116, 104)  # zero after normalisation, to within rounding
MIN_VISIBLE = 0.0035  # share of the square that the shared object must cover: 58 pixels of 128 x 128


@dataclass(frozen=True, eq=False)
class View:
    """A square training image (S, S, 3) and its mask (S, S); `frame` is (height, width) of what is no padding."""

    image: Array
    mask: Array
    frame: tuple[int, int]

    def photo(self) -> tuple[Array, Array]:
        """Image (h, w, 3) and mask (h, w) without the padding."""
        height, width = self.frame
        return self.image[:height, :width], self.mask[:height, :width]


@dataclass(frozen=True)
class Mixture:
    """Shares of the sorts of pairs, the rest being pasted, and how hard the pasted ones are.

    Where no kind or no object is known its share is pasted too.
    """

    same_photo: float = 0.40
    same_kind: float = 0.15
    same_object: float = 0.15
    same_scene: float = 0.25  # of the pasted pairs: both views have the same photo behind
    twin: float = 0.35  # of the pasted views: another thing of the same kind or set is pasted too


def sample_pair(
    photos: Photos, size: int, random: Random, mixture: Mixture | None = None, source: str | None = None
) -> tuple[View, View]:
    """A random pair of views of side `size` in which the object `OWN` can be seen; with `source` it is of that set."""
    mixture = mixture or Mixture()
    shares = {
        "photo": mixture.same_photo,
        "kind": mixture.same_kind if names_in(photos.kinds, source) else 0.0,
        "object": mixture.same_object if names_in(photos.objects, source) else 0.0,
    }
    shares["pasted"] = max(0.0, 1 - sum(shares.values()))
    for _ in range(20):
        sort = random.choices(list(shares), list(shares.values()))[0]
        if sort == "photo":
            pair = same_photo_pair(photos, size, random, source)
        elif sort == "kind":
            pair = same_kind_pair(photos, size, random, source)
        elif sort == "object":
            pair = same_object_pair(photos, size, random, source)
        else:
            pair = pasted_pair(photos, size, random, mixture, source)
        if all((view.mask == OWN).sum() >= MIN_VISIBLE * size * size for view in pair):
            return pair
    return pair


def names_in(names: list[str], source: str | None) -> list[str]:
    """Those of the names `SET/NAME` (or `SET`) that belong to a set; None: all."""
    return names if source is None else [name for name in names if name.split("/")[0] == source]


def pasted_pair(
    photos: Photos, size: int, random: Random, mixture: Mixture, source: str | None = None
) -> tuple[View, View]:
    """One thing (of a set) pasted into two scenes, among others that are pasted in the same way."""
    own = photos.draw(random, source)
    twins = photos.by_kind.get(photos[own.photo].kind or "") or photos.by_source[photos[own.photo].source]
    scene = random.randrange(len(photos))
    views = []
    for _ in range(2):
        if random.random() >= mixture.same_scene:
            scene = random.randrange(len(photos))
        image, mask, frame = random_crop(photos[scene], size, random, smallest=0.5)
        image = relight(image, random, 0.6)
        others = [(photos.draw(random), number) for number in DISTRACTORS[: random.choice((0, 1, 1, 2, 3))]]
        twin = random.choice(twins)
        if random.random() < mixture.twin and twin.photo != own.photo:
            others.append((twin, TWIN))
        last = random.randrange(len(others) + 1)  # what is pasted after the own object may hide a part of it
        for thing, number in [*others[:last], (own, OWN), *others[last:]]:
            paste(image, mask, frame, photos[thing.photo], thing, number, random)
        if (mask == OWN).sum() < MIN_VISIBLE * size * size:
            paste(image, mask, frame, photos[own.photo], own, OWN, random)
        views.append(finish(image, mask, frame, random))
    return views[0], views[1]


def same_photo_pair(photos: Photos, size: int, random: Random, source: str | None = None) -> tuple[View, View]:
    """Two crops of one photo (of a set), as of neighbouring frames of a video: the surroundings are familiar too."""
    own = photos.draw(random, source)
    distractor = photos.draw(random) if random.random() < 0.3 else None
    views = []
    for _ in range(2):
        image, mask, frame = random_crop(photos[own.photo], size, random, smallest=0.4, keep=own.box)
        mask[mask == own.id] = OWN
        image = relight(image, random, 1.0)
        if distractor is not None:
            kept = mask == OWN
            paste(image, mask, frame, photos[distractor.photo], distractor, TWIN, random, largest=0.35)
            if (mask == OWN).sum() < 0.5 * kept.sum():
                image, mask, frame = random_crop(photos[own.photo], size, random, smallest=0.4, keep=own.box)
                mask[mask == own.id] = OWN
        views.append(finish(image, mask, frame, random))
    return views[0], views[1]


def same_kind_pair(photos: Photos, size: int, random: Random, source: str | None = None) -> tuple[View, View]:
    """Two photos of one kind of thing (of a set); small other things in them are ignored: they may be of that kind."""
    views = []
    for own in random.sample(photos.by_kind[random.choice(names_in(photos.kinds, source))], 2):
        image, mask, frame = random_crop(photos[own.photo], size, random, smallest=0.6, keep=own.box)
        mask[(mask > 0) & (mask != own.id)] = IGNORE
        mask[mask == own.id] = OWN
        views.append(finish(relight(image, random, 0.6), mask, frame, random))
    return views[0], views[1]


def same_object_pair(photos: Photos, size: int, random: Random, source: str | None = None) -> tuple[View, View]:
    """One physical object (of a set) in two photos, of two scenes where there are.

    What lies around it stays as it is; but of more copies of the object only one is `OWN`, and the others are ignored,
    as nobody could tell which is meant.
    """
    name = random.choice(names_in(photos.objects, source))
    first = random.choice(photos.by_object[name])
    others = [thing for thing in photos.by_object[name] if thing.photo != first.photo]
    elsewhere = [thing for thing in others if photos[thing.photo].group != photos[first.photo].group]
    views = []
    for own in (first, random.choice(elsewhere or others)):
        photo = photos[own.photo]
        image, mask, frame = random_crop(photo, size, random, smallest=0.4, keep=own.box)
        shown = mask == own.id
        mask[np.isin(mask, photo.copies_of(name))] = IGNORE
        mask[shown] = OWN
        views.append(finish(relight(image, random, 0.6), mask, frame, random))
    return views[0], views[1]


def random_crop(
    photo: Photo, size: int, random: Random, smallest: float, keep: tuple[int, int, int, int] | None = None
) -> tuple[Array, Array, tuple[int, int]]:
    """A crop of `smallest`..1 of the sides (at least most of the box `keep`), mirrored half of the time, its longer
    side resized to `size`, padded at the right and bottom (ignored in the mask). Returns image, mask and frame."""
    height, width = photo.mask.shape
    scale, aspect = random.uniform(smallest, 1.0), math.exp(random.uniform(-0.25, 0.25))
    crop_h, crop_w = int(min(height, height * scale * aspect)), int(min(width, width * scale / aspect))
    y_range, x_range = (0, height), (0, width)
    if keep is not None:
        x0, y0, x1, y1 = keep
        margin = 0.25 * random.random()  # of the object that may be cut off
        x0, x1 = int(x0 + margin * (x1 - x0)), math.ceil(x1 - margin * (x1 - x0))
        y0, y1 = int(y0 + margin * (y1 - y0)), math.ceil(y1 - margin * (y1 - y0))
        crop_h, crop_w = max(crop_h, y1 - y0), max(crop_w, x1 - x0)
        y_range = (max(0, y1 - crop_h), min(height, y0 + crop_h))
        x_range = (max(0, x1 - crop_w), min(width, x0 + crop_w))
    crop_h, crop_w = max(crop_h, min(height, 32)), max(crop_w, min(width, 32))
    y = random.randint(y_range[0], max(y_range[0], min(height, y_range[1]) - crop_h))
    x = random.randint(x_range[0], max(x_range[0], min(width, x_range[1]) - crop_w))
    y, x = min(y, height - crop_h), min(x, width - crop_w)
    scale = size / max(crop_h, crop_w)
    new_h, new_w = max(1, round(crop_h * scale)), max(1, round(crop_w * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(photo.image[y : y + crop_h, x : x + crop_w], (new_w, new_h), interpolation=interpolation)
    ids = cv2.resize(photo.mask[y : y + crop_h, x : x + crop_w], (new_w, new_h), interpolation=cv2.INTER_NEAREST)
    if random.random() < 0.5:
        small, ids = small[:, ::-1], ids[:, ::-1]
    image = np.empty((size, size, 3), np.uint8)
    image[...] = PADDING
    mask = np.full((size, size), IGNORE, np.uint8)
    image[:new_h, :new_w], mask[:new_h, :new_w] = small, ids
    return image, mask, (new_h, new_w)


def paste(
    image: Array,
    mask: Array,
    frame: tuple[int, int],
    photo: Photo,
    thing: Thing,
    number: int,
    random: Random,
    largest: float = 0.7,
) -> None:
    """Paste a thing into image (S, S, 3) and mask (S, S) in place: scaled, turned, mirrored, relit, feathered."""
    size = mask.shape[0]
    x0, y0, x1, y1 = thing.box
    pixels, alpha = photo.image[y0:y1, x0:x1], np.where(photo.mask[y0:y1, x0:x1] == thing.id, 255, 0).astype(np.uint8)
    longest = max(alpha.shape)
    scale = math.exp(random.uniform(math.log(0.15), math.log(largest))) * size / longest
    shrink = max(0.02, min(1.0, 1.5 * scale))
    if shrink < 0.75:  # warpAffine alone would alias
        new = (max(2, round(alpha.shape[1] * shrink)), max(2, round(alpha.shape[0] * shrink)))
        pixels = cv2.resize(pixels, new, interpolation=cv2.INTER_AREA).astype(np.uint8)
        alpha = cv2.resize(alpha, new, interpolation=cv2.INTER_AREA).astype(np.uint8)
        scale *= longest / max(alpha.shape)
    if random.random() < 0.25:
        alpha = cv2.GaussianBlur(alpha, (0, 0), random.uniform(0.5, 1.5)).astype(np.uint8)
    height, width = alpha.shape
    angle = math.radians(random.gauss(0, 20) if random.random() < 0.85 else random.uniform(-180, 180))
    mirror, stretch = random.choice((-1, 1)), math.exp(random.uniform(-0.15, 0.15))
    linear = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) @ np.diag(
        [mirror * scale * stretch, scale / stretch]
    )
    reach = 0.35 * np.abs(linear) @ np.array([width, height])  # most of the object stays inside the frame
    centre = [
        random.uniform(min(reach[0], frame[1] / 2), max(frame[1] - reach[0], frame[1] / 2)),
        random.uniform(min(reach[1], frame[0] / 2), max(frame[0] - reach[1], frame[0] / 2)),
    ]
    shift = np.array(centre) - linear @ np.array([width / 2, height / 2])
    transform = np.column_stack([linear, shift])
    target = (frame[1], frame[0])
    relit = relight(pixels, random, 0.8)
    warped = cv2.warpAffine(relit, transform, target, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(alpha, transform, target, flags=cv2.INTER_LINEAR)
    x, y, w, h = cv2.boundingRect(cover)
    if w < 2 or h < 2:
        return
    cover, warped = cover[y : y + h, x : x + w], warped[y : y + h, x : x + w]
    weight = cover[..., None].astype(np.float32) / 255
    below = image[y : y + h, x : x + w]
    image[y : y + h, x : x + w] = (weight * warped + (1 - weight) * below).astype(np.uint8)
    mask[y : y + h, x : x + w][cover > 127] = number


def relight(image: Array, random: Random, strength: float) -> Array:
    """Change brightness, contrast, saturation, tint and gamma of an image (H, W, 3); `strength` 1 is a lot."""
    s = strength
    table = np.linspace(0, 1, 256, dtype=np.float32) ** math.exp(random.uniform(-0.35, 0.35) * s)
    table = (table - 0.5) * random.uniform(1 - 0.35 * s, 1 + 0.35 * s) + 0.5 + random.uniform(-0.12, 0.12) * s
    tables = np.stack([table * random.uniform(1 - 0.15 * s, 1 + 0.15 * s) for _ in range(3)], -1)
    lut = (np.clip(tables, 0, 1) * 255).astype(np.uint8)[None]
    lit = cv2.LUT(np.ascontiguousarray(image), lut)
    saturation = random.uniform(1 - 0.5 * s, 1 + 0.4 * s)
    grey = cv2.cvtColor(cv2.cvtColor(lit, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(lit, saturation, grey, 1 - saturation, 0).astype(np.uint8)


def finish(image: Array, mask: Array, frame: tuple[int, int], random: Random) -> View:
    """The last steps of a view: sometimes blur or noise; then the padding is made clean again."""
    height, width = frame
    if random.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.5, 1.3)).astype(np.uint8)
    if random.random() < 0.15:
        noise = np.random.default_rng(random.getrandbits(32)).normal(0, random.uniform(3, 12), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    image, mask = np.ascontiguousarray(image), np.ascontiguousarray(mask)
    image[height:], image[:, width:] = PADDING, PADDING
    mask[height:], mask[:, width:] = IGNORE, IGNORE
    return View(image, mask, frame)
