"""Concepts: learned from photos, listed, fetched and sent as files, tuned, removed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from persam.concept import Concept
from persam.doctor import Finding
from persam.errors import PersamError
from persam.server.asking import answer, locked
from persam.server.forms import form_docs, read_file, read_form
from persam.server.references import Shot, learn_from, look_over, read_references
from persam.server.refusals import Refused, TooLargeError
from persam.server.routes.common import refusals, service_of
from persam.server.schemas import ConceptInfo, LearnedConcept, LearnForm, ReferenceForm
from persam.server.service import Service
from persam.server.store import NoConceptError
from persam.server.uploads import Upload

router = APIRouter(prefix="/v1/concepts", tags=["concepts"])

_FILE = "application/octet-stream"
_BINARY = {_FILE: {"schema": {"type": "string", "format": "binary"}}}
_LEARN = 'curl -F "name=my mug" -F photo=@mug.jpg -F mask=@mug_mask.png http://127.0.0.1:8000/v1/concepts'
_ADD = 'curl -F photo=@mug2.jpg -F box=40,30,200,180 "http://127.0.0.1:8000/v1/concepts/my%20mug/references"'
_LEARNING = refusals(400, 404, 408, 409, 413, 415, 422, 429, 503, 507)


@router.get("", responses=refusals(503))
def list_concepts(request: Request) -> list[ConceptInfo]:
    """All concepts, by name."""
    return service_of(request).infos()


@router.post(
    "",
    status_code=201,
    responses=_LEARNING,
    openapi_extra=form_docs(LearnForm, _LEARN),
)
async def learn(request: Request, response: Response) -> LearnedConcept:
    """Learn a concept from photos in which something shows the object."""
    service = service_of(request)
    async with read_form(request, LearnForm, files=_files(service)) as form:
        name = service.concepts.path(form.name).stem
        if not form.replace:
            service.concepts.check_free(name)
        shots = await answer(request, asyncio.to_thread(_shots, service, form))
        async with locked(request, service.concepts.changing(name)):
            concept, findings = await answer(request, _learned(service, form, shots, name, None))
            await asyncio.to_thread(service.concepts.save, concept, form.replace)
    response.headers["Location"] = f"/v1/concepts/{quote(name)}"
    return LearnedConcept.from_findings(concept, findings)


@router.post("/{name}/references", responses=_LEARNING, openapi_extra=form_docs(ReferenceForm, _ADD))
async def add_references(request: Request, name: str) -> LearnedConcept:
    """Learn more shots of a concept; it is tuned again if it was."""
    service = service_of(request)
    service.fitting_concept(name)
    async with read_form(request, ReferenceForm, files=_files(service)) as form:
        shots = await answer(request, asyncio.to_thread(_shots, service, form))
        async with locked(request, service.concepts.changing(name)):
            base = await asyncio.to_thread(service.fitting_concept, name)
            concept, findings = await answer(request, _learned(service, form, shots, base.name, base))
            await asyncio.to_thread(service.concepts.save, concept, True)
    return LearnedConcept.from_findings(concept, findings)


@router.post("/{name}/tune", responses=refusals(400, 404, 409, 429, 503))
async def tune(request: Request, name: str) -> ConceptInfo:
    """Fit the three scale weights (PerSAM-F) on a concept's references, which it has to keep."""
    service = service_of(request)
    async with locked(request, service.concepts.changing(name)):
        concept = await asyncio.to_thread(service.fitting_concept, name)
        asked = service.engine.call(lambda model: model.tune(concept))
        tuned = await answer(request, asyncio.wrap_future(asked))
        await asyncio.to_thread(service.concepts.save, tuned, True)
    return ConceptInfo.of(tuned, fits=True)


@router.get("/{name}", responses=refusals(400, 404))
def get_concept(request: Request, name: str) -> ConceptInfo:
    """What a concept is made of."""
    service = service_of(request)
    return service.info(service.concepts.path(name).stem)


@router.get(
    "/{name}/file",
    response_class=FileResponse,
    responses={200: {"description": "A safetensors file.", "content": _BINARY}, **refusals(404)},
)
def get_file(request: Request, name: str) -> FileResponse:
    """A concept as a file, for `persam segment` and everything else that reads one."""
    file = service_of(request).concepts.path(name)
    if not file.is_file():
        raise NoConceptError(f'There is no concept "{file.stem}".')
    return FileResponse(file, media_type=_FILE, filename=file.name)


@router.put(
    "/{name}/file",
    responses={201: {"model": ConceptInfo}, **refusals(400, 408, 409, 413, 503, 507)},
    openapi_extra={"requestBody": {"required": True, "content": _BINARY}},
)
async def put_file(
    request: Request, response: Response, name: str, overwrite: Annotated[bool, Query(alias="replace")] = False
) -> ConceptInfo:
    """Keep a concept that was made elsewhere, with the same model; the body is its file."""
    service = service_of(request)
    clean = service.concepts.path(name).stem
    if not overwrite:
        service.concepts.check_free(clean)
    async with (
        read_file(request, f"{clean}.safetensors", file_bytes=service.settings.limits.photo_bytes) as upload,
        locked(request, service.concepts.changing(clean)),
    ):
        concept = await asyncio.to_thread(_loaded, service, upload, clean)
        is_new = clean not in service.concepts.names()
        await asyncio.to_thread(service.concepts.save, concept, overwrite)
    response.status_code = 201 if is_new else 200
    return ConceptInfo.of(concept, fits=True)


@router.get(
    "/{name}/thumbnail",
    response_class=Response,
    responses={
        200: {
            "description": "A small PNG.",
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        },
        **refusals(400, 404),
    },
)
def get_thumbnail(request: Request, name: str) -> Response:
    """A small picture of the first photo that a concept was learned from."""
    picture = service_of(request).concepts.thumbnail(name)
    if picture is None:
        raise NoConceptError(f'The concept "{name}" keeps no thumbnail.')
    return Response(picture, media_type="image/png")


@router.delete("/{name}", status_code=204, responses=refusals(404))
async def delete(request: Request, name: str) -> None:
    """Remove a concept and its file."""
    service = service_of(request)
    async with locked(request, service.concepts.changing(name)):
        await asyncio.to_thread(service.concepts.delete, name)


def _files(service: Service) -> int:
    return 2 * service.settings.limits.references_per_request  # photos, and a mask for each


def _shots(service: Service, form: ReferenceForm) -> list[Shot]:
    most = service.settings.limits.references_per_request
    if len(form.photo) > most:
        raise TooLargeError(f"A request has {most} reference photos at most; send more shots to .../references.")
    for upload in (*form.photo, *form.mask, *form.scribble):
        _ = upload.pixels  # none is decoded before all were looked at
    return read_references(form.photo, masks=form.mask, scribbles=form.scribble, boxes=form.box, points=form.points)


async def _learned(
    service: Service, form: ReferenceForm, shots: Sequence[Shot], name: str, base: Concept | None
) -> tuple[Concept, list[tuple[str, Finding]]]:
    """The concept, and what the doctor says: two turns of the model, so that others need not wait for both."""
    learning = service.engine.call(
        lambda model: learn_from(model, shots, name=name, base=base, keep=form.keep, tune=form.tune)
    )
    concept = await asyncio.wrap_future(learning)
    findings = await asyncio.wrap_future(service.engine.call(lambda model: look_over(model, shots), patient=True))
    return concept, findings


def _loaded(service: Service, upload: Upload, name: str) -> Concept:
    try:
        concept = Concept.load(upload.path)
    except PersamError as error:  # it knows the file by the name that it has here
        raise Refused(str(error).replace(str(upload.path), upload.name)) from error
    service.check(concept)
    return replace(concept, name=name)
