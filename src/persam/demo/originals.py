"""The real photographs that the demo is made of, those in scikit-image's wheel, and where the things are in them."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from persam.errors import PersamError
from persam.images import read_image
from persam.reports.pictures import fit

Point = tuple[float, float]

LONGEST_SIDE = 640

_TINTS = {  # scikit-image has these in grey; (dark, light) RGB
    "brick.png": ((48, 20, 14), (226, 160, 128)),
    "grass.png": ((14, 30, 8), (196, 214, 134)),
    "gravel.png": ((38, 34, 30), (222, 212, 196)),
}
_CROPS = {  # (x0, y0, x1, y1) as shares of the photo
    "astronaut.png": (0.0, 0.0, 1.0, 0.78),
    "brick.png": (0.0, 0.0, 1.0, 0.75),
    "grass.png": (0.0, 0.1, 1.0, 0.85),
    "gravel.png": (0.0, 0.2, 1.0, 0.95),
}


def photo_folder() -> Path:
    """Return the folder of scikit-image's photographs.

    Raises:
        PersamError: scikit-image is not installed.
    """
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise PersamError(
            "The demo makes its album from the photographs in scikit-image, which is not installed; "
            "run `pip install 'persam[demo]'`."
        )
    return Path(spec.origin).parent / "data"


@cache
def original(name: str) -> np.ndarray:
    """Read a photograph of scikit-image by its file name, (H, W, 3) uint8; do not write into it.

    Raises:
        PersamError: scikit-image is not installed, or its version does not ship this photo.
    """
    path = photo_folder() / name
    if not path.is_file():
        raise PersamError(
            f"The installed scikit-image does not ship {name}, which the demo needs; "
            "run `pip install --upgrade 'persam[demo]'`."
        )
    pixels = read_image(path)
    pixels.setflags(write=False)
    return pixels


@cache
def scene(name: str) -> np.ndarray:
    """Return a photograph as a place to put things: cropped, tinted if it is grey, longest side 640 pixels."""
    pixels = original(name)
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = _CROPS.get(name, (0.0, 0.0, 1.0, 1.0))
    pixels = pixels[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)]
    if name in _TINTS:
        dark, light = (np.array(colour, np.float32) for colour in _TINTS[name])
        grey = pixels[:, :, :1].astype(np.float32) / 255
        pixels = (dark + (light - dark) * grey).astype(np.uint8)
    shown = fit(pixels, LONGEST_SIDE)
    shown.setflags(write=False)
    return shown


def other_view(mask: np.ndarray) -> np.ndarray:
    """Carry a mask of the left photo of the stereo motorcycle over to the right one, by the measured disparity.

    Args:
        mask: (500, 741) bool in motorcycle_left.png.

    Returns:
        (500, 741) bool in motorcycle_right.png.
    """
    path = photo_folder() / "motorcycle_disp.npz"
    original("motorcycle_right.png")  # says what is missing
    with np.load(path) as file:
        disparity = file["arr_0"]
    # The disparity is unknown or wrong on chrome, in gaps and at edges, so a smooth surface is led through it.
    known = mask & np.isfinite(disparity)
    known[np.add.outer(np.arange(mask.shape[0]), 2 * np.arange(mask.shape[1])) % 7 > 0] = False  # a seventh is enough
    values, powers = disparity[known].astype(np.float64), _powers(known)
    weights = np.ones_like(values)
    for _ in range(12):
        surface = np.linalg.lstsq(powers * weights[:, None], values * weights, rcond=None)[0]
        weights = 1 / (1 + (powers @ surface - values) ** 2)
    height, width = mask.shape
    shift = (_powers(np.ones(mask.shape, bool)) @ surface).reshape(mask.shape).astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    source = x + shift  # the surface is so smooth that two steps find its value at the other end
    for _ in range(2):
        source = x + cv2.remap(shift, source, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.remap(mask.astype(np.float32), source, y, cv2.INTER_LINEAR) > 0.5


def _powers(where: np.ndarray) -> np.ndarray:
    """Powers of x and y up to the third at the True pixels of (H, W), (N, 10)."""
    y, x = (axis / 400 for axis in np.nonzero(where))
    return np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=1)


# Outlines of the three things, drawn by hand: (x, y) in photo pixels.

# Cup, saucer and spoon in coffee.png (600 x 400).
_CUP: tuple[Point, ...] = (
    (77, 212), (79, 190), (87, 165), (101, 138), (120, 115), (140, 95), (160, 81), (180, 71), (187, 66), (195, 57),
    (210, 43), (230, 31), (255, 22), (283, 18), (310, 20), (333, 27), (354, 37), (373, 50), (386, 62), (396, 70),
    (411, 66), (421, 71), (424, 77), (422, 88), (418, 104), (428, 114), (441, 127), (455, 143), (466, 162), (474, 185),
    (478, 210), (478, 235), (472, 262), (461, 288), (444, 313), (422, 335), (400, 357), (370, 373), (335, 384),
    (300, 389), (270, 388), (235, 382), (200, 370), (170, 355), (140, 332), (115, 305), (97, 278), (85, 250), (79, 230),
)  # fmt: skip

# The face of the cat in chelsea.png (451 x 300); the photo cuts its ears off, so they stay out.
_CAT: tuple[Point, ...] = (
    (66, 40), (100, 17), (150, 4), (220, 2), (285, 3), (318, 16), (340, 42), (352, 72), (358, 105), (360, 128),
    (357, 150), (346, 176), (331, 199), (319, 220), (314, 242), (302, 262), (284, 274), (262, 279), (232, 281),
    (202, 277), (176, 268), (155, 252), (134, 232), (104, 208), (74, 186), (51, 160), (37, 125), (38, 85), (48, 58),
)  # fmt: skip

# The motorcycle in motorcycle_left.png (741 x 500).
_MOTORCYCLE: tuple[Point, ...] = (
    # rear light, rail, seat
    (93, 202), (110, 198), (128, 196), (140, 202), (147, 205), (142, 182), (139, 165), (141, 152), (150, 146),
    (162, 145), (169, 159), (178, 160), (190, 168), (205, 172), (230, 169), (246, 168), (253, 172), (259, 182),
    (268, 189), (285, 193), (302, 195), (320, 190), (337, 188), (350, 190), (358, 197),
    # tank, grip, handlebar
    (372, 189), (385, 180), (391, 173), (393, 162), (389, 156), (362, 176), (355, 169), (383, 147), (384, 141),
    (402, 130), (412, 123), (424, 121), (428, 128), (445, 134), (456, 141), (466, 143),
    # gauges, headlight, indicator
    (466, 134), (470, 127), (480, 120), (493, 114), (499, 116), (499, 104), (495, 88), (495, 79), (503, 77), (512, 80),
    (520, 84), (527, 92), (543, 98), (543, 102), (535, 102), (533, 105), (537, 115), (536, 122), (547, 124), (557, 130),
    (563, 137), (564, 126), (569, 119), (576, 117), (582, 122), (583, 133), (578, 141), (569, 142), (563, 140),
    (562, 152), (556, 170), (548, 184), (552, 189), (552, 198), (547, 201),
    # far fork, mudguard, front wheel
    (554, 215), (562, 234), (570, 252), (579, 255), (581, 264), (592, 267), (606, 272), (621, 280), (635, 291),
    (644, 301), (636, 309), (643, 313), (652, 323), (661, 336), (669, 351), (676, 367), (681, 383), (684, 397),
    (684, 412), (681, 427), (675, 439), (664, 446), (650, 449), (635, 450), (621, 447), (605, 441), (589, 431),
    (571, 417), (555, 400), (543, 385), (532, 368), (523, 350), (516, 332), (512, 325), (506, 330), (505, 318),
    (509, 304), (518, 290), (527, 281),
    # near fork, engine, exhaust
    (523, 273), (513, 252), (504, 231), (494, 228), (493, 221), (480, 226), (470, 232), (462, 241), (472, 248),
    (478, 255), (478, 265), (473, 275), (478, 283), (478, 296), (475, 310), (471, 322), (465, 335), (455, 352),
    (440, 365), (425, 374), (410, 379), (395, 378), (375, 376), (355, 371),
    # stand, rear wheel, rear mudguard
    (343, 370), (341, 384), (348, 395), (351, 405), (347, 408), (339, 400), (336, 393), (336, 420), (341, 428),
    (335, 434), (325, 433), (324, 430), (329, 428), (330, 400), (329, 382), (322, 372), (300, 362), (283, 356),
    (278, 366), (269, 377), (257, 387), (244, 394), (229, 399), (210, 401), (195, 399), (180, 393), (165, 384),
    (150, 371), (138, 354), (130, 337), (124, 320), (121, 305), (123, 289), (128, 273), (137, 260), (151, 249),
    (158, 246), (151, 244), (148, 238), (149, 228), (138, 230), (126, 237), (114, 247), (107, 247), (101, 242),
    (101, 236), (108, 230), (109, 224), (95, 219), (92, 210),
)  # fmt: skip
_BETWEEN_THE_FORKS: tuple[Point, ...] = (
    (541, 211), (562, 257), (566, 266), (550, 271), (540, 278), (513, 223), (527, 217),
)  # fmt: skip


def cup_mask() -> np.ndarray:
    """Where the cup is in coffee.png, (400, 600) bool."""
    return _filled(_rounded(_CUP), (400, 600))


def cat_mask() -> np.ndarray:
    """Where the cat's face is in chelsea.png, (300, 451) bool."""
    return _filled(_rounded(_CAT), (300, 451))


def motorcycle_mask() -> np.ndarray:
    """Where the motorcycle is in motorcycle_left.png, (500, 741) bool."""
    whole = _filled(np.array(_MOTORCYCLE), (500, 741))
    return whole & ~_filled(np.array(_BETWEEN_THE_FORKS), (500, 741))


def _filled(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fill a ring (N, 2), drawn at a sixteenth of a pixel."""
    canvas = np.zeros(size, np.uint8)
    cv2.fillPoly(canvas, [np.round(ring * 16).astype(np.int32)], 1, shift=4)
    return canvas.astype(bool)


def _rounded(corners: tuple[Point, ...], steps: int = 8) -> np.ndarray:
    """Lead a smooth closed line (Catmull-Rom) through the corners."""
    p1 = np.array(corners, dtype=np.float64)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = (np.arange(steps) / steps)[None, :, None]
    p0, p1, p2, p3 = (p[:, None] for p in (p0, p1, p2, p3))
    line = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * (p1 - p2) + p3 - p0) * t**3
    return (line / 2).reshape(-1, 2)
