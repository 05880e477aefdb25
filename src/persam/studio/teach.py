"""Tab "Teach": a photo, some clicks, a name, and it is a concept."""

from __future__ import annotations

import gradio as gr

from persam.studio.canvas import Canvas
from persam.studio.workshop import Workshop


def build(workshop: Workshop) -> None:
    """Lay out the tab."""
    Canvas(label="Reference photo", elem_id="teach-canvas")
    gr.Markdown(f"The model is {workshop.engine.model.model.name}.")
