"""Photos in, masks out."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from fastapi import APIRouter, Request, Response

from persam.concept import Concept
from persam.errors import PersamError
from persam.reports.pictures import mask_file
from persam.server.answers import result_of
from persam.server.asking import answer
from persam.server.forms import form_docs, read_form
from persam.server.refusals import Refused, TooLargeError, UnacceptableError, told
from persam.server.routes.common import refusals, service_of
from persam.server.schemas import PhotoAnswer, SegmentAnswer, SegmentForm
from persam.server.service import Service
from persam.server.uploads import Upload

router = APIRouter(tags=["segment"])

_Looking = asyncio.Task[PhotoAnswer | PersamError]

_MASK_BYTES = 800_000_000  # of the masks that a request's photos may have at the same time, a byte a pixel
_EXAMPLE = 'curl -F photo=@kitchen.jpg -F "concept=my mug" http://127.0.0.1:8000/v1/segment'


@router.post(
    "/v1/segment",
    response_model=SegmentAnswer,
    responses={
        200: {
            "description": "What was found; or, with `Accept: image/png`, the mask of one concept in one photo.",
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        },
        **refusals(400, 404, 406, 408, 409, 413, 415, 422, 429, 503, 507),
    },
    openapi_extra=form_docs(SegmentForm, _EXAMPLE),
)
async def segment(request: Request) -> Any:
    """Find concepts in photos.

    A photo that cannot be read is an error of its own among several, and of the request when it is the only one.
    """
    service = service_of(request)
    most = service.photos_at_once
    async with read_form(request, SegmentForm, files=most) as form:
        service.check_questions(len(form.photo), len(form.concept))
        concepts = await asyncio.to_thread(service.fitting_concepts, form.concept)
        if request.headers.get("accept", "").startswith("image/png"):
            return await answer(request, _as_png(service, form, concepts))
        results = await answer(request, _each(service, form, concepts))
    if len(results) == 1 and isinstance(results[0], PersamError):
        raise results[0]
    return SegmentAnswer(results=[_told(*pair) for pair in zip(form.photo, results, strict=True)])


async def _each(service: Service, form: SegmentForm, concepts: list[Concept]) -> list[PhotoAnswer | PersamError]:
    """The answer for each photo, a few at a time: their masks are let go of before those of later ones are made."""
    answers: list[_Looking | PersamError] = []
    under_way: dict[_Looking, int] = {}  # with the bytes of their masks
    goes_on = False
    try:
        for upload in form.photo:
            try:
                masks = await _mask_bytes(upload, form, concepts)
            except PersamError as error:
                answers.append(error)
                continue
            while under_way and not _fits_beside(under_way.values(), masks, service.engine.batch):
                done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del under_way[task]
                    task.result()  # which raises where it was not taken
                goes_on = True  # in the place of what is done
            task = asyncio.create_task(_result(service, form, upload, concepts, goes_on=goes_on))
            under_way[task] = masks
            answers.append(task)
        return [each if isinstance(each, PersamError) else await each for each in answers]
    finally:
        for task in under_way:  # of no use to anybody, if this was cancelled or the queue is full
            task.cancel()


def _fits_beside(masks: Collection[int], more: int, photos: int) -> bool:
    return len(masks) < photos and sum(masks) + more <= _MASK_BYTES


async def _mask_bytes(upload: Upload, form: SegmentForm, concepts: list[Concept]) -> int:
    """Bytes that a photo's masks may take: of each concept one of every object, and one of all of them.

    Raises:
        PersamError: it is no photo, or they are too many.
    """
    width, height = await asyncio.to_thread(lambda: upload.pixels)
    masks = width * height * len(concepts) * (form.max_instances + 1)
    if masks > _MASK_BYTES:
        raise TooLargeError(
            f"The photo {upload.name} has {width * height / 1e6:,.1f} million pixels, too many for "
            f"{len(concepts)} concepts and {form.max_instances} instances of each; make it smaller, or ask for fewer."
        )
    return masks


async def _result(
    service: Service, form: SegmentForm, upload: Upload, concepts: list[Concept], *, goes_on: bool
) -> PhotoAnswer | PersamError:
    """The answer for a photo, or what is wrong with it.

    Raises:
        BusyError, StoppingError: the engine does not take it.
    """
    asked = service.engine.segment(
        upload, concepts, goes_on=goes_on, max_instances=form.max_instances, threshold=form.threshold
    )
    try:
        found = await asyncio.wrap_future(asked)
    except PersamError as error:
        return error
    return await asyncio.to_thread(result_of, upload.name, found, form.masks)


def _told(upload: Upload, result: PhotoAnswer | PersamError) -> PhotoAnswer:
    if isinstance(result, Refused) and result.status >= 500:
        raise result  # the service's fault, not the photo's
    return result if isinstance(result, PhotoAnswer) else PhotoAnswer(photo=upload.name, error=told(result))


async def _as_png(service: Service, form: SegmentForm, concepts: list[Concept]) -> Response:
    if len(form.photo) != 1 or len(concepts) != 1:
        raise UnacceptableError("A PNG shows one concept in one photo; for more, accept application/json.")
    await _mask_bytes(form.photo[0], form, concepts)
    asked = service.engine.segment(form.photo[0], concepts, max_instances=form.max_instances, threshold=form.threshold)
    (found,) = await asyncio.wrap_future(asked)
    about = {"X-Persam-Present": str(found.present).lower(), "X-Persam-Score": f"{found.score:.6f}"}
    return Response(await asyncio.to_thread(mask_file, found.mask), media_type="image/png", headers=about)
