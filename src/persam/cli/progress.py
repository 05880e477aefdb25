"""A progress bar with the time left, on stderr; silent when that is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from persam.cli.console import err


@contextmanager
def progress_bar(description: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Show a bar while the block runs.

    Args:
        description: What is being done.
        total: How many steps it has, if that is known yet.

    Yields:
        A function to call after each step. ``done`` and ``total`` set the numbers of steps, ``what`` the description.
    """
    console = err()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task(description, total=total)

        def advance(*, done: int | None = None, total: int | None = None, what: str | None = None) -> None:
            bar.update(task, advance=1 if done is None else None, completed=done, total=total, description=what)

        yield advance
