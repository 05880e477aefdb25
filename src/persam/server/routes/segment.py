"""Photos in, masks out."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

from fastapi import APIRouter, Request, Response

from persam.concept import Concept
from persam.errors import PersamError
from persam.reports.pictures import mask_file
from persam.segmentation import Segmentation
from persam.server.answers import result_of
from persam.server.asking import answer
from persam.server.forms import form_docs, read_form
from persam.server.refusals import Refused, TooLargeError, UnacceptableError, told
from persam.server.routes.common import refusals, service_of
from persam.server.schemas import PhotoAnswer, SegmentAnswer, SegmentForm
from persam.server.service import Service
from persam.server.uploads import Upload

router = APIRouter(tags=["segment"])

_MASK_PIXELS = 600_000_000  # of all the masks that one photo may have: so many bytes
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
        concepts = await asyncio.to_thread(service.fitting_concepts, form.concept)
        if request.headers.get("accept", "").startswith("image/png"):
            return await answer(request, _as_png(service, form, concepts))
        results = await answer(request, _each(service, form, concepts))
    if len(results) == 1 and isinstance(results[0], PersamError):
        raise results[0]
    return SegmentAnswer(results=[_told(*pair) for pair in zip(form.photo, results, strict=True)])


async def _each(service: Service, form: SegmentForm, concepts: list[Concept]) -> list[PhotoAnswer | PersamError]:
    asked: list[Future[list[Segmentation]] | PersamError] = []
    try:
        for upload in form.photo:
            asked.append(await _asked(service, form, upload, concepts))  # noqa: PERF401 - `finally` needs those so far
        return await asyncio.gather(*(_result(*pair, form) for pair in zip(form.photo, asked, strict=True)))
    finally:
        for future in asked:  # of no use to anybody, if this was cancelled or the queue is full
            if isinstance(future, Future):
                future.cancel()


async def _asked(
    service: Service, form: SegmentForm, upload: Upload, concepts: list[Concept]
) -> Future[list[Segmentation]] | PersamError:
    try:
        width, height = await asyncio.to_thread(lambda: upload.pixels)
    except PersamError as error:
        return error
    if width * height * len(concepts) * form.max_instances > _MASK_PIXELS:
        return TooLargeError(
            f"The photo {upload.name} has {width * height / 1e6:,.1f} million pixels, too many for "
            f"{len(concepts)} concepts and {form.max_instances} instances of each; make it smaller, or ask for fewer."
        )
    return service.engine.segment(upload, concepts, max_instances=form.max_instances, threshold=form.threshold)


async def _result(
    upload: Upload, asked: Future[list[Segmentation]] | PersamError, form: SegmentForm
) -> PhotoAnswer | PersamError:
    if isinstance(asked, PersamError):
        return asked
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
    asked = await _asked(service, form, form.photo[0], concepts)
    if isinstance(asked, PersamError):
        raise asked
    (found,) = await asyncio.wrap_future(asked)
    about = {"X-Persam-Present": str(found.present).lower(), "X-Persam-Score": f"{found.score:.6f}"}
    return Response(await asyncio.to_thread(mask_file, found.mask), media_type="image/png", headers=about)
