"""Whose is a file? A folder of results is locked while persam writes there, and remembers what persam wrote.

People put results beside their own files, and correct masks by hand. So a file is replaced or removed only if persam
wrote it and nobody changed it since; anything else needs ``--overwrite``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from persam.errors import PersamError, UsageError, write_error
from persam.files import Held, expanded, guards, write_bytes
from persam.journal import Journal, json_line, lines_in
from persam.places import Place, RemotePath

HIDDEN = ".persam"  # holds the lock and the list of files
_LOCK, FILES = "lock", "files.jsonl"
_LEFT_OVER = re.compile(r"\.\d+-\d+\.tmp(\.\w+)?")  # the temporary names of `persam.files.atomic_path`
OVERWRITE = "choose another --output, or replace it with --overwrite"


@dataclass(frozen=True, slots=True)  # a clip of a day has two million of them
class _Stamp:
    """A file as it was written: bytes, time of the last change, and a hash for copies, whose time is another."""

    size: int
    mtime_ns: int
    digest: str

    @classmethod
    def of(cls, path: Path) -> _Stamp:
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, _digest(path))

    def fits(self, path: Path) -> bool:
        """Whether the file is still the one that was written."""
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != self.size:
            return False
        return status.st_mtime_ns == self.mtime_ns or _digest(path) == self.digest


class Ledger(Held):
    """The right to write into a folder, for one command at a time. Use it in a ``with`` block, or `close` it.

    While it is open, `persam.files.atomic_path` asks it before a file in the folder is replaced, and what is written
    there is noted. It is noted just before the file gets its name, so that a kill between the two leaves no stranger.

    Args:
        folder: made if it is missing.
        overwrite: replace files of others, too.
        advice: what to do about a file of others, for the sentence that refuses to replace it.

    Attributes:
        is_new: whether nothing was noted here before.

    Raises:
        PersamError: another command is writing there, or the folder cannot be made or written.
    """

    def __init__(self, folder: str | Path, *, overwrite: bool = False, advice: str = OVERWRITE) -> None:
        self.folder = expanded(folder)
        self.overwrite = overwrite
        self.advice = advice
        self._home = self.folder.absolute()
        self._new_folders = [place for place in (self._home, *self._home.parents) if not place.exists()]
        hidden = self.folder / HIDDEN
        try:
            hidden.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(hidden / _LOCK, timeout=0)
            self._lock.acquire()
        except Timeout as error:
            raise PersamError(
                f"Another persam is writing into {self.folder}; wait until it is done, or choose another --output."
            ) from error
        except OSError as error:
            raise write_error(self.folder, error) from error
        try:
            self._journal = Journal(hidden / FILES)
            self._stamps: dict[str, list[_Stamp]] = {}
            for line in self._journal.lines:
                self._remember(line)
            self.is_new = not self._journal.lines
            self._noted = len(self._journal.lines)
            self._journal.lines.clear()  # all of it is in the stamps
            guards.add(self)
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Let others write. Nothing is left where nothing was written."""
        if self not in guards:
            return
        guards.remove(self)
        try:
            with contextlib.suppress(PersamError, OSError):  # a long list does no harm, but to be read
                self._shorten()
            with contextlib.suppress(OSError):
                if not self._journal.path.exists():
                    (self.folder / HIDDEN / _LOCK).unlink(missing_ok=True)
        finally:
            self._lock.release()
        with contextlib.suppress(OSError):  # neither is empty where something was written
            (self.folder / HIDDEN).rmdir()
            for place in self._new_folders:
                place.rmdir()

    # ------------------------------------------------------------------------------------------- what is whose

    def is_own(self, path: str | Path) -> bool:
        """Whether persam wrote the file, and nobody changed it since.

        One that is empty now was lost in a loss of power, or at least has nothing that could be lost.
        """
        place = self._place(path)
        stamps, file = self._stamps.get(place, []), self._home / place
        try:
            return bool(stamps) and (_is_empty(file) or any(stamp.fits(file) for stamp in reversed(stamps)))
        except OSError:
            return False

    def check(self, paths: Iterable[str | Path]) -> None:
        """See before the work that none of these files, named from the folder on, is another's.

        Raises:
            UsageError: one is; names it, and says what to do.
        """
        others = [place for place in map(self._place, paths) if self._is_of_others(place)]
        if others:
            raise self._refusal(others[0], len(others) - 1)

    def adopt(self, paths: Iterable[str | Path]) -> None:
        """Take files for persam's own as they are now; those that are missing or cannot be read are left out."""
        stamps = {}
        for place in map(self._place, paths):
            with contextlib.suppress(OSError):
                file = self._home / place
                if file.is_file() and not file.is_symlink():
                    stamps[place] = _Stamp.of(file)
        self._note(stamps)

    def remove(self, paths: Iterable[str | Path]) -> None:
        """Remove files that an earlier run wrote and this one would not, but none that was changed since.

        Raises:
            PersamError: it may not be removed.
        """
        for path in paths:
            if self.is_own(path):
                file = self._home / self._place(path)
                try:
                    file.unlink()
                except OSError as error:
                    raise write_error(file, error) from error

    def take_back(self) -> None:
        """Remove all that was written here, for a job that failed in a folder where nothing was noted before."""
        written = [self._home / place for place in self._stamps]
        for file in filter(self.is_own, written):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
        made = {folder for file in written for folder in file.parents if self._home in folder.parents}
        if self._home in self._new_folders:  # then all folders in it are
            made.update(folder for folder in self._home.rglob("*/") if folder.name != HIDDEN)
        for folder in sorted(made, key=lambda each: -len(each.parts)):
            with contextlib.suppress(OSError):  # files of others are in it
                folder.rmdir()
        with contextlib.suppress(OSError):
            self._journal.path.unlink(missing_ok=True)

    def sweep(self, folders: Iterable[str]) -> None:
        """Remove half-written files of a run that was killed from the folder and from these in it."""
        places = [*self._home.glob(".*.tmp*"), *(path for name in folders for path in (self._home / name).rglob(".*"))]
        for path in places:
            if _LEFT_OVER.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()

    # ---------------------------------------------------------------------------------- asked by `atomic_path`

    def holds(self, target: Path) -> bool:
        """Whether a file lies in the folder."""
        return target.absolute().is_relative_to(self._home)

    def before_replacing(self, target: Path, new: Path) -> None:
        """Refuse to replace a file of others; else note what it is going to be.

        Raises:
            UsageError: the file is another's.
            PersamError: the note cannot be written.
        """
        place = self._place(target.absolute())
        if self._is_of_others(place):
            raise self._refusal(place, 0)
        self._note({place: _Stamp.of(new)})

    # ------------------------------------------------------------------------------------------------ inside

    def _is_of_others(self, place: str) -> bool:
        return not self.overwrite and os.path.lexists(self._home / place) and not self.is_own(place)

    def _refusal(self, place: str, more: int) -> UsageError:
        why = "was changed after persam wrote it" if place in self._stamps else "was not written by persam"
        others = f" (and {more} more)" if more else ""
        return UsageError(f"{self.folder / place}{others} {why} and would be lost; {self.advice}.")

    def _place(self, path: str | Path) -> str:
        """A path, absolute or from the folder on, as it is noted."""
        return (self._home / path).relative_to(self._home).as_posix()

    def _note(self, stamps: dict[str, _Stamp]) -> None:
        if not stamps:
            return
        self._journal.append({"path": place, **asdict(stamp)} for place, stamp in stamps.items())
        self._journal.lines.clear()
        self._noted += len(stamps)
        for place, stamp in stamps.items():
            self._stamps.setdefault(place, []).append(stamp)

    def _remember(self, line: dict[str, Any]) -> None:
        """Keep earlier stamps, too: one of them holds, if a writer was killed before it replaced the file."""
        with contextlib.suppress(KeyError, TypeError):
            stamp = _Stamp(line["size"], line["mtime_ns"], line["digest"])
            self._stamps.setdefault(line["path"], []).append(stamp)

    def _shorten(self) -> None:
        """Write the list anew where most of it is out of date."""
        if self._noted <= 2 * len(self._stamps):
            return
        kept = []
        for place, stamps in self._stamps.items():
            file = self._home / place
            if os.path.lexists(file):
                stamp = next((stamp for stamp in reversed(stamps) if stamp.fits(file)), stamps[-1])
                kept.append({"path": place, **asdict(stamp)})
        write_bytes(self._journal.path, b"".join(map(json_line, kept)))


@contextlib.contextmanager
def claimed(
    folder: str | Path | None,
    files: Iterable[str],
    *,
    is_ours: Callable[[Path], bool],
    earlier: Iterable[str] = (),
    overwrite: bool = False,
    advice: str = OVERWRITE,
) -> Iterator[None]:
    """Hold a folder while a report is made, and see before that no file of others would be replaced by it.

    Args:
        folder: where the report goes; None: nowhere, so that nothing is to be held.
        files: of the report, named from the folder on.
        is_ours: whether a folder without a ledger holds an earlier report: then these files count as persam's.
        earlier: more files that count as persam's then.
        overwrite: as of `Ledger`.
        advice: likewise.

    Raises:
        UsageError, PersamError: as `Ledger` and its `check` do.
    """
    if folder is None:
        yield
        return
    with Ledger(folder, overwrite=overwrite, advice=advice) as ledger:
        names = list(files)
        if ledger.is_new and is_ours(ledger.folder):
            ledger.adopt([*names, *earlier])
        ledger.check(names)
        yield


def written_in(folder: Place) -> frozenset[str]:
    """What persam wrote into a folder as far as its list says, named from the folder on."""
    try:
        if isinstance(folder, RemotePath):
            lines = lines_in((folder / HIDDEN / FILES).read_bytes())
        else:
            lines = Journal(folder / HIDDEN / FILES).lines
        return frozenset(str(line.get("path")) for line in lines)
    except PersamError:
        return frozenset()


def holds_json(file: Path, *keys: str) -> bool:
    """Whether a file is a JSON object with these keys: how an earlier report is known."""
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and all(key in data for key in keys)


def _is_empty(file: Path) -> bool:
    status = file.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
