"""Label Studio's ML backend: its requests and answers; see `persam.server.label_studio`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict, Field

from persam.errors import PersamError
from persam.server.asking import answer
from persam.server.label_studio.bridge import Bridge
from persam.server.label_studio.labelling import Project
from persam.server.refusals import CrowdedError
from persam.server.routes.common import refusals, service_of

router = APIRouter(prefix="/label-studio", tags=["Label Studio"])

_CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image"><Label value="Mug"/>'
    "</BrushLabels></View>"
)
# Label Studio sends all that were chosen for "Retrieve predictions" in one request. No more of it than a batch wait for
# the model at a time, so that others get their turn, and `request_seconds` ends it.
_MOST_TASKS = 1_000
_LEARNED = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")
_DELETED = ("ANNOTATION_DELETED", "ANNOTATIONS_DELETED")


class _FromLabelStudio(BaseModel):
    """Label Studio sends more than is needed here, and other things with each version."""

    model_config = ConfigDict(extra="allow")


class SetupRequest(_FromLabelStudio):
    """A project is connected."""

    project: str | int = Field(examples=["2.1629208966"], description="Number of the project, and when it was made.")
    schema_: str = Field(alias="schema", examples=[_CONFIG], description="Its labelling configuration.")


class SetupAnswer(BaseModel):
    """What predictions will be made with."""

    model_version: str = Field(examples=["label-studio-2-Mug@0f3a5b7c9d1e2f40"])


class PredictContext(_FromLabelStudio):
    """What is being drawn, with a smart tool."""

    result: list[dict[str, Any]] = Field(default_factory=list, description="The regions.")


class PredictParams(_FromLabelStudio):
    """What else is said of a prediction."""

    context: PredictContext | None = None


class PredictRequest(_FromLabelStudio):
    """Tasks of a project for which something is to be proposed."""

    tasks: list[dict[str, Any]] = Field(
        max_length=_MOST_TASKS, examples=[[{"id": 12, "data": {"image": "/data/upload/2/kitchen.jpg"}}]]
    )
    project: str | int = Field(examples=["2.1629208966"])
    label_config: str = Field(examples=[_CONFIG])
    params: PredictParams | None = None


class TaskPrediction(BaseModel):
    """What is proposed in a task."""

    model_config = ConfigDict(extra="allow")

    model_version: str = Field(description="Name and content hash of every concept of the project.")
    score: float = Field(ge=0, le=1, description="Mean of the regions' scores; without any, how near it came.")
    result: list[dict[str, Any]] = Field(description="Regions, as Label Studio stores them.")


class PredictAnswer(BaseModel):
    """A prediction for every task, in order."""

    results: list[TaskPrediction]


class TrainRequest(_FromLabelStudio):
    """All annotated tasks of a project."""

    annotations: list[dict[str, Any]] = Field(
        max_length=100_000, examples=[[{"id": 12, "data": {"image": "/data/a.jpg"}, "annotations": []}]]
    )
    project: str | int = Field(examples=["2.1629208966"])
    label_config: str = Field(examples=[_CONFIG])


class WebhookAnswer(BaseModel):
    """Whether an event is one that something is learned from."""

    status: str = Field(examples=["ok", "nothing to learn"])


class BackendHealth(BaseModel):
    """The backend is up."""

    status: str = "UP"
    model_class: str = "persam"
    last_problem: str | None = Field(None, description="Why the last annotation could not be learned.")


def _bridge(request: Request) -> Bridge:
    return service_of(request).label_studio


@router.get("/", include_in_schema=False)
@router.get("/health")
async def backend_health(request: Request) -> BackendHealth:
    """The backend is up; and whether the last annotation could be learned."""
    return BackendHealth(last_problem=_bridge(request).last_problem)


@router.post("/setup", responses=refusals(400, 422, 503))
async def setup(request: Request, asked: SetupRequest) -> SetupAnswer:
    """A project is connected, or looked at: what its predictions would be made with now."""
    project = Project.of(asked.project, asked.schema_)
    return SetupAnswer(model_version=await asyncio.to_thread(_bridge(request).version, project))


@router.post("/predict", response_model_exclude_none=True, responses=refusals(400, 408, 413, 415, 422, 429, 503))
async def predict(request: Request, asked: PredictRequest) -> PredictAnswer:
    """Propose regions: of every label that was learned, in every task; or under what is being drawn in one."""
    bridge = _bridge(request)
    project = Project.of(asked.project, asked.label_config)
    context = asked.params.context if asked.params is not None else None
    if context is not None and context.result and asked.tasks:
        work = bridge.propose(project, asked.tasks[0], context.result)
        prediction, learn = await answer(request, work)
        if learn is not None:
            with suppress(CrowdedError):  # it is proposed all the same
                bridge.in_background(project, "a region that is being drawn", learn)
        return PredictAnswer(results=[TaskPrediction(**prediction)])
    predictions = await answer(request, bridge.predict(project, asked.tasks))
    return PredictAnswer(results=[TaskPrediction(**each) for each in predictions])


@router.post("/webhook", status_code=201, responses=refusals(400, 422, 429, 503))
async def webhook(
    request: Request,
    event: Annotated[dict[str, Any], Body(examples=[{"action": "ANNOTATION_CREATED"}])],
) -> WebhookAnswer:
    """An annotation was made, changed or deleted: it is learned, or unlearned, after what came before in the project.

    Label Studio waits for the answer no longer than it takes to connect, so `health` tells what went wrong.
    """
    action, about = event.get("action"), event.get("project")
    if action not in (*_LEARNED, *_DELETED, "START_TRAINING") or not isinstance(about, dict):
        return WebhookAnswer(status="nothing to learn")
    project = Project.of(about.get("id"), about.get("label_config"))
    bridge = _bridge(request)
    if action in _DELETED:
        numbers = _deleted(event)
        bridge.in_background(project, action, lambda: bridge.forget(project, numbers))
    elif action == "START_TRAINING":
        bridge.in_background(project, action, lambda: bridge.learn_all(project))
    else:
        annotation, task = _annotation(event), event.get("task")
        bridge.in_background(
            project,
            action,
            lambda: bridge.learn(
                project, task if isinstance(task, dict) else bridge.task(annotation.get("task")), annotation
            ),
        )
    return WebhookAnswer(status="ok")


@router.post("/train", status_code=201, responses=refusals(400, 429, 503))
async def train(request: Request, asked: TrainRequest) -> WebhookAnswer:
    """Learn anew from annotated tasks, after the answer: "Start training", where it is not sent as an event."""
    project, bridge = Project.of(asked.project, asked.label_config), _bridge(request)
    bridge.in_background(project, "train", lambda: bridge.learn_all(project, asked.annotations))
    return WebhookAnswer(status="ok")


def _annotation(event: dict[str, Any]) -> dict[str, Any]:
    annotation = event.get("annotation")
    if not isinstance(annotation, dict):
        raise PersamError("The event holds no annotation; let the webhook send its payload.")
    return annotation


def _deleted(event: dict[str, Any]) -> list[int]:
    one, several = event.get("annotation"), event.get("annotations")
    named = several if isinstance(several, list) else [one if isinstance(one, dict) else event]
    return [each["id"] for each in named if isinstance(each, dict) and isinstance(each.get("id"), int)]
