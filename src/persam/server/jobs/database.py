"""The SQLite file that jobs are listed in; it is looked at before it is written."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from persam.errors import first_line
from persam.server.refusals import Refused

FILE = "jobs.sqlite"
VERSION = 1  # of the tables
_OURS = 0x50534A42  # by which SQLite files of jobs are known: "PSJB"
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    wish TEXT,
    concepts TEXT NOT NULL,
    options TEXT NOT NULL,
    notes TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    done INTEGER NOT NULL DEFAULT 0,
    total INTEGER,
    problems INTEGER NOT NULL DEFAULT 0,
    pace REAL,
    furthest INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    counts TEXT NOT NULL DEFAULT '{}',
    error TEXT,
    last_event INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, number);
CREATE TABLE IF NOT EXISTS events (
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    id INTEGER NOT NULL, name TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (job, id)
) WITHOUT ROWID;
"""


class JobStoreError(Refused):
    """The list of jobs cannot be read or written."""

    status = 500


def opened(path: Path) -> sqlite3.Connection:
    """The file, made if it is missing; for several threads, of which the caller lets one in at a time.

    Raises:
        JobStoreError: it cannot be opened, is damaged, of a newer persam or of something else. It is never removed.
    """
    try:
        db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            _check(db, path)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")  # a job that was taken on outlives a loss of power
            db.execute("PRAGMA foreign_keys = ON")
            db.executescript(_TABLES)
            db.execute(f"PRAGMA application_id = {_OURS}")
            db.execute(f"PRAGMA user_version = {VERSION}")
        except BaseException:
            db.close()
            raise
    except sqlite3.OperationalError as error:
        raise JobStoreError(
            f"The list of jobs {path} cannot be used ({error}); see that it may be written and that there is room on "
            "the disk."
        ) from error
    except sqlite3.DatabaseError as error:
        raise JobStoreError(
            f"The list of jobs {path} is damaged ({first_line(error)}); put a copy back, or move the file and the "
            "folder jobs beside it away to begin without them."
        ) from error
    return db


def _check(db: sqlite3.Connection, path: Path) -> None:
    """See that a file is what it should be, before anything is written into it."""
    version, ours = (db.execute(f"PRAGMA {each}").fetchone()[0] for each in ("user_version", "application_id"))
    if ours != _OURS and db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise JobStoreError(f"{path} is something else than a list of jobs; give another folder.")
    if version > VERSION:
        raise JobStoreError(f"{path} was written by a newer persam; update yours: pip install -U persam.")
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found.replace("*** in database main ***", ""))
