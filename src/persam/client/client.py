"""The client: one method for each thing that the service does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import quote

from persam.client.connection import (
    Connection,
    Form,
    Pauses,
    RefusedError,
    ShownBy,
    SilentError,
    named,
    reference_form,
    several,
    word,
)
from persam.client.records import ENDED, ConceptRecord, EventRecord, JobRecord, PhotoRecord
from persam.errors import PersamError

if TYPE_CHECKING:
    from persam.client.connection import Picture

    Names = str | Sequence[str]

_A_PAGE = 1_000  # lines of results
_TOO_LARGE = 413
_TAKING = 3_600.0  # seconds that a service may take until gigabytes are unpacked and on its disk; it answers then


class Client(Connection):
    """Asks a service.

    A service that is busy (429, 503) is asked again when it says. May be used from several threads.

    Args:
        url: of the service, such as ``"http://127.0.0.1:8000"``.
        token: that it asks for; by default the environment's ``PERSAM_TOKEN``, if there is one.
        timeout: seconds for an answer, or for the next piece of a long one; a job may take an hour to be taken on.
        patience: seconds in which a busy service is asked again, and a stream of events is taken up again.
        transport: instead of the network, see httpx.

    Raises:
        PersamError: httpx is not installed.
        UsageError: the URL is none.
    """

    def model(self) -> dict[str, Any]:
        """Name, mode and device of the model, and what the service takes at once."""
        return dict(self.call("GET", "/v1/model"))

    # ---------------------------------------------------------------- concepts

    def concepts(self) -> list[ConceptRecord]:
        """All concepts of the service."""
        return [ConceptRecord.of(each) for each in self.call("GET", "/v1/concepts")]

    def concept(self, name: str) -> ConceptRecord:
        """One concept."""
        return ConceptRecord.of(self.call("GET", f"/v1/concepts/{quote(name, safe='')}"))

    def learn(
        self,
        name: str,
        photo: Picture | list[Picture],
        mask: Picture | list[Picture] | None = None,
        *,
        replace: bool = False,
        **shown: Unpack[ShownBy],
    ) -> ConceptRecord:
        """Learn a concept, see `persam.PerSAM.learn`.

        Args:
            name: what to call it.
            photo: one, or a list; a transparent cut-out needs nothing else.
            mask: of the photo, or a list with one for each.
            replace: take the place of a concept of that name.
            shown: instead of masks, how else the object is shown; and ``tune``, ``keep``. See `ShownBy`.

        Raises:
            RefusedError: as the service says why.
        """
        form = reference_form(photo, mask, shown)
        form.values |= {"name": name, "replace": word(replace)}
        return ConceptRecord.of(self.call("POST", "/v1/concepts", form=form))

    def add_reference(
        self,
        name: str,
        photo: Picture | list[Picture],
        mask: Picture | list[Picture] | None = None,
        **shown: Unpack[ShownBy],
    ) -> ConceptRecord:
        """Learn more shots of a concept; the arguments are those of `learn`. It is tuned again if it was."""
        path = f"/v1/concepts/{quote(name, safe='')}/references"
        return ConceptRecord.of(self.call("POST", path, form=reference_form(photo, mask, shown)))

    def tune(self, name: str) -> ConceptRecord:
        """Fit the scale weights of a concept (PerSAM-F)."""
        return ConceptRecord.of(self.call("POST", f"/v1/concepts/{quote(name, safe='')}/tune"))

    def delete(self, name: str) -> None:
        """Remove a concept."""
        self.call("DELETE", f"/v1/concepts/{quote(name, safe='')}")

    def save(self, name: str, path: str | os.PathLike[str]) -> Path:
        """Write a concept to a file, which `persam.Concept.load` reads."""
        return self.to_file(f"/v1/concepts/{quote(name, safe='')}/file", path)

    # ---------------------------------------------------------------- segment

    def segment(
        self, photo: Picture, concept: Names, *, max_instances: int = 1, threshold: float = 0.5, masks: bool = True
    ) -> PhotoRecord:
        """Find concepts in one photo.

        Args:
            photo: to look at.
            concept: name, or several.
            max_instances: objects of one concept at most.
            threshold: score from which on one counts as present.
            masks: also get the masks.

        Raises:
            RefusedError: as the service says why.
        """
        (answer,) = self._segment([photo], concept, max_instances, threshold, masks)
        if answer.error is not None:
            raise RefusedError(answer.error, 400)
        return answer

    def segment_many(
        self,
        photos: Iterable[Picture],
        concept: Names,
        *,
        max_instances: int = 1,
        threshold: float = 0.5,
        masks: bool = True,
        at_once: int = 8,
    ) -> Iterator[PhotoRecord]:
        """Find concepts in any number of photos: a record for each, in order; one that cannot be read has an `error`.

        Args:
            photos: to look at; they are asked for as they are sent, so they may come from a generator.
            concept: name, or several.
            max_instances: objects of one concept at most.
            threshold: score from which on one counts as present.
            masks: also get the masks.
            at_once: photos in one request; half as many from where the service says that they are too many or too
                large together.

        Raises:
            RefusedError: as the service says why.
        """
        left = iter(photos)
        while group := list(islice(left, at_once)):
            try:
                yield from self._segment(group, concept, max_instances, threshold, masks)
            except RefusedError as error:
                if error.status == _TOO_LARGE and len(group) > 1:
                    left, at_once = chain(group, left), len(group) // 2
                elif error.status in (400, _TOO_LARGE, 415) and len(group) == 1:
                    # Alone, a photo that cannot be read is the whole request's error.
                    yield PhotoRecord(named(group[0])[0], error=str(error))
                else:
                    raise

    def _segment(
        self, photos: Sequence[Picture], concept: Names, most: int, threshold: float, masks: bool
    ) -> list[PhotoRecord]:
        names = [concept] if isinstance(concept, str) else list(concept)
        values: dict[str, str | list[str]] = {"max_instances": str(most), "threshold": str(threshold)}
        values["concept"] = names
        form = Form(values | {"masks": "rle" if masks else "none"}, [("photo", each) for each in photos])
        results = self.call("POST", "/v1/segment", form=form)["results"]
        return [PhotoRecord.of(each) for each in results]

    # ---------------------------------------------------------------- jobs

    def job_album(self, photos: Picture | list[Picture], concept: Names, **options: Any) -> JobRecord:
        """Have an album searched: a list of photos, or one zip of them. `options` are the service's fields."""
        return self._job("album", several(photos), concept, options)

    def job_video(self, clip: Picture, concept: Names, **options: Any) -> JobRecord:
        """Have a clip searched. `options` are the service's fields."""
        return self._job("video", [clip], concept, options)

    def _job(self, kind: str, files: Sequence[Picture], concept: Names, options: Mapping[str, Any]) -> JobRecord:
        names = [concept] if isinstance(concept, str) else list(concept)
        said = {name: _said(value) for name, value in options.items()}
        form = Form({"kind": kind, "concept": names, **said}, [("file", each) for each in files])
        return JobRecord.of(self.call("POST", "/v1/jobs", form=form, timeout=max(_TAKING, self._timeout)))

    def jobs(self) -> list[JobRecord]:
        """The jobs of the service, the last hundred, those that came last first."""
        return [JobRecord.of(each) for each in self.call("GET", "/v1/jobs")]

    def job(self, job: JobRecord | str) -> JobRecord:
        """How a job is now."""
        return JobRecord.of(self.call("GET", f"/v1/jobs/{_id(job)}"))

    def cancel(self, job: JobRecord | str) -> JobRecord:
        """Stop a job after what it is doing; its results so far stay."""
        return JobRecord.of(self.call("POST", f"/v1/jobs/{_id(job)}/cancel"))

    def forget(self, job: JobRecord | str) -> None:
        """Remove a job and all that it made."""
        self.call("DELETE", f"/v1/jobs/{_id(job)}")

    def events(self, job: JobRecord | str, after: int | None = None) -> Iterator[EventRecord]:
        """What happens to a job, as it happens, to its end; each event once, also where the connection breaks.

        Args:
            job: the job, or its id.
            after: number of the last event that is known; by default they come from the first one on.

        Raises:
            PersamError: the service does not answer for longer than `patience`.
        """
        last, pauses = after, Pauses(self.patience)
        while True:
            came = 0
            try:
                for event in self._events(job, last):
                    last, came, pauses = event.number, came + 1, Pauses(self.patience)
                    yield event
                    if event.kind == "state" and event.data.get("state") in ENDED:
                        return
                if not came and self.job(job).ended:  # it was all known already
                    return
                problem: Exception | None = None
            except (self.httpx.TransportError, SilentError) as error:
                problem = error
            if not pauses.pause():
                raise SilentError(self.url) from problem

    def _events(self, job: JobRecord | str, after: int | None) -> Iterator[EventRecord]:
        """Those of one connection, see the standard on server-sent events."""
        headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": str(after)})
        with self.answer("GET", f"/v1/jobs/{_id(job)}/events", headers=headers) as answer:
            number, kind, data = after or 0, "message", ""
            for line in answer.iter_lines():
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if not line:
                    if data:
                        yield EventRecord(number, kind, json.loads(data))
                    kind, data = "message", ""
                elif name == "id" and value.isdecimal():
                    number = int(value)
                elif name == "event":
                    kind = value
                elif name == "data":
                    data += value

    def wait(self, job: JobRecord | str, progress: Callable[[int, int | None], object] | None = None) -> JobRecord:
        """Wait for the end of a job.

        Args:
            job: the job, or its id.
            progress: called with what is done and how much there is (None: not known yet).

        Raises:
            PersamError: it failed or was cancelled.
        """
        for event in self.events(job):
            if progress is not None and "done" in event.data:
                progress(event.data["done"], event.data.get("total"))
        ended = self.job(job)
        if ended.state != "done":
            raise PersamError(ended.error or f"The job {ended.id} was {ended.state}.")
        return ended

    def results(self, job: JobRecord | str, after: int = 0) -> Iterator[dict[str, Any]]:
        """What a job has found so far, photo by photo or frame by frame: ``number``, what is in ``found``, or an
        ``error``.

        Args:
            job: the job, or its id.
            after: number of the last one that is known.
        """
        while True:
            answer = self.read("GET", f"/v1/jobs/{_id(job)}/results", params={"after": after, "most": _A_PAGE})
            lines = [json.loads(line) for line in answer.text.splitlines() if line]
            if not lines:
                return
            yield from lines
            after = lines[-1]["number"]

    def files(self, job: JobRecord | str) -> list[dict[str, Any]]:
        """The files that a job has made so far: ``path`` and ``bytes`` of each."""
        return list(self.call("GET", f"/v1/jobs/{_id(job)}/files"))

    def download(self, job: JobRecord | str, path: str | os.PathLike[str], file: str | None = None) -> Path:
        """Write what a job has made to a file: all of it as a zip, or one file of it.

        Args:
            job: the job, or its id.
            path: where; it is there when it is whole.
            file: a path from `files`; by default the zip.
        """
        what = "archive" if file is None else f"files/{quote(file)}"
        return self.to_file(f"/v1/jobs/{_id(job)}/{what}", path)


def _id(job: JobRecord | str) -> str:
    return quote(job if isinstance(job, str) else job.id, safe="")


def _said(value: Any) -> str | list[str]:
    """An option as a field's value, or several."""
    if isinstance(value, (list, tuple)):
        return [str(each) for each in value]
    return word(value) if isinstance(value, bool) else str(value)
