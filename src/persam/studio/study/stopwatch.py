"""How long somebody looks at a photo, measured where it is looked at; nobody sees it run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import gradio as gr

from persam.studio.components import StublessMeta
from persam.studio.workshop import Shown


@cache
def _script() -> str:
    return (files("persam.studio.study") / "stopwatch.js").read_text(encoding="utf-8")


class Stopwatch(gr.HTML, metaclass=StublessMeta):
    """Counts the seconds that a photo is on the screen and somebody is at it.

    It does not count while the page is hidden, another tab of the studio is open, or nothing has moved for a while. A
    listener gets its value by `READ`, given as the listener's ``js``; it also makes keys press buttons, gives the focus
    to what is shown next where it was lost, and has the browser ask before a page is left on which a drawing was not
    saved.

    Args:
        place: id of the element that must be seen for time to count. A `Canvas` is in it.
        landing: selectors of what gets a focus that was lost with what had it; the first that is seen.
        top: selector of what is brought to the top of the window where the place does not fit below it.
        idle: seconds without a movement after which it stops.
        keys: id of a button by the key that presses it as long as `place` is seen, such as ``{"s": "study-save"}``.
        more: whatever `gradio.HTML` takes.
    """

    def __init__(
        self,
        value: Any = None,
        *,
        place: str = "",
        landing: Sequence[str] = (),
        top: str = "",
        idle: float = 30.0,
        keys: dict[str, str] | None = None,
        photo: str = "",
        unsaved: bool = False,
        **more: Any,
    ) -> None:
        for name in ("html_template", "js_on_load", "css_template", "apply_default_css"):
            more.pop(name, None)  # Gradio hands them back where it makes the component again for an update
        super().__init__(
            value=value,
            html_template="",
            js_on_load=_script(),
            apply_default_css=False,
            place=place,
            landing=list(landing),
            top=top,
            idle=idle,
            keys=keys or {},
            photo=photo,
            unsaved=unsaved,
            **more,
        )

    def __getattr__(self, name: str) -> Any:
        # Gradio takes every word in quotes of the script for the name of an event.
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def postprocess(self, value: Any) -> Any:
        """As it is."""
        return value

    @staticmethod
    def show(photo: Shown | None, *, unsaved: bool = False) -> Any:
        """An update: begin to count for a photo; None: stop.

        Args:
            photo: that is looked at from now on.
            unsaved: whether there are drawings elsewhere that go with the page.
        """
        return gr.update(photo="" if photo is None else photo.url, unsaved=unsaved)


#: For a listener whose last input is the stopwatch.
READ = "(...inputs) => [...inputs.slice(0, -1), window.persamStopwatch ? window.persamStopwatch() : null]"


def active_seconds(value: Any, photo: Shown | None) -> float | None:
    """What a stopwatch says of a photo; None if it says nothing of it."""
    if not isinstance(value, dict) or photo is None or value.get("photo") != photo.url:
        return None
    seconds = value.get("active")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        return None
    return float(seconds)
