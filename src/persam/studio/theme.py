"""How the studio looks: colours and type as a Gradio theme, all else in `studio.css`. Nothing is fetched from afar."""

from __future__ import annotations

from importlib.resources import files

import gradio as gr

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """The theme: the system's own fonts, so that nothing is fetched."""
    return gr.themes.Soft(
        primary_hue="teal", secondary_hue="teal", neutral_hue="slate", radius_size="md", font=_FONTS, font_mono=_MONO
    )


def css() -> str:
    """The style sheet."""
    return (files("persam.studio") / "studio.css").read_text(encoding="utf-8")
