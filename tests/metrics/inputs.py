"""Masks that the tests of all metrics share: drawn by hypothesis, and the hard cases by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

Pair = tuple[np.ndarray, np.ndarray]
Triple = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def masks(shape: tuple[int, int]) -> st.SearchStrategy[np.ndarray]:
    """Boxes, noise, all and nothing, of one shape; few draws a mask, so that lists of many stay fast."""
    return st.builds(_mask, st.just(shape), st.sampled_from(["box", "noise", "full", "empty"]), st.integers(0, 10**6))


def _mask(shape: tuple[int, int], kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.random(shape) < rng.random()
    mask = np.full(shape, kind == "full")
    if kind == "box":
        (top, bottom), (left, right) = (sorted(rng.integers(0, side + 1, 2)) for side in shape)
        mask[top:bottom, left:right] = True
    return mask


shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """A prediction and a target of one small shape."""
    shape = draw(shapes)
    return draw(masks(shape)), draw(masks(shape))


@st.composite
def triples(draw: st.DrawFn) -> Triple:
    """A prediction, a target, and an ignore mask or None."""
    prediction, target = draw(pairs())
    return prediction, target, draw(st.one_of(st.none(), masks(prediction.shape)))


def _one(*places: tuple[int, int], shape: tuple[int, int] = (7, 9)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


_EMPTY, _FULL = np.zeros((7, 9), bool), np.ones((7, 9), bool)
_LEFT = np.zeros((7, 9), bool)
_LEFT[:, :4] = True

# (prediction, target, ignore)
HARD: dict[str, Triple] = {
    "empty, empty": (_EMPTY, _EMPTY, None),
    "empty, full": (_EMPTY, _FULL, None),
    "full, empty": (_FULL, _EMPTY, None),
    "full, full": (_FULL, _FULL, None),
    "one pixel, itself": (_one((3, 4)), _one((3, 4)), None),
    "one pixel, its neighbour": (_one((3, 4)), _one((3, 5)), None),
    "corner, opposite corner": (_one((0, 0)), _one((6, 8)), None),
    "last pixel, itself": (_one((6, 8)), _one((6, 8)), None),
    "along the border": (_LEFT, ~_LEFT, None),
    "half, full": (_LEFT, _FULL, None),
    "ignored half": (_FULL, _LEFT, ~_LEFT),
    "ignored object": (_FULL, _LEFT, _LEFT),
    "all ignored": (_FULL, _LEFT, _FULL),
    "nothing ignored": (_FULL, _LEFT, _EMPTY),
    "image of one pixel": (np.ones((1, 1), bool), np.ones((1, 1), bool), None),
    "image of one row": (np.array([[True, True, False]]), np.array([[False, True, True]]), None),
    "image of one column": (np.array([[True], [False]]), np.array([[True], [True]]), None),
}


def blob(seed: int, shape: tuple[int, int] = (180, 240)) -> np.ndarray:
    """A few overlapping discs, as large as in a photo, some cut off by the border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for _ in range(4):
        cy, cx, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(4, shape[0] / 4)
        mask |= (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
    return mask
