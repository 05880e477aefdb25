"""References on the command line: the arguments that show the object, and how they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persam.cli.options import numbers
from persam.errors import UsageError

if TYPE_CHECKING:
    from persam.reference import Reference

MaskFile = Annotated[
    Path | None,
    typer.Argument(metavar="MASK", help="Its mask: an image in which the object is not black. A rough one is enough."),
]
MoreReferences = Annotated[
    list[str] | None,
    typer.Option("-r", "--reference", metavar="PHOTO:MASK", help="One more photo and its mask; repeat for several."),
]
Box = Annotated[str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Instead of a mask: a box around it.")]
Point = Annotated[list[str] | None, typer.Option(metavar="X,Y", help="Instead of a mask: a point on it.")]
NotPoint = Annotated[list[str] | None, typer.Option(metavar="X,Y", help="A point beside it.")]
Scribble = Annotated[Path | None, typer.Option(help="Instead of a mask: an image of strokes on it.")]
OfLabel = Annotated[
    str | None, typer.Option(help="Which label of the masks is the object: 3, or '#ff8000'. Default: all.")
]
MaskAsStored = Annotated[
    bool, typer.Option("--mask-as-stored", help="The masks were drawn on photos not yet turned by their EXIF.")
]


@dataclass(frozen=True)
class HowShown:
    """What a command was told of the first photo beside its mask, and of all masks, as it was typed."""

    box: str | None
    point: Sequence[str] | None
    not_point: Sequence[str] | None
    scribble: Path | None
    label: str | None
    mask_as_stored: bool


def read_references(
    photo: Path,
    mask: Path | None,
    pairs: Iterable[tuple[str, str | None]],
    shown: HowShown,
) -> Iterator[Reference]:
    """Read the references of a command, each when its turn comes: the first, in whatever form it is shown; the pairs.

    Raises:
        UsageError: a value has another form, or no form of reference was given, or several.
        PersamError: a file cannot be read, or a mask does not fit its photo.
    """
    from persam.reference import Reference

    points = [numbers(text, 2, "--point", "x,y") for text in shown.point or []]
    beside = [numbers(text, 2, "--not-point", "x,y") for text in shown.not_point or []]
    yield Reference.read(
        photo,
        mask,
        box=None if shown.box is None else numbers(shown.box, 4, "--box", "x0,y0,x1,y1"),
        points=points + beside or None,
        labels=[1] * len(points) + [0] * len(beside) if points or beside else None,
        scribble=shown.scribble,
        label=shown.label,
        mask_as_stored=shown.mask_as_stored,
    )
    for other, other_mask in pairs:
        yield Reference.read(other, other_mask, label=shown.label, mask_as_stored=shown.mask_as_stored)


def pair_of(text: str) -> tuple[str, str | None]:
    """Read ``PHOTO:MASK``, or a cut-out alone. A colon may also follow a drive letter, so the files decide.

    Raises:
        UsageError: the text has another form.
    """
    if Path(text).is_file():
        return text, None
    places = [index for index, letter in enumerate(text) if letter == ":" and index != 1]
    for place in places:
        if Path(text[:place]).is_file() or len(places) == 1:
            return text[:place], text[place + 1 :]
    raise UsageError(f"--reference takes PHOTO:MASK, such as 2.jpg:2_mask.png, not {text!r}.")
