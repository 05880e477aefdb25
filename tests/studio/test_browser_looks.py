"""Every tab as people see it: wide and narrow, light and dark, by ear and by keyboard, and with no network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect
from tests.studio.accessibility import nameless, out_of_reach, poor_contrast
from tests.studio.browsing import TABS, Visit

FORMS = [
    ("light", "wide"),
    ("dark", "narrow"),
    pytest.param("dark", "wide", marks=pytest.mark.slow),
    pytest.param("light", "narrow", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("scheme", "size"), FORMS)
def test_every_tab_can_be_read_and_reached(visit: Callable[..., Visit], scheme: str, size: str) -> None:
    seen = visit(scheme=scheme, size=size)
    for tab in TABS:
        seen.tab(tab)
        assert seen.sideways() <= 0, tab
        assert out_of_reach(seen.page) == [], tab
        assert poor_contrast(seen.page) == [], tab
        assert nameless(seen.page) == [], tab


def test_dark_and_light_follow_the_screen(visit: Callable[..., Visit]) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    seen = visit(scheme="dark")
    dark = seen.page.evaluate(ground)
    seen.page.emulate_media(color_scheme="light")
    seen.page.reload()
    expect(seen.page.get_by_role("tab", name="Teach")).to_be_visible()
    assert seen.page.evaluate(ground) != dark


def test_the_page_asks_nobody_but_its_own_host(visit: Callable[..., Visit]) -> None:
    """A page that waited for another host would say so here, where there is none: whatever it asks is refused."""
    asked: list[str] = []

    def answer(route: Route) -> None:
        if route.request.url.startswith(seen.url):
            route.continue_()
        else:
            asked.append(route.request.url)
            route.abort()

    seen = visit()
    seen.page.route("**/*", answer)
    seen.page.reload()
    for tab in TABS:
        seen.tab(tab)
    assert asked == []
