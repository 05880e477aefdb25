"""How far a job is, told a few times a second, and whether it is to go on."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from persam.server.engine import StoppingError
from persam.server.jobs.database import JobStoreError
from persam.server.jobs.job import Job
from persam.server.jobs.pieces import JobStopped
from persam.server.jobs.store import JobStore
from persam.server.telemetry import log

TOLD_EVERY = 0.25  # seconds; what happens in between is told together
_WINDOW = 30.0  # seconds over which the pace is measured
_MOST_TOLD = 20  # problems that one event tells of; the results have all


class JobProgress:
    """Counts a job's photos or frames.

    Args:
        store: is told.
        job: which.
        is_to_stop: asked before every photo and frame.
        check_room: called after each; raises where nothing more may be written.

    Attributes:
        done, problems: so far.
    """

    def __init__(
        self,
        store: JobStore,
        job: Job,
        is_to_stop: Callable[[], bool],
        check_room: Callable[[], object] = lambda: None,
    ) -> None:
        self._store, self._job, self._is_to_stop, self._check_room = store, job, is_to_stop, check_room
        self.done = self.problems = 0
        self.total = job.total
        self._last: str | None = None
        self._errors: list[dict[str, str]] = []
        self._told_at = float("-inf")
        self._is_told = True
        self._times = deque([(time.monotonic(), 0)])

    def check(self) -> None:
        """See that the job is to go on.

        Raises:
            JobStopped: it is not.
        """
        if self._is_to_stop():
            raise JobStopped

    def begin(self, done: int, total: int | None) -> None:
        """So many were done before, of so many."""
        self.done, self.total = done, total
        self._times = deque([(time.monotonic(), done)])
        self._is_told = False
        self.tell()

    def step(self, what: str, problem: str | None = None) -> None:
        """One more is done, or could not be.

        Raises:
            PersamError: there is no room for more.
        """
        self.done += 1
        self._last, self._is_told = what, False
        if problem is not None:
            self.problems += 1
            self._errors.append({"photo": what, "error": problem})
        now = time.monotonic()
        self._times.append((now, self.done))
        while now - self._times[0][0] > _WINDOW and len(self._times) > 2:
            self._times.popleft()
        if now - self._told_at >= TOLD_EVERY:
            self.tell()
        self._check_room()

    @property
    def pace(self) -> float | None:
        """Photos or frames per second, lately; None until it can be told."""
        (began, before), (now, done) = self._times[0], self._times[-1]
        return round((done - before) / (now - began), 3) if done > before and now > began else None

    def tell(self) -> None:
        """Tell how far it is, if that was not told yet. What cannot be told does not end the job."""
        if self._is_told:
            return
        told = {"last": self._last, "errors": self._errors[-_MOST_TOLD:]}
        try:
            self._store.note_progress(self._job, self.done, self.total, self.problems, self.pace, told)
        except (JobStoreError, StoppingError):
            log("job progress not kept", level=logging.WARNING, trace=True, job=self._job.id)
        self._errors, self._told_at, self._is_told = [], time.monotonic(), True
