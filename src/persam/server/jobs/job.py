"""What a job of the service is, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from persam.errors import printable
from persam.server.refusals import Refused

Kind = Literal["album", "video"]
State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")


class NoSuchJobError(Refused):
    """There is no job of this id (any more)."""

    status = 404

    def __init__(self, job: str) -> None:
        super().__init__(f'There is no job "{printable(job)[:40]}"; it was deleted, or never was.')


class TooManyJobsError(Refused):
    """As many jobs wait as may; come again after `retry_after` seconds."""

    status = 429

    def __init__(self, waiting: int, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(f"{waiting} jobs wait already, and no more may; try again in {retry_after:.0f} s.")


@dataclass(frozen=True)
class Job:
    """A job as it is at one moment. Times are seconds since 1970.

    Attributes:
        number: of the order in which jobs came, from 1.
        id: by which callers know it.
        kind: ``album`` or ``video``.
        state: ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
        concepts: names of those that are looked for.
        options: of its kind, see `persam.server.jobs.schemas`.
        notes: sentences about what was sent and what was found; nothing that failed.
        bytes: of what was sent, and of what was made when it ended.
        created, started, ended: when it came, was first begun, ended.
        done, total: photos or frames; the total of a clip is what the file says, and may be unknown.
        problems: photos that could not be done.
        pace: photos or frames per second, lately.
        counts: what was found, when it has ended.
        error: a sentence, of one that failed.
        wish: ``cancel`` or ``delete``, of a running one that has yet to stop.
        tries: how often it was begun since it last got further.
        last_event: number of the last event.
    """

    number: int
    id: str
    kind: Kind
    state: State
    concepts: tuple[str, ...]
    options: dict[str, Any]
    created: float
    notes: tuple[str, ...] = ()
    bytes: int = 0
    started: float | None = None
    ended: float | None = None
    done: int = 0
    total: int | None = None
    problems: int = 0
    pace: float | None = None
    counts: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    wish: Literal["cancel", "delete"] | None = None
    tries: int = 0
    last_event: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ENDED


@dataclass(frozen=True)
class JobEvent:
    """What was told of a job: ``state`` or ``progress``, numbered from 1 for each job."""

    id: int
    name: str
    data: dict[str, Any]
