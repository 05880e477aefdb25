"""CVAT for images 1.1: one XML, masks to the pixel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np

from persam.album.formats.lines import ResultLines, Written
from persam.drawing import colours_of
from persam.errors import printable
from persam.files import atomic_path
from persam.instance import rle_mask
from persam.reports.coco import DESCRIPTION

NAME = "cvat.xml"


def write(lines: ResultLines, folder: Path) -> Written:
    """Write ``cvat.xml``. Photos are named from their common folder on.

    Things are masks, not polygons: CVAT's polygons have neither holes nor parts, its masks are exact.
    """
    with atomic_path(folder / NAME) as temporary, temporary.open("wb") as stream:
        page = _Page(stream)
        page.startDocument()
        with page.element("annotations"):
            page.line("version", "1.1")
            _write_meta(page, lines)
            for number, photo in enumerate(lines.photos()):
                name = printable(lines.below_home(photo))
                with page.element("image", id=number, name=name, width=photo.width, height=photo.height):
                    for order, (line, one) in enumerate(photo.found):
                        label = printable(line["concept"])
                        with page.element("mask", label=label, source="auto", occluded=0, **_shape(one), z_order=order):
                            page.line("attribute", f"{one['score']:.4f}", name="score")
        page.endDocument()
    return Written([NAME])


def _write_meta(page: _Page, lines: ResultLines) -> None:
    """What the task is: how many photos, and the labels that there are."""
    with page.element("meta"), page.element("task"):
        for tag, text in {"name": DESCRIPTION, "size": lines.size, "mode": "annotation", "overlap": 0}.items():
            page.line(tag, str(text))
        with page.element("labels"):
            colours = colours_of(lines.concepts)
            for concept in lines.concepts:
                with page.element("label"):
                    page.line("name", printable(concept))
                    page.line("color", "#{:02x}{:02x}{:02x}".format(*colours[concept]))
                    page.line("type", "mask")
                    with page.element("attributes"), page.element("attribute"):
                        page.line("name", "score")
                        page.line("mutable", "False")
                        page.line("input_type", "text")
                        page.line("default_value", "")
                        page.line("values", "")


def _shape(one: dict[str, Any]) -> dict[str, Any]:
    """A mask as CVAT has it: the runs of its box, row by row, background first."""
    x0, y0, x1, y1 = one["box"]
    pixels = rle_mask(one["rle"])[y0:y1, x0:x1].ravel()
    turns = np.flatnonzero(np.diff(pixels, prepend=False, append=not pixels[-1]))
    runs = np.diff(turns, prepend=0)
    return {"rle": ", ".join(map(str, runs)), "left": x0, "top": y0, "width": x1 - x0, "height": y1 - y0}


class _Page(XMLGenerator):
    """An XML file that is written from its start to its end, an element a line."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream, "utf-8", short_empty_elements=True)

    @contextmanager
    def element(self, tag: str, **attributes: object) -> Iterator[None]:
        self._start(tag, attributes)
        self.characters("\n")
        yield
        self._end(tag)

    def line(self, tag: str, text: str, **attributes: object) -> None:
        self._start(tag, attributes)
        self.characters(text)
        self._end(tag)

    def _start(self, tag: str, attributes: dict[str, object]) -> None:
        self.startElement(tag, AttributesImpl({name: str(value) for name, value in attributes.items()}))

    def _end(self, tag: str) -> None:
        self.endElement(tag)
        self.characters("\n")
