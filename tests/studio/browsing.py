"""A real `persam studio`, and a real browser that looks at it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Download, Locator, Page, Playwright, Request, ViewportSize, expect

PATIENCE = 30_000  # milliseconds that anything on the page may take on a busy machine
SIZES: dict[str, ViewportSize] = {"wide": {"width": 1280, "height": 800}, "narrow": {"width": 390, "height": 844}}
TABS = ("Teach", "Find", "Concepts", "Study")
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
        words = ["studio", "--port", "0", "--concepts", str(self.concepts), "--no-open", *map(str, options)]
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
    browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
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
        self.page.on("console", lambda said: self._check(said.type != "error", f"console: {said.text}"))
        self.page.on("pageerror", lambda error: self._check(False, f"script: {error}"))
        self.page.on("response", lambda got: self._check(got.status < 400, f"{got.status} {got.url}"))
        self.page.on("request", self._check_host)

    def _check(self, fine: bool, otherwise: str) -> None:
        if not fine:
            self.wrong.append(otherwise)

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

    def upload(self, place: str, *files: Path) -> None:
        """Give files to the upload field in the element with this id."""
        self.page.locator(f"#{place} input[type=file]").first.set_input_files(list(files))

    def download(self, ask: Callable[[], object]) -> Download:
        """Do what makes the browser save a file."""
        with self.page.expect_download() as coming:
            ask()
        return coming.value

    def canvas(self, place: str) -> DrawingBoard:
        return DrawingBoard(self.page.locator(f"#{place}"))

    def sideways(self) -> int:
        """By how many pixels the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@dataclass
class DrawingBoard:
    """A canvas; places are (x, y) in pixels of the photo."""

    root: Locator

    @property
    def page(self) -> Page:
        return self.root.page

    @property
    def stage(self) -> Locator:
        return self.root.locator(".pc-stage")

    def tool(self, name: str) -> None:
        self.root.get_by_role("button", name=name, exact=True).click()

    def place(self, at: tuple[float, float], size: tuple[int, int]) -> tuple[float, float]:
        """Where in the window a place of the photo is; the photo's size is (width, height)."""
        box = self.root.locator("canvas").first.bounding_box()
        assert box is not None
        return box["x"] + at[0] / size[0] * box["width"], box["y"] + at[1] / size[1] * box["height"]

    def click(self, at: tuple[float, float], size: tuple[int, int]) -> None:
        self.stage.scroll_into_view_if_needed()
        self.page.mouse.click(*self.place(at, size))
        self.answered()

    def drag(self, way: Iterable[tuple[float, float]], size: tuple[int, int]) -> None:
        """Press at the first place, go through all, let go at the last."""
        self.stage.scroll_into_view_if_needed()
        places = [self.place(at, size) for at in way]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for at in places[1:]:
            self.page.mouse.move(*at, steps=3)
        self.page.mouse.up()
        self.answered()

    def answered(self) -> None:
        """Wait until the mask is that of the last gesture."""
        expect(self.stage).not_to_have_attribute("aria-busy", "true")

    def shows(self) -> dict[str, Any]:
        """What is drawn, in colours: how much of the canvas is of the mask's tint is compared between two looks."""
        return self.root.locator("canvas").first.evaluate(
            "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let s = 0;"
            " for (let i = 0; i < d.length; i += 4) s = (s * 31 + d[i] + 3 * d[i + 1] + 7 * d[i + 2]) >>> 0;"
            " return {width: c.width, height: c.height, sum: s}; }"
        )
