"""What somebody drew on a photo, and the mask that it means.

Points and a box are asked of the model (SAM's prompts); strokes are painted over its answer, as a brush and an eraser
do. All coordinates are pixels of the photo, however small it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from persam.errors import PersamError, UsageError
from persam.geometry import Size
from persam.method.learn import prompted_mask
from persam.models.base import EncodedImage, PromptableModel
from persam.studio.workshop import answer_of

if TYPE_CHECKING:
    from persam.persam import PerSAM
    from persam.server.engine import Engine
    from persam.studio.workshop import Shown

_MOST_POINTS, _MOST_STROKES, _LONGEST_STROKE = 500, 2000, 20_000  # beyond which nobody drew it
_WIDEST = 4096.0  # pixels
_SPECK = 0.02  # of a mask's area, below which a piece is none
_SURE = 8.0  # logit of a mask that is given as a prompt


@dataclass(frozen=True)
class Stroke:
    """A line of the brush or the eraser.

    Attributes:
        label: 1 paints, 0 erases.
        width: pixels of the photo.
        points: its corners (x, y); one alone is a dot.
    """

    label: int
    width: float
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class CanvasPrompts:
    """What is drawn on a `Canvas`, checked.

    Attributes:
        size: (H, W) of the photo.
        points: (x, y, label) each, label 1 on the object and 0 beside it.
        box: (x0, y0, x1, y1) around the object, or None.
        strokes: in the order in which they were drawn.
        number: which gesture it was; an answer that is overtaken is told by it.
        photo: where the page got the photo (`Shown.url`), so that an answer about another photo is told.
    """

    size: Size
    points: tuple[tuple[float, float, int], ...] = ()
    box: tuple[float, float, float, float] | None = None
    strokes: tuple[Stroke, ...] = ()
    number: int = 0
    photo: str = ""

    @property
    def marks(self) -> tuple[object, ...]:
        """All that is drawn, whatever gesture it was and wherever the photo came from; equal if the same is drawn."""
        return self.points, self.box, self.strokes

    @classmethod
    def of(cls, value: Any, photo: Size | Shown) -> CanvasPrompts:
        """Read a canvas's value; whatever lies outside the photo is moved to its edge.

        Args:
            value: of a `Canvas`, or None for nothing drawn.
            photo: (H, W) of the photo, or the photo as it is shown.

        Raises:
            UsageError: it has another form.
        """
        height, width = photo if isinstance(photo, tuple) else (photo.height, photo.width)
        value = {} if value is None else value
        if not isinstance(value, Mapping):
            raise _misread("no drawing at all")
        points = _list_in(value, "points", _MOST_POINTS)
        strokes = _list_in(value, "strokes", _MOST_STROKES)
        box = value.get("box")
        return cls(
            (height, width),
            tuple((*_inside(each, (height, width)), _label(each[2:])) for each in points),
            None if box is None else _box(box, (height, width)),
            tuple(_stroke(each, (height, width)) for each in strokes),
            int(_number(value.get("number", 0))),
            str(value.get("photo", "")),
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is drawn."""
        return not any(self.marks)

    @property
    def asks_model(self) -> bool:
        """Whether there is something that the model makes a mask of."""
        return bool(self.points) or self.box is not None

    def to_value(self) -> dict[str, Any]:
        """As a canvas has it."""
        return {
            "points": [list(each) for each in self.points],
            "box": None if self.box is None else list(self.box),
            "strokes": [
                {"label": each.label, "width": each.width, "points": [list(point) for point in each.points]}
                for each in self.strokes
            ],
            "number": self.number,
            "photo": self.photo,
        }

    def painted(self, mask: np.ndarray | None) -> np.ndarray:
        """The strokes over a mask, (H, W) bool; over nothing where there is none."""
        layer = np.zeros(self.size, np.uint8) if mask is None else mask.astype(np.uint8)
        for stroke in self.strokes:
            width = max(1, round(stroke.width))
            corners = np.round(np.array(stroke.points)).astype(np.int32)
            if len(corners) > 1:
                cv2.polylines(layer, [corners], isClosed=False, color=stroke.label, thickness=width)
            elif width < 3:
                layer[corners[0, 1], corners[0, 0]] = stroke.label
            else:
                cv2.circle(layer, corners[0].tolist(), width // 2, stroke.label, cv2.FILLED)
        return layer.astype(bool)


def mask_of(
    engine: Engine, encoded: EncodedImage, prompts: CanvasPrompts, start: np.ndarray | None = None
) -> np.ndarray | None:
    """The mask that a drawing means: points and box by the model, strokes painted over it.

    Args:
        engine: runs the model.
        encoded: the photo.
        prompts: what is drawn.
        start: a mask, (H, W) bool, that is to be mended: points change what they lie in, a box makes it anew, strokes
            are painted over it.

    Returns:
        (H, W) bool; None where nothing is drawn and there is no start.

    Raises:
        PersamError: the model finds nothing there, is too busy (`BusyError`), or does not answer for two minutes.
        UsageError: all points lie beside the object, and nothing says where it is.
    """
    mask = start
    if prompts.asks_model:
        if start is None and prompts.box is None and not any(label for *_, label in prompts.points):
            raise UsageError("Every point lies beside the object; click on the object too, or draw a box around it.")
        mask = answer_of(engine.call(lambda model: _by_model(model, encoded, prompts, start)))
    if prompts.strokes:
        mask = prompts.painted(mask)
    return mask


def check_mask(mask: np.ndarray | None) -> np.ndarray:
    """See that something can be learned from a mask.

    Raises:
        PersamError: there is none, or it holds nothing or everything.
    """
    if mask is None or not mask.any():
        raise PersamError("Nothing is marked yet; click on the object, or draw a box around it.")
    if mask.all():
        raise PersamError("Everything is marked, so nothing tells the object from the rest; erase what is not it.")
    return mask


@torch.inference_mode()
def _by_model(model: PerSAM, encoded: EncodedImage, prompts: CanvasPrompts, start: np.ndarray | None) -> np.ndarray:
    points = [(x, y) for x, y, _ in prompts.points] or None
    labels = [label for *_, label in prompts.points] or None
    mends = start if start is not None and start.any() and prompts.box is None else None
    logits = None if mends is None else _as_prompt(model.model, encoded, mends)
    found = prompted_mask(model.model, encoded, box=prompts.box, points=points, labels=labels, logits=logits)
    mask: np.ndarray = found.cpu().numpy()
    if mends is None:
        mask = _without_specks(mask, prompts.points)
    else:
        mask = _mended(mends, mask, prompts.points)
    # A small model overlooks points beside the object: the pieces go in which there are no others.
    return mask & ~(_pieces_at(mask, prompts.points, 0) & ~_pieces_at(mask, prompts.points, 1))


def _mended(start: np.ndarray, found: np.ndarray, points: Sequence[tuple[float, float, int]]) -> np.ndarray:
    """A mask, changed to what was found, but only in those pieces of the difference that a point asks for.

    Else a click would also change the mask where it was right already.
    """
    wanted = _pieces_at(found & ~start, points, 1)
    unwanted = _pieces_at(start & ~found, points, 0)
    return (start | wanted) & ~unwanted


def _pieces_at(mask: np.ndarray, points: Sequence[tuple[float, float, int]], label: int) -> np.ndarray:
    """The connected pieces of a mask, (H, W) bool, in which points of a label lie."""
    places = [(round(y), round(x)) for x, y, each in points if each == label]
    if not any(mask[place] for place in places):
        return np.zeros_like(mask)
    _, pieces = cv2.connectedComponents(mask.astype(np.uint8))
    numbers = {int(pieces[place]) for place in places} - {0}
    return np.isin(pieces, list(numbers))


def _as_prompt(model: PromptableModel, encoded: EncodedImage, mask: np.ndarray) -> torch.Tensor:
    """A mask as the decoder takes one, (1, 1, h, w): logits, as sure as its own are."""
    shares = encoded.frame.cover(torch.tensor(mask, device=model.device), model.low_resolution)
    return ((2 * shares.float() - 1) * _SURE)[None, None]


def _without_specks(mask: np.ndarray, points: Sequence[tuple[float, float, int]]) -> np.ndarray:
    """The mask without pieces of next to nothing that nobody pointed at, which a small model leaves around."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[:, cv2.CC_STAT_AREA]
    specks = [number for number in range(1, count) if areas[number] < _SPECK * areas[1:].sum()]
    return mask & ~(np.isin(pieces, specks) & ~_pieces_at(mask, points, 1))


def _misread(what: str) -> UsageError:
    return UsageError(f"The drawing cannot be read: {what}; clear it and draw again.")


def _list_in(value: Mapping[str, Any], name: str, most: int) -> Sequence[Any]:
    found = value.get(name) or []
    if not isinstance(found, Sequence) or isinstance(found, str) or len(found) > most:
        raise _misread(f"its {name} are no list of at most {most}")
    return found


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _misread(f"{value!r:.40} is no number")
    return float(value)


def _label(rest: Any) -> int:
    if list(rest) not in ([0], [1]):
        raise _misread("a point says neither 1 nor 0")
    return int(rest[0])


def _inside(pair: Any, size: Size) -> tuple[float, float]:
    """(x, y) on the photo: a pixel's middle has whole numbers."""
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) < 2:
        raise _misread(f"{pair!r:.40} is no point")
    height, width = size
    return min(max(_number(pair[0]), 0.0), width - 1.0), min(max(_number(pair[1]), 0.0), height - 1.0)


def _box(box: Any, size: Size) -> tuple[float, float, float, float]:
    if not isinstance(box, Sequence) or isinstance(box, str) or len(box) != 4:
        raise _misread("its box is not four numbers")
    height, width = size
    x0, x1 = sorted(min(max(_number(each), 0.0), float(width)) for each in box[0::2])
    y0, y1 = sorted(min(max(_number(each), 0.0), float(height)) for each in box[1::2])
    x0, y0 = min(x0, width - 1.0), min(y0, height - 1.0)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)  # never empty: at least the pixel where it was drawn


def _stroke(stroke: Any, size: Size) -> Stroke:
    if not isinstance(stroke, Mapping):
        raise _misread("a stroke is none")
    points = _list_in(stroke, "points", _LONGEST_STROKE)
    if not points:
        raise _misread("a stroke has no points")
    width = min(max(_number(stroke.get("width", 1)), 1.0), _WIDEST)
    return Stroke(_label([stroke.get("label")]), width, tuple(_inside(each, size) for each in points))
