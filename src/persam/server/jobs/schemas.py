"""Jobs as callers start them and hear of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from persam.segmentation import SURE_ENOUGH
from persam.server.answers import MaskForm
from persam.server.forms import Files, FormModel
from persam.server.jobs.job import Job, Kind, State

# How an option is marked that only one kind of job has.
_ALBUM: dict[str, Any] = {"x-kind": "album"}
_VIDEO: dict[str, Any] = {"x-kind": "video"}
_JOB: dict[str, Any] = {
    "id": "8c1f0a9be2d44c57",
    "kind": "album",
    "state": "running",
    "concepts": ["my mug"],
    "options": {"threshold": 0.5, "masks": "rle", "overlay": True, "cutout": False, "max_instances": 1},
    "created": "2026-05-01T10:00:00+00:00",
    "started": "2026-05-01T10:00:02+00:00",
    "ended": None,
    "progress": {"done": 120, "total": 400, "problems": 1, "per_second": 4.1, "eta_seconds": 68},
    "stopping": False,
    "counts": {},
    "notes": ["Left out of photos.zip as no photo by its name: 1 (notes.txt)."],
    "error": None,
    "bytes": 812345678,
}


class JobForm(FormModel):
    """Photos of an album, or a clip, and what is looked for in them."""

    kind: Kind = Field(description="album: photos, or one zip of photos. video: one clip.")
    file: Files = Field(min_length=1, description="The photos, each in a field of its own; or one zip; or one clip.")
    concept: list[str] = Field(min_length=1, description="Names of concepts.", examples=[["my mug"]])
    threshold: float = Field(
        SURE_ENOUGH, ge=0, le=1, allow_inf_nan=False, description="Score from which on the object counts as present."
    )
    masks: MaskForm = Field("rle", description="How masks are given in the results; the files have PNGs in any case.")
    overlay: bool = Field(False, description="Also draw what was found: on each photo, or as a video.")
    cutout: bool = Field(False, description="Also cut it out: of each photo, or as a video, transparent beside it.")
    max_instances: int = Field(
        1, ge=1, le=50, description="Look for up to so many objects of each concept.", json_schema_extra=_ALBUM
    )
    per_instance: bool = Field(False, description="Also a mask for every object.", json_schema_extra=_ALBUM)
    format: list[Literal["coco", "csv", "yolo", "labelme", "cvat", "colmap", "sheet", "blur", "blank"]] = Field(
        [], description="Also write it for other tools; given once for each.", json_schema_extra=_ALBUM
    )
    cutout_as: Literal["webm", "mov"] = Field(
        "webm", description="The cut-out video as VP9, or as ProRes 4444 for video editors.", json_schema_extra=_VIDEO
    )
    mask_video: bool = Field(False, description="Also the masks as a video, white on black.", json_schema_extra=_VIDEO)
    coco: bool = Field(False, description="Also a COCO file of the clip.", json_schema_extra=_VIDEO)
    points: Literal["lk"] | None = Field(
        None,
        description="Carry points of the objects along as further prompts, by Lucas-Kanade's flow.",
        json_schema_extra=_VIDEO,
    )

    @model_validator(mode="after")
    def _of_its_kind(self) -> JobForm:
        for name in sorted(self.model_fields_set):
            kind = _kind_of(name)
            if kind not in (None, self.kind):
                raise ValueError(
                    f"{name} belongs to jobs of kind {kind}, and this is one of kind {self.kind}; leave it out"
                )
        return self

    @property
    def options(self) -> dict[str, Any]:
        """Those of its kind, as JSON values."""
        names = set(type(self).model_fields) - {"kind", "file", "concept"}
        return {name: getattr(self, name) for name in sorted(names) if _kind_of(name) in (None, self.kind)}


def _kind_of(name: str) -> str | None:
    """Of which kind of jobs alone an option is."""
    extra = JobForm.model_fields[name].json_schema_extra
    return str(extra["x-kind"]) if isinstance(extra, dict) else None


class JobProgressInfo(BaseModel):
    """How far a job is."""

    done: int = Field(description="Photos or frames.")
    total: int | None = Field(description="Of so many; of a clip what its file says, which may be wrong or missing.")
    problems: int = Field(description="Photos that could not be done; their sentences are in the results.")
    per_second: float | None = Field(description="Photos or frames per second, lately.")
    eta_seconds: float | None = Field(description="Seconds left, if it goes on like that.")


class JobInfo(BaseModel):
    """A job."""

    model_config = ConfigDict(json_schema_extra={"example": _JOB})

    id: str
    kind: Kind
    state: State
    concepts: list[str]
    options: dict[str, Any]
    created: str
    started: str | None
    ended: str | None
    progress: JobProgressInfo
    stopping: bool = Field(description="It was cancelled and has yet to end what it is doing.")
    counts: dict[str, Any] = Field(description="What was found, once it has ended.")
    notes: list[str] = Field(description="What is to be said of what was sent, such as files that were left out.")
    error: str | None = Field(description="Why it failed, in one sentence.")
    bytes: int = Field(description="Of all that belongs to it.")

    @classmethod
    def of(cls, job: Job) -> JobInfo:
        """Of a job as it is now."""
        left = None
        if job.state == "running" and job.pace and job.total is not None:
            left = round(max(0, job.total - job.done) / job.pace, 1)
        return cls(
            id=job.id,
            kind=job.kind,
            state=job.state,
            concepts=list(job.concepts),
            options=job.options,
            created=_moment(job.created) or "",
            started=_moment(job.started),
            ended=_moment(job.ended),
            progress=JobProgressInfo(
                done=job.done, total=job.total, problems=job.problems, per_second=job.pace, eta_seconds=left
            ),
            stopping=job.wish is not None,
            counts=job.counts,
            notes=list(job.notes),
            error=job.error,
            bytes=job.bytes,
        )


class JobFileInfo(BaseModel):
    """A file that a job made."""

    model_config = ConfigDict(json_schema_extra={"example": {"path": "masks/my mug/kitchen.png", "bytes": 1821}})

    path: str
    bytes: int


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
