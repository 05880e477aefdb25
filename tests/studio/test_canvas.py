"""The canvas as Gradio sees it. What it does in a browser: `test_browser_canvas.py`."""

from __future__ import annotations

import base64
import html
import io
import re
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene

pytest.importorskip("gradio")
from gradio.blocks import postprocess_update_dict

from persam.studio.canvas import Canvas, CanvasPrompts
from persam.studio.components import PhotoInput
from persam.studio.workshop import SHOWN_SIDE, PictureShelf, Shown

SHOWN = Shown("/pictures/a.jpg", 160, 120)


def as_the_page_gets_it(update: dict[str, Any]) -> dict[str, Any]:
    """An update, taken through Gradio."""
    given = {key: value for key, value in update.items() if key != "__type__"}
    component = Canvas(**{key: value for key, value in given.items() if key != "value"}, render=False)
    return postprocess_update_dict(component, dict(given))


def mask_in(reply: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(reply["mask"].partition(",")[2])))) > 0


def test_an_update_takes_photo_mask_and_drawing_as_props() -> None:
    _, mask = draw_scene()
    prompts = CanvasPrompts((120, 160), ((3.0, 4.0, 1),), number=7)
    sent = as_the_page_gets_it(Canvas.show(SHOWN, mask, prompts, "A note."))
    assert sent["value"]["points"] == [[3.0, 4.0, 1]]
    assert sent["value"]["photo"] == "/pictures/a.jpg"
    assert sent["props"]["photo"] == {"url": "/pictures/a.jpg", "width": 160, "height": 120}
    assert sent["props"]["reply"]["note"] == "A note."
    assert np.array_equal(mask_in(sent["props"]["reply"]), mask)
    assert set(sent) == {"value", "props", "__type__"}  # nothing that JSON does not know


def test_an_answer_carries_the_number_and_the_photo_of_what_was_asked() -> None:
    sent = as_the_page_gets_it(Canvas.answer(CanvasPrompts((120, 160), number=4, photo="/pictures/a.jpg"), None))
    assert sent["props"]["reply"] == {"photo": "/pictures/a.jpg", "number": 4, "mask": "", "note": ""}
    assert "value" not in sent  # what was drawn meanwhile stays


def test_masks_of_large_photos_are_shown_small() -> None:
    large = np.zeros((600, 3 * SHOWN_SIDE), bool)
    large[100:500, 100:200] = True
    shown = mask_in(Canvas.answer(CanvasPrompts(large.shape), large)["reply"])
    assert shown.shape == (200, SHOWN_SIDE)
    assert shown.any()


def test_no_photo_is_shown_as_none() -> None:
    assert as_the_page_gets_it(Canvas.show(None))["props"] == {"photo": {}, "reply": {}}


def test_what_stands_there_without_a_photo_is_in_the_page_and_is_not_run() -> None:
    """An update brings only what changes, and a canvas in a tab that was not open has nothing else."""
    template = Canvas(empty="Choose `one` <b> ${run()} {{x}}").html_template
    (shown,) = re.findall(r'<p class="pc-empty">(.*?)</p>', template)
    assert html.unescape(shown) == "Choose `one` <b> ${run()} {{x}}"
    assert not set("`${<") & set(shown)


def test_its_parts_are_files_of_the_package_and_templates_stay_as_written() -> None:
    parts = {name: (files("persam.studio.canvas") / name).read_text() for name in ("canvas.html", "canvas.css")}
    for text in parts.values():  # Gradio evaluates these as templates
        assert not {"`", "${", "{{"} & {text[place : place + size] for size in (1, 2) for place in range(len(text))}
    component = Canvas(label="Photo", elem_id="canvas")
    assert component.get_config()["props"]["tools"] == ["add", "remove", "box", "brush", "eraser", "pan"]
    with pytest.raises(AttributeError):
        component.eraser  # noqa: B018 - a word in quotes of the script is no event
    assert component.input is not None


def test_components_write_no_stubs_beside_their_source() -> None:
    for part in (Canvas, PhotoInput):
        assert not list(files(part.__module__.rpartition(".")[0]).glob("*.pyi"))


def test_the_shelf_forgets_the_oldest_when_it_is_full() -> None:
    shelf = PictureShelf(most=100)
    names = [shelf.put(bytes(40), "png") for _ in range(4)]
    assert len(set(names)) == 4
    assert [shelf.get(name) is not None for name in names] == [False, False, True, True]
    assert shelf.get("../secrets") is None
    assert shelf.get(shelf.put(bytes(500), "png")) == bytes(500)  # the one that is wanted now is kept
