"""CVAT's automatic annotation: what its serverless functions (nuclio) are asked and answer, for `integrations/cvat`.

A detector is given a frame, and answers with shapes; an interactor is given clicks too, and answers with a mask.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from persam.concept import Concept
from persam.instance import mask_box
from persam.outlines import in_one_stroke, simple_outlines
from persam.segmentation import SURE_ENOUGH, Segmentation
from persam.server.asking import answer
from persam.server.prompting import longest_seen, mask_under
from persam.server.refusals import MalformedError, TooLargeError
from persam.server.routes.common import refusals, service_of
from persam.server.service import Service
from persam.server.uploads import Upload, stored

router = APIRouter(tags=["CVAT"])

_MOST_POINTS = 1_000
_Place = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=2, max_length=2)]


class CvatRequest(BaseModel):
    """What CVAT sends to a function, and what the function adds."""

    model_config = ConfigDict(extra="allow")

    image: str = Field(description="The frame: a picture's file in base64.", examples=["iVBORw0KGgo..."])
    threshold: float = Field(SURE_ENOUGH, ge=0, le=1, allow_inf_nan=False, description="Score of what is proposed.")
    concepts: list[str] | None = Field(
        None, description="What is looked for; by default all concepts of the service's model.", examples=[["my mug"]]
    )
    max_instances: int = Field(1, ge=1, le=50, description="Objects of one concept at most.")
    pos_points: list[_Place] | None = Field(None, max_length=_MOST_POINTS, description="Clicks on the object.")
    neg_points: list[_Place] | None = Field(None, max_length=_MOST_POINTS, description="Clicks beside it.")
    obj_bbox: list[_Place] | None = Field(None, max_length=2, description="Two corners of a box around it.")


class CvatShape(BaseModel):
    """An object, as a detector answers it."""

    confidence: str = Field(examples=["0.94"])
    label: str = Field(description="The concept's name.", examples=["my mug"])
    type: str = Field("mask", examples=["mask"])
    points: list[float] = Field(description="Its outline x, y, x, y, ..., for those who want polygons.")
    mask: list[int] = Field(description="Pixels of its box, 0 or 1, row by row, then left, top, right, bottom.")


class CvatMask(BaseModel):
    """An object, as an interactor answers it."""

    mask: list[list[int]] = Field(description="Every pixel of the frame, 0 or 1, row by row.")
    points: list[list[float]] = Field(description="Its outline, [x, y] each.")


@router.post(
    "/cvat",
    response_model=list[CvatShape] | CvatMask,
    responses=refusals(400, 404, 408, 409, 413, 415, 422, 429, 503, 507),
)
async def cvat(request: Request, asked: CvatRequest) -> Response:
    """A frame's concepts as masks (a detector); or, with clicks or a box, the mask under them (an interactor)."""
    service = service_of(request)
    is_drawn = asked.pos_points is not None or asked.neg_points is not None or asked.obj_bbox is not None
    work = _drawn(service, asked) if is_drawn else _detected(service, asked)
    return Response(await answer(request, work), media_type="application/json")


async def _detected(service: Service, asked: CvatRequest) -> str:
    concepts = await asyncio.to_thread(_concepts, service, asked.concepts)
    if not concepts:
        return "[]"
    with ExitStack() as stack:
        upload = await _enter_frame(stack, service, asked.image)
        await asyncio.to_thread(lambda: upload.pixels)
        future = service.engine.segment(upload, concepts, max_instances=asked.max_instances, threshold=asked.threshold)
        found = await asyncio.wrap_future(future)
    return await asyncio.to_thread(_shapes, found)


async def _drawn(service: Service, asked: CvatRequest) -> str:
    corners = np.array(asked.obj_bbox or [], np.float64)
    if len(corners) == 1 or not (len(corners) or asked.pos_points):
        raise MalformedError("Nothing shows the object; click on it, or give the two corners of a box around it.")
    with ExitStack() as stack:
        upload = await _enter_frame(stack, service, asked.image)
        longest = longest_seen(service.engine.model)
        pixels, size = await service.uploads.decode(lambda: upload.read(longest))
    inside = (0, 0), (size[1] - 1, size[0] - 1)
    points = np.array([*(asked.pos_points or []), *(asked.neg_points or [])], np.float64).reshape(-1, 2).clip(*inside)
    signs = [1] * len(asked.pos_points or []) + [0] * len(asked.neg_points or [])
    boxes = [[*corners.min(axis=0), *corners.max(axis=0)]] if len(corners) else []
    future = service.engine.call(lambda runs: mask_under(runs, pixels, size, boxes=boxes, points=points, signs=signs))
    mask = await asyncio.wrap_future(future)
    return await asyncio.to_thread(_mask, mask)


def _concepts(service: Service, names: Sequence[str] | None) -> list[Concept]:
    if names is not None:
        return service.fitting_concepts(list(dict.fromkeys(names)))
    most, known = service.settings.limits.concepts_per_request, service.concepts.names()
    if len(known) > most:
        raise TooLargeError(f"A frame is searched for {most} concepts at most, and there are {len(known)}; name them.")
    return [concept for concept in map(service.concepts.load, known) if service.fits(concept)]


async def _enter_frame(stack: ExitStack, service: Service, image: str) -> Upload:
    """The frame in a file, until the stack is left."""
    try:
        data = base64.b64decode(image, validate=True)
    except ValueError as error:
        raise MalformedError("The field image is no base64; send a picture's file in base64.") from error
    return await asyncio.to_thread(stack.enter_context, stored(service.uploads, "frame", data))


def _shapes(found: Sequence[Segmentation]) -> str:
    shapes = []
    for one in found:
        for instance in one.instances:
            box = mask_box(instance.mask)
            if box is not None:
                x0, y0, x1, y1 = box
                about = {
                    "confidence": f"{instance.score:.6f}",
                    "label": one.concept,
                    "type": "mask",
                    "points": _outline(instance.mask).reshape(-1).tolist(),
                }
                pixels = _digits(instance.mask[y0:y1, x0:x1])
                shapes.append(f'{json.dumps(about)[:-1]}, "mask": [{pixels},{x0},{y0},{x1 - 1},{y1 - 1}]}}')
    return f"[{', '.join(shapes)}]"


def _mask(mask: np.ndarray) -> str:
    rows = ",".join(f"[{_digits(row)}]" for row in mask)
    return f'{{"points": {json.dumps(_outline(mask).tolist())}, "mask": [{rows}]}}'


def _digits(mask: np.ndarray) -> str:
    """``0,1,1,0``: of a large mask, a list of Python's numbers would take a hundred times the room."""
    text = np.full((mask.size, 2), ord(","), np.uint8)
    text[:, 0] = mask.reshape(-1) + np.uint8(ord("0"))
    return text.tobytes()[:-1].decode("ascii")


def _outline(mask: np.ndarray) -> np.ndarray:
    """Its largest part as a polygon (N, 2), x and y of pixels' middles in continuous coordinates."""
    parts: list[Any] = simple_outlines(mask)
    return in_one_stroke(parts[0]) + 0.5 if parts else np.zeros((0, 2))
