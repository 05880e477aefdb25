"""What the service answers and takes, as pydantic models: they check it, and are its documentation."""

from __future__ import annotations

from pathlib import PureWindowsPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from persam.concept import Concept
from persam.doctor import Finding
from persam.server.forms import Files, FormModel
from persam.server.wording import in_form_words

_REFERENCE = {"source": "mug.jpg", "size": [480, 640], "coverage": 0.124, "cells": 208}
_CONCEPT = {
    "name": "my mug",
    "model": "tiny",
    "mode": "persam",
    "references": [_REFERENCE],
    "tuned": True,
    "weights": [0.31, 0.42, 0.27],
    "threshold": 0.62,
    "has_thumbnail": True,
    "keeps_references": True,
    "created": "2026-05-01T10:00:00+00:00",
    "fits": True,
}
_FINDING = {
    "photo": "mug.jpg",
    "code": "cut-off",
    "severity": "mild",
    "sentence": "The photo's border cuts the object off along 15% of its outline, so the rest of it is not learned; "
    "give a photo that shows all of it.",
}


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": values})


class Refusal(BaseModel):
    """Why a request was not done."""

    model_config = _example(detail='There is no concept "mug"; there are cat, my mug.')

    detail: str = Field(description="One sentence: what was wrong, and what to do.")


class State(BaseModel):
    """How the service is."""

    model_config = _example(status="ready")

    status: Literal["alive", "ready", "stopping"]


class ModelInfo(BaseModel):
    """The model that the service runs, and what the service takes."""

    model_config = _example(
        name="tiny", mode="persam", device="cpu", encoder=None, version="0.1.0", limits={"photos_per_request": 32}
    )

    name: str
    mode: str
    device: str
    encoder: str | None = Field(description="Another encoder of the confidence map, if there is one.")
    version: str = Field(description="Of persam.")
    limits: dict[str, int | float] = Field(description="See the documentation of `persam serve`.")


class ReferenceInfo(BaseModel):
    """A photo that a concept was learned from."""

    model_config = _example(**_REFERENCE)

    source: str = Field(description="The photo's file name.")
    size: tuple[int, int] = Field(description="Height and width of the photo, in pixels.")
    coverage: float = Field(description="The part of the photo that the object covers, 0 to 1.")
    cells: int = Field(description="Cells of the encoder under the object.")


class ConceptInfo(BaseModel):
    """A concept that the service keeps."""

    model_config = _example(**_CONCEPT)

    name: str
    model: str
    mode: str
    references: list[ReferenceInfo]
    tuned: bool = Field(description="Whether PerSAM-F's scale weights were fitted.")
    weights: tuple[float, float, float] | None = Field(description="Those weights.")
    threshold: float = Field(description="Lowest similarity, where no score is fitted.")
    has_thumbnail: bool
    keeps_references: bool = Field(description="Whether it can be tuned again.")
    created: str
    fits: bool = Field(description="Whether it was made with the model that the service runs.")

    @classmethod
    def of(cls, concept: Concept, *, fits: bool) -> ConceptInfo:
        """Of a concept."""
        return cls(**_described(concept, fits=fits))


class FindingInfo(BaseModel):
    """One thing that the reference doctor says."""

    model_config = _example(**_FINDING)

    photo: str
    code: str
    severity: Literal["severe", "mild"]
    sentence: str


class LearnedConcept(ConceptInfo):
    """A concept, and what is to be said of its references."""

    model_config = _example(**_CONCEPT, findings=[_FINDING])

    findings: list[FindingInfo] = Field(description="Of the photos of this request; none for sound ones.")

    @classmethod
    def from_findings(cls, concept: Concept, findings: list[tuple[str, Finding]]) -> LearnedConcept:
        """Of a concept that was learned just now."""
        said = [
            FindingInfo(photo=photo, code=one.code, severity=one.severity, sentence=in_form_words(one.sentence))
            for photo, one in findings
        ]
        return cls(**_described(concept, fits=True), findings=said)


class Rle(BaseModel):
    """COCO's compressed run-length code of a mask."""

    model_config = _example(size=[480, 640], counts="PYW31n>3M2N2N...")

    size: tuple[int, int] = Field(description="Height and width.")
    counts: str


class FoundObject(BaseModel):
    """One found object of a concept."""

    score: float = Field(description="Probability that it is the thing, 0 to 1.")
    similarity: float | None
    predicted_iou: float | None
    box: tuple[int, int, int, int] | None = Field(description="x0, y0, x1, y1 in photo pixels, ends exclusive.")
    area: float = Field(description="The part of the photo that it covers, 0 to 1.")
    mask: Rle | str | list[list[list[tuple[int, int]]]] | None = Field(
        None,
        description="As asked for: run-length code, a PNG as base64, or polygons (for each part its outer ring, then "
        "those of its holes, [x, y] each).",
    )


class FoundConcept(FoundObject):
    """What was found of one concept in one photo."""

    concept: str
    present: bool
    verdict: Literal["present", "absent", "unsure"]
    instances: list[FoundObject] = Field(description="Every object by itself, the surest first.")


class PhotoAnswer(BaseModel):
    """What was found in one photo, or why it could not be looked at."""

    photo: str
    width: int | None = None
    height: int | None = None
    found: list[FoundConcept] = []
    error: str | None = None


class SegmentAnswer(BaseModel):
    """What was found in each photo, in the order in which they were sent."""

    model_config = _example(
        results=[
            {
                "photo": "kitchen.jpg",
                "width": 640,
                "height": 480,
                "found": [
                    {
                        "concept": "my mug",
                        "present": True,
                        "verdict": "present",
                        "score": 0.94,
                        "similarity": 0.81,
                        "predicted_iou": 0.93,
                        "box": [120, 80, 220, 210],
                        "area": 0.031,
                        "mask": {"size": [480, 640], "counts": "PYW31n>3M2N2N..."},
                        "instances": [],
                    }
                ],
                "error": None,
            },
            {
                "photo": "notes.txt",
                "width": None,
                "height": None,
                "found": [],
                "error": "The file notes.txt is not a picture that can be read; give a JPEG, PNG, WebP, TIFF, BMP, "
                "GIF or AVIF file.",
            },
        ]
    )

    results: list[PhotoAnswer]


class ReferenceForm(FormModel):
    """Photos, and how the object is shown in each: a mask, strokes, a box and/or points; a cut-out needs nothing."""

    photo: Files = Field(min_length=1, description="One photo, or several.")
    mask: Files = Field([], description="A mask for each photo: the object is not black.")
    scribble: Files = Field([], description="Instead of masks: strokes on the object, a picture for each photo.")
    box: list[str] = Field(
        [], description="Instead of a mask: x0,y0,x1,y1 in photo pixels.", examples=[["40,30,200,180"]]
    )
    points: list[str] = Field(
        [],
        description="Instead of a mask, or with a box: x,y,1 on it, x,y,0 beside it.",
        examples=[["120,80,1;30,40,0"]],
    )
    tune: bool = Field(False, description="Also fit the three scale weights (PerSAM-F).")
    keep: bool = Field(True, description="Keep photos and masks in the concept, so that it can be tuned again.")


class LearnForm(ReferenceForm):
    """What is learned under a name."""

    name: str = Field(min_length=1, max_length=200, description="What to call it.", examples=["my mug"])
    replace: bool = Field(False, description="It may take the place of a concept of this name.")


class SegmentForm(FormModel):
    """Photos, and what is looked for in them."""

    photo: Files = Field(min_length=1, description="One photo, or several.")
    concept: list[str] = Field(min_length=1, description="Names of concepts.", examples=[["my mug"]])
    max_instances: int = Field(1, ge=1, le=50, description="Look for up to so many objects of each concept.")
    threshold: float = Field(
        0.5, ge=0, le=1, allow_inf_nan=False, description="Score from which on the object counts as present."
    )
    masks: Literal["rle", "png", "polygons", "none"] = Field("rle", description="How masks are given.")


def _described(concept: Concept, *, fits: bool) -> dict[str, Any]:
    # Its name alone, of either kind of path: where it lay on the machine where it was learned is nobody's business.
    references = [
        ReferenceInfo(
            source=PureWindowsPath(each.source).name, size=each.size, coverage=each.coverage, cells=each.cells
        )
        for each in concept.references
    ]
    return {
        "name": concept.name,
        "model": concept.model_name,
        "mode": concept.mode,
        "references": references,
        "tuned": concept.tuned,
        "weights": None if concept.scale_weights is None else tuple(round(each, 6) for each in concept.scale_weights),
        "threshold": round(concept.threshold, 6),
        "has_thumbnail": concept.thumbnail is not None,
        "keeps_references": concept.keeps_references,
        "created": concept.created,
        "fits": fits,
    }
