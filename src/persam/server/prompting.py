"""A mask under clicks and boxes, for tools in which somebody draws while the model helps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from persam.geometry import Size
from persam.method.learn import prompted_mask
from persam.persam import PerSAM


def longest_seen(model: PerSAM) -> int | None:
    """Pixels of a photo's longest side that a model can see; None: all, for the published modes read a photo whole."""
    return model.longest_side if model.settings.mode == "persam" else None


@torch.inference_mode()
def mask_under(
    model: PerSAM,
    pixels: np.ndarray,
    size: Size,
    *,
    boxes: Sequence[Sequence[float]] = (),
    points: Sequence[Sequence[float]] | np.ndarray = (),
    signs: Sequence[int] = (),
) -> np.ndarray:
    """The mask that the model makes of what somebody points at; runs on the model's thread.

    Args:
        model: that is asked.
        pixels: (h, w, 3) uint8 RGB, the photo or a smaller copy of it.
        size: (H, W) of the photo.
        boxes: (x0, y0, x1, y1) in its pixels, each around one thing; their masks are put together.
        points: (x, y) in its pixels; with one box they belong to it, with several they are left out.
        signs: of the points: 1 on the object, 0 beside it.

    Returns:
        (H, W) bool.

    Raises:
        PersamError: the model finds nothing there.
    """
    image = model.encode(pixels, size=size)
    clicks = {"points": np.asarray(points, np.float32), "labels": np.asarray(signs)} if len(points) else {}
    asked = [{"box": box} for box in boxes] if len(boxes) > 1 else [{"box": boxes[0] if len(boxes) else None, **clicks}]
    masks = [prompted_mask(model.model, image, **each).cpu().numpy() for each in asked]
    return np.logical_or.reduce(masks)
