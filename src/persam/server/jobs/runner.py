"""The runner: takes jobs on, does one after another in a thread of its own, and looks after their folders.

Everything that is said of a job is in the store before anybody is told, and everything that was sent is on the disk:
so a server may end at any moment, in an orderly way or not, and the next one goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persam.concept import Concept
from persam.errors import PersamError, write_error
from persam.files import Held
from persam.persam import PerSAM
from persam.server.engine import Engine, StoppingError
from persam.server.hearing import heard_doubts
from persam.server.jobs.database import JobStoreError
from persam.server.jobs.folder import JobFolder
from persam.server.jobs.intake import sync_folder, take_clip, take_photos, to_disk
from persam.server.jobs.job import Job, Kind, State
from persam.server.jobs.pieces import JobStopped, ModelInPieces
from persam.server.jobs.progress import JobProgress
from persam.server.jobs.store import JobStore, is_id, new_id
from persam.server.jobs.work_album import work_album
from persam.server.jobs.work_video import clip_in, work_video
from persam.server.refusals import Refused
from persam.server.settings import ServerSettings
from persam.server.telemetry import log

if TYPE_CHECKING:
    from persam.server.uploads import Upload, UploadFolder

_LOOKS = 60.0  # seconds between two looks for jobs that are too old
_RETRY = 5.0  # seconds, when the list of jobs cannot be written
_DAY = 86_400.0  # seconds
_COMING = ".coming"  # suffix of a folder whose job is not taken on yet


class JobRunner(Held):
    """The jobs of a service.

    Args:
        settings: of the service, which holds its folder.
        engine: whose model they use, in pieces.

    Attributes:
        store: the list of jobs.

    Raises:
        JobStoreError: the folder's list of jobs cannot be used.
        PersamError: the folder cannot be written.
    """

    def __init__(self, settings: ServerSettings, engine: Engine) -> None:
        self.settings, self.engine = settings, engine
        self.store = JobStore(settings.folder)
        self._home = Path(os.path.abspath(settings.jobs_folder))  # noqa: PTH100 (links stay)
        self._change = threading.Condition()  # no job comes unseen between a look and the wait for the next
        self._removing = threading.Lock()
        self._stopping = threading.Event()
        self._room: UploadFolder | None = None
        try:
            self._sweep()
        except BaseException:
            self.store.close()
            raise
        # One thread: jobs share one model, so two at once would be no quicker.
        self._thread = threading.Thread(target=self._run, name="persam-jobs", daemon=True)

    def start(self, room: UploadFolder) -> None:
        """Begin with what waits.

        Args:
            room: says how much the service's folder may hold.
        """
        self._room = room
        self._thread.start()

    def close(self, timeout: float | None = None) -> None:
        """End after the photos or frames that are being done; their jobs, and those that wait, are for the next server.

        Args:
            timeout: seconds to wait for that.
        """
        with self._change:
            self._stopping.set()
            self._change.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self.store.close()

    # ---------------------------------------------------------------------------------------------- by callers

    def take_on(
        self,
        kind: Kind,
        concepts: Sequence[Concept],
        options: Mapping[str, Any],
        uploads: Sequence[Upload],
    ) -> Job:
        """Take a job on: when this returns, all of it is on the disk, and it will be done.

        Args:
            kind: ``album`` or ``video``.
            concepts: of the engine's model; they are kept as they are now.
            options: of its kind, as JSON values.
            uploads: photos, one zip of photos, or one clip; they are moved away.

        Raises:
            TooManyJobsError: as many wait as may.
            Refused: what was sent cannot be taken.
            PersamError: likewise; or it cannot be stored.
        """
        limits, room = self.settings.limits, self._room
        assert room is not None, "start() comes first"
        self.store.check_room(limits.jobs_waiting)
        job = new_id()
        folder = JobFolder(self._home / f"{job}{_COMING}")
        try:
            if kind == "album":
                intake = take_photos(uploads, folder.sent, room, limits)
                total: int | None = intake.files
            else:
                intake = take_clip(uploads, folder.sent)
                total = clip_in(folder, limits).count
            folder.keep_concepts(concepts)
            to_disk(folder.path)
            folder = self._named(folder, job)
            found = self.store.add(
                kind,
                [each.name for each in concepts],
                options,
                job=job,
                total=total,
                size=intake.size,
                notes=intake.notes,
                most_waiting=limits.jobs_waiting,
            )
        except BaseException as error:
            folder.remove()
            if isinstance(error, PersamError) and not isinstance(error, Refused):  # which name no place
                raise PersamError(folder.told(str(error))) from error
            raise
        with self._change:
            self._change.notify()
        return found

    def _named(self, coming: JobFolder, job: str) -> JobFolder:
        """What came, under the name of its job."""
        folder = self.folder_of(job)
        try:
            coming.path.rename(folder.path)
            sync_folder(self._home)
        except OSError as error:
            raise write_error("the job", error) from error
        return folder

    def cancel(self, job: str) -> Job:
        """Let a job end: at once if it waits, after the photo or frame that is being done if it runs.

        What was done is kept. One that has ended stays as it is.

        Raises:
            NoSuchJobError: there is none.
        """
        return self.store.cancel(job)

    def delete(self, job: str) -> None:
        """Remove a job and all that belongs to it. One that runs ends first, and is not seen any more.

        Raises:
            NoSuchJobError: there is none.
        """
        found = self.store.wish_away(job)
        if found.state != "running":
            self._remove(found)

    def folder_of(self, job: str) -> JobFolder:
        """The folder of a job of this id."""
        return JobFolder(self._home / job)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many jobs are in which state; nothing when the list of jobs is closed."""
        try:
            return self.store.counts()
        except (StoppingError, JobStoreError):
            return {}

    # ---------------------------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._remove_old()
                job = self._next()
                if job is not None:
                    self._do(job)
            except StoppingError:
                return
            except Exception:  # whatever it was, the jobs that wait are not to wait for ever
                log("jobs went wrong", level=logging.ERROR, trace=True)
                self._stopping.wait(_RETRY)

    def _next(self) -> Job | None:
        """The job that waits longest, or None after a while, or when it is over."""
        with self._change:
            if self._stopping.is_set():
                return None
            job = self.store.take()
            if job is None:
                self._change.wait(_LOOKS)
            return job

    def _do(self, job: Job) -> None:
        """Do a job, or go on with it, to its end or until it is to stop."""
        folder = self.folder_of(job.id)
        progress = JobProgress(self.store, job, self._stopping.is_set, self._check_room)
        counts: dict[str, Any] = {}
        state: State = "done"
        error = None
        log("job begun", job=job.id, kind=job.kind, tries=job.tries)
        with heard_doubts() as heard:
            try:
                progress.check()
                model = ModelInPieces(self.engine, progress.check)
                counts = self._work(job, folder, model, progress)
            except JobStopped as stop:
                counts, state = getattr(stop, "counts", {}), "cancelled"
            except PersamError as problem:
                error, state = folder.told(str(problem)), "failed"
            except Exception:
                log("job went wrong", level=logging.ERROR, trace=True, job=job.id)
                error, state = f"Something went wrong here; the service's log has it under {job.id}.", "failed"
        progress.tell()
        self._end(job, state, folder, error=error, counts=counts, notes=[folder.told(each) for each in heard])

    def _check_room(self) -> None:
        """See that what jobs make has room, too.

        Raises:
            NoRoomError: the service's folder is full.
        """
        if self._room is not None:
            self._room.count()
            self._room.take(0)

    def _work(self, job: Job, folder: JobFolder, model: PerSAM, progress: JobProgress) -> dict[str, Any]:
        if job.kind == "album":
            return work_album(job, folder, model, progress)
        return work_video(job, folder, model, progress, self.settings.limits)

    def _end(self, job: Job, state: State, folder: JobFolder, **about: Any) -> None:
        """Note how a job ended; while that cannot be written, no other is begun."""
        while True:
            try:
                if state == "cancelled" and self.store.put_back(job):  # nobody wished it: the server stops
                    log("job put back", job=job.id)
                    return
                ended = self.store.end(job, state, size=folder.size(), **about)
                break
            except JobStoreError:
                log("job's end not kept", level=logging.ERROR, trace=True, job=job.id)
                if self._stopping.wait(_RETRY):
                    return
        log("job ended", job=job.id, state=state, done=ended.done, problems=ended.problems)
        if self.store.wish_of(job) == "delete":
            self._remove(job)

    # ------------------------------------------------------------------------------------------------- folders

    def _remove(self, job: Job) -> None:
        """Remove what belongs to a job, and then the job: a server that ends in between goes on with that."""
        with self._removing:  # of two who remove one folder, each would miss files
            self.folder_of(job.id).remove()
        self.store.forget(job)

    def _remove_old(self) -> None:
        """Remove jobs that somebody wished away when the server ended, and those that ended long ago."""
        days = self.settings.keep_days
        for job in self.store.to_delete(None if days is None else time.time() - days * _DAY):
            with contextlib.suppress(PersamError):  # it is tried again
                self._remove(job)

    def _sweep(self) -> None:
        """Remove what came when an earlier server ended, and was not taken on. Folders of others stay.

        A folder that has its job's name already is told from others by that name, an id that the list does not know,
        and by having nothing made in it: so a list that was lost takes no results along.
        """
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            known = self.store.ids()
            for path in list(self._home.iterdir()):
                folder = JobFolder(path)
                was_never_added = is_id(path.name) and path.name not in known and not folder.was_begun
                if path.name.endswith(_COMING) or was_never_added:
                    folder.remove()
        except OSError as error:
            raise write_error(self._home, error) from error
