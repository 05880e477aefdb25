"""What a study's run measured, photo by photo; `persam.study.summary` makes the tables of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from persam.study.agreement import Coincidences, Pair
from persam.study.checks import Problem
from persam.study.layout import Study

Rle = dict[str, Any]

#: What the model's masks are measured against.
OWN, MAJORITY, STAPLE, GOLD_TRUTH = "own", "majority", "staple", "gold"


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model found in one photo after it was shown one annotator's reference.

    Attributes:
        category, photo, annotator: which; the photo by its stem.
        ious: IoU of the model's mask with the annotator's ``own`` of this photo, and with the ``majority``, ``staple``
            and ``gold`` masks where there are any.
        mask: the model's, as COCO's run-length code; measured whether or not the model called the object present.
        score: the model's own, 0 to 1.
        present: its verdict on whether the object is there.
    """

    category: str
    photo: str
    annotator: str
    ious: dict[str, float]
    mask: Rle
    score: float
    present: bool | None


@dataclass(frozen=True, eq=False)
class RatedPhoto:
    """One photo as the people masked it.

    Attributes:
        category, photo: which; the photo by its stem.
        is_reference: whether it is the one that the model is shown.
        areas: of the annotators' masks, in pixels.
        pairs: IoU of every two annotators' masks.
        coincidences: of their pixels.
        consensus_areas: of the ``majority``, ``staple`` and ``gold`` masks that there are, in pixels.
        consensus: the ``majority`` and ``staple`` masks as COCO's run-length code, where two or more masked the photo.
        sensitivity, specificity: STAPLE's, by annotator.
        gold_ious: IoU of the annotators' masks with the true one, if there is one.
    """

    category: str
    photo: str
    is_reference: bool
    areas: dict[str, int]
    pairs: dict[Pair, float]
    coincidences: Coincidences
    consensus_areas: dict[str, int]
    consensus: dict[str, Rle]
    sensitivity: dict[str, float]
    specificity: dict[str, float]
    gold_ious: dict[str, float]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """All that a run measured.

    Attributes:
        study: that was run.
        model: how it was run: model, fingerprint, encoder, method, mode, settings. JSON values.
        references: the photo that the model was shown, by category.
        answers: the model's.
        rated: the people's.
        left_out: masks and photos that could not be used, each with the reason.
    """

    study: Study
    model: dict[str, Any]
    references: dict[str, str]
    answers: tuple[Answer, ...]
    rated: tuple[RatedPhoto, ...]
    left_out: tuple[Problem, ...]
