"""Ctrl-C and SIGTERM, which batch systems and containers send, end a command alike: what was done is kept."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Whoever keeps what was done on Ctrl-C does so now, too."""


def exit_code_of(stop: KeyboardInterrupt) -> int:
    """What shells expect of a program that a signal ended."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextlib.contextmanager
def sigterm_stops() -> Iterator[None]:
    """Raise `Terminated` when SIGTERM comes, while the block runs, unless someone else looks after it."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
