"""What every browser tab that is open has for itself, in the studio's memory: the page knows a name of it alone."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Generic, TypeVar

from persam.errors import UsageError

T = TypeVar("T")


class BrowserTabs(Generic[T]):
    """What browser tabs have open, by names that nobody can guess.

    Args:
        make: makes what a new tab has, given its name.
        end: called with it when the tab is closed.
    """

    def __init__(self, make: Callable[[str], T], end: Callable[[T], object] | None = None) -> None:
        self._make, self._end = make, end
        self._open: dict[str, T] = {}

    def new(self) -> str:
        """Open one, and give its name."""
        name = secrets.token_hex(16)
        self._open[name] = self._make(name)
        return name

    def if_open(self, name: str) -> T | None:
        """What a tab has, or None where it is not open."""
        return self._open.get(name)

    def get(self, name: str) -> T:
        """What a tab has.

        Raises:
            UsageError: it is not open.
        """
        found = self.if_open(name)
        if found is None:
            raise UsageError("This page was left for too long, or the studio was started again; reload the page.")
        return found

    def close(self, name: str) -> None:
        """Close one that may be open, and end what it has."""
        closed = self._open.pop(name, None)
        if closed is not None and self._end is not None:
            self._end(closed)
