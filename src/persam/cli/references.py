"""References on the command line: the arguments that show the object, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persam.cli.options import numbers
from persam.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from persam.models.words import Named, WordFinder
    from persam.persam import PerSAM
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
Text = Annotated[
    str | None,
    typer.Option(metavar="WORDS", help="What it is, such as mug. Photos without a mask: what is found by it shows it."),
]
TextIndex = Annotated[
    int | None, typer.Option(metavar="N", help="Which of several things found in the first photo. Default: the surest.")
]
Finder = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="What looks for the words: SAM 3 or Grounding DINO. Default: the model, if it is SAM 3."
    ),
]


@dataclass(frozen=True)
class HowShown:
    """What a command was told of the first photo beside its mask, and of all of them, as it was typed."""

    box: str | None
    point: Sequence[str] | None
    not_point: Sequence[str] | None
    scribble: Path | None
    label: str | None
    mask_as_stored: bool
    text: str | None = None
    text_index: int | None = None


def read_references(
    photo: Path,
    mask: Path | None,
    pairs: Iterable[tuple[str, str | None]],
    shown: HowShown,
    finder: FinderWhenNeeded,
) -> Iterator[Reference]:
    """Read the references of a command, each when its turn comes: the first, in whatever form it is shown; the pairs.

    Raises:
        UsageError: a value has another form, or no form of reference was given, or several.
        PersamError: a file cannot be read, or a mask does not fit its photo.
    """
    from persam.reference import Reference

    if shown.text is None and (shown.text_index is not None or finder.option is not None):
        raise UsageError("--finder and --text-index are about words; say with --text what the object is, such as mug.")
    looks: WordFinder | None = None if shown.text is None else finder
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
        text=shown.text,
        finder=looks,
        text_index=shown.text_index,
    )
    for other, other_mask in pairs:
        how: dict[str, Any] = {"mask_as_stored": shown.mask_as_stored, "text": shown.text, "finder": looks}
        yield Reference.read(other, other_mask, label=shown.label, **how)


class FinderWhenNeeded:
    """A finder by words that is loaded when a photo has nothing else that shows the object.

    Args:
        option: what was named as the finder; None: the model itself, if it reads words.
        model: name of the model.
        load: gives the model, which draws the masks of a finder that finds boxes.
        device: where the finder computes.
        dtype: its number format.
    """

    def __init__(self, option: str | None, model: str, load: Callable[[], PerSAM], *, device: str, dtype: str) -> None:
        self.option, self.model, self.load, self.device, self.dtype = option, model, load, device, dtype

    @cached_property
    def loaded(self) -> WordFinder:
        """The finder.

        Raises:
            UsageError: none was named, and the model reads no words.
            PersamError: it is not to be had, or finds nothing by words.
        """
        from persam.models.words import OTHERWISE, SUCH_AS, load_finder, reads_words

        if self.option is None and not reads_words(self.model):
            raise UsageError(
                f"The model {self.model} reads no words; say with --finder what looks for them, such as {SUCH_AS}, or "
                f"{OTHERWISE}."
            )
        drawing = self.load().model
        name = self.model if self.option is None else self.option
        return load_finder(name, model=drawing, device=self.device, dtype=self.dtype)

    @property
    def is_loaded(self) -> bool:
        """Whether any photo needed it."""
        return "loaded" in self.__dict__

    @property
    def name(self) -> str:
        """How people call it."""
        return self.loaded.name

    def find_words(self, image: np.ndarray, text: str) -> Named:
        """See `persam.models.words.WordFinder.find_words`."""
        return self.loaded.find_words(image, text)

    def check_text(self, text: str) -> None:
        """See `persam.models.words.WordFinder.check_text`."""
        self.loaded.check_text(text)


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
