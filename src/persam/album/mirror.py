"""An album elsewhere, such as in a bucket: a folder on this disk stands for it, brought from there and back again.

The index and the list of what persam wrote need a real disk. So the album is worked on in persam's cache folder; what
changed is put to the place now and then, and at the end, in such an order that what lies there can be gone on from at
any moment, from another computer too:

1. the list of what persam wrote, so that none of the files is ever taken for somebody else's,
2. the files,
3. the index, which is what counts as done,
4. what is gone is removed.

If the index there is the one that was last seen or put, the folder is ahead of it and stays, which is so after a kill;
if not, another computer went on, and the folder becomes what is there. Files there that persam did not write are only
known by name: an empty file stands for each, for the folder's ledger to see that they are somebody else's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persam.album.claim import Claim, TakenError
from persam.album.formats import FORMATS
from persam.album.index import DamagedIndexError, IndexFileError, copy_index
from persam.album.outputs import INDEX, PLACES, RESULTS
from persam.errors import PersamError, PersamWarning, write_error
from persam.files import Held, atomic_path, cache_folder, stays_below, write_bytes
from persam.ledger import FILES, HIDDEN, written_in
from persam.places import RemotePath, remote_stamp

_LIST, _INDEX = f"{HIDDEN}/{FILES}", f"{HIDDEN}/{INDEX}"
_FOLDERS = frozenset((*(place for place, _ in PLACES.values()), *(form.place for form in FORMATS.values()), HIDDEN))
SECONDS = 30  # between two times at which what changed is put there
_SHARE = 10  # and so many times as long as that took
_AT_ONCE = 8

Stamp = tuple[int, ...]


@dataclass(frozen=True)
class _Same:
    """A file here and there that were the same: what each was then.

    Attributes:
        here: its stamp.
        there: its stamp.
        content: a hash of it, since files are often written anew as they were; 0 of the index, of the list, and of
            what is somebody else's, which are never removed.
    """

    here: Stamp
    there: Stamp
    content: int = 0


class Mirror(Held):
    """An album's folder on this disk that stands for one elsewhere. For one command at a time, wherever it runs.

    Args:
        place: where the album is.

    Attributes:
        place: as it was given.
        folder: on this disk.

    Raises:
        PersamError: another command is writing there, or it cannot be read or written.
    """

    def __init__(self, place: RemotePath) -> None:
        self.place = place
        home = cache_folder() / "albums"
        name = hashlib.blake2b(str(place).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        self.folder = home / name
        self._notes = home / f"{name}.json"
        self._sent: set[str] = set()  # put there, whose stamp there is not known yet
        self._due = time.monotonic() + SECONDS
        self._is_closed = False
        self._claim = Claim(place / HIDDEN / "writer.json", str(place))
        try:
            self._same = self._noted()
            with self.named():
                self._fetch()
        except BaseException:
            self._claim.release()
            raise

    def close(self) -> None:
        """Put there what changed, and let others write.

        Raises:
            PersamError: it could not be put; it is kept here, and put the next time, unless another command wrote.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self.push()
        except TakenError as error:
            raise PersamError(
                f"{str(error).removesuffix('.')}; then run the same command again: what is not in {self.place} yet is "
                "done again, if that one changed the album."
            ) from error
        except PersamError as error:
            raise PersamError(
                f"{str(error).removesuffix('.')}; what is not in {self.place} yet is kept in {self.folder} until you "
                "run the same command again."
            ) from error
        finally:
            self._claim.release()

    def release(self) -> None:
        """Let others write, and put nothing there."""
        self._is_closed = True
        self._claim.release()

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Sentences name the place, not the folder that stands for it."""
        try:
            yield
        except DamagedIndexError as error:
            raise DamagedIndexError(
                f"{str(error).removesuffix('.')}; it stands for {self.place / _INDEX}: remove that, too, if it is "
                "damaged likewise."
            ) from error
        except IndexFileError:  # this file it is that has to be seen to
            raise
        except PersamError as error:
            raise type(error)(str(error).replace(str(self.folder), str(self.place))) from error

    # ------------------------------------------------------------------------------------------------ from there

    def _fetch(self) -> None:
        there = self._there()
        seen = self._same[_INDEX].there if _INDEX in self._same else None
        if there.get(_INDEX) != seen or not (self.folder / _INDEX).exists():
            self._start_anew(there)
        elif _LIST in there and (_LIST not in self._same or self._same[_LIST].there != there[_LIST]):
            self._join_lists()
        own = written_in(self.folder) | {RESULTS}
        for file in set(self._same) - set(there):  # somebody removed it
            self._forget(file)
        hidden = {file for file in there if file.startswith(f"{HIDDEN}/")}
        for file in hidden & {_LIST}:  # what is here has all of it, and goes there again
            self._same[file] = _Same((), there[file])
        other = [file for file in there if file not in hidden and not self._is_known(file, there[file])]
        self._get({file: there[file] for file in other if file in own})
        for file in set(other) - own:
            write_bytes(self.folder / file, b"")
            self._same[file] = _Same(self._here(file), there[file])
        self._note()

    def _start_anew(self, there: dict[str, Stamp]) -> None:
        """Another computer went on: what is here and not there is out of date."""
        for end in ("", "-wal", "-shm"):
            (self.folder / f"{_INDEX}{end}").unlink(missing_ok=True)
        for file in set(self._files_here()) - set(there):
            self._forget(file)
        stale = [file for file, same in self._same.items() if file in there and self._here(file) != same.here]
        for file in (_INDEX, _LIST, *stale):
            self._same.pop(file, None)
        self._get({file: there[file] for file in (_LIST, _INDEX) if file in there})
        if _LIST not in there:
            (self.folder / _LIST).unlink(missing_ok=True)

    def _join_lists(self) -> None:
        """Another computer put files there, and was killed before the index: they are no strangers'."""
        path = self.folder / _LIST
        here = path.read_bytes().splitlines() if path.exists() else []
        there = (self.place / _LIST).read_bytes().splitlines()
        write_bytes(path, b"".join(line + b"\n" for line in dict.fromkeys([*here, *there])))

    def _is_known(self, file: str, stamp: Stamp) -> bool:
        return file in self._same and self._same[file].there == stamp and (self.folder / file).exists()

    def _get(self, files: dict[str, Stamp]) -> None:
        if not files:
            return

        def get(file: str) -> None:
            if file == _INDEX:
                with atomic_path(self.folder / file) as temporary:
                    (self.place / file).get_file(temporary)
            else:
                write_bytes(self.folder / file, (self.place / file).read_bytes())

        for file in files:
            self._same.pop(file, None)
        self._note()  # whoever is killed now does not take what is here for what was there
        _each(get, files)
        for file, stamp in files.items():
            content = 0 if file in (_INDEX, _LIST) else self._content(file)
            self._same[file] = _Same(self._here(file), stamp, content)

    def _forget(self, file: str) -> None:
        self._same.pop(file, None)
        with contextlib.suppress(OSError):
            (self.folder / file).unlink(missing_ok=True)

    # -------------------------------------------------------------------------------------------------- to there

    def push_if_due(self) -> None:
        """Put there what changed, if that was some time ago; what goes wrong is told, for it is tried again."""
        if time.monotonic() < self._due:
            return
        started = time.monotonic()
        try:
            self.push()
        except PersamError as error:
            warnings.warn(f"{error} It is tried again later.", PersamWarning, stacklevel=2)
        self._due = time.monotonic() + max(SECONDS, _SHARE * (time.monotonic() - started))

    def push(self) -> None:
        """Put there what changed here since it was last put, and remove what was removed.

        Raises:
            PersamError: it cannot be put, or another command wrote there.
        """
        with self._index() as index:
            self._push(index)

    def _push(self, index: Path | None) -> None:
        here = {file: self._here(file) for file in self._files_here()}
        if index is not None:
            here[_INDEX] = (int.from_bytes(_digest_of(index)),)
        changed = {file for file, stamp in here.items() if self._has_changed(file, stamp)}
        gone = {file for file, same in self._same.items() if file not in here and same.content}
        if not changed - {_LIST} and not gone:  # of files that were written anew as they were
            return
        self._claim.check()
        there = self._there()
        others = {file for file in changed | gone if self._is_of_others(file, there.get(file))}
        if others:
            self._leave(others)
        changed, gone = changed - others, gone - others

        def put(file: str) -> None:
            if file == _INDEX and index is not None:
                (self.place / file).put_file(index)
            else:
                (self.place / file).write_bytes((self.folder / file).read_bytes())
            self._sent.add(file)

        for part in ({_LIST}, changed - {_LIST, _INDEX, RESULTS}, {_INDEX}, {RESULTS}):
            _each(put, sorted(part & changed))
        _each(lambda file: (self.place / file).unlink(), sorted(gone))
        there = self._there()
        for file in gone:
            self._same.pop(file, None)
        for file in changed & set(there):
            content = 0 if file in (_INDEX, _LIST) else self._content(file)
            self._same[file] = _Same(here[file], there[file], content)
        self._sent.clear()
        self._note()

    def _has_changed(self, file: str, stamp: Stamp) -> bool:
        known = self._same.get(file)
        if known is None or known.here == stamp:
            return known is None
        return known.content == 0 or known.content != self._content(file)

    def _content(self, file: str) -> int:
        try:
            with (self.folder / file).open("rb") as stream:
                digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=7))
            return int.from_bytes(digest.digest()) or 1
        except OSError:
            return -1

    def _is_of_others(self, file: str, stamp: Stamp | None) -> bool:
        """Whether somebody put or changed or removed a file there since it was last looked at."""
        known = self._same.get(file)
        return file not in self._sent and stamp is not None and (known is None or known.there != stamp)

    def _leave(self, others: Iterable[str]) -> None:
        names = sorted(others)
        if any(name.startswith(f"{HIDDEN}/") for name in names):
            raise TakenError(f"Another persam wrote into {self.place} at the same time; wait until it is done.")
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        warnings.warn(
            f"{self.place / names[0]}{more} changed while this ran, and was left as it is there.",
            PersamWarning,
            stacklevel=3,
        )

    @contextlib.contextmanager
    def _index(self) -> Iterator[Path | None]:
        """The index as it is now, in one file, which goes; None, where there is none."""
        path = self.folder / _INDEX
        if not path.exists():
            yield None
            return
        copy = path.with_name(f"{INDEX}.copy")
        copy.unlink(missing_ok=True)
        try:
            copy_index(path, copy)
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    # -------------------------------------------------------------------------------------------- what is where

    def _there(self) -> dict[str, Stamp]:
        """The files there in places where persam may write, with their stamps; the claim is none."""
        found = dict(self.place.files())
        for name in self.place.folders():
            if name in _FOLDERS:
                found |= (self.place / name).files(below=True)
        files = {file.url[len(self.place.url) + 1 :]: remote_stamp(told) for file, told in found.items()}
        return {file: stamp for file, stamp in files.items() if file in (_LIST, _INDEX) or _may_be_ours(file)}

    def _files_here(self) -> list[str]:
        """All files of the folder, but for the index, which is not copied as it lies there."""
        found = []
        for folder, folders, files in os.walk(self.folder):
            folders[:] = [each for each in folders if each != HIDDEN]
            inner = Path(folder).relative_to(self.folder)
            names = [(inner / each).as_posix() for each in files]
            found += [name for name in names if _may_be_ours(name)]
        return [*found, *([_LIST] if (self.folder / _LIST).exists() else [])]

    def _here(self, file: str) -> Stamp:
        path = self.folder / file
        if file == _INDEX:
            with self._index() as index:
                return () if index is None else (int.from_bytes(_digest_of(index)),)
        try:
            status = path.stat()
        except OSError:
            return ()
        return status.st_size, status.st_mtime_ns

    # ------------------------------------------------------------------------------------------------- the notes

    def _noted(self) -> dict[str, _Same]:
        """What was the same here and there when that was last seen; nothing, if the notes are lost."""
        try:
            notes: dict[str, Any] = json.loads(self._notes.read_bytes())
            files = notes["files"].items()
            return {file: _Same(tuple(here), tuple(there), content) for file, (here, there, content) in files}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _note(self) -> None:
        files = {file: (same.here, same.there, same.content) for file, same in self._same.items()}
        write_bytes(self._notes, json.dumps({"place": str(self.place), "files": files}).encode())


def _may_be_ours(file: str) -> bool:
    """Whether a file is none of those that are only for a moment, or for this computer, and none of another folder."""
    is_hidden = file.startswith(f"{HIDDEN}/") or file.rpartition("/")[2].startswith(".")
    return stays_below(file) and not is_hidden


def _digest_of(index: Path) -> bytes:
    try:
        with index.open("rb") as stream:
            head = stream.read(100)
            # SQLite counts in its first page how often the file was written.
            known = hashlib.blake2b(head[:24] + head[28:92], digest_size=7)
            return hashlib.file_digest(stream, lambda: known).digest()
    except OSError as error:
        raise write_error(index, error) from error


def _each(do: Callable[[str], object], files: Iterable[str]) -> None:
    """Do it for several files at once; what goes wrong first is raised."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="persam-mirror") as pool:
        try:
            for done in [pool.submit(do, file) for file in files]:
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
