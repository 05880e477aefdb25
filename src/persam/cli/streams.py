"""stdout and stderr as shells hand them over: closed, full, without a reader, of any encoding. No job fails of them."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

_NO_READER = (errno.EPIPE, errno.EINVAL)  # the second is what Windows says


class LastingStream:
    """A text stream that takes what is written to it even when the place behind it no longer does.

    Attributes:
        problem: why what was written is lost, or None.
        is_used: whether anything was written.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.problem: OSError | None = None
        self.is_used = False
        if callable(reconfigure := getattr(stream, "reconfigure", None)):
            reconfigure(errors="backslashreplace")  # names of files may hold what the encoding has not

    def write(self, text: str) -> int:
        """Write as `io.TextIOBase` does."""
        self.is_used = self.is_used or bool(text)
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush as `io.TextIOBase` does."""
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def is_lost(self) -> bool:
        """Whether somebody who wanted the words did not get them; a reader that went away had enough."""
        return self.problem is not None and self.problem.errno not in _NO_READER

    def _try(self, do: Callable[[], object]) -> None:
        if self.problem is not None:
            return
        try:
            do()
        except OSError as error:
            self.problem = error
            # What is still in the buffer would be tried again, and fail again, when Python ends.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


@contextlib.contextmanager
def lasting_streams() -> Iterator[LastingStream]:
    """Let stdout and stderr last while the block runs; yield stdout."""
    _open_what_is_closed()
    before = sys.stdout, sys.stderr
    streams = [LastingStream(_nowhere() if stream is None else stream) for stream in before]
    sys.stdout, sys.stderr = streams
    try:
        yield streams[0]
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before


def nothing_is_printed() -> bool:
    """Whether stdout is still empty, so that an error may take the place of the result."""
    return not getattr(sys.stdout, "is_used", False)


def _open_what_is_closed() -> None:
    """Give the three standard streams their numbers (``>&-``): else the next file that is opened would be stdout."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 (lasts as long as the process)
