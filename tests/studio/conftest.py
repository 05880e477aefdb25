"""A studio and a browser for all tests of a file, the log where a test fails, and drawn photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from tests.conftest import draw_scene
from tests.fakes import ColourModel
from tests.studio.browsing import SIZES, StudioProcess, Visit, chromium

from persam import Concept, PerSAM
from persam.server.engine import Engine


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioProcess]:
    """A running studio with no concept in it but those that other tests taught it."""
    running = StudioProcess(tmp_path_factory.mktemp("studio"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")  # Playwright's event loop must not outlive the file: others have loops of their own
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


@pytest.fixture
def visit(studio: StudioProcess, browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open the studio in a tab of the browser: ``visit(scheme="dark", size="narrow")``. There is no other host for it.

    At the end nothing may have gone wrong in the page, see `Visit.wrong`, unless the test empties that.
    """
    opened: list[Visit] = []

    def open_tab(
        tab: str = "Teach", *, scheme: str = "light", size: str = "wide", of: StudioProcess = studio, **options: Any
    ) -> Visit:
        still: dict[str, Any] = {
            "color_scheme": scheme,
            "reduced_motion": "reduce",
        }  # colours stand still
        context = browser.new_context(viewport=SIZES[size], accept_downloads=True, **still, **options)
        context.route(lambda url: not url.startswith(of.url), lambda route: route.abort())
        opened.append(Visit(context.new_page(), of.url))
        return opened[-1].open(tab)

    yield open_tab
    wrong = [each for tab in opened for each in tab.wrong]
    for tab in opened:
        tab.page.context.close()
    assert wrong == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show what the studio said beside what the test says."""
    report = yield
    running = getattr(item, "funcargs", {}).get("studio")
    if report.failed and isinstance(running, StudioProcess):
        report.sections.append(("persam studio", running.said()[-8000:]))
    return report


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of a disc: `disc.png` with `disc_mask.png`, others with it in `album/`, and one without."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "album").mkdir()
    pixels, mask = draw_scene(240, 320, center=(140, 120), radius=56)
    Image.fromarray(pixels).save(folder / "disc.png")
    Image.fromarray(mask).save(folder / "disc_mask.png")
    for number, (x, y) in enumerate([(70, 80), (220, 150), (160, 110)]):
        pixels, _ = draw_scene(240, 320, center=(x, y), radius=44, seed=number + 1)
        Image.fromarray(pixels).save(folder / "album" / f"disc {number}.png")
    pixels, mask = draw_scene(240, 320, center=(-100, -100), radius=10, seed=9)
    Image.fromarray(pixels).save(folder / "album" / "no disc.png")
    return folder


# --------------------------------------------------------------------------------- of the studio without a browser


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos with the disc, one without, and one that is none."""
    folder = tmp_path_factory.mktemp("photos")
    for number, centre in enumerate([(60, 70), (100, 50), (40, 80)]):
        Image.fromarray(draw_scene(center=centre, seed=number)[0]).save(folder / f"disc {number}.png")
    Image.fromarray(draw_scene(radius=0, seed=9)[0]).save(folder / "empty.png")
    (folder / "text.jpg").write_text("no photo")
    return folder


@pytest.fixture(scope="module")
def model() -> PerSAM:
    return PerSAM(ColourModel())


@pytest.fixture(scope="module")
def concept(model: PerSAM) -> Concept:
    return model.learn(*draw_scene(), name="disc")


@pytest.fixture(scope="module")
def engine(model: PerSAM) -> Iterator[Engine]:
    with Engine(model) as engine:
        yield engine
