"""References from a form: read, looked over by the doctor, learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from PIL import Image

from persam.concept import Concept
from persam.doctor import Finding, check
from persam.persam import PerSAM
from persam.reference import Reference
from persam.server.hearing import heard_doubts
from persam.server.refusals import MalformedError
from persam.server.uploads import Upload

_MOST_POINTS = 64  # for one photo: the model looks at all of them at once
_COMPARED = 4  # references of one request: to compare more with each other would keep the model from everybody

Doubts = list[str]
Shot = tuple[Reference, Doubts]


def readers_of(
    photos: Sequence[Upload],
    *,
    masks: Sequence[Upload] = (),
    scribbles: Sequence[Upload] = (),
    boxes: Sequence[str] = (),
    points: Sequence[str] = (),
) -> list[Callable[[], Shot]]:
    """How to read photos and what shows the object in each: a mask, strokes, a box and/or points, or a cut-out.

    Args:
        photos: one or several.
        masks: none, or one for each photo; so are the others.
        scribbles: strokes on the object.
        boxes: ``x0,y0,x1,y1`` in photo pixels.
        points: ``x,y,1`` on the object and ``x,y,0`` beside it, with ``;`` between them.

    Returns:
        A function for each photo, which reads it, and says what persam doubts about it. It raises a `PersamError` where
        a file cannot be read or a mask does not fit its photo, a `UsageError` where there is no form, or several that
        exclude each other, or a value outside the photo, and a `MalformedError` where a box or points are malformed.

    Raises:
        MalformedError: not as many of these as photos.
    """
    count = len(photos)
    given: dict[str, Sequence[Upload] | Sequence[str]] = {
        "mask": masks,
        "scribble": scribbles,
        "box": boxes,
        "points": points,
    }
    for name, those in given.items():
        if those and len(those) != count:
            raise MalformedError(f"There are {count} photos and {len(those)} of {name}; give one for each photo.")
    return [
        partial(_shot, photo, {name: those[number] for name, those in given.items() if those})
        for number, photo in enumerate(photos)
    ]


def _shot(photo: Upload, shown: Mapping[str, Upload | str]) -> Shot:
    with heard_doubts() as doubts:
        how: dict[str, Any] = {
            "mask": _picture(shown.get("mask"), "mask"),
            "scribble": _picture(shown.get("scribble"), "scribble"),
            "box": None if "box" not in shown else _numbers(str(shown["box"]), 4, "box", "x0,y0,x1,y1"),
        }
        if "points" in shown:
            how["points"], how["labels"] = _points(str(shown["points"]))
        reference = Reference.read(photo.picture(), **how)
    return replace(reference, source=photo.name, sha256=photo.sha256), list(doubts)


def look_over(model: PerSAM, shots: Sequence[Shot]) -> list[tuple[str, Finding]]:
    """What the reference doctor says of each, with the photo's name; of a few, also compared with each other."""
    groups = [shots] if len(shots) <= _COMPARED else [[shot] for shot in shots]
    found = []
    for group in groups:
        diagnosis = check(model, [reference for reference, _ in group], doubts=[doubts for _, doubts in group])
        found += [(each.name, finding) for each in diagnosis.references for finding in each.findings]
    return found


def learn_from(
    model: PerSAM, shots: Sequence[Shot], *, name: str | None, base: Concept | None, keep: bool, tune: bool
) -> Concept:
    """Learn a concept from these, or go on from one with them; tuned if asked for, or if the base was."""
    references = [reference for reference, _ in shots]
    concept = model.learn(references, name=name, base=base, keep_references=keep)
    return model.tune(concept) if tune or (base is not None and base.tuned) else concept


def _picture(upload: Upload | str | None, what: str) -> Image.Image | None:
    return upload.picture(what) if isinstance(upload, Upload) else None


def _numbers(text: str, count: int, name: str, form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(abs(number) < float("inf") for number in numbers):
        raise MalformedError(f"The field {name} takes {form} in photo pixels, not {text[:60]!r}.")
    return numbers


def _points(text: str) -> tuple[list[list[float]], list[int]]:
    """Read ``"120,80,1;30,40,0"``: x, y, and 1 on the object or 0 beside it."""
    form = "x,y,1 on the object and x,y,0 beside it, with ; between them,"
    rows = [_numbers(part, 3, "points", form) for part in text.split(";") if part.strip()]
    if len(rows) > _MOST_POINTS:
        raise MalformedError(
            f"There are {len(rows)} points for a photo; {_MOST_POINTS} are taken, and a few are enough."
        )
    if any(row[2] not in (0, 1) for row in rows):
        raise MalformedError(f"The field points takes {form} in photo pixels, not {text[:60]!r}.")
    return [row[:2] for row in rows], [int(row[2]) for row in rows]
