"""Lines of JSON in a file that only grows, so that what was done is on the disk before the next is begun.

Every line is waited for until it is there, so that it outlives a loss of power.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from persam.errors import PersamError, write_error

# JSON leaves these as they are, but `str.splitlines` and many an editor end a line at them.
_LINE_ENDS = {ord(letter): f"\\u{ord(letter):04x}" for letter in "\x85\u2028\u2029"}


def json_line(data: Any) -> bytes:
    """One line of JSON in UTF-8, with its end. Bytes of a file name that are no UTF-8 are escaped, and come back."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False).translate(_LINE_ENDS)
    return text.encode("utf-8", "backslashreplace") + b"\n"  # "\udcff" is an escape of JSON, too


class Journal:
    """Lines of JSON in a file.

    A last line that was cut short, because its writer was killed or the disk full, is dropped before the next is added.

    Args:
        path: the file; made, with its folder, when the first line is written.
        mend: what to do about a damaged line, for the sentence that refuses it; None: damaged lines are left out.

    Attributes:
        lines: what it holds.
        damaged: how many lines were left out.

    Raises:
        PersamError: the file cannot be read, or holds something else.
    """

    def __init__(self, path: Path, *, mend: str | None = None) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self.damaged = 0
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise PersamError(f"{path} cannot be read: {error.strerror}; choose another --output.") from error
        self._size = data.rfind(b"\n") + 1
        for number, row in enumerate(data[: self._size].split(b"\n")[:-1], start=1):
            line = _parsed(row)
            if line is not None:
                self.lines.append(line)
            elif mend is not None:
                raise PersamError(f"{path} is damaged in line {number}; {mend}.")
            else:
                self.damaged += bool(row.strip())

    def append(self, lines: Iterable[dict[str, Any]]) -> None:
        """Add lines.

        Raises:
            PersamError: they cannot be written.
        """
        new = list(lines)
        data = b"".join(map(json_line, new))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as stream:
                if stream.tell() > self._size:
                    os.truncate(self.path, self._size)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise write_error(self.path, error) from error
        self._size += len(data)
        self.lines += new


def lines_in(data: bytes) -> list[dict[str, Any]]:
    """The lines of such a file, those left out that are damaged."""
    return [line for row in data.split(b"\n") if (line := _parsed(row)) is not None]


def _parsed(row: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(row)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
