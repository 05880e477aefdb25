"""A progress bar with the time left, on stderr; where that is no terminal, a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from persam.cli.console import err, say

_EVERY = 30.0  # seconds between lines in a log: a short run has none
_LOOK_BACK = 3600.0  # seconds of which the speed is told: a step may take minutes


@contextmanager
def progress_bar(description: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Show a bar while the block runs, or in a log a line every half minute.

    Args:
        description: What is being done.
        total: How many steps it has, if that is known yet.

    Yields:
        A function to call after each step. ``done`` and ``total`` set the numbers of steps, ``what`` the description;
        ``before`` is how many steps an earlier run did, which tell nothing of the speed of this one.
    """
    console = err()
    if not console.is_terminal:
        yield _Lines(description, total)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        speed_estimate_period=_LOOK_BACK,
    )
    with bar:
        task = bar.add_task(description, total=total)

        def advance(
            *, done: int | None = None, before: int | None = None, total: int | None = None, what: str | None = None
        ) -> None:
            if before is not None:
                bar.reset(task, completed=before)
                return
            bar.update(task, advance=1 if done is None else None, completed=done, total=total, description=what)

        yield advance


class _Lines:
    """Tells how far it is, now and then."""

    def __init__(self, what: str, total: int | None) -> None:
        self.what, self.total, self.done = what, total, 0
        self.start = self.told = monotonic()
        self.at_start = 0  # steps that were done then
        self.starts_again = False

    def __call__(
        self, *, done: int | None = None, before: int | None = None, total: int | None = None, what: str | None = None
    ) -> None:
        now = monotonic()
        if before is not None:
            self.done, self.starts_again = before, True  # with the next step: to catch up takes its time
            return
        if done is not None and done < self.done:  # something else began
            self.start, self.at_start = now, done
        self.done = self.done + 1 if done is None else done
        if self.starts_again:
            self.start, self.at_start, self.starts_again = now, self.done, False
        self.total, self.what = total or self.total, what or self.what
        if now - self.told < _EVERY:
            return
        self.told = now
        of = f" of {self.total}" if self.total else ""
        left = ""
        steps = self.done - self.at_start
        if self.total and steps > 0 and self.done < self.total:
            left = f", about {_in_words((now - self.start) / steps * (self.total - self.done))} left"
        say(f"{self.what}: {self.done}{of} done{left}.")


def _in_words(seconds: float) -> str:
    """A time that is left, as exact as it can be known."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
