"""Write files whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import sys
import tempfile
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from weakref import WeakSet

from persam.errors import PersamError, UsageError, write_error

_LONGEST_NAME = 180  # bytes; most disks allow 255, and suffixes come on top
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")  # of a bucket, say, in which a Path has one slash only
# What some disk forbids, what ends a line, and halves of a letter, which are bytes of a name that are no UTF-8.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/\\:*?"<>|]+')


class Held:
    """What is held until it is closed, by its `close` or at the end of a ``with`` block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it."""
        raise NotImplementedError


class Guard(Protocol):
    """Watches over a folder; see `persam.ledger.Ledger`."""

    def holds(self, target: Path) -> bool:
        """Whether a file lies in the folder."""

    def before_replacing(self, target: Path, new: Path) -> None:
        """Raise, if `target` may not become what is now in `new`."""


_temporaries = count()
guards: WeakSet[Guard] = WeakSet()  # asked before any file is replaced


def expanded(path: str | Path) -> Path:
    """Read ``~`` as shells do.

    Raises:
        UsageError: There is no such home, nor a file of that name; it is the address of a place elsewhere.
    """
    if _ADDRESS.match(str(path)) and not Path(Path(path).parts[0]).exists():
        raise UsageError(f"{path} is not on this disk, where this has to be; only photos and albums may be elsewhere.")
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
    # Files that are written at once, by one thread or several, each have their own.
    number = f"{threading.get_ident()}{next(_temporaries):04}"
    temporary = target.with_name(f".{os.getpid()}-{number}.tmp{target.suffix}")
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
    except FileNotFoundError as error:  # though it is there: a place such as /proc, which is no disk
        raise PersamError(f"Cannot write {target}: nothing can be made in {home}; choose another place.") from error
    except OSError as error:
        raise write_error(target, error) from error


def cache_folder() -> Path:
    """Where persam may keep what it can get or make again, such as ``~/.cache/persam``."""
    from platformdirs import user_cache_path

    return user_cache_path("persam", appauthor=False)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_csv(path: str | Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows, the names of the columns first, as a table that any spreadsheet reads, whole or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, writable(text.getvalue()))


def safe_name(name: str, *, otherwise: str = "object") -> str:
    """Make a file name of any text: unicode stays, what file systems (or the locale ``C``) forbid becomes ``_``."""
    encoding = sys.getfilesystemencoding()
    name = unicodedata.normalize("NFC", name).encode(encoding, "replace").decode(encoding)
    name = _UNSAFE.sub("_", name).strip(" .")
    while len(name.encode()) > _LONGEST_NAME:
        name = name[:-1]
    return name or otherwise


def stays_below(path: str) -> bool:
    """Whether a path with slashes, taken from a folder on, is the one name of something in that folder.

    What comes from elsewhere, such as an object's key, may lead anywhere on this disk.
    """
    strange = "\0\\:" if os.name == "nt" else "\0"  # there they lead to other folders and disks
    return all(part not in ("", ".", "..") for part in path.split("/")) and not set(strange) & set(path)


class UniqueNames:
    """File names for keys, each another name on any disk; what a key had in an earlier run it keeps."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}
        self._taken: set[str] = set()  # names in the form in which file systems compare them

    @property
    def keys(self) -> list[str]:
        """All that have a name."""
        return list(self._of)

    def keep(self, key: str, name: str) -> None:
        """Give a key the name that it had."""
        self._of[key] = name
        self._taken.add(_compared(name))

    def of(self, key: str, choices: Sequence[str], numbered: str) -> str:
        """The first choice that is free, or else `numbered` with a number."""
        if key not in self._of:
            names = chain(choices, (f"{numbered}_{number}" for number in count(2)))
            self.keep(key, next(name for name in names if _compared(name) not in self._taken))
        return self._of[key]


def _compared(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def writable(text: str) -> str:
    """A text without halves of letters, as which Python reads bytes of file names that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
