"""Every tab as people see it: wide and narrow, light and dark, by ear and by keyboard."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from tests.studio.accessibility import nameless, out_of_reach, poor_contrast
from tests.studio.browsing import TABS, StudioProcess, Visit

from persam import Concept

FORMS = [
    ("light", "wide"),
    ("dark", "narrow"),
    pytest.param("dark", "wide", marks=pytest.mark.slow),
    pytest.param("light", "narrow", marks=pytest.mark.slow),
]
_TOO_EARLY = {"Teach": "learn", "Find": "run", "Study": "start"}  # buttons of which nothing comes but a sentence
_GROUND = "Number(getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/)[0])"  # its red, 0 to 255


@pytest.mark.parametrize(("scheme", "size"), FORMS)
def test_every_tab_can_be_read_and_reached(visit: Callable[..., Visit], scheme: str, size: str) -> None:
    seen = visit(scheme=scheme, size=size)
    assert (seen.page.evaluate(_GROUND) < 128) == (scheme == "dark")
    for tab in TABS:
        seen.tab(tab)
        if tab in _TOO_EARLY:
            place = tab.lower()
            seen.page.locator(f"#{place}-{_TOO_EARLY[tab]}").click()
            expect(seen.status(place).locator(".problem")).to_be_visible()
            expect(seen.page.locator("[aria-disabled=true]:visible")).to_have_count(0)
        assert seen.sideways() <= 0, tab
        assert out_of_reach(seen.page) == [], tab
        assert poor_contrast(seen.page) == [], tab
        assert nameless(seen.page) == [], tab


def test_by_keyboard_alone_from_the_first_look_to_a_saved_concept(
    visit: Callable[..., Visit], studio: StudioProcess
) -> None:
    seen = visit()
    page, board = seen.page, seen.canvas("teach-canvas")
    go_to(page, "#teach-example-cup")
    page.keyboard.press("Enter")
    board.answered()
    go_to(page, "#teach-canvas .pc-stage")
    page.keyboard.press("ArrowDown")  # the crosshair is in the middle, which is on the cup
    page.keyboard.press("Enter")
    board.answered()
    assert board.drawn() == (1, 0, 0)
    go_to(page, "#teach-name input, #teach-name textarea")
    page.keyboard.press("Control+a")
    page.keyboard.type("typed cup")
    go_to(page, "#teach-learn")
    page.keyboard.press("Enter")
    expect(seen.status("teach")).to_contain_text("Learned typed cup")
    assert Concept.load(studio.concepts / "typed cup.safetensors").name == "typed cup"


def go_to(page: Page, selector: str) -> None:
    """Press Tab until this is where the keyboard is; at every stop one sees that it is there."""
    for _ in range(60):
        page.keyboard.press("Tab")
        there, marked = page.evaluate(
            """(selector) => {
              const at = document.activeElement, style = getComputedStyle(at);
              return [at.matches(selector), style.outlineStyle !== "none" || style.boxShadow !== "none"];
            }""",
            selector,
        )
        assert marked, page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        if there:
            return
    raise AssertionError(f"Tab does not lead to {selector}")
