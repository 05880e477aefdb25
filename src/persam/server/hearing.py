"""What persam warns of while something is done, for whoever asked for it: other threads warn at the same time."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from persam.errors import PersamWarning

_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)
_shown: Any = warnings.showwarning


@contextlib.contextmanager
def heard_doubts(sentences: list[str] | None = None) -> Iterator[list[str]]:
    """Collect persam's warnings, each once, of what runs in this thread or in a copy of its context.

    Python has one way to show warnings for all threads, so it stays in place, and shows those of others as before.

    Args:
        sentences: where they are added; by default a new list.
    """
    global _shown
    if warnings.showwarning is not _show:
        _shown, warnings.showwarning = warnings.showwarning, _show
    warnings.simplefilter("always", PersamWarning)  # the second who asks hears them, too
    sentences = [] if sentences is None else sentences
    token = _heard.set(sentences)
    try:
        yield sentences
    finally:
        _heard.reset(token)


def _show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    sentences = _heard.get()
    if sentences is None or not issubclass(category, PersamWarning):
        _shown(message, category, *place, **more)
    elif str(message) not in sentences:
        sentences.append(str(message))
