"""The canvas in a real browser, with answers that the test makes up: no model is asked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")
import gradio as gr
import uvicorn
from fastapi import FastAPI, Response
from playwright.sync_api import Browser, Page, expect
from tests.conftest import draw_scene
from tests.studio.browsing import DrawingBoard

from persam.reports.pictures import encoded
from persam.studio.canvas import Canvas, CanvasPrompts
from persam.studio.components import on_press, wake_button
from persam.studio.theme import head
from persam.studio.workshop import Shown

PHOTO = Shown("/photo.jpg", 320, 240)


class TwoCanvases:
    """Two canvases; the answers to the first come when the test lets them."""

    def __init__(self) -> None:
        self.asked: list[CanvasPrompts] = []
        self.slow: dict[int, threading.Event] = {}

    def build(self) -> gr.Blocks:
        with gr.Blocks(analytics_enabled=False) as page:
            first = Canvas(label="First", elem_id="first")
            second = Canvas(label="Second", elem_id="second", tools=["brush", "eraser"])
            page.load(
                lambda: (Canvas.show(PHOTO), Canvas.show(PHOTO, tools=["brush", "eraser"])), None, [first, second]
            )
            on_press(gr.Button("Fail", elem_id="fail"), self.fail, None, None)
            wake_button()
            for canvas in (first, second):
                canvas.input(
                    self.answer, canvas, canvas, show_progress="hidden", trigger_mode="multiple", concurrency_limit=None
                )
        return page

    @staticmethod
    def fail() -> None:
        raise ValueError("nobody catches this")

    def answer(self, value: Any) -> Any:
        prompts = CanvasPrompts.of(value, PHOTO)
        self.asked.append(prompts)
        if prompts.number in self.slow:
            assert self.slow[prompts.number].wait(20)
        if prompts.is_empty:
            return Canvas.answer(prompts, None, "Nothing.")
        mask = np.zeros((240, 320), bool)
        for x, y, label in prompts.points:
            mask[round(y) - 20 : round(y) + 20, round(x) - 20 : round(x) + 20] = label == 1
        return Canvas.answer(prompts, prompts.painted(mask), f"Answer {prompts.number}.")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, TwoCanvases]]:
    drawn = TwoCanvases()
    app = FastAPI()
    photo = encoded(draw_scene(240, 320)[0], "JPEG")
    app.get("/photo.jpg")(lambda: Response(photo, media_type="image/jpeg"))
    app = gr.mount_gradio_app(app, drawn.build(), path="/", head=head(), ssr_mode=False, run_history=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        running = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, ws="none"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [taken]})
        thread.start()
        while not running.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{taken.getsockname()[1]}", drawn
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def loaded(server: tuple[str, TwoCanvases], browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 800, "height": 900}, has_touch=True, device_scale_factor=2)
    tab = context.new_page()
    tab.set_default_timeout(20_000)
    tab.goto(server[0])
    yield tab
    context.close()


@pytest.fixture
def page(server: tuple[str, TwoCanvases], loaded: Page) -> Page:
    """The page with nothing drawn; loading it takes longer than all that is done on it."""
    for name in ("second", "first"):
        board = DrawingBoard(loaded.locator(f"#{name}"))
        board.answered()
        board.stage.focus()
        for key in ("a", "x", "0"):
            loaded.keyboard.press(key)
        board.answered()
    server[1].asked.clear()
    return loaded


def test_it_is_used_without_a_mouse(server: tuple[str, TwoCanvases], page: Page) -> None:
    drawn, board, keys = server[1], DrawingBoard(page.locator("#first")), page.keyboard
    assert page.locator("#first .pc-empty").text_content() == "No photo yet."  # for when the photo goes
    board.stage.focus()
    for key in ("a", "ArrowLeft", "Shift+ArrowUp", "Enter"):
        keys.press(key)
    board.answered()
    scale = float(board.stage.get_attribute("data-scale") or 0)
    assert drawn.asked[-1].points[0] == (
        pytest.approx(160 - 4 / scale - 0.5, abs=0.1), pytest.approx(120 - 40 / scale - 0.5, abs=0.1), 1
    )  # fmt: skip
    assert "Point on the object" in (page.locator("#first .pc-said").text_content() or "")
    for key in ("n", *["Shift+ArrowRight"] * 3, "Enter", "b", "Enter", *["Shift+ArrowDown"] * 3, "ArrowLeft", "Enter"):
        keys.press(key)
    board.answered()
    assert [label for *_, label in drawn.asked[-1].points] == [1, 0]
    x0, y0, x1, y1 = drawn.asked[-1].box or (0, 0, 0, 0)
    assert (x1 - x0, y1 - y0) == (pytest.approx(4 / scale, abs=0.2), pytest.approx(120 / scale, abs=0.2))
    for key in ("d", "]", "Enter", *["Shift+ArrowLeft"] * 2, "Enter"):
        keys.press(key)
    board.answered()
    (stroke,) = drawn.asked[-1].strokes
    assert stroke.width == pytest.approx(30 / scale, abs=0.1)
    assert len(stroke.points) == 3
    # A mouse that passes adds nothing to what keys draw, and a click ends that and keeps it.
    for key in ("Enter", "Shift+ArrowRight"):
        keys.press(key)
    page.mouse.move(*board.place((20, 20)))
    page.mouse.move(*board.place((60, 60)), steps=3)
    board.click((60, 60))
    _, by_keys, by_mouse = max(drawn.asked, key=lambda asked: asked.number).strokes
    assert len(by_keys.points) == 2
    assert by_mouse.points[0] == (pytest.approx(59.5, abs=1), pytest.approx(59.5, abs=1))
    for key in "zzz":
        keys.press(key)
    board.answered()
    assert board.drawn() == (2, 1, 0)
    keys.press("Control+Shift+Z")
    board.answered()
    assert board.drawn() == (2, 1, 1)
    keys.press("x")
    board.answered()
    assert board.drawn() == (0, 0, 0)
    assert board.stage.get_attribute("data-mask") == "0"
    assert page.locator("#first .pc-note").text_content() == "Nothing."
    keys.press("?")
    assert page.locator("#first .pc-help").is_visible()


def test_a_button_can_be_pressed_again_whatever_came_of_it(server: tuple[str, TwoCanvases], page: Page) -> None:
    page.goto(server[0])
    button = page.locator("#fail")
    for _ in range(2):
        button.click()  # Playwright waits until it is no longer busy
        expect(button).to_have_attribute("aria-disabled", "false")


def test_an_answer_that_is_overtaken_is_ignored(server: tuple[str, TwoCanvases], page: Page) -> None:
    drawn, board = server[1], DrawingBoard(page.locator("#first"))
    first = int(board.stage.get_attribute("data-number") or 0) + 1
    drawn.slow[first] = threading.Event()
    page.mouse.click(*board.place((60, 60)))
    page.wait_for_function("() => document.querySelector('#first .pc-stage').dataset.state === 'thinking'")
    assert page.locator("#first .pc-thinking").is_visible()
    page.mouse.click(*board.place((200, 100)))
    board.answered()
    note = page.locator("#first .pc-note")
    assert note.text_content() == f"Answer {first + 1}."
    drawn.slow.pop(first).set()
    page.wait_for_timeout(500)
    assert note.text_content() == f"Answer {first + 1}."
    assert [_is_marked(board, at) for at in ((60, 48), (200, 88), (280, 200))] == [True, True, False]  # of the second
    assert [each.number for each in drawn.asked] == [first, first + 1]


def _is_marked(board: DrawingBoard, at: tuple[float, float]) -> bool:
    """Whether the canvas changes at a place of the photo while the mask is hidden."""
    read = """(canvas, [x, y]) => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() =>
      done([...canvas.getContext("2d").getImageData(x, y, 1, 1).data]))))"""
    canvas, (x, y), corner = board.root.locator("canvas"), board.place(at), board.root.locator("canvas").bounding_box()
    assert corner is not None
    place = [round(2 * (x - corner["x"])), round(2 * (y - corner["y"]))]
    board.stage.focus()
    shown = canvas.evaluate(read, place)
    board.page.keyboard.down("h")
    plain = canvas.evaluate(read, place)
    board.page.keyboard.up("h")
    return bool(np.abs(np.subtract(shown, plain)).max() > 8)


def test_canvases_of_one_page_do_not_mind_each_other(server: tuple[str, TwoCanvases], page: Page) -> None:
    first, second = (DrawingBoard(page.locator(f"#{name}")) for name in ("first", "second"))
    first.click((100, 100))
    assert second.drawn() == (0, 0, 0)
    assert not second.root.get_by_label("Click on the object", exact=True).is_visible()
    second.drag([(50, 50), (150, 50), (150, 120)])
    assert second.drawn() == (0, 0, 1)
    assert first.drawn() == (1, 0, 0)
    stroke = server[1].asked[-1].strokes[0]
    assert stroke.points[0] == (pytest.approx(49.5, abs=1), pytest.approx(49.5, abs=1))  # pixels of the photo
    assert stroke.points[-1] == (pytest.approx(149.5, abs=1), pytest.approx(119.5, abs=1))


_TOUCH = """([name, fingers]) => {
  const canvas = document.querySelector("#" + name + " canvas"), box = canvas.getBoundingClientRect();
  for (const [type, id, x, y] of fingers)
    canvas.dispatchEvent(new PointerEvent(type, { pointerId: id, pointerType: "touch", isPrimary: id === 1,
      clientX: box.left + x, clientY: box.top + y, bubbles: true, cancelable: true }));
}"""


def test_two_fingers_zoom_and_one_taps(server: tuple[str, TwoCanvases], page: Page) -> None:
    board = DrawingBoard(page.locator("#first"))
    way = [("pointerdown", 1, 200, 200), ("pointerdown", 2, 300, 200), ("pointermove", 1, 150, 200)]
    way += [("pointermove", 2, 350, 200), ("pointerup", 1, 150, 200), ("pointerup", 2, 350, 200)]
    page.evaluate(_TOUCH, ["first", way])
    page.wait_for_function("() => document.querySelector('#first .pc-stage').dataset.zoom === '2.00'")
    assert board.drawn() == (0, 0, 0)
    x, y = board.place((150, 110))
    page.touchscreen.tap(x, y)
    board.answered()
    assert server[1].asked[-1].points[0] == (pytest.approx(149.5, abs=1), pytest.approx(109.5, abs=1), 1)
    board.press("Show the whole photo")
    assert board.stage.get_attribute("data-zoom") == "1.00"


def test_a_dense_screen_gets_all_its_pixels(page: Page) -> None:
    canvas = page.locator("#first canvas")
    assert canvas.evaluate("c => c.width") == pytest.approx(2 * canvas.evaluate("c => c.clientWidth"), abs=1)
