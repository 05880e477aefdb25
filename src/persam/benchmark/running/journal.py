"""A journal: lines of JSON that survive `kill -9`, the last one excepted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from persam.errors import PersamError, write_error


class Journal:
    """Lines of JSON in a file, each on the disk before the next is worked on.

    A last line that was cut short when its writer was killed is dropped when the file is opened again.

    Args:
        path: the file; made, with its folder, when the first line is written.

    Raises:
        PersamError: the file cannot be read, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise PersamError(f"{path} cannot be read: {error.strerror}; choose another --out.") from error
        whole = data[: data.rfind(b"\n") + 1]
        for number, row in enumerate(whole.splitlines(), start=1):
            try:
                line = json.loads(row)
            except ValueError as error:
                raise self._damaged(number) from error
            if not isinstance(line, dict):
                raise self._damaged(number)
            self.lines.append(line)
        self._torn = len(whole) if len(whole) < len(data) else None

    def append(self, lines: Iterable[dict[str, Any]]) -> None:
        """Write lines and wait until they are on the disk.

        Raises:
            PersamError: they cannot be written.
        """
        new = list(lines)
        text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in new)
        try:
            if self._torn is not None:
                os.truncate(self.path, self._torn)
                self._torn = None
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as stream:
                stream.write(text.encode())
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise write_error(self.path, error) from error
        self.lines += new

    def _damaged(self, number: int) -> PersamError:
        return PersamError(
            f"{self.path} is damaged in line {number}; start over with --fresh, or choose another --out."
        )
