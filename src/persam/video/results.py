"""``results.jsonl`` of a clip: a line for every frame, and how far it was when a run was stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persam.errors import PersamError, write_error
from persam.files import Held
from persam.journal import json_line

RESULTS = "results.jsonl"
_PIECE = 1 << 20  # bytes that are read at a time


@dataclass(frozen=True)
class Mark:
    """How far the file is: its frames, the last one's number, and its bytes with their hash."""

    frames: int = 0
    last: int = -1
    size: int = 0
    digest: str = ""

    def fits(self, path: Path) -> bool:
        """Whether a file begins with what this tells of."""
        try:
            return _digest_of(path, self.size).hexdigest() == self.digest
        except OSError:
            return False


NOTHING = Mark()


class FrameLines(Held):
    """The file while it is written: a line is there as soon as it was added, and none is held in memory.

    Args:
        path: the file.
        mark: how much of it stays; what follows, perhaps half a line, goes.

    Attributes:
        mark: how far it is.

    Raises:
        PersamError: it cannot be written.
    """

    def __init__(self, path: Path, mark: Mark = NOTHING) -> None:
        self.path, self.mark = path, mark
        try:
            self._digest = _digest_of(path, mark.size)
            self._stream = path.open("r+b" if mark.size else "wb")
            self._stream.truncate(mark.size)
            self._stream.seek(mark.size)
        except OSError as error:
            raise write_error(path, error) from error

    def add(self, line: dict[str, Any]) -> None:
        """Add a frame's line."""
        data = None
        try:
            data = json_line(line)
            self._stream.write(data)
            self._stream.flush()
        except OSError as error:
            raise write_error(self.path, error) from error
        self._digest.update(data)
        size = self.mark.size + len(data)
        self.mark = Mark(self.mark.frames + 1, line["frame"], size, self._digest.hexdigest())

    def sync(self) -> None:
        """Wait until the lines outlive a loss of power."""
        try:
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise write_error(self.path, error) from error

    def close(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(OSError):  # what could not be flushed was told
            self._stream.close()


def lines_in(path: Path, size: int | None = None) -> Iterator[dict[str, Any]]:
    """The lines of a file one by one, of its first `size` bytes or of all of it.

    Raises:
        PersamError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            read = 0
            for row in stream:
                read += len(row)
                if size is not None and read > size:
                    return
                yield json.loads(row)
    except (OSError, ValueError) as error:
        raise PersamError(f"{path} is damaged or gone; add --overwrite to begin anew.") from error


def is_on_screen(one: Mapping[str, Any]) -> bool:
    """Whether an object of a line is to be seen in its frame."""
    return one["present"] and one["box"] is not None


def holds_frames(path: Path) -> bool:
    """Whether a file holds lines of frames and nothing else, but perhaps a last one that was cut short."""
    try:
        with path.open("rb") as stream:
            return all(_is_of_a_frame(row) for row in stream if row.endswith(b"\n"))
    except OSError:
        return False


def _is_of_a_frame(row: bytes) -> bool:
    try:
        line = json.loads(row)
    except ValueError:
        return False
    return isinstance(line, dict) and {"frame", "time", "labels", "objects"} <= line.keys()


def _digest_of(path: Path, size: int) -> hashlib.blake2b:
    """Hash the first bytes of a file; of fewer, if it has fewer."""
    digest = hashlib.blake2b(digest_size=16)
    if size:
        with path.open("rb") as stream:
            while size and (piece := stream.read(min(size, _PIECE))):
                digest.update(piece)
                size -= len(piece)
    return digest
