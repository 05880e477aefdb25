"""`persam dreambooth prepare` and `enlarge`: photos and masks for training, and a data set of what was generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from persam.cli.console import complain, out, print_json, say, table
from persam.cli.options import CONCEPT_SUFFIX, Backend, Device, Dtype, Json, load_model, model_of
from persam.cli.photos import (
    ConceptsEncoder,
    ConceptsModel,
    Threshold,
    concepts_in,
    photo_bar,
    refuse_failures,
)
from persam.cli.progress import progress_bar
from persam.errors import UsageError, printable
from persam.words import counted

if TYPE_CHECKING:
    from persam.dreambooth import Enlarged, Prepared

_SHOWN = 60
_FEW = 3  # photos of a subject, fewer than which are few

ConceptFile = Annotated[
    list[str] | None,
    typer.Option("-c", "--concept", metavar="FILE", help="What is taught, made by persam learn; again for another."),
]

OverwriteCorrected = Annotated[
    bool, typer.Option("--overwrite", help="Replace corrected masks too, and files that are in the way.")
]


def prepare(
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTOS...",
            help="Files, folders or quoted globs; or a folder that was prepared, to read it again.",
            show_default=False,
        ),
    ],
    concept: ConceptFile = None,
    masks: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Instead of a concept: masks that are there, of persam or named like their photos."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the subject, with --masks. Default: its class, or the name of DIR.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the result. Default: dreambooth.")
    ] = None,
    identifier: Annotated[
        list[str] | None,
        typer.Option(help="The rare word that will mean it; again for each concept. Default: t@y, s@z, ..."),
    ] = None,
    class_word: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="What it is, such as mug; again for each concept. Default: words it was learned with, or its name.",
        ),
    ] = None,
    caption: Annotated[
        str | None, typer.Option(help="Of each of these photos. Default: 'a photo of {identifier} {class}'.")
    ] = None,
    crop: Annotated[str, typer.Option(help="subject: a square around it; whole: the photo as it is.")] = "subject",
    resolution: Annotated[int, typer.Option(help="Pixels of the square, or of a whole photo's shorter side.")] = 512,
    margin: Annotated[float, typer.Option(help="Around the subject, as a share of its longer side.")] = 0.25,
    threshold: Threshold = 0.5,
    overwrite: OverwriteCorrected = False,
    model: ConceptsModel = None,
    encoder: ConceptsEncoder = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "torch",
    json: Json = False,
) -> None:
    """Find a subject in photos, and write photos, masks and captions for training, with a sheet to look at.

    Correct what is wrong by painting over masks, and name the folder: it is read again, and its lists are written anew.
    kohya's and diffusers' scripts read it, too.

    [bold]Examples[/bold]

    persam dreambooth prepare photos/ --concept mug.safetensors --class mug -o my-mug

    persam dreambooth prepare photos/ --masks found/masks/mug --class mug -o my-mug

    persam dreambooth prepare my-mug
    """
    from persam.dreambooth import Framing, prepare, prepare_masked

    files = [*(concept or []), *(item for item in photos if item.lower().endswith(CONCEPT_SUFFIX))]
    others = [item for item in photos if item not in files]
    if masks is None and not files and output is None and _is_prepared(others):
        if (name, crop, resolution, margin, threshold) != (None, "subject", 512, 0.25, 0.5):
            raise UsageError(
                f"{others[0]} is read again as it is; to cut or find anew, name the photos, and it with --output."
            )
        _read_again(others[0], identifier or [], class_word or [], caption, overwrite=overwrite, json=json)
        return
    framing = Framing(crop, resolution, margin)  # type: ignore[arg-type]
    folder = output or Path("dreambooth")
    places: list[Any]
    if masks is not None:
        if files:
            raise UsageError("Give --concept, to find the subject, or --masks that are there; not both.")
        words = [_only(each, option) for option, each in (("--identifier", identifier), ("--class", class_word))]
        places = _found(others)
        with photo_bar(len(places)) as (_, on_photo):
            done = prepare_masked(
                places,
                masks,
                folder,
                name=name or words[1] or Path(masks).name,
                identifier=words[0],
                class_word=words[1],
                caption=caption,
                framing=framing,
                overwrite=overwrite,
                on_photo=on_photo,
            )
    else:
        if name is not None:
            raise UsageError("--name is for --masks; a concept has its own name.")
        concepts, strange = concepts_in(files)
        if strange:
            raise UsageError(f"{strange[0]} is no concept; give a file that ends in {CONCEPT_SUFFIX}.")
        places = _found(others)
        called, other = model_of(concepts[0], model, encoder)
        loaded = load_model(called, device=device, dtype=dtype, backend=backend, encoder=other)
        with photo_bar(len(places)) as (_, on_photo):
            done = prepare(
                loaded,
                places,
                concepts,
                folder,
                identifiers=identifier or (),
                class_words=class_word or (),
                caption=caption,
                framing=framing,
                threshold=threshold,
                overwrite=overwrite,
                on_photo=on_photo,
            )
    _tell(done, json=json)
    refuse_failures(done.failures, len(places), "read")


def _found(photos: Sequence[str]) -> list[Any]:
    from persam.finding import find_images

    return find_images(photos)


def _is_prepared(photos: Sequence[str]) -> bool:
    from persam.dreambooth.subjects import PREPARED

    return len(photos) == 1 and (Path(photos[0]).expanduser() / PREPARED).is_file()


def _only(words: list[str] | None, option: str) -> str | None:
    if words and len(words) > 1:
        raise UsageError(f"{option} was given {len(words)} times for one subject; with --masks give it once.")
    return words[0] if words else None


def _read_again(
    folder: str, identifiers: list[str], class_words: list[str], caption: str | None, *, overwrite: bool, json: bool
) -> None:
    from persam.dreambooth import recheck

    with progress_bar("Photos") as advance:
        done = recheck(
            folder,
            identifiers=identifiers,
            class_words=class_words,
            caption=caption,
            overwrite=overwrite,
            on_photo=advance,
        )
    if not done.problems:
        _tell(done, json=json)
        return
    if json:
        print_json(_summary(done))
    for problem in done.problems:
        complain(problem)
    say(f"Nothing was changed in {done.folder}; put that right, and say the same again.")
    raise typer.Exit(1)


def enlarge(
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="GENERATED...",
            help="A folder that persam dreambooth generate made, or any folders and files of pictures.",
            show_default=False,
        ),
    ],
    concept: Annotated[str, typer.Option("-c", "--concept", metavar="FILE", help="The object.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the data set.")] = Path("perseg"),
    name: Annotated[str | None, typer.Option(help="Of the object in the data set. Default: the concept's.")] = None,
    keep_unsure: Annotated[
        bool, typer.Option("--keep-unsure", help="Take photos, too, in which persam is unsure of it.")
    ] = False,
    overwrite: OverwriteCorrected = False,
    model: ConceptsModel = None,
    encoder: ConceptsEncoder = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "torch",
    json: Json = False,
) -> None:
    """Make a data set in PerSeg's layout of generated photos, with masks to be reviewed. Further objects are added.

    Photo 00, which methods are shown, is the real one if the concept keeps it (persam learn --keep-reference).

    [bold]Example[/bold]

    persam dreambooth enlarge generated --concept mug.safetensors -o perseg-more
    """
    from persam.dreambooth import enlarge
    from persam.dreambooth.perseg_set import generated_photos

    (given,), strange = concepts_in([concept])
    if strange:
        raise UsageError(f"{strange[0]} is no concept; give a file that ends in {CONCEPT_SUFFIX}.")
    places = generated_photos(photos)
    called, other = model_of(given, model, encoder)
    loaded = load_model(called, device=device, dtype=dtype, backend=backend, encoder=other)
    with photo_bar(len(places)) as (_, on_photo):
        done = enlarge(
            loaded, places, given, output, name=name, keep_unsure=keep_unsure, overwrite=overwrite, on_photo=on_photo
        )
    if json:
        print_json(
            {
                "folder": str(done.folder),
                "object": done.object,
                "sheet": str(done.sheet),
                "list": str(done.listed),
                "photos": [asdict(photo) | {"used": photo.used} for photo in done.photos],
                "failed": [{"image": photo, "error": problem} for photo, problem in done.failures],
            }
        )
    else:
        _tell_enlarged(done)
    refuse_failures(done.failures, len(places), "read")


# ------------------------------------------------------------------------------------------------ what is told


def _tell_enlarged(done: Enlarged) -> None:
    used = [photo for photo in done.photos if photo.used]
    real = sum(photo.verdict == "reference" for photo in used)
    out_of_it = [photo for photo in done.photos if not photo.used]
    for photo in out_of_it[:_SHOWN]:
        score = "" if photo.score is None else f", score {photo.score:.2f}"
        say(f"Left out: {photo.source} ({photo.verdict}{score}). {' '.join(photo.reasons)}".rstrip())
    if len(out_of_it) > _SHOWN:
        say(f"... and {len(out_of_it) - _SHOWN} more in {done.listed}")
    first = f"{real} real, 00 among them" if real else "00 is the surest of them"
    say(f"{done.object}: {len(used)} photos ({first}) in {done.folder}/, {len(out_of_it)} left out.")
    say(f"The masks are persam's own and nobody has reviewed them: look at {done.sheet}, and paint over what is wrong.")
    say(f"Then: persam bench perseg --data {quote(str(done.folder))}")


def _tell(done: Prepared, *, json: bool) -> None:
    if json:
        print_json(_summary(done))
        return
    grid = table("subject", "photo", "mask", "score", "look at", right=("score",))
    rows = 0
    for subject in done.subjects:
        for photo in subject.photos:
            rows += 1
            if rows <= _SHOWN:
                how = "corrected" if photo.corrected else "given" if photo.score is None else "found"
                score = "" if photo.score is None else f"{photo.score:.2f}"
                doubts = " ".join(done.doubts.get(photo.image, ()))
                grid.add_row(*map(escape, map(printable, (subject.name, photo.image.name, how, score, doubts))))
    console = out()
    console.print(grid)
    if rows > _SHOWN:
        console.print(f"... and {rows - _SHOWN} more on the sheet")
    for left in done.left_out[:_SHOWN]:
        say(f"Left out of {left.subject}: {Path(left.photo).name}. {left.why}")
    if len(done.left_out) > _SHOWN:
        say(f"... and {len(done.left_out) - _SHOWN} more.")
    for mask in done.kept:
        say(f"Corrected by you and kept: {mask} (--overwrite replaces it).")
    for gone in done.gone:
        say(f"Removed by you: {gone}.")
    for subject in done.subjects:
        count = len(subject.photos)
        few = (
            f" More photos teach it better; {_FEW} to 6, each with another background, are usual."
            if count < _FEW
            else ""
        )
        say(f"{subject.name}: {counted(count, 'photo')}, taught as: {subject.prompt}.{few}")
    again = f"persam dreambooth prepare {quote(str(done.folder))}"
    say(f"Look at {done.sheet}, correct masks or remove photos, and say: {again}")


def _summary(done: Prepared) -> dict[str, Any]:
    return {
        "folder": str(done.folder),
        "sheet": str(done.sheet),
        "subjects": [
            {
                "name": subject.name,
                "identifier": subject.identifier,
                "class_word": subject.class_word,
                "photos": [
                    {
                        "image": str(photo.image),
                        "mask": str(photo.mask),
                        "caption": photo.caption,
                        "score": photo.score,
                        "corrected": photo.corrected,
                        "doubts": done.doubts.get(photo.image, ()),
                    }
                    for photo in subject.photos
                ],
            }
            for subject in done.subjects
        ],
        "left_out": [
            {"subject": left.subject, "photo": left.photo, "score": left.score, "why": left.why}
            for left in done.left_out
        ],
        "kept": [str(mask) for mask in done.kept],
        "gone": done.gone,
        "failed": [{"image": photo, "error": problem} for photo, problem in done.failures],
        "problems": done.problems,
    }
