"""Tab "Study": people mask the photos of a study."""

from __future__ import annotations

import gradio as gr

from persam.studio.workshop import Workshop


def build(workshop: Workshop) -> None:
    """Lay out the tab."""
    gr.Markdown(f"The study is {workshop.study or 'not chosen yet'}.")
