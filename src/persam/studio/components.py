"""Gradio components with a habit less."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable
from typing import Any, Self

import gradio as gr
from gradio.component_meta import ComponentMeta, updateable

#: For a listener: without Gradio's own progress, and without waiting for others that it answers.
AT_ONCE: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}


class StublessMeta(ComponentMeta):
    """Makes a component's class as Gradio does, but writes no ``.pyi`` beside its source: that may be installed."""

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> Self:
        """Make the class; it has the events of its base."""
        if "__init__" in attributes:
            attributes["__init__"] = updateable(attributes["__init__"])
        return ABCMeta.__new__(cls, name, bases, attributes)


class PhotoInput(gr.Image, metaclass=StublessMeta):
    """Takes a photo as a file, as it is: Gradio's own way opens it first, and knows neither HEIC nor odd TIFFs."""

    def preprocess(self, payload: Any) -> str | None:
        """The file's path."""
        return None if payload is None else payload.path

    def get_block_name(self) -> str:
        """In the browser it is Gradio's own."""
        return "image"


def on_press(
    button: gr.Button, handler: Callable[..., Any], inputs: Any, outputs: Any, *, also: Any = None, **how: Any
) -> None:
    """Say what a button does. Until it is done the button is marked as busy, and says so to a screen reader.

    Gradio drops what is pressed meanwhile, and for a moment still after the last answer is on the page.

    Args:
        button: with an ``elem_id``.
        handler: called when it is pressed.
        inputs: the components whose values the handler is given.
        outputs: those that it may change.
        also: another event that does the same, such as Enter in a field.
        how: more for Gradio's event.
    """
    events = [button.click] if also is None else [button.click, also]
    gr.on(events, None, js=_MARKED.format(name=button.elem_id, busy="true"))
    done = gr.on(events, handler, inputs, outputs, **how)
    for after in (done.then, done.failure):  # in the browser Gradio's `then` is for what went well
        after(None, js=_MARKED.format(name=button.elem_id, busy="false"))


def wake_button() -> gr.Button:
    """A button that nobody sees: `studio.js` presses it where Gradio's page would wait for ever for an answer.

    Every page that has `studio.js` in its head has one.
    """
    wake = gr.Button(visible="hidden", elem_id="studio-wake")
    wake.click(lambda: None, show_progress="hidden", trigger_mode="multiple", concurrency_limit=None)
    return wake


# Not `disabled`: that would take the keyboard's focus from it.
_MARKED = "() => {{ document.getElementById('{name}')?.setAttribute('aria-disabled', '{busy}'); }}"
