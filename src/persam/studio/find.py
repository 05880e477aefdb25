"""Tab "Find": concepts are looked for in photos, folders and clips."""

from __future__ import annotations

import gradio as gr

from persam.studio.workshop import Workshop


def build(workshop: Workshop) -> None:
    """Lay out the tab."""
    gr.Markdown(f"{len(workshop.concepts.names())} concepts to look for.")
