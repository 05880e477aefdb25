"""Gradio components with a habit less."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any, Self

import gradio as gr
from gradio.component_meta import ComponentMeta, updateable


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
