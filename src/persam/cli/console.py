"""Where words go: results to stdout, all else to stderr; colour only on a terminal."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from persam.errors import PersamWarning, printable

_PIPE_WIDTH = 160  # a pipe has no width of its own; tables must not break lines at 80


def out() -> Console:
    """The console for results (made anew, because tests and pipes replace the stream)."""
    return Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else _PIPE_WIDTH,
        highlight=False,
        soft_wrap=False,
        emoji=False,  # a file may be called :mug:.jpg
    )


def err() -> Console:
    """The console for messages and progress."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True, emoji=False)


def say(text: str) -> None:
    """Tell what happened, on stderr."""
    err().print(printable(text), markup=False)


def complain(text: str) -> None:
    """Tell what went wrong, in red on stderr."""
    err().print(printable(text), style="red", markup=False)


def print_json(data: Any) -> None:
    """Print one JSON document on stdout."""
    # Where stdout writes a character as an escape of Python's, a reader of JSON must understand that escape.
    everywhere = (sys.stdout.encoding or "ascii").lower().replace("-", "") == "utf8"
    sys.stdout.write(json.dumps(data, ensure_ascii=not everywhere, indent=2) + "\n")


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Start a plain table; columns named in ``right`` are aligned to the right."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return grid


@contextmanager
def heard_warnings() -> Iterator[list[str]]:
    """Collect persam's own warnings while the block runs, each once, for results in JSON; they are said as ever."""
    heard: list[str] = []
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, PersamWarning) and str(message) not in heard:
                heard.append(str(message))
            shown(message, category, *place, **more)

        warnings.showwarning = show
        yield heard
