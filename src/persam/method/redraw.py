"""Drawn again: the mask once more from close by, where the photo has pixels that the encoder has not seen.

The encoder sees a photo at a size of its own, and the decoder draws at a quarter of that: legs and necks get lost.  So
a window around what was found is encoded as a photo of its own.  What is there is known by now, and where: the decoder
is asked by point and box alone, the box being that of the first mask, and of what it draws the mask is taken that it is
surest of and that is most like the first one.  What is known of every pixel, and the outline, are those of the window
(`method/segment.py`), which has as many pixels as the whole photo had.

Which thing it is, and whether it is there, was decided at the whole photo; so the score stays, and what is thought not
to be there is not drawn again.  Nor is what was seen by a closer look: its window has no pixels to spare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from persam.geometry import Size, cut, deepest, window_at
from persam.instance import Instance, PixelBox, mask_box
from persam.method.prior import prior_of
from persam.method.segment import overlap, photo_mask, prompts_at
from persam.models.base import EncodedImage, PromptableModel

if TYPE_CHECKING:
    from persam.concept import Concept

Encode = Callable[[np.ndarray], EncodedImage]

MARGIN = 0.2  # of the longer side of what was found, on every side
MOST_OF_PHOTO = 0.85  # a window with a larger share of the photo's longest side shows hardly more than the photo did
LIKELY = 0.25  # score below which a thing is thought not to be there, whatever is asked for
ALIKE = 0.4  # IoU with the first mask from which on a mask is of the same thing


def redrawn(
    one: Instance, model: PromptableModel, encode: Encode, image: EncodedImage, concept: Concept, *, tuned: bool
) -> Instance:
    """What was found, with its mask drawn again in a window; as it is where that is not worth while, or goes astray.

    Args:
        one: what was found at the whole photo, not by a closer look, with the way to it.
        model: the promptable model.
        encode: encodes a part of the photo, (h, w, 3) uint8 RGB, as the photo was.
        image: the photo, with its `detail`; without, everything stays as it is.
        concept: what was looked for.
        tuned: as a tuned concept has it.
    """
    if image.detail is None or one.score < LIKELY or not redraws(concept):
        return one
    window = window_of(one, image.detail.shape[:2], max(image.frame.canvas))
    if window is None:
        return one
    x0, y0, x1, y1 = window
    seen = encode(cut(image.detail, window, image.frame.photo)).of_photo((y1 - y0, x1 - x0))
    drawn = drawn_in(window, seen, one.mask, one.points()[0], model, concept, tuned=tuned)
    if drawn is None:
        return one
    mask, predicted = drawn
    return replace(one, mask=mask, predicted_iou=predicted, redrawn=window)


def redraws(concept: Concept) -> bool:
    """Whether masks are drawn again: it is asked for, and the model's masks gain from being refined."""
    return concept.settings.redraw and concept.fitted is not None and concept.fitted.refine


def frame_redrawn(
    mask: np.ndarray,
    pixels: np.ndarray,
    model: PromptableModel,
    encode: Encode,
    canvas: int,
    concept: Concept,
    *,
    tuned: bool,
) -> np.ndarray:
    """The mask of a clip's frame, drawn again in a window; as it is under the same conditions as that of a photo.

    Args:
        mask: (H, W) bool, of what is followed.
        pixels: the frame, (H, W, 3) uint8 RGB.
        model: the promptable model.
        encode: encodes a part of the frame, as the frame was.
        canvas: side of the model's input.
        concept: what is followed.
        tuned: as a tuned concept has it.
    """
    box = mask_box(mask)
    window = None if box is None or not redraws(concept) else close_window(box, mask.shape, mask.shape, canvas)
    if window is None:
        return mask
    seen = encode(cut(pixels, window, mask.shape))
    drawn = drawn_in(window, seen, mask, np.array(deepest(mask)), model, concept, tuned=tuned)
    return mask if drawn is None else drawn[0]


def drawn_in(
    window: PixelBox,
    seen: EncodedImage,
    mask: np.ndarray,
    point: np.ndarray,
    model: PromptableModel,
    concept: Concept,
    *,
    tuned: bool,
) -> tuple[np.ndarray, float] | None:
    """What is drawn in a window in which it is known where the thing is.

    Args:
        window: a part of the photo, in its pixels.
        seen: the window, encoded as a photo.
        mask: what is known, (H, W) bool of the photo, not empty in the window.
        point: a place on the thing, (x, y) in pixels of the photo.
        model: the promptable model.
        concept: what was found.
        tuned: as a tuned concept has it.

    Returns:
        The mask, (H, W) bool of the photo, and its predicted IoU; None where nothing like it is drawn.
    """
    frame, settings = seen.frame, concept.settings
    x0, y0, x1, y1 = window
    before = mask[y0:y1, x0:x1]
    box = mask_box(before)
    assert box is not None
    corners = np.reshape(box, (2, 2)) - np.array([[0.0, 0.0], [1.0, 1.0]])
    prior = replace(
        prior_of(seen, concept, model.low_resolution, tuned=tuned),
        points=frame.to_canvas(np.reshape(point - (x0, y0), (1, 2)).astype(float)),
        labels=np.ones(1, dtype=np.int64),
        box=frame.to_canvas(corners).reshape(4),
    )
    decoded = model.decode(seen, prompts_at(prior, prior.box), multimask=True)
    logits, scores = decoded.logits[0], decoded.scores[0]
    known = frame.cover(torch.tensor(before, device=logits.device), model.low_resolution) - 0.5
    alike = overlap(logits, known[None], frame)[:, 0]
    best = int((scores + alike).argmax())
    if float(alike[best]) < ALIKE:
        return None
    evidence = concept.cues if settings.pixel_evidence else ()
    drawn = photo_mask(logits[best], prior, seen.pixels, evidence, outline=settings.refine)
    if not drawn.any():
        return None
    again = np.zeros_like(mask)
    again[y0:y1, x0:x1] = drawn
    return again, float(scores[best])


def window_of(one: Instance, detail: Size, canvas: int) -> PixelBox | None:
    """The window of the photo in which a mask is drawn again, (x0, y0, x1, y1) in its pixels.

    Args:
        one: what was found, with the way to it.
        detail: size (h, w) of the copy of the photo that there is.
        canvas: side of the model's input; a window has no fewer pixels of the copy, lest it be enlarged.

    Returns:
        None where there is nothing, where a window would show hardly more than the photo did, or where it would not
        show the place that led to the mask.
    """
    window = None if one.box is None else close_window(one.box, one.mask.shape, detail, canvas)
    if window is None:
        return None
    x, y = one.points()[0]
    return window if window[0] <= x < window[2] and window[1] <= y < window[3] else None


def close_window(box: PixelBox, photo: Size, detail: Size, canvas: int) -> PixelBox | None:
    """The window around a box of a photo of size (H, W), or None where it would show hardly more than the photo did."""
    x0, y0, x1, y1 = box
    longest = max(photo)
    side = max((1 + 2 * MARGIN) * max(x1 - x0, y1 - y0), canvas * longest / max(detail))
    return None if side > MOST_OF_PHOTO * longest else window_at(((x0 + x1) / 2, (y0 + y1) / 2), side, photo)
