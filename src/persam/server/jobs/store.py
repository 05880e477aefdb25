"""The list of jobs: what was taken on, how far it is, and what was told of it. One SQLite file, which outlives a kill.

A job that was added is on the disk before `JobStore.add` returns, even if the power fails then.  One that was running
when its server ended is queued again when the next one begins, and goes on where it was; one that ended the server
three times at the same place is given up.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from persam.files import Held
from persam.server.engine import StoppingError
from persam.server.jobs.database import FILE, JobStoreError, opened
from persam.server.jobs.job import STATES, Job, JobEvent, Kind, NoSuchJobError, State, TooManyJobsError

MOST_TRIES = 3  # times that a job may end the server at one place
KEPT_EVENTS = 1000  # of a job: who listens again after more of them is told how far it is now


class JobStore(Held):
    """The jobs of a service's folder, for one server at a time and all of its threads.

    Args:
        folder: of the service, which holds it (`persam.server.holding.held`).

    Raises:
        JobStoreError: the file cannot be opened, is damaged, of a newer persam or of something else. It is never
            removed.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._guard = threading.RLock()
        self._last: dict[str, int] = {}  # event of each job that can be seen; changed as a whole is committed
        self._told: dict[str, int] = {}  # events of what is being changed
        self._db = opened(self.path)
        try:
            self._last.update(self._db.execute("SELECT id, last_event FROM jobs WHERE wish IS NOT 'delete'"))
            self._recover()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        with self._guard:
            self._db.close()

    # -------------------------------------------------------------------------------------------- taking jobs on

    def add(
        self,
        kind: Kind,
        concepts: Sequence[str],
        options: Mapping[str, Any],
        *,
        job: str | None = None,
        total: int | None = None,
        size: int = 0,
        notes: Sequence[str] = (),
        most_waiting: int | None = None,
    ) -> Job:
        """Take a job on; when this returns, it is on the disk.

        Args:
            kind: ``album`` or ``video``.
            concepts: names of those that are looked for.
            options: JSON values.
            job: its id, by default a new one (`new_id`).
            total: photos or frames, if it is known.
            size: bytes that were sent.
            notes: sentences about what was sent.
            most_waiting: jobs that may wait, this one too; None: any number.

        Raises:
            TooManyJobsError: more would wait.
        """
        with self._changing() as db:
            self.check_room(most_waiting)
            row = db.execute(
                "INSERT INTO jobs (id, kind, state, concepts, options, notes, bytes, total, created) "
                "VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?) RETURNING number",
                (
                    job or new_id(),
                    kind,
                    *map(json.dumps, (list(concepts), dict(options), list(notes))),
                    size,
                    total,
                    time.time(),
                ),
            ).fetchone()
            return self._tell_state(row[0])

    def check_room(self, most_waiting: int | None) -> None:
        """See that one more job may wait.

        Raises:
            TooManyJobsError: it may not.
        """
        waiting = self.count("queued")
        if most_waiting is not None and waiting >= most_waiting:
            raise TooManyJobsError(waiting, self._seconds_to_next())

    def _seconds_to_next(self) -> float:
        """A guess of when a job ends, and another is begun, 1 to 600."""
        left = [
            (job.total - job.done) / job.pace for job in self.all(state="running") if job.pace and job.total is not None
        ]
        return min(600.0, max(1.0, min(left, default=30.0)))

    # ---------------------------------------------------------------------------------------------------- asking

    def get(self, job: str) -> Job:
        """One job.

        Raises:
            NoSuchJobError: there is none, or it is being deleted.
        """
        with self._reading() as db:
            row = db.execute(f"{_SELECT} WHERE id = ? AND wish IS NOT 'delete'", (job,)).fetchone()
        if row is None:
            raise NoSuchJobError(job)
        return _job(row)

    def all(self, *, state: State | None = None, before: int | None = None, most: int = -1) -> list[Job]:
        """Jobs, those that came last first, but for those that are being deleted.

        Args:
            state: only those in this state.
            before: only those of lower numbers.
            most: so many at most; -1: all.
        """
        with self._reading() as db:
            rows = db.execute(
                f"{_SELECT} WHERE wish IS NOT 'delete' AND (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR number < ?2) "
                "ORDER BY number DESC LIMIT ?3",
                (state, before, most),
            ).fetchall()
        return [_job(row) for row in rows]

    def count(self, state: State) -> int:
        """How many jobs are in a state."""
        with self._reading() as db:
            return int(db.execute("SELECT count(*) FROM jobs WHERE state = ?", (state,)).fetchone()[0])

    def ids(self) -> set[str]:
        """Of all jobs, also those that are being deleted."""
        with self._reading() as db:
            return {row[0] for row in db.execute("SELECT id FROM jobs")}

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self._reading() as db:
            found = dict(db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in STATES}

    def wish_of(self, job: Job) -> str | None:
        """Whether a running job is to stop: ``cancel`` or ``delete``."""
        with self._reading() as db:
            row = db.execute("SELECT wish FROM jobs WHERE number = ?", (job.number,)).fetchone()
        return None if row is None else row[0]

    def to_delete(self, ended_before: float | None = None) -> list[Job]:
        """Jobs that do not run and somebody wished away, or that ended before a moment."""
        with self._reading() as db:
            rows = db.execute(
                f"{_SELECT} WHERE state != 'running' AND (wish = 'delete' OR ended < ?)", (ended_before,)
            ).fetchall()
        return [_job(row) for row in rows]

    # -------------------------------------------------------------------------------------------------- working

    def take(self) -> Job | None:
        """Begin the job that waits longest, or None."""
        with self._changing() as db:
            row = db.execute(
                "UPDATE jobs SET state = 'running', tries = tries + 1, started = coalesce(started, ?), pace = NULL "
                "WHERE number = (SELECT min(number) FROM jobs WHERE state = 'queued' AND wish IS NULL) "
                "RETURNING number",
                (time.time(),),
            ).fetchone()
            return None if row is None else self._tell_state(row[0])

    def note_progress(
        self, job: Job, done: int, total: int | None, problems: int, pace: float | None, told: Mapping[str, Any]
    ) -> None:
        """A running job is so far; `told` is what listeners get with it."""
        with self._changing() as db:
            db.execute(
                "UPDATE jobs SET done = ?1, total = ?2, problems = ?3, pace = ?4, "
                "tries = CASE WHEN ?1 > furthest THEN 1 ELSE tries END, furthest = max(furthest, ?1) "
                "WHERE number = ?5",
                (done, total, problems, pace, job.number),
            )
            figures = {"done": done, "total": total, "problems": problems, "per_second": pace}
            self._tell(job.number, "progress", figures | dict(told))

    def end(
        self,
        job: Job,
        state: State,
        *,
        error: str | None = None,
        counts: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        size: int | None = None,
    ) -> Job:
        """A running job has ended.

        Args:
            job: which.
            state: how.
            error: a sentence, if it failed.
            counts: what was found.
            notes: sentences besides those that it had.
            size: bytes of all that belongs to it now.
        """
        every = list(dict.fromkeys([*job.notes, *notes]))
        with self._changing() as db:
            db.execute(
                "UPDATE jobs SET state = ?, ended = ?, error = ?, counts = ?, notes = ?, bytes = coalesce(?, bytes), "
                "wish = CASE wish WHEN 'delete' THEN wish END WHERE number = ?",
                (state, time.time(), error, json.dumps(dict(counts or {})), json.dumps(every), size, job.number),
            )
            return self._tell_state(job.number)

    def put_back(self, job: Job) -> bool:
        """A running job waits again, as the server stops: it was no fault of the job's.

        Returns:
            Whether it waits; not if somebody wishes it away, who may come at the last moment: nobody would take it.
        """
        with self._changing() as db:
            row = db.execute(
                "UPDATE jobs SET state = 'queued', tries = 0, pace = NULL WHERE number = ? AND wish IS NULL "
                "RETURNING number",
                (job.number,),
            ).fetchone()
            if row is not None:
                self._tell_state(job.number)
            return row is not None

    # ------------------------------------------------------------------------------------ cancelling, deleting

    def cancel(self, job: str) -> Job:
        """Let a job end: at once if it waits, soon if it runs; one that has ended stays as it is.

        Raises:
            NoSuchJobError: there is none.
        """
        with self._changing() as db:
            found = self.get(job)
            if found.state == "queued":
                db.execute(
                    "UPDATE jobs SET state = 'cancelled', ended = ? WHERE number = ?", (time.time(), found.number)
                )
                return self._tell_state(found.number)
            if found.state == "running":
                db.execute("UPDATE jobs SET wish = 'cancel' WHERE number = ?", (found.number,))
        return self.get(job)

    def wish_away(self, job: str) -> Job:
        """Let nobody see a job any more; whoever removes its files then lets it be forgotten.

        Raises:
            NoSuchJobError: there is none.
        """
        with self._changing() as db:
            found = self.get(job)
            db.execute("UPDATE jobs SET wish = 'delete' WHERE number = ?", (found.number,))
        self._last.pop(job, None)
        return found

    def forget(self, job: Job) -> None:
        """Of a job whose files are gone nothing stays."""
        with self._changing() as db:
            db.execute("DELETE FROM jobs WHERE number = ?", (job.number,))
        self._last.pop(job.id, None)

    # --------------------------------------------------------------------------------------------------- events

    def events(self, job: str, after: int = 0) -> list[JobEvent]:
        """What was told of a job after an event, in order; of very many the last ones.

        Raises:
            NoSuchJobError: there is none.
        """
        found = self.get(job)
        with self._reading() as db:
            rows = db.execute(
                "SELECT id, name, data FROM events WHERE job = ? AND id > ? ORDER BY id", (found.number, after)
            ).fetchall()
        return [JobEvent(number, name, json.loads(data)) for number, name, data in rows]

    def last_event(self, job: str) -> int:
        """Number of the last event of a job.

        It is asked for by everybody who listens, several times a second, in the thread that answers everybody: so it is
        known without the file, and without waiting for who writes it.

        Raises:
            NoSuchJobError: there is none, any more perhaps.
        """
        try:
            return self._last[job]
        except KeyError as error:
            raise NoSuchJobError(job) from error

    def _tell_state(self, number: int) -> Job:
        found = self._by_number(number)
        told: dict[str, Any] = {"state": found.state, "done": found.done, "total": found.total}
        if found.error is not None:
            told["error"] = found.error
        if found.has_ended:
            told["counts"] = found.counts
        self._tell(number, "state", told)
        return self._by_number(number)

    def _tell(self, number: int, name: str, data: Mapping[str, Any]) -> None:
        job, event = self._db.execute(
            "UPDATE jobs SET last_event = last_event + 1 WHERE number = ? RETURNING id, last_event", (number,)
        ).fetchone()
        self._db.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (number, event, name, json.dumps(dict(data))))
        if event % KEPT_EVENTS == 0:
            self._db.execute(
                "DELETE FROM events WHERE job = ? AND id <= ? AND name = 'progress'", (number, event - KEPT_EVENTS)
            )
        self._told[job] = event

    # --------------------------------------------------------------------------------------------------- inside

    def _recover(self) -> None:
        """Queue again what was running when the last server ended."""
        with self._changing() as db:
            for job in [_job(row) for row in db.execute(f"{_SELECT} WHERE state = 'running'").fetchall()]:
                if job.wish is not None:
                    self.end(job, "cancelled")
                elif job.tries >= MOST_TRIES:
                    self.end(job, "failed", error=_gave_up(job))
                else:
                    db.execute("UPDATE jobs SET state = 'queued', pace = NULL WHERE number = ?", (job.number,))
                    self._tell_state(job.number)

    def _by_number(self, number: int) -> Job:
        return _job(self._db.execute(f"{_SELECT} WHERE number = ?", (number,)).fetchone())

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """All of a block's changes, or none."""
        with self._reading() as db:
            if db.in_transaction:  # within another block
                yield db
                return
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
                self._last |= self._told  # who listens then finds these events
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # what failed may have ended it
                    db.execute("ROLLBACK")
                raise
            finally:
                self._told.clear()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One thread at a time; what SQLite says is a sentence, without the file's place, which callers may read."""
        with self._guard:
            try:
                yield self._db
            except sqlite3.ProgrammingError as error:
                raise StoppingError from error
            except sqlite3.Error as error:
                raise JobStoreError(
                    f"The service's list of jobs cannot be used ({error}); its keeper may see that there is room on "
                    "the disk and that the file is whole."
                ) from error


def new_id() -> str:
    """An id for a job: nobody guesses it, and it may be the name of a folder."""
    return secrets.token_hex(8)


def is_id(name: str) -> bool:
    """Whether `new_id` may have given this."""
    return re.fullmatch(r"[0-9a-f]{16}", name) is not None


_COLUMNS = (
    *("number", "id", "kind", "state", "concepts", "options", "created", "notes", "bytes", "started", "ended"),
    *("done", "total", "problems", "pace", "counts", "error", "wish", "tries"),
    "last_event",
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM jobs"  # noqa: S608 (our names)


def _job(row: Sequence[Any]) -> Job:
    values = dict(zip(_COLUMNS, row, strict=True))
    for name in ("concepts", "options", "notes", "counts"):
        values[name] = json.loads(values[name])
    return Job(**values | {name: tuple(values[name]) for name in ("concepts", "notes")})


def _gave_up(job: Job) -> str:
    what = "photos" if job.kind == "album" else "frames"
    of = "" if job.total is None else f" of {job.total}"
    return (
        f"The service was ended {MOST_TRIES} times while it was at this job, after {job.done}{of} {what}, so it is not "
        "tried again; send it without what comes next there, or to a service with more memory."
    )
