"""Write files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from persam.errors import UsageError, write_error

_LONGEST_NAME = 180  # bytes; most disks allow 255, and suffixes come on top
# What some disk forbids, what ends a line, and halves of a letter, which are bytes of a name that are no UTF-8.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/\\:*?"<>|]+')


class Guard(Protocol):
    """Watches over a folder; see `persam.ledger.Ledger`."""

    def holds(self, target: Path) -> bool:
        """Whether a file lies in the folder."""

    def before_replacing(self, target: Path, new: Path) -> None:
        """Raise, if `target` may not become what is now in `new`."""


guards: WeakSet[Guard] = WeakSet()  # asked before any file is replaced


def expanded(path: str | Path) -> Path:
    """Read ``~`` as shells do.

    Raises:
        UsageError: There is no such home, nor a file of that name.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        if Path(Path(path).parts[0]).exists():
            return Path(path)
        raise UsageError(
            f"{path} begins with the home folder of somebody unknown here; give the whole path."
        ) from error


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to; it becomes ``path`` when the block ends well, else it goes.

    Missing folders are made. What is in the file is on the disk before it gets its name, for after a loss of power it
    would be there and empty.

    Raises:
        PersamError: The disk is full, the place is not writable, ... in one sentence.
        UsageError: A guard of the folder refuses.
    """
    target = expanded(path)
    # The suffix stays last, because image writers choose the format by it.
    temporary = target.with_name(f".{os.getpid()}-{threading.get_ident()}.tmp{target.suffix}")
    try:
        if target.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _to_disk(temporary)
        for guard in tuple(guards):
            if guard.holds(target):
                guard.before_replacing(target, temporary)
        temporary.replace(target)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _to_disk(file: Path) -> None:
    """Wait until a file's content outlives a loss of power."""
    with contextlib.suppress(PermissionError), file.open("rb+") as stream:  # a copy of what nobody may write
        os.fsync(stream.fileno())


def check_folder(folder: str | Path) -> None:
    """See before a long job that its results can be written to a folder, which need not exist yet. Nothing is left.

    Raises:
        UsageError: it is a file.
        PersamError: it, or the folder in which it would be made, cannot be written.
    """
    target = expanded(folder)
    try:
        if target.exists() and not target.is_dir():
            raise UsageError(f"{folder} is a file; give a folder.")
        home = next(place for place in (target, *target.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise write_error(target, error) from error


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def safe_name(name: str, *, otherwise: str = "object") -> str:
    """Make a file name of any text: unicode stays, what file systems (or the locale ``C``) forbid becomes ``_``."""
    encoding = sys.getfilesystemencoding()
    name = unicodedata.normalize("NFC", name).encode(encoding, "replace").decode(encoding)
    name = _UNSAFE.sub("_", name).strip(" .")
    while len(name.encode()) > _LONGEST_NAME:
        name = name[:-1]
    return name or otherwise
