"""Jobs: albums and clips, which take longer than a request may; what they found, and the files that they made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from sse_starlette import EventSourceResponse, ServerSentEvent

from persam.server.forms import form_docs, read_form
from persam.server.jobs.folder import media_type_of
from persam.server.jobs.job import NoSuchJobError, State
from persam.server.jobs.results import results_of
from persam.server.jobs.runner import JobRunner
from persam.server.jobs.schemas import JobFileInfo, JobForm, JobInfo
from persam.server.refusals import Refused
from persam.server.routes.common import refusals, service_of

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_EXAMPLE = (
    'curl -F kind=album -F file=@photos.zip -F "concept=my mug" -F overlay=true http://127.0.0.1:8000/v1/jobs\n'
    'curl -F kind=video -F file=@clip.mp4 -F "concept=my mug" -F overlay=true http://127.0.0.1:8000/v1/jobs'
)
_LOOKS = 0.2  # seconds between two looks for events; they are counted in memory
_HEARTBEAT = 15  # seconds of silence on a line of events after which a comment is sent
_FURTHEST = 2**53  # the largest number that every reader of JSON knows

_EVENTS = {
    "description": "Server-sent events. `state`: the job's state, done, total, and its error or counts when it has "
    "ended. `progress`: done, total, problems, per_second, the last photo or frame, and errors since the event before. "
    "Each has an id; `Last-Event-ID` goes on after it. The stream ends with the job, and when it is deleted.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
_LINES = {
    "description": "A line of JSON for each photo or frame: its number, the photo's name or the frame's number and "
    "time, and what was found, as /v1/segment gives it, or an error.",
    "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}


class StillRunningError(Refused):
    """What was asked for is there when the job has ended."""

    status = 409


def _runner(request: Request) -> JobRunner:
    runner: JobRunner = service_of(request).jobs
    return runner


@router.post(
    "",
    status_code=202,
    responses=refusals(400, 404, 408, 409, 413, 415, 422, 429, 503, 507),
    openapi_extra=form_docs(JobForm, _EXAMPLE),
)
async def start_job(request: Request, response: Response) -> JobInfo:
    """Leave an album or a clip to a job.

    When this is answered, all that was sent is on the disk, and the job will be done, whatever happens to the server.
    """
    service, runner = service_of(request), _runner(request)
    limits = service.settings.limits
    await asyncio.to_thread(runner.store.check_room, limits.jobs_waiting)  # before gigabytes come in vain
    async with read_form(request, JobForm, files=limits.job_files, file_bytes=limits.job_upload_bytes) as form:
        concepts = await asyncio.to_thread(service.fitting_concepts, form.concept)
        job = await asyncio.to_thread(runner.take_on, form.kind, concepts, form.options, form.file)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return JobInfo.of(job)


@router.get("", responses=refusals(404))
def list_jobs(
    request: Request,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    before: Annotated[str | None, Query(description="Only those that came before this one: the next page.")] = None,
    most: Annotated[int, Query(ge=1, le=1000, description="So many at most.")] = 100,
) -> list[JobInfo]:
    """Jobs, those that came last first."""
    store = _runner(request).store
    number = None if before is None else store.get(before).number
    return [JobInfo.of(job) for job in store.all(state=state, before=number, most=most)]


@router.get("/{job}", responses=refusals(404))
def get_job(request: Request, job: str) -> JobInfo:
    """How far a job is, or how it ended."""
    return JobInfo.of(_runner(request).store.get(job))


@router.post("/{job}/cancel", responses=refusals(404))
def cancel_job(request: Request, job: str) -> JobInfo:
    """Let a job end: at once if it waits, after the photo or frame that is being done if it runs.

    What was done is kept. A job that has ended stays as it is.
    """
    return JobInfo.of(_runner(request).cancel(job))


@router.delete("/{job}", status_code=204, responses=refusals(404))
def delete_job(request: Request, job: str) -> None:
    """Remove a job and all that belongs to it. One that runs is cancelled first."""
    _runner(request).delete(job)


@router.get("/{job}/events", response_class=EventSourceResponse, responses={200: _EVENTS, **refusals(404)})
async def hear_job(request: Request, job: str) -> EventSourceResponse:
    """Hear of a job while it runs, as server-sent events; any number may listen."""
    found = await asyncio.to_thread(_runner(request).store.get, job)
    said = request.headers.get("last-event-id", "")
    after = int(said) if said.isdecimal() and len(said) < 16 else 0
    return EventSourceResponse(_events(request, job, after if after <= found.last_event else 0), ping=_HEARTBEAT)


async def _events(request: Request, job: str, seen: int) -> AsyncIterator[ServerSentEvent]:
    service, store = service_of(request), _runner(request).store
    try:
        while not service.stopping:
            found = await asyncio.to_thread(store.get, job)
            for event in await asyncio.to_thread(store.events, job, seen):
                seen = event.id
                yield ServerSentEvent(json.dumps(event.data), id=str(event.id), event=event.name)
            if found.has_ended:  # before it was looked for events, so that none is missing
                return
            while store.last_event(job) <= seen and not service.stopping:
                await asyncio.sleep(_LOOKS)
    except NoSuchJobError:  # it was deleted
        return


@router.get("/{job}/results", response_class=StreamingResponse, responses={200: _LINES, **refusals(404)})
def get_results(
    request: Request,
    job: str,
    after: Annotated[int, Query(ge=0, le=_FURTHEST, description="Number of the last line that is known.")] = 0,
    most: Annotated[int, Query(ge=1, le=1000, description="Lines at most.")] = 100,
) -> StreamingResponse:
    """What was found so far, photo by photo or frame by frame; a page without lines is the last one."""
    runner = _runner(request)
    lines = results_of(runner.store.get(job), runner.folder_of(job), after, most)
    return StreamingResponse(lines, media_type="application/x-ndjson")


@router.get("/{job}/files", responses=refusals(404))
def list_files(request: Request, job: str) -> list[JobFileInfo]:
    """The files that a job made so far: masks, overlays, tables ..."""
    runner = _runner(request)
    runner.store.get(job)
    return [JobFileInfo(path=each.path, bytes=each.bytes) for each in runner.folder_of(job).files()]


@router.get(
    "/{job}/files/{path:path}",
    response_class=FileResponse,
    responses={200: {"description": "The file.", "content": {"application/octet-stream": _BINARY}}, **refusals(404)},
)
def get_file(request: Request, job: str, path: str) -> Response:
    """A file by its path, as the list of files has it."""
    runner = _runner(request)
    runner.store.get(job)
    folder = runner.folder_of(job)
    file = folder.file(path)
    if folder.names_places(file):
        return StreamingResponse(folder.content(file), media_type=media_type_of(path), headers=_named(file.name))
    return FileResponse(file, media_type=media_type_of(path), filename=file.name)


@router.get(
    "/{job}/archive",
    response_class=StreamingResponse,
    responses={200: {"description": "A zip.", "content": {"application/zip": _BINARY}}, **refusals(404, 409)},
)
def get_archive(request: Request, job: str) -> StreamingResponse:
    """All files of a job that has ended, as one zip."""
    runner = _runner(request)
    found = runner.store.get(job)
    if not found.has_ended:
        raise StillRunningError(f"The job is {found.state}; its archive is there when it has ended.")
    return StreamingResponse(
        runner.folder_of(job).archive(), media_type="application/zip", headers=_named(f"{found.kind}-{found.id}.zip")
    )


def _named(file: str) -> dict[str, Any]:
    """A header that says what a download is called; browsers do not show it as a page."""
    return {"Content-Disposition": f"attachment; filename*=utf-8''{quote(file)}"}
