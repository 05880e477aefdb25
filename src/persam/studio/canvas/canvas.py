"""`Canvas`: the component that a page is laid out with. What it does in the browser: `canvas.js`.

A photo and a mask go to the page as props; what comes back is the drawing alone, so that a click sends some bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import gradio as gr
import numpy as np

from persam.geometry import fit_mask
from persam.reports.pictures import data_uri, mask_file
from persam.studio.canvas.prompts import CanvasPrompts
from persam.studio.components import StublessMeta
from persam.studio.workshop import SHOWN_SIDE, Shown

_SCRIPTS = ("canvas.js", "painting.js", "hands.js")
TOOLS = ("add", "remove", "box", "brush", "eraser", "pan")
EMPTY: dict[str, Any] = {"points": [], "box": None, "strokes": [], "number": 0, "photo": ""}


_EMPTY_PLACE = '<p class="pc-empty">'


@cache
def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


class Canvas(gr.HTML, metaclass=StublessMeta):
    """A photo on which one clicks, draws a box, paints and erases.

    Its value is the drawing, see `CanvasPrompts.to_value`. Listen to ``.input``: it comes at the end of every gesture,
    undo, redo and clear (``.change`` comes too where a program changed the value). Answer with `answer`, quickly or
    not: an answer to an earlier gesture is ignored by the page; and answer always, with `refuse` where there is no
    mask, or the page waits. Update it with what `show` gives.

    Args:
        label: what is drawn on it, for those who do not see it.
        empty: what stands there as long as there is no photo.
        tools: those that are offered, of `TOOLS`.
        more: whatever `gradio.HTML` takes, such as `elem_id`.
    """

    def __init__(
        self,
        value: dict[str, Any] | None = None,
        *,
        label: str = "Photo",
        photo: dict[str, Any] | None = None,
        reply: dict[str, Any] | None = None,
        empty: str = "No photo yet.",
        tools: Sequence[str] = TOOLS,
        **more: Any,
    ) -> None:
        more = {"container": False, "padding": False, **more}
        for name in ("html_template", "css_template", "js_on_load", "apply_default_css"):
            more.pop(name, None)  # Gradio hands them back where it makes the component again for an update
        super().__init__(
            value=EMPTY if value is None else value,
            label=label,
            html_template=_part("canvas.html").replace(_EMPTY_PLACE, f"{_EMPTY_PLACE}{_as_template(empty)}"),
            css_template=_part("canvas.css"),
            js_on_load="\n".join(_part(name) for name in _SCRIPTS),
            apply_default_css=False,
            photo=photo or {},
            reply=reply or {},
            tools=list(tools),
            **more,
        )

    def __getattr__(self, name: str) -> Any:
        # Gradio takes every word in quotes of the script for the name of an event; props are none.
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def postprocess(self, value: Any) -> Any:
        """What the page gets as the value."""
        return EMPTY if value is None else value

    def api_info(self) -> dict[str, Any]:
        """The value's form."""
        return {"type": "object"}

    def example_payload(self) -> Any:
        """An empty drawing."""
        return EMPTY

    def example_value(self) -> Any:
        """An empty drawing."""
        return EMPTY

    @staticmethod
    def show(
        photo: Shown | None,
        mask: np.ndarray | None = None,
        prompts: CanvasPrompts | None = None,
        note: str = "",
        tools: Sequence[str] = TOOLS,
    ) -> Any:
        """An update: another photo, with a mask, (H, W) bool, and prompts, if there are any; None: no photo.

        Whatever was drawn before is gone, also from undo.

        Args:
            photo: as `Workshop.show` gives it.
            mask: as large as the photo itself.
            prompts: what is to be drawn already.
            note: a sentence below the photo, which is read aloud.
            tools: those that are offered.
        """
        if photo is None:
            return gr.update(value=EMPTY, photo={}, reply={})
        drawn = EMPTY if prompts is None else prompts.to_value()
        return gr.update(
            value={**drawn, "photo": photo.url},
            photo={"url": photo.url, "width": photo.width, "height": photo.height},
            reply=_reply(photo.url, -1, mask, note),
            tools=list(tools),
        )

    @staticmethod
    def answer(prompts: CanvasPrompts, mask: np.ndarray | None, note: str = "") -> Any:
        """An update: the mask that belongs to a drawing; the page ignores it if the drawing is another by now.

        Args:
            prompts: what was asked.
            mask: (H, W) bool, or None for no mask.
            note: a sentence below the photo, which is read aloud, such as what went wrong.
        """
        return gr.update(reply=_reply(prompts.photo, prompts.number, mask, note))

    @staticmethod
    def refuse(value: Mapping[str, Any], note: str) -> Any:
        """An update: there is no mask to a drawing, which may not even be one.

        Args:
            value: of the canvas, as the page sent it.
            note: what went wrong.
        """
        number = value.get("number")
        return gr.update(
            reply=_reply(str(value.get("photo", "")), number if isinstance(number, int) else -1, None, note)
        )


def _as_template(text: str) -> str:
    """A text for Gradio's template, which would run what stands between some of these."""
    return escape(text).translate({ord(each): f"&#{ord(each)};" for each in "`${}"})


def _reply(photo: str, number: int, mask: np.ndarray | None, note: str) -> dict[str, Any]:
    """What is answered; a mask as a small picture inside it, so that it comes with its number."""
    picture = ""
    if mask is not None and mask.any():
        height, width = mask.shape
        share = min(1.0, SHOWN_SIDE / max(height, width))
        if share < 1:
            size = max(1, round(height * share)), max(1, round(width * share))
            mask = fit_mask(mask, np.zeros((*size, 1), np.uint8))
        picture = data_uri(mask_file(mask), "png")
    return {"photo": photo, "number": number, "mask": picture, "note": note}
