"""What a browser tab has open is its own, and ends with it."""

from __future__ import annotations

import pytest

from persam.errors import UsageError
from persam.studio.browser_tabs import BrowserTabs


def test_every_tab_has_its_own_until_it_is_closed() -> None:
    ended: list[list[str]] = []
    tabs = BrowserTabs(lambda name: [name], ended.append)
    one, other = tabs.new(), tabs.new()
    assert tabs.get(one) == [one]
    assert tabs.get(one) is not tabs.get(other)
    tabs.close(one)
    tabs.close(one)
    assert ended == [[one]]
    assert tabs.if_open(one) is None
    with pytest.raises(UsageError, match="reload the page"):
        tabs.get(one)
    assert tabs.get(other) == [other]
