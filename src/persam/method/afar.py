"""From afar: what fills its reference photo is learned as it looks when it is small, too.

A cell's features depend on how large a thing is in the photo: on a close-up the cells show fur and whiskers, in the
album a whole cat has as many. It is the counterpart of the closer look (`method/find.py`). A photo is looked at again
from close by, if what was found is small; a reference is looked at once more from afar, if what it shows is large. What
is seen there counts as another shot of it. Other things, too, look more alike from afar; so the score weighs it apart
(`score_of`), by numbers that were fitted for the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from persam.method.cues import fuses_cues
from persam.method.learn import Learned
from persam.method.settings import Settings
from persam.models.fitted import Fitted
from persam.reference import Reference

AFAR = 0.45  # how large the photo is from afar, as a share of its sides
FILLS = 0.2  # share of the photo from which on what it shows is large
GREY = (124, 116, 104)  # around it: the mean colour of photos, which encoders take as nothing


def looks_from_afar(settings: Settings, fitted: Fitted | None) -> bool:
    """Whether references are learned from afar, too: if that is set, and what is seen there can be weighed."""
    return settings.from_afar and fuses_cues(settings) and fitted is not None and bool(fitted.presence_afar)


def learned_from_afar(
    references: Sequence[Reference], learned: Sequence[Learned], learn: Callable[[Reference], Learned]
) -> list[Learned]:
    """Learn those references from afar whose object is large.

    Args:
        references: the photos.
        learned: what was learned from each.
        learn: learns one, with its mask.
    """
    views = []
    for reference, seen in zip(references, learned, strict=True):
        mask = seen.mask.cpu().numpy()
        if mask.mean() > FILLS:
            smaller = _small(mask.astype(np.uint8), cv2.INTER_NEAREST, (0,)) > 0
            if smaller.any():
                views.append(learn(Reference(_small(reference.image, cv2.INTER_AREA, GREY), smaller)))
    return views


def _small(values: np.ndarray, interpolation: int, around: tuple[int, ...]) -> np.ndarray:
    """A photo (H, W, 3) or mask (H, W) uint8 in the middle of one of its size, with a colour around it."""
    height, width = values.shape[:2]
    rows, columns = (max(1, round(AFAR * side)) for side in (height, width))
    smaller = cv2.resize(values, (columns, rows), interpolation=interpolation)
    top, left = (height - rows) // 2, (width - columns) // 2
    sides = top, height - rows - top, left, width - columns - left
    return np.asarray(cv2.copyMakeBorder(smaller, *sides, cv2.BORDER_CONSTANT, value=around))
