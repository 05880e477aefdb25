"""What a service answers, as records with names and types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from persam.errors import PersamError

if TYPE_CHECKING:
    import numpy as np

ENDED = ("done", "failed", "cancelled")  # states of a job to which nothing more happens


@dataclass(frozen=True)
class _Record:
    """What was read from JSON; `raw` is the whole of it, with whatever else the service says."""

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False, kw_only=True)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Read it from JSON's values."""
        known = {each.name: values[each.name] for each in fields(cls) if each.name in values and each.name != "raw"}
        return cls(**known, raw=values)


@dataclass(frozen=True)
class ConceptRecord(_Record):
    """A concept of the service.

    Attributes:
        name: what it is called.
        model, mode: that it was learned with.
        references: what is known of each photo that it was learned from: ``source``, ``size`` (H, W), ``coverage``.
        tuned: whether its scale weights were fitted (PerSAM-F).
        weights: these three weights, or None.
        has_thumbnail: whether there is a small picture of it.
        keeps_references: whether it keeps these photos, so that it can be tuned again.
        created: when, UTC, ISO 8601.
        fits: whether it was made with the model that the service runs now.
        findings: what the reference doctor says of the photos that it was just learned from: ``photo``, ``code``,
            ``severity`` and ``sentence`` each.
    """

    name: str
    model: str = ""
    mode: str = ""
    references: Sequence[Mapping[str, Any]] = ()
    tuned: bool = False
    weights: Sequence[float] | None = None
    has_thumbnail: bool = False
    keeps_references: bool = False
    created: str = ""
    fits: bool = True
    findings: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True)
class ObjectRecord(_Record):
    """One found object.

    Attributes:
        score: probability that it is the thing, 0 to 1.
        similarity, predicted_iou: see `persam.Segmentation`.
        box: (x0, y0, x1, y1) in pixels, x1 and y1 exclusive; None for an empty mask.
        area: the part of the photo that it covers, 0 to 1.
        size: (H, W) of the photo.
        code: COCO's compressed run-length code of the mask; None where masks were not asked for.
    """

    score: float
    similarity: float | None = None
    predicted_iou: float | None = None
    box: Sequence[int] | None = None
    area: float = 0.0
    size: tuple[int, int] = (0, 0)
    code: Mapping[str, Any] | None = field(default=None, repr=False)

    @cached_property
    def mask(self) -> np.ndarray:
        """(H, W) bool, decoded when it is first asked for.

        Raises:
            PersamError: masks were not asked for, or its code is damaged.
        """
        from persam.instance import rle_mask

        if self.code is None:
            raise PersamError("This was asked for without masks; ask with masks=True.")
        return rle_mask(self.code)


@dataclass(frozen=True)
class FoundRecord(ObjectRecord):
    """What was found of one concept in one photo; mask, box and area are of all its objects together.

    Attributes:
        concept: its name.
        present: whether it is there.
        verdict: ``present``, ``absent`` or ``unsure``.
        instances: every object by itself, the surest first.
    """

    concept: str = ""
    present: bool = False
    verdict: str = ""
    instances: tuple[ObjectRecord, ...] = ()


@dataclass(frozen=True)
class PhotoRecord(_Record):
    """What was found in one photo.

    Attributes:
        photo: its name.
        width, height: in pixels; None where it could not be read.
        found: one record a concept, in the order in which they were asked for.
        error: why it could not be read, or None.
    """

    photo: str
    width: int | None = None
    height: int | None = None
    found: tuple[FoundRecord, ...] = ()
    error: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Read it from JSON's values."""
        size = values.get("height"), values.get("width")

        def sized(one: Mapping[str, Any]) -> dict[str, Any]:
            return {**one, "size": size, "code": one.get("mask")}

        found = tuple(
            FoundRecord.of(sized(one) | {"instances": tuple(ObjectRecord.of(sized(each)) for each in one["instances"])})
            for one in values.get("found", ())
        )
        return super().of({**values, "found": found})


@dataclass(frozen=True)
class JobRecord(_Record):
    """An album or a clip that the service works on.

    Attributes:
        id: by which it is known.
        kind: ``album`` or ``video``.
        state: ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
        concepts: names of those that are looked for.
        done, total: photos or frames; of a clip the total is what its file says, or None.
        problems: photos that could not be done.
        per_second, eta_seconds: how fast it is lately, and how long it would still take; None where nobody knows.
        counts: what was found, once it has ended.
        notes: what is to be said of what was sent.
        error: why it failed, or None.
    """

    id: str
    kind: str = ""
    state: str = ""
    concepts: Sequence[str] = ()
    done: int = 0
    total: int | None = None
    problems: int = 0
    per_second: float | None = None
    eta_seconds: float | None = None
    counts: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    error: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Read it from JSON's values."""
        return super().of({**values, **(values.get("progress") or {})})

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ENDED


@dataclass(frozen=True)
class EventRecord:
    """Something that happened to a job: its number, its kind (``state``, ``progress``), and what the service says."""

    number: int
    kind: str
    data: Mapping[str, Any]
