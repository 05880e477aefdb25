"""The drawing surface: a photo, prompts on it in photo pixels, and the mask that they make."""

from __future__ import annotations

from persam.studio.canvas.canvas import Canvas
from persam.studio.canvas.prompts import CanvasPrompts, mask_of

__all__ = ["Canvas", "CanvasPrompts", "mask_of"]
