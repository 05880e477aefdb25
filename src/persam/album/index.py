"""The index of an album: what is in which file, and what was found in it. One SQLite file, read and written safely.

A photo is known by its content, so one that was renamed, or is there twice, is not done twice.  What was found for a
concept is kept as it came from the model; which concept gets a pixel that two of them claim is decided later, for it
depends on all concepts of the album.  Lines are what `results.jsonl` is written from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from persam.errors import PersamError
from persam.journal import json_line
from persam.places import Place, RemotePath, stamp_of

VERSION = 1  # of the tables
Stamp = tuple[int, int, int]  # of a file, see `persam.places.stamp_of`
_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    content TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS finds (
    content TEXT NOT NULL, made TEXT NOT NULL, find BLOB NOT NULL, PRIMARY KEY (content, made)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS concepts (name BLOB PRIMARY KEY, made TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lines (
    image BLOB NOT NULL, concept BLOB NOT NULL, line BLOB NOT NULL, PRIMARY KEY (image, concept)
) WITHOUT ROWID;
"""


class IndexFileError(PersamError):
    """The index cannot be read or written: then no photo can be done."""


class DamagedIndexError(IndexFileError):
    """It is no index, or is damaged."""


class AlbumIndex:
    """What an album's files contain and what was found in them. For one process at a time, and all of its threads.

    Args:
        path: the SQLite file; made, with its folder, if it is missing.

    Raises:
        PersamError: it cannot be opened or written, is damaged, or of a newer persam.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._is_closed = False
        with self._in_words():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                self._db.close()
                raise IndexFileError(f"{path} was written by a newer persam; update yours: pip install -U persam.")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")  # a loss of power costs the last photos, never the file
            self._db.executescript(_TABLES)
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Write what is pending, and let go of the file; an index of nothing leaves none. Again: nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        with self._in_words():
            tables = ("concepts", "lines", "finds")
            is_empty = not any(self._db.execute(f"SELECT 1 FROM {each} LIMIT 1").fetchone() for each in tables)  # noqa: S608 (our names)
            self._db.close()
            if is_empty:
                self.path.unlink(missing_ok=True)

    # --------------------------------------------------------------------------------- which content is in a file

    def content_of(self, path: Place, read: Callable[[], bytes] | None = None) -> str:
        """Hash of what is in a file; one that has not changed since it was last asked for is not read.

        Args:
            path: the file.
            read: gives what is in it; by default it is read piece by piece.

        Raises:
            OSError: the file cannot be read.
            PersamError: likewise, if it is not on this disk.
        """
        stamp = stamp_of(path)
        content = self.known_content(path, stamp)
        if content is None:
            content = hash_of(path, None if read is None else read())
            self.note_content(path, stamp, content)
        return content

    def known_content(self, path: Place, stamp: Stamp) -> str | None:
        """Hash of what is in a file of this stamp, if it was noted."""
        with self._in_words():
            row = self._db.execute(
                "SELECT size, mtime_ns, ctime_ns, content FROM files WHERE path = ?", (_key(path),)
            ).fetchone()
        return str(row[3]) if row is not None and row[:3] == stamp else None

    def note_content(self, path: Place, stamp: Stamp, content: str) -> None:
        """Remember what was in a file when it had this stamp."""
        with self._in_words():
            self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", (_key(path), *stamp, content))

    # --------------------------------------------------------------------------- what was found, before it competes

    def find(self, content: str, made: str) -> dict[str, Any] | None:
        """What was found in a photo of this content in the same way (concept, model, options), if it was looked for."""
        with self._in_words():
            row = self._db.execute("SELECT find FROM finds WHERE content = ? AND made = ?", (content, made)).fetchone()
        return None if row is None else json.loads(row[0])

    def has(self, content: str, made: str) -> bool:
        """Whether `find` would have something."""
        with self._in_words():
            query = "SELECT 1 FROM finds WHERE content = ? AND made = ?"
            return self._db.execute(query, (content, made)).fetchone() is not None

    def all_found(self) -> set[tuple[str, str]]:
        """Of all that was looked for: the photo's content, and how the find is made."""
        with self._in_words():
            return set(self._db.execute("SELECT content, made FROM finds").fetchall())

    def keep(self, content: str, made: str, find: dict[str, Any]) -> None:
        """Remember what was found."""
        with self._in_words():
            self._db.execute("INSERT OR REPLACE INTO finds VALUES (?, ?, ?)", (content, made, json_line(find)))

    @property
    def concepts(self) -> dict[str, str]:
        """How each concept of the album was last looked for, by its name."""
        with self._in_words():
            rows = self._db.execute("SELECT name, made FROM concepts ORDER BY name").fetchall()
        return {_text(name): made for name, made in rows}

    def add_concept(self, name: str, made: str) -> None:
        """Add a concept to the album, or change how it is looked for."""
        with self._in_words():
            self._db.execute("INSERT OR REPLACE INTO concepts VALUES (?, ?)", (_bytes(name), made))

    # ------------------------------------------------------------------------------------- lines of `results.jsonl`

    def line(self, image: str, concept: str) -> dict[str, Any] | None:
        """The line of a photo, named by its absolute path, and a concept."""
        with self._in_words():
            query = "SELECT line FROM lines WHERE image = ? AND concept = ?"
            row = self._db.execute(query, (_bytes(image), _bytes(concept))).fetchone()
        return None if row is None else json.loads(row[0])

    def has_line(self, image: str, concept: str) -> bool:
        """Whether `line` would have one."""
        with self._in_words():
            query = "SELECT 1 FROM lines WHERE image = ? AND concept = ?"
            return self._db.execute(query, (_bytes(image), _bytes(concept))).fetchone() is not None

    def put(self, line: dict[str, Any]) -> None:
        """Add a line, or replace that of the same photo and concept."""
        key = _bytes(line["image"]), _bytes(line["concept"])
        with self._in_words():
            self._db.execute("INSERT OR REPLACE INTO lines VALUES (?, ?, ?)", (*key, json_line(line)))

    def drop(self, image: str, concept: str | None = None) -> list[dict[str, Any]]:
        """Remove the lines of a photo, or the one of a concept, and return them.

        What was found stays, for the day when the photo comes back.
        """
        query, key = "DELETE FROM lines WHERE image = ?", [_bytes(image)]
        if concept is not None:
            query, key = f"{query} AND concept = ?", [*key, _bytes(concept)]
        with self._in_words():
            rows = self._db.execute(f"{query} RETURNING line", key).fetchall()
        return [json.loads(row[0]) for row in rows]

    def images(self) -> list[str]:
        """Absolute paths of all photos that have lines, sorted."""
        with self._in_words():
            rows = self._db.execute("SELECT DISTINCT image FROM lines ORDER BY image").fetchall()
        return [_text(row[0]) for row in rows]

    def lines(self) -> Iterator[dict[str, Any]]:
        """All lines, one photo after another, sorted; never all of them in memory."""
        with self._in_words():
            cursor = self._db.execute("SELECT line FROM lines ORDER BY image, concept")
        while True:
            with self._in_words():
                rows = cursor.fetchmany(100)
            if not rows:
                return
            for row in rows:
                yield json.loads(row[0])

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        """One thread at a time, and what SQLite says as a sentence."""
        with self._lock:
            try:
                yield
            except sqlite3.ProgrammingError as error:
                raise IndexFileError(f"The album {self.path.parent.parent} is closed; open it again.") from error
            except sqlite3.OperationalError as error:
                raise IndexFileError(
                    f"The album's index {self.path} cannot be used ({error}); see that there is room on the disk and "
                    "that nothing else uses it."
                ) from error
            except sqlite3.DatabaseError as error:
                raise _damaged(self.path, error) from error
            except OSError as error:
                raise IndexFileError(f"The album's index {self.path} cannot be made ({error.strerror}).") from error


def hash_of(file: Place, data: bytes | None = None) -> str:
    """Hash of what is in a file, by which an album knows it; `data` is what is in it, if that was read before."""
    if data is None and not isinstance(file, RemotePath):
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return hashlib.blake2b(file.read_bytes() if data is None else data, digest_size=16).hexdigest()


def copy_index(path: Path, to: Path) -> None:
    """Copy an index as it is at one moment, though it may be written at the same time.

    Raises:
        IndexFileError: it cannot be copied, or is damaged.
    """
    try:
        with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(to)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # else it would be two files
    except (sqlite3.OperationalError, OSError) as error:
        raise IndexFileError(f"The album's index {path} cannot be copied to {to} ({error}).") from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: sqlite3.DatabaseError) -> DamagedIndexError:
    return DamagedIndexError(
        f"The album's index {path} cannot be used ({error}); remove it, and all photos are done again."
    )


def _key(path: Place) -> bytes:
    return _bytes(str(path.absolute()))


def _bytes(text: str) -> bytes:
    """A path or name as it is kept: file names hold bytes of any kind, which Python has as halves of letters."""
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
