"""Watches a desk in the browser: how long somebody looks at a photo, and what is done where a page alone can do it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import gradio as gr

from persam.studio.components import StublessMeta
from persam.studio.workshop import Shown

_SCRIPTS = ("stopwatch.js", "desk.js")


@cache
def _script() -> str:
    folder = files("persam.studio.study")
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)


class DeskWatch(gr.HTML, metaclass=StublessMeta):
    """Counts the seconds that a photo is on the screen and somebody is at it, and minds the desk; nobody sees it run.

    It does not count while the page is hidden, another tab of the studio is open, or nothing has moved for a while. A
    listener gets its value by `READ`, given as the listener's ``js``. Besides, it makes keys press buttons, gives the
    focus to what is shown next where it was lost, scrolls to a new photo and to a problem that are out of sight, and
    has the browser ask before a page is left on which a drawing was not saved.

    Args:
        place: id of the element that must be seen for time to count. A `Canvas` is in it.
        landing: selectors of what gets a focus that was lost with what had it; the first that is seen.
        top: selector of the line that says what happens; it is brought to the top of the window where the place does
            not fit below it, and where it says a problem out of sight.
        idle: seconds without a movement after which it stops.
        keys: id of a button by the key that presses it as long as `place` is seen, such as ``{"s": "study-save"}``.
        photo: address of the photo that is looked at, or "".
        unsaved: whether there are drawings elsewhere than in `place` that go with the page.
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
    def show(photo: Shown | None) -> dict[str, Any]:
        """An update: begin to count for a photo that is looked at from now on; None: stop."""
        return gr.update(photo="" if photo is None else photo.url)


#: For a listener whose last input is the watch.
READ = "(...inputs) => [...inputs.slice(0, -1), window.persamStopwatch ? window.persamStopwatch() : null]"


def active_seconds(value: Any, photo: Shown | None) -> float | None:
    """The seconds at a photo, by the value that a listener got by `READ`.

    Args:
        value: it; any value that a page may send.
        photo: that is on the desk.

    Returns:
        None if the value says nothing of the photo.
    """
    if not isinstance(value, dict) or photo is None or value.get("photo") != photo.url:
        return None
    seconds = value.get("active")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        return None
    return float(seconds)
