"""Reference: one photo that shows the object, and where in it the object is."""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from persam.doubts import (
    doubt_of_box,
    doubt_of_labels,
    doubt_of_mask,
    doubt_of_repeats,
    doubt_of_size,
    doubt_of_turn,
)
from persam.errors import PersamError, PersamWarning, UsageError
from persam.files import expanded
from persam.images import ImageSource, read_image, read_once, read_orientation
from persam.labels import Label
from persam.masks import (
    MaskSource,
    lies_as_stored,
    mask_size,
    name_of,
    read_alpha,
    read_labels,
    read_mask,
    read_mask_values,
    says_its_orientation,
    turned,
)
from persam.places import Place, RemotePath

if TYPE_CHECKING:
    from persam.concept import ReferenceRecord
    from persam.models.words import WordFinder

Box = tuple[float, float, float, float]
_SCORES_TOLD = 5


@dataclass(frozen=True, eq=False)
class Reference:
    """A photo and one form of showing the object in it: a mask, a box and/or points, or a scribble.

    Attributes:
        image: (H, W, 3) uint8, RGB, upright.
        mask: (H, W) bool, or None when a box, points or a scribble show the object.
        mask_values: (h, w, 3) uint8, RGB: the mask's raw values at its own size, which mode ``official`` needs.
        box: (x0, y0, x1, y1) in photo pixels.
        points: (N, 2) float32 (x, y) in photo pixels.
        labels: (N,) int64, 1 on the object, 0 beside it.
        scribble: (H, W) bool, strokes that lie on the object.
        text: What kind of thing the object is, in a word or two; "" if nobody said.
        source: The photo's file name as given, or "" for one from memory.
        sha256: Hex digest of the photo's file, or of its pixels for one from memory.
    """

    image: np.ndarray
    mask: np.ndarray | None = None
    mask_values: np.ndarray | None = None
    box: Box | None = None
    points: np.ndarray | None = None
    labels: np.ndarray | None = None
    scribble: np.ndarray | None = None
    text: str = ""
    source: str = ""
    sha256: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the photo."""
        return self.image.shape[0], self.image.shape[1]

    @classmethod
    def read(
        cls,
        image: ImageSource,
        mask: MaskSource | None = None,
        *,
        box: Sequence[float] | None = None,
        points: Any = None,
        labels: Any = None,
        scribble: MaskSource | None = None,
        label: Label | None = None,
        mask_as_stored: bool = False,
        text: str | None = None,
        finder: WordFinder | None = None,
        text_index: int | None = None,
    ) -> Reference:
        """Read a photo and the one form in which the object is shown; box and points may go together.

        A transparent cut-out needs nothing else: what is opaque is the object. Where nothing else shows it, a finder
        looks for a text, and what it finds is the mask.

        Args:
            image: What `persam.images.read_image` reads.
            mask: What `persam.masks.read_mask` reads; a rough one is enough.
            box: (x0, y0, x1, y1) in photo pixels.
            points: N pairs (x, y) in photo pixels.
            labels: N values, 1 on the object, 0 beside it; all 1 by default.
            scribble: A mask of strokes drawn on the object.
            label: Which label of the mask is the object: a number, or a colour such as ``"#ff8000"``; by default all.
            mask_as_stored: Mask or scribble was drawn on the photo as it is stored, before its EXIF orientation turns
                it; by default, on the photo as every viewer shows it.
            text: What kind of thing the object is, in a word or two, such as ``"mug"``; it is kept, whatever shows it.
            finder: Looks for the text, see `persam.models.words.load_finder`.
            text_index: Which of several things that it finds, 1 being the surest; by default that one, which is said.

        Warns:
            PersamWarning: The mask or the box may not be what was meant, the mask is scaled to fit, or the text means
                several things; says why, and what to do.

        Raises:
            UsageError: No form or several, a box or points that do not lie in the photo, or a label, a text or one of
                the things that it means that is not there.
            PersamError: A file cannot be read, the mask does not fit the photo, or nothing is found by the text.
        """
        _check_one_form(mask=mask, prompts=box if box is not None else points, scribble=scribble)
        if labels is not None and points is None:
            raise UsageError("Labels belong to points; give the points too.")
        if label is not None and mask is None:
            raise UsageError("A label chooses a part of a mask; give the mask too.")
        is_shown = any(form is not None for form in (mask, box, points, scribble))
        text = _checked_text(text, finder, text_index, is_shown=is_shown)
        source = str(image) if isinstance(image, (str, os.PathLike)) else ""
        image, mask, scribble = read_once(image), read_once(mask, "mask"), read_once(scribble, "scribble")
        photo = read_image(image)
        size = photo.shape[0], photo.shape[1]
        found: dict[str, Any] = {}
        if mask is not None:
            orientation = read_orientation(image)
            found["mask"] = _read_drawn(mask, photo, orientation, mask_as_stored, "mask", label)
            found["mask_values"] = _read_values(mask, found["mask"], orientation, mask_as_stored, label)
            _warn(doubt_of_mask(found["mask"], name_of(mask)))
        elif scribble is not None:
            found["scribble"] = _read_drawn(scribble, photo, read_orientation(image), mask_as_stored, "scribble")
        elif box is not None or points is not None:
            if box is not None:
                found["box"] = _checked_box(box, size)
                _warn(doubt_of_box(found["box"]))
            if points is not None:
                found["points"], found["labels"] = _checked_points(points, labels, size, has_box=box is not None)
        else:
            opaque = read_alpha(image)
            shown = _found_by_text(photo, text, finder, text_index, source) if opaque is None else opaque
            found["mask"], found["mask_values"] = shown, read_mask_values(shown)
        return cls(photo, **found, text=text, source=source, sha256=_digest(image, photo))

    def scribble_points(self, count: int) -> np.ndarray:
        """Spread points over the strokes of the scribble: the innermost first, then always the farthest from all.

        Returns:
            (n, 2) float32 (x, y) in photo pixels, n = min(count, number of stroke pixels); (0, 2) without a scribble.
        """
        if self.scribble is None:
            return np.zeros((0, 2), np.float32)
        bordered = cv2.copyMakeBorder(self.scribble.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        depth = cv2.distanceTransform(bordered, cv2.DIST_L2, 5)[1:-1, 1:-1]
        rows, columns = np.nonzero(self.scribble)
        strokes = np.stack([columns, rows], axis=1).astype(np.float32)  # (M, 2)
        middle = np.square(strokes - strokes.mean(axis=0)).sum(axis=1)
        chosen = [int(np.lexsort((middle, -depth[rows, columns]))[0])]  # of the innermost, the one in the middle
        distance = np.full(len(strokes), np.inf, np.float32)
        while len(chosen) < min(count, len(strokes)):
            distance = np.minimum(distance, np.square(strokes - strokes[chosen[-1]]).sum(axis=1))
            chosen.append(int(distance.argmax()))
        return strokes[chosen[:count]]


def _read_drawn(
    drawn: MaskSource, photo: np.ndarray, orientation: int, as_stored: bool, what: str, label: Label | None = None
) -> np.ndarray:
    """A mask or scribble as it lies on the upright photo, (H, W) bool. Whatever is not sure about that is said."""

    def read(as_stored: bool) -> np.ndarray:
        size = photo.shape[0], photo.shape[1]
        return read_mask(drawn, size, what=what, photo_orientation=orientation, as_stored=as_stored, label=label)

    mask = read(as_stored)
    _warn(doubt_of_size(mask_size(drawn), (photo.shape[0], photo.shape[1]), name_of(drawn, what)))
    if what == "mask" and label is None:
        _warn(doubt_of_labels(read_labels(drawn).things, name_of(drawn)))
    if orientation != 1 and not as_stored and not says_its_orientation(drawn):
        with contextlib.suppress(PersamError):  # then it fits one way alone, and there is no doubt
            _warn(doubt_of_turn(mask, read(as_stored=True), photo, name_of(drawn, what)))
    return mask


def _read_values(
    source: MaskSource, mask: np.ndarray, orientation: int, as_stored: bool, label: Label | None
) -> np.ndarray:
    """The raw values of a mask's file, lying as the mask does; where a label was chosen, those of it alone."""
    if label is not None:
        return read_mask_values(mask)
    values = read_mask_values(source)
    is_turned = as_stored and not says_its_orientation(source)
    if is_turned or lies_as_stored(values.shape, (mask.shape[0], mask.shape[1]), orientation):
        return turned(values, orientation)
    return values


def _checked_text(text: str | None, finder: WordFinder | None, index: int | None, *, is_shown: bool) -> str:
    """The text without needless blanks; "" for none."""
    if text is None:
        if finder is not None or index is not None:
            raise UsageError("A finder looks for a text; say with text what the object is, such as mug.")
        return ""
    if index is not None and is_shown:
        raise UsageError("The text's index chooses among what it finds, but here something else shows the object.")
    from persam.models.words import words_of

    return words_of(text)


def _found_by_text(
    photo: np.ndarray, text: str, finder: WordFinder | None, index: int | None, source: str
) -> np.ndarray:
    """The mask, (H, W) bool, of one of the things that a finder means by a text: the surest, or the one of an index."""
    where = source or "the photo"
    if finder is None or not text:
        raise UsageError(
            f"Nothing shows where the object is in {where}; give a mask, a box, points, a scribble, a transparent "
            "cut-out, or a text and a finder that looks for it."
        )
    named = finder.find_words(photo, text)
    count = len(named.scores)
    if count == 0:
        raise PersamError(
            f"{finder.name} finds no {text!r} in {where}; try another word for it, or show it by a mask or a box."
        )
    if index is None and count > 1:
        scores = ", ".join(f"{score:.2f}" for score in named.scores[:_SCORES_TOLD]) + ", ..." * (count > _SCORES_TOLD)
        _warn(
            f"{finder.name} finds {count} things that {text!r} may mean in {where} (scores {scores}), and the first is "
            "taken; see whether it is the one, or choose another with --text-index 2 (in Python: text_index=2)."
        )
    if index is not None and not 1 <= index <= count:
        things = "one thing" if count == 1 else f"{count} things"
        raise UsageError(f"{finder.name} finds {things} that {text!r} may mean in {where}, so there is no {index}.")
    mask: np.ndarray = named.masks[(index or 1) - 1]
    return mask


def warn_of_repeats(known: Sequence[ReferenceRecord], more: Sequence[Reference]) -> None:
    """Say which photos a concept is to be learned from that it knows already; one may show two things at a time."""
    before = {each.sha256 for each in known if each.sha256}
    doubt = doubt_of_repeats([each.source for each in more if each.sha256 in before])
    if doubt is not None:
        warnings.warn(doubt, PersamWarning, stacklevel=3)


def _warn(doubt: str | None) -> None:
    if doubt is not None:
        warnings.warn(doubt, PersamWarning, stacklevel=4)


def _check_one_form(**forms: object) -> None:
    given = [name for name, value in forms.items() if value is not None]
    if len(given) > 1:
        words = {"mask": "a mask", "prompts": "a box or points", "scribble": "a scribble"}
        raise UsageError(f"Give one of {' and '.join(words[name] for name in given)}, not both: each shows the object.")


def _checked_box(box: Sequence[float], size: tuple[int, int]) -> Box:
    values = np.asarray(box, np.float64).reshape(-1)
    if values.size != 4 or not np.isfinite(values).all():
        raise UsageError(f"A box is four numbers x0,y0,x1,y1, not {box!r}.")
    x0, y0, x1, y1 = (float(value) for value in values)
    if x0 >= x1 or y0 >= y1:
        raise UsageError(f"The box {x0:g},{y0:g},{x1:g},{y1:g} is empty; x0 must be left of x1 and y0 above y1.")
    height, width = size
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise UsageError(
            f"The box {x0:g},{y0:g},{x1:g},{y1:g} reaches out of the photo, which is {width} x {height} pixels; "
            "give x0,y0,x1,y1 in its pixels."
        )
    return x0, y0, x1, y1


def _checked_points(points: Any, labels: Any, size: tuple[int, int], *, has_box: bool) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.asarray(points, np.float32)
    if pairs.ndim == 1 and pairs.size == 2:
        pairs = pairs[None]
    if pairs.ndim != 2 or pairs.shape[1] != 2 or len(pairs) == 0 or not np.isfinite(pairs).all():
        raise UsageError("Points are pairs of numbers x,y in photo pixels; give at least one.")
    height, width = size
    for x, y in pairs.tolist():
        if not (0 <= x < width and 0 <= y < height):
            raise UsageError(
                f"The point {x:g},{y:g} lies outside the photo, which is {width} x {height} pixels; "
                "give x,y in its pixels."
            )
    signs = np.ones(len(pairs), np.int64) if labels is None else np.asarray(labels).reshape(-1).astype(np.int64)
    if len(signs) != len(pairs) or not np.isin(signs, (0, 1)).all():
        raise UsageError(f"Labels are one number a point, 1 on the object and 0 beside it; {len(pairs)} are needed.")
    if not has_box and not signs.any():
        raise UsageError("Every point lies beside the object; give at least one on it, or a box.")
    return pairs, signs


def _digest(image: ImageSource, photo: np.ndarray) -> str:
    if isinstance(image, (np.ndarray, Image.Image)):
        return hashlib.sha256(str(photo.shape).encode() + photo.tobytes()).hexdigest()
    return sha256_of(expanded(image))


def sha256_of(photo: Place) -> str:
    """By what a photo's file is known, see `Reference.sha256`.

    Raises:
        OSError, PersamError: it cannot be read, from a disk and from elsewhere.
    """
    if isinstance(photo, RemotePath):
        return hashlib.sha256(photo.read_bytes()).hexdigest()
    with photo.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
