"""A real `persam studio`, and a real browser that looks at it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Download,
    Locator,
    Page,
    Playwright,
    Request,
    ViewportSize,
    expect,
)

PATIENCE = 60_000  # milliseconds that anything on the page may take on a busy machine
SIZES: dict[str, ViewportSize] = {"wide": {"width": 1280, "height": 800}, "narrow": {"width": 390, "height": 844}}
TABS = ("Teach", "Find", "Concepts", "Study")
_SPARING = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]  # for containers, and machines without a screen
_WHERE = re.compile(r"http://127\.0\.0\.1:\d+/?")

expect.set_options(timeout=PATIENCE)


@dataclass
class StudioProcess:
    """One run of `persam studio` in its own process.

    Attributes:
        folder: where it runs; concepts are in `concepts/`.
        url: where it listens.
    """

    folder: Path
    url: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def concepts(self) -> Path:
        return self.folder / "concepts"

    @property
    def log(self) -> Path:
        """What it said."""
        return self.folder / "studio.log"

    def start(self, *options: object) -> None:
        """Start it on a free port, and wait until it says where it is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        words = ["studio", "--port", "0", "--concepts", str(self.concepts), "--no-browser", *map(str, options)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "persam", *words],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env=os.environ | {"TMPDIR": str(self.folder), "OMP_NUM_THREADS": "2"},
            )
        end = time.monotonic() + 90
        while not (found := _WHERE.search(self.said())):
            assert self.process.poll() is None, f"persam studio ended:\n{self.said()}"
            assert time.monotonic() < end, f"persam studio does not say where it is:\n{self.said()}"
            time.sleep(0.05)
        self.url = found.group()

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> int:
        """End it as a container does, and give its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """The system's Chromium; where there is none the test is skipped."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium on this machine (apt install chromium)")
    browser = playwright.chromium.launch(executable_path=path, args=_SPARING)
    try:
        yield browser
    finally:
        browser.close()


@dataclass
class Visit:
    """One browser tab in the studio, and what went wrong in it.

    Attributes:
        page: Playwright's.
        wrong: errors of the console, exceptions of scripts, requests to other hosts and answers of 400 and above.
    """

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", self._check_console)
        self.page.on("pageerror", lambda error: self._check(False, f"script: {error}"))
        self.page.on("response", lambda got: self._check(got.status < 400, f"{got.status} {got.url}"))
        self.page.on("request", self._check_host)

    def _check(self, fine: bool, otherwise: str) -> None:
        if not fine:
            self.wrong.append(otherwise)

    def _check_console(self, said: ConsoleMessage) -> None:
        self._check(said.type != "error", f"console: {said.text}")

    def _check_host(self, request: Request) -> None:
        self._check(request.url.startswith((self.url, "data:", "blob:")), f"another host: {request.url}")

    def open(self, tab: str = "Teach") -> Visit:
        self.page.goto(self.url)
        self.tab(tab)
        return self

    def tab(self, name: str) -> None:
        """Go to a tab by its name."""
        button = self.page.get_by_role("tab", name=name, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-selected", "true")

    def status(self, tab: str) -> Locator:
        """The line of a tab that says what is going on."""
        return self.page.locator(f"#{tab}-status")

    def choose(self, place: str, words: str) -> None:
        """Choose what begins with these words in the dropdown with this id."""
        field = self.page.locator(f"#{place} input")
        field.click()
        self.page.get_by_role("option", name=re.compile(f"^{re.escape(words)}")).click()
        expect(field).to_have_value(re.compile(f"^{re.escape(words)}"))
        field.press("Tab")

    def type_in(self, place: str, words: str) -> None:
        """Type what a dropdown with this id need not have."""
        field = self.page.locator(f"#{place} input")
        field.fill(words)
        field.press("Enter")
        field.press("Tab")

    def upload(self, place: str, *files: Path) -> None:
        """Give files to the upload field in the element with this id."""
        self.page.locator(f"#{place} input[type=file]").first.set_input_files(list(files))

    def download(self, ask: Callable[[], object]) -> Download:
        """Do what makes the browser save a file."""
        with self.page.expect_download() as coming:
            ask()
        return coming.value

    def parcel(self, name: str, folder: Path) -> Path:
        """Prepare a download of what was found, and fetch it."""
        expect(self.page.locator("#find-prepare")).to_be_enabled()  # the one before is done
        self.choose("find-parcel", name)
        link = self.page.locator("#find-download")
        expect(link).to_be_hidden()  # the page knows of the choice
        self.page.locator("#find-prepare").click()
        expect(link).to_contain_text(re.compile(name, re.IGNORECASE))  # and not the one before
        got = self.download(link.click)
        got.save_as(folder / got.suggested_filename)
        return folder / got.suggested_filename

    def canvas(self, place: str) -> DrawingBoard:
        return DrawingBoard(self.page.locator(f"#{place}"))

    def sideways(self) -> int:
        """By how many pixels the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


TOOLS = {
    "add": "Click on the object",
    "remove": "Click beside the object",
    "box": "Draw a box around the object",
    "brush": "Brush: paint the mask",
    "eraser": "Eraser: take away from the mask",
}


@dataclass
class DrawingBoard:
    """A canvas of the page; places are (x, y) in pixels of the photo."""

    root: Locator

    @property
    def page(self) -> Page:
        return self.root.page

    @property
    def stage(self) -> Locator:
        return self.root.locator(".pc-stage")

    def tool(self, name: str) -> None:
        self.root.get_by_label(TOOLS[name], exact=True).click()

    def press(self, name: str) -> None:
        """Press one of the other buttons: Undo, Redo, Clear all that is drawn, Zoom in ..."""
        self.root.get_by_label(name, exact=True).click()
        self.answered()

    def place(self, at: tuple[float, float]) -> tuple[float, float]:
        """Where in the window a place of the photo is."""
        box = self.root.locator(".pc-canvas").bounding_box()
        assert box is not None
        scale, left, top = (float(self.stage.get_attribute(f"data-{name}") or 0) for name in ("scale", "left", "top"))
        return box["x"] + left + at[0] * scale, box["y"] + top + at[1] * scale

    def click(self, at: tuple[float, float], button: Literal["left", "right"] = "left") -> None:
        self.stage.scroll_into_view_if_needed()
        self.page.mouse.click(*self.place(at), button=button)
        self.answered()

    def drag(self, way: Sequence[tuple[float, float]]) -> None:
        """Press at the first place, go through all, let go at the last."""
        self.stage.scroll_into_view_if_needed()
        places = [self.place(at) for at in way]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for at in places[1:]:
            self.page.mouse.move(*at, steps=2)
        self.page.mouse.up()
        self.answered()

    def brush(self) -> float:
        """Half of the width of brush and eraser, in pixels of the photo."""
        shown = float(self.root.locator(".pc-width input").input_value())
        return shown / 2 / float(self.stage.get_attribute("data-scale") or 1)

    def answered(self) -> None:
        """Wait until the photo is there and the mask is that of the last gesture."""
        self.page.evaluate(_NEXT_FRAME)  # the canvas reports when it paints
        expect(self.stage).to_have_attribute("data-state", "ready")

    def drawn(self) -> tuple[int, int, int]:
        """How many points, boxes and strokes there are."""
        points, box, strokes = (int(self.stage.get_attribute(f"data-{name}") or 0) for name in _KINDS)
        return points, box, strokes

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """The mask as one sees it, (H, W) bool: where the photo is tinted as long as H is not held.

        Args:
            size: (H, W) of the photo, which is shown whole.
        """
        tinted = self.stage.evaluate(_TINTED)
        mask = np.zeros(tinted["width"] * tinted["height"], np.uint8)
        for start, end in zip(tinted["turns"][::2], tinted["turns"][1::2], strict=True):
            mask[start:end] = 1
        # Points that are drawn over it hide it: such holes are closed.
        mask = mask.reshape(tinted["height"], tinted["width"])
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (17, 17)))
        scale, left, top = (float(self.stage.get_attribute(f"data-{name}") or 0) for name in ("scale", "left", "top"))
        x, y = round(left), round(top)
        part = mask[y : y + round(size[0] * scale), x : x + round(size[1] * scale)]
        return cv2.resize(part, size[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)


_KINDS = ("points", "box", "strokes")
_NEXT_FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"

# Looks at the canvas with the mask and without; gives where the runs of tinted pixels begin and end.
_TINTED = """async (stage) => {
  const canvas = stage.querySelector(".pc-canvas");
  const painted = async (key) => {
    if (key) stage.dispatchEvent(new KeyboardEvent(key, {key: "h", bubbles: true}));
    for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  };
  const shown = await painted(null), plain = await painted("keydown"), turns = [];
  await painted("keyup");
  const tint = [0x0e, 0xa5, 0xe9], opacity = 0.38;  // of the mask, see canvas.js
  let inside = false;
  for (let i = 0; i < shown.length; i += 4) {
    let off = 0, changed = 0;
    for (let k = 0; k < 3; k += 1) {
      off = Math.max(off, Math.abs(shown[i + k] - (1 - opacity) * plain[i + k] - opacity * tint[k]));
      changed = Math.max(changed, Math.abs(shown[i + k] - plain[i + k]));
    }
    const masked = off < 4 && changed > 4;
    if (masked !== inside) { turns.push(i / 4); inside = masked; }
  }
  if (inside) turns.push(shown.length / 4);
  return {width: canvas.width, height: canvas.height, turns};
}"""
