"""What a service answers, as records with names and types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

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
        references: photos that it was learned from.
        tuned: whether its scale weights were fitted (PerSAM-F).
        weights: these three weights, or None.
        created: when, UTC, ISO 8601.
        has_thumbnail: whether there is a small picture of it.
        findings: what the reference doctor says of the photos that it was just learned from.
    """

    name: str
    model: str = ""
    mode: str = ""
    references: int = 0
    tuned: bool = False
    weights: Sequence[float] | None = None
    created: str = ""
    has_thumbnail: bool = False
    findings: Sequence[Any] = ()


@dataclass(frozen=True)
class FoundRecord(_Record):
    """What was found of one concept in one photo.

    Attributes:
        concept: its name.
        present: whether it is there.
        verdict: ``present``, ``absent`` or ``unsure``.
        score: probability that it is there, 0 to 1.
        similarity, predicted_iou: see `persam.Segmentation`.
        box: (x0, y0, x1, y1) in pixels, x1 and y1 exclusive; None where it is not there.
        size: (H, W) of the photo.
        code: COCO's compressed run-length code of the mask, or None where masks were not asked for.
    """

    concept: str
    present: bool
    score: float
    verdict: str = ""
    similarity: float | None = None
    predicted_iou: float | None = None
    box: Sequence[int] | None = None
    size: tuple[int, int] = (0, 0)
    code: Mapping[str, Any] | None = field(default=None, repr=False)

    @cached_property
    def mask(self) -> np.ndarray:
        """(H, W) bool, decoded when it is first asked for; empty where the thing is not there.

        Raises:
            PersamError: its code is damaged.
        """
        import numpy as np

        from persam.instance import rle_mask

        return np.zeros(self.size, bool) if self.code is None else rle_mask(self.code)


@dataclass(frozen=True)
class PhotoRecord(_Record):
    """What was found in one photo.

    Attributes:
        photo: its name.
        width, height: in pixels, 0 where it could not be read.
        found: one record a concept, in the order in which they were asked for.
        error: why it could not be read, or None.
    """

    photo: str
    width: int = 0
    height: int = 0
    found: tuple[FoundRecord, ...] = ()
    error: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Read it from JSON's values."""
        size = int(values.get("height") or 0), int(values.get("width") or 0)
        found = tuple(FoundRecord.of({**one, "size": size, "code": one.get("mask")}) for one in values.get("found", ()))
        return super().of({**values, "found": found})


@dataclass(frozen=True)
class JobRecord(_Record):
    """An album or a clip that the service works on.

    Attributes:
        id: by which it is known.
        kind: ``album`` or ``video``.
        state: ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
        done, total: photos or frames; `total` is None until it is known.
        error: why it failed, or None.
    """

    id: str
    kind: str = ""
    state: str = ""
    done: int = 0
    total: int | None = None
    error: str | None = None

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
