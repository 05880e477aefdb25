"""What the commands that go through photos share: their options, the concepts among what was named, how they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from persam.cli.console import complain
from persam.cli.options import CONCEPT_SUFFIX
from persam.cli.progress import progress_bar
from persam.errors import PersamError, UsageError
from persam.places import Place

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.persam import PerSAM

Items = Annotated[
    list[str],
    typer.Argument(
        metavar="CONCEPT.safetensors... PHOTOS...",
        help="Concept files, and photos: files, folders, quoted globs, or s3://BUCKET/... and the like.",
        show_default=False,
    ),
]
Overlay = Annotated[bool, typer.Option("--overlay", help="Also write photos with the object marked.")]
Cutout = Annotated[bool, typer.Option("--cutout", help="Also write transparent cut-outs.")]
PerInstance = Annotated[
    bool, typer.Option("--per-instance", help="Also write a mask for every found thing; see --max-instances.")
]
MaxInstances = Annotated[int, typer.Option(min=1, help="Up to so many objects of a concept in a photo.")]
Threshold = Annotated[
    float, typer.Option(min=0, max=1, help="Score from which on it counts as present: how sure persam must be.")
]
ConceptsModel = Annotated[
    str | None, typer.Option("-m", "--model", help="Default: the one that the concept was made with.")
]
ConceptsEncoder = Annotated[str | None, typer.Option(help="Default: the one that the concept was made with.")]
FinderToo = Annotated[
    str | None,
    typer.Option(
        "--finder", metavar="MODEL", help="Also look for their words (learn --text), by SAM 3 or Grounding DINO."
    ),
]
OverwriteAll = Annotated[
    bool, typer.Option("--overwrite", help="Do all again, and replace any file that is in the way.")
]


def concepts_in(items: list[str]) -> tuple[list[Concept], list[str]]:
    """Read the concept files among what a command was given, and return them and the rest."""
    from persam.concept import Concept

    files = [item for item in items if item.lower().endswith(CONCEPT_SUFFIX)]
    if not files:
        raise UsageError(f"No concept was named; give a file that ends in {CONCEPT_SUFFIX}, made by `persam learn`.")
    concepts = _distinct([Concept.load(file) for file in dict.fromkeys(files)], files)
    return concepts, [item for item in items if item not in files]


def _distinct(concepts: list[Concept], files: list[str]) -> list[Concept]:
    """Refuse two concepts of one name: their results would lie in one folder."""
    names: dict[str, str] = {}
    for concept, file in zip(concepts, files, strict=False):
        if concept.name in names:
            raise UsageError(
                f"{names[concept.name]} and {file} are both named {concept.name!r}; learn one again with "
                "another --name."
            )
        names[concept.name] = file
    return concepts


def check_finder(finder: str | None, concepts: Sequence[Concept]) -> None:
    """Refuse a finder where no concept came with words."""
    if finder is not None and not any(concept.text for concept in concepts):
        raise UsageError(
            f"{' and '.join(repr(concept.name) for concept in concepts)} came without words, so a finder has nothing "
            "to look for; learn again with --text, or leave out --finder."
        )


def model_with_finder(
    model: PerSAM, finder: str | None, concepts: Sequence[Concept], *, device: str, dtype: str
) -> PerSAM:
    """The model, which also looks for the words of concepts if a finder is named."""
    if finder is None:
        return model
    from persam.models.words import load_finder
    from persam.text_and_photo import with_finder

    loaded = load_finder(finder, model=model.model, device=device, dtype=dtype)
    for concept in concepts:
        if concept.text:
            loaded.check_text(concept.text)
    return with_finder(model, loaded)


@contextmanager
def photo_bar(
    total: int | None = None, failures: list[tuple[str, str]] | None = None
) -> Iterator[tuple[Callable[..., None], Callable[[Place, str | None], None]]]:
    """A bar that goes through photos.

    Args:
        total: how many there are, if that is known.
        failures: gets the photos that could not be done, with what went wrong.

    Yields:
        What `progress_bar` yields, and a function to call after each photo with what went wrong, which is told at once.
    """
    with progress_bar("Photos", total) as advance:

        def on_photo(photo: Place, problem: str | None) -> None:
            advance()
            if problem is not None:
                complain(problem)
                if failures is not None:
                    failures.append((str(photo), problem))

        yield advance, on_photo


def refuse_stopped(stop: KeyboardInterrupt, done: int, total: int, output: Place) -> NoReturn:
    """End a command that was stopped, in the same way as it was, with a word on how to go on."""
    raise type(stop)(f"{done} of {total} photos are done and kept in {output}/; run the same command again to go on.")


def refuse_failures(failures: Sequence[tuple[str, str]], total: int, done: str = "segmented") -> None:
    """Say that photos could not be `done`, if there are any.

    Raises:
        PersamError: There are.
    """
    if failures:
        names = ", ".join(photo for photo, _ in failures[:5]) + (", ..." if len(failures) > 5 else "")
        raise PersamError(f"{len(failures)} of {total} photos could not be {done}: {names}.")
