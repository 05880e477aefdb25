"""Instance: one found object, the way to it, and what follows from a mask: box, area, run-length code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from persam.errors import PersamError

if TYPE_CHECKING:
    from persam.method.prior import Prior
    from persam.method.segment import Step

PixelBox = tuple[int, int, int, int]

_NO_CODE = "A mask's run-length code is damaged, or not COCO's compressed form; do the photo again."
_MOST_PIXELS = 2**31  # of a mask in a run-length code
_MORE, _NEGATIVE, _MOST_LETTERS = 32, 16, 7  # of COCO's code: bits of a letter, and letters of a number


class Masked:
    """What follows from a mask, (H, W) bool. It is worked out once, for a mask has many pixels and does not change: it
    cannot be written into, only into a copy of it."""

    mask: np.ndarray
    score: float
    similarity: float | None
    predicted_iou: float | None

    def __post_init__(self) -> None:
        view = self.mask.view()  # whoever made the mask may go on writing into it
        view.flags.writeable = False
        object.__setattr__(self, "mask", view)

    @cached_property
    def box(self) -> PixelBox | None:
        """(x0, y0, x1, y1) in pixels, x1 and y1 exclusive; None for an empty mask."""
        return mask_box(self.mask)

    @cached_property
    def area(self) -> float:
        """The part of the image that the mask covers, 0 to 1."""
        return np.count_nonzero(self.mask) / self.mask.size if self.mask.size else 0.0

    def rle(self) -> dict[str, Any]:
        """COCO's compressed run-length code, see `mask_rle`."""
        return dict(self._code)

    @cached_property
    def _code(self) -> dict[str, Any]:
        return mask_rle(self.mask)

    def _figures(self) -> dict[str, Any]:
        """Score, similarity, predicted IoU, box and area, for JSON."""
        figures = {"score": self.score, "similarity": self.similarity, "predicted_iou": self.predicted_iou}
        rounded = {name: None if value is None else round(float(value), 6) for name, value in figures.items()}
        return rounded | {"box": list(self.box) if self.box else None, "area": round(self.area, 6)}


@dataclass(frozen=True, eq=False)
class CloserLook:
    """A second look at something small, in a window of the photo, whose answer counts.

    Attributes:
        window: the part of the photo, (x0, y0, x1, y1) in pixels, x1 and y1 exclusive.
        found: what was found there, in the window's own pixels, with the way to it.
    """

    window: PixelBox
    found: Instance


@dataclass(frozen=True, eq=False)
class Instance(Masked):
    """One of several found objects of a concept.

    Attributes:
        mask: (H, W) bool.
        score: Probability that this is the thing, 0 to 1.
        similarity: To the mean of the reference, at the peak of the confidence map, -1 to 1; None where persam did not
            make it.
        predicted_iou: The decoder's own estimate of how good the mask is, about 0 to 1; None likewise.
        prior: The location prior, filled by ``segment(..., explain=True)``; the places of earlier instances are taken
            out of it.
        steps: The decoder's passes on the way to the mask, filled likewise.
        closer: Where the mask and all numbers are those of a closer look: that look; `prior` and `steps` are of the
            first one, at the whole photo. Filled likewise.
        redrawn: Where the mask was drawn again from close by: in which part of the photo, (x0, y0, x1, y1) in pixels.
            Mask and predicted IoU are those of that pass, all else is of the whole photo. Filled likewise.
    """

    mask: np.ndarray
    score: float
    similarity: float | None = None
    predicted_iou: float | None = None
    prior: Prior | None = field(default=None, repr=False)
    steps: tuple[Step, ...] = field(default=(), repr=False)
    closer: CloserLook | None = field(default=None, repr=False)
    redrawn: PixelBox | None = field(default=None, repr=False)

    def points(self) -> np.ndarray:
        """The location prior that led to the mask, (N, 2) as (x, y) in photo pixels; needs the `prior`."""
        if self.closer is not None:
            return self.closer.found.points() + np.array(self.closer.window[:2])
        assert self.prior is not None
        return self.prior.frame.to_photo(self.prior.points)

    def labels(self) -> np.ndarray:
        """1 for each of these points that is positive, 0 for a negative one, (N,); needs the `prior`."""
        prior = self.prior if self.closer is None else self.closer.found.prior
        assert prior is not None
        return prior.labels

    def without_way(self) -> Instance:
        """The same without the way to it, which takes memory."""
        return replace(self, prior=None, steps=(), closer=None, redrawn=None)

    def confidence_map(self) -> np.ndarray:
        """The confidence map at the photo's size, (H, W) float32: similarity, -1 to 1, or where cues are fused the
        chance that it is the thing, 0 to 1; needs the `prior`."""
        assert self.prior is not None
        values = self.prior.frame.to_photo_size(self.prior.canvas[None, None])[0, 0]
        return (values if self.prior.alike is None else values.sigmoid()).cpu().numpy()

    def masks(self) -> list[np.ndarray]:
        """The mask after each step of the first look, (H, W) bool; needs the `prior`."""
        assert self.prior is not None
        return [self.prior.frame.to_photo_mask(step.taken).cpu().numpy() for step in self.steps]

    def to_dict(self, *, rle: bool = True) -> dict[str, Any]:
        """Return all of it but the pixels, ready for JSON; ``rle=False`` leaves the mask out."""
        return self._figures() | ({"rle": self.rle()} if rle else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Instance:
        """Read back what `to_dict` gave; the way to the mask is not in it.

        Raises:
            PersamError: its run-length code is none.
            KeyError, TypeError: it is something else.
        """
        one = cls(rle_mask(values["rle"]), values["score"], values["similarity"], values["predicted_iou"])
        box = values["box"]
        vars(one).update(_code=values["rle"], box=None if box is None else tuple(box), area=values["area"])
        return one


def mask_box(mask: np.ndarray) -> PixelBox | None:
    """Return (x0, y0, x1, y1) around the True pixels of an (H, W) mask, x1 and y1 exclusive; None if there are none."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def mask_rle(mask: np.ndarray) -> dict[str, Any]:
    """Encode an (H, W) mask as COCO's compressed run-length code ``{"size": [H, W], "counts": str}``."""
    from pycocotools import mask as coco_mask

    # COCO counts down the columns; OpenCV turns a large mask over several times faster than NumPy.
    code = coco_mask.encode(cv2.transpose(mask.astype(np.uint8)).reshape(mask.shape[::-1]).T)
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}


def rle_mask(rle: Mapping[str, Any]) -> np.ndarray:
    """Decode `mask_rle` back to (H, W) bool.

    Raises:
        PersamError: it is something else, or its runs do not fill a mask of its size.
    """
    from pycocotools import mask as coco_mask

    try:
        height, width = (int(side) for side in rle["size"])
        letters = rle["counts"].encode("ascii")
        pixels = height * width if min(height, width) > 0 else -1
        # pycocotools does not look: what no run fills is whatever was in memory, and a size beyond it is a crash.
        filled = _run_lengths(letters).sum() == pixels <= _MOST_PIXELS
        columns = coco_mask.decode({"size": [height, width], "counts": letters}).T if filled else None
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise PersamError(_NO_CODE) from error
    if columns is None:
        raise PersamError(_NO_CODE)
    return cv2.transpose(columns).reshape(columns.shape[::-1]).view(bool)


def _run_lengths(letters: bytes) -> np.ndarray:
    """Lengths of the runs of COCO's compressed code, (N,) int64, as its `rleFrString` reads them.

    A letter holds five bits of a number, the lowest first, and whether more of it follow. From the fourth on, numbers
    are differences to the last run but one.

    Raises:
        ValueError: these are none.
    """
    codes = np.frombuffer(letters, np.uint8).astype(np.int64) - ord("0")
    ends = np.flatnonzero(codes < _MORE)
    if not len(codes):
        return codes
    if codes.min() < 0 or codes.max() >= 2 * _MORE or not len(ends) or ends[-1] != len(codes) - 1:
        raise ValueError(letters)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if place.max() >= _MOST_LETTERS:
        raise ValueError(letters)
    runs = np.add.reduceat((codes % _MORE) << 5 * place, starts)
    runs -= np.where(codes[ends] & _NEGATIVE, 1 << 5 * (place[ends] + 1), 0)
    for first in (1, 2):
        runs[first::2] = runs[first::2].cumsum()
    if runs.min() < 0:
        raise ValueError(letters)
    return runs
