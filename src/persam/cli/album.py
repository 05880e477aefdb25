"""`persam album`: thousands of photos, several concepts; it goes on where it stopped, and knows what it has seen."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from persam.cli.album_report import failed_ones, print_table, say_what_next, summary_of, what_was_done
from persam.cli.album_views import views
from persam.cli.console import complain, out, print_json, say, table
from persam.cli.default_command import RunByDefault
from persam.cli.engines import Address, Engine, Workers, engine_of, loaded_by
from persam.cli.options import Backend, Device, Dtype, Json, concept_path, load_model, model_of
from persam.cli.photos import (
    ConceptsEncoder,
    ConceptsModel,
    Cutout,
    FinderToo,
    Items,
    MaxInstances,
    Overlay,
    OverwriteAll,
    PerInstance,
    Threshold,
    check_finder,
    concepts_in,
    model_with_finder,
    photo_bar,
    refuse_failures,
    refuse_stopped,
)
from persam.cli.progress import progress_bar
from persam.errors import PersamError, UsageError, printable
from persam.places import Place, is_remote, place_of

if TYPE_CHECKING:
    from persam.album.album import Album
    from persam.album.ray_engine import RayEngine
    from persam.concept import Concept
    from persam.persam import PerSAM

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        help="Also write it for another tool; repeat for several: sheet (to look at), coco, yolo, labelme, cvat, "
        "csv, parquet, colmap, blur, blank.",
    ),
]
Copy = Annotated[bool, typer.Option("--copy", help="Copy photos where a format lays links to them.")]
Cache = Annotated[
    str, typer.Option(help="Keep encoded photos, up to so much, such as 20GB: a further concept then costs little.")
]

app = typer.Typer(
    cls=RunByDefault,
    help="Find concepts in thousands of photos: persam album CONCEPT.safetensors... PHOTOS... -o DIR",
    no_args_is_help=True,
)


@app.command("run")
def run(
    items: Items,
    output: Annotated[
        str, typer.Option("-o", "--output", help="Folder of the album's results; s3://BUCKET/... and the like too.")
    ] = "album",
    overlay: Overlay = False,
    cutout: Cutout = False,
    per_instance: PerInstance = False,
    max_instances: MaxInstances = 1,
    threshold: Threshold = 0.5,
    formats: Formats = None,
    copy: Copy = False,
    cache: Cache = "0",
    engine: Engine = "local",
    workers: Workers = None,
    address: Address = None,
    overwrite: OverwriteAll = False,
    model: ConceptsModel = None,
    encoder: ConceptsEncoder = None,
    finder: FinderToo = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "torch",
    json: Json = False,
) -> None:
    """Find concepts in the photos of an album. Run it again when photos or concepts were added.

    A photo is known by its content: one that was renamed, or is there twice, is not done twice.

    [bold]Examples[/bold]

    persam album mug.safetensors cat.safetensors ~/photos/2024 -o album

    persam album bike.safetensors '~/photos/**/*.jpg' -o album --cache 20GB

    persam album bike.safetensors 's3://bucket/photos/**/*.jpg' -o s3://bucket/album

    persam album mug.safetensors photos -o album --engine ray --address auto
    """
    from persam.album.album import Album
    from persam.album.formats import FORMATS, check_formats
    from persam.finding import find_images
    from persam.models.loading import dtypes_of

    started = time.perf_counter()
    limit, place = bytes_of(cache), place_of(output)
    where = engine_of(engine, workers, address, device)
    check_formats(formats or [])
    concepts, others = concepts_in(items)
    check_finder(finder, concepts)
    photos = find_images(others)
    name, other = model_of(concepts[0], model, encoder)
    load = _loading(where, name, other, finder, concepts, device=device, dtype=dtype, backend=backend)
    stopped: KeyboardInterrupt | None = None
    failed: list[tuple[str, str]] = []
    with Album(place, overwrite=overwrite) as album, photo_bar(len(photos)) as (_, on_photo):
        with album.named():
            album.output.ledger.check(FORMATS[each].place for each in formats or [] if "." in FORMATS[each].place)
        try:
            report = album.fill(
                load,
                concepts,
                photos,
                overlay=overlay,
                cutout=cutout,
                per_instance=per_instance,
                max_instances=max_instances,
                threshold=threshold,
                cache=limit,
                dtypes=dtypes_of(name, other, device=device, dtype=dtype, backend=backend),
                finder=finder or "",
                engine=where,
                on_photo=on_photo,
            )
            failed = _export(album, formats or [], copy)
        except KeyboardInterrupt as stop:
            if not hasattr(stop, "report"):
                raise
            stopped, report = stop, stop.report
    seconds = time.perf_counter() - started
    if json:
        print_json(summary_of(report, place, seconds, stopped=stopped is not None))
    else:
        print_table(report)
        say(what_was_done(report, place, seconds))
        files = [item for item in dict.fromkeys(items) if item not in others]
        say_what_next(report, place, {each.name: file for each, file in zip(concepts, files, strict=True)}, concepts)
    if stopped is not None:
        done = report.done_before + report.done_now
        refuse_stopped(stopped, done, len(photos), place)
    refuse_failures(report.failures, len(photos))
    _refuse_failed(failed, place)


@app.command("fix")
def fix(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The album's folder.", show_default=False)],
    concept: Annotated[
        Path, typer.Argument(metavar="CONCEPT.safetensors", help="The concept that is corrected.", show_default=False)
    ],
    photo: Annotated[str | None, typer.Argument(metavar="PHOTO", help="A photo, and")] = None,
    mask: Annotated[
        Path | None, typer.Argument(metavar="MASK", help="its right mask; black where the thing is not there.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The better concept; default CONCEPT-fixed.safetensors.")
    ] = None,
    max_instances: Annotated[int, typer.Option(min=1, help="As the album was filled.")] = 1,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="As the album was filled.")] = 0.5,
    cache: Cache = "0",
    finder: FinderToo = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a concept file that exists.")] = False,
    model: ConceptsModel = None,
    encoder: ConceptsEncoder = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "torch",
) -> None:
    """Learn from corrected masks, and look again at the photos in which the concept is unsure.

    Correct masks in DIR/masks/CONCEPT with any program and name nothing, or name a photo and its right mask.

    [bold]Examples[/bold]

    persam album fix album mug.safetensors -o better.safetensors

    persam album fix album mug.safetensors kitchen.jpg kitchen_mask.png
    """
    from persam.album.album import Album
    from persam.models.loading import dtypes_of
    from persam.targets import check_targets

    if (photo is None) != (mask is None):
        raise UsageError("Give a photo and its mask, or neither: then the masks that you changed are taken.")
    place = _album_at(folder)
    limit = bytes_of(cache)
    (known,), _ = concepts_in([str(concept)])
    check_finder(finder, [known])
    path = concept_path(output or concept.with_stem(f"{concept.stem}-fixed"), None, concept)
    check_targets([("--output", path)], [concept, _on_this_disk(photo), mask], overwrite=overwrite)
    name, other = model_of(known, model, encoder)
    with Album(place) as album, photo_bar() as (_, on_photo):
        corrections = None if photo is None or mask is None else {_photo_of(album, photo): mask}
        loaded = load_model(name, device=device, dtype=dtype, backend=backend, settings=known.settings, encoder=other)
        loaded = model_with_finder(loaded, finder, [known], device=device, dtype=dtype)
        fixed = album.fix(
            loaded,
            known,
            corrections,
            max_instances=max_instances,
            threshold=threshold,
            cache=limit,
            dtypes=dtypes_of(name, other, device=device, dtype=dtype, backend=backend),
            finder=finder or "",
            on_photo=on_photo,
        )
        learned = fixed.concept is not known
        if learned or output is not None:
            fixed.concept.save(path, thumbnail=known.thumbnail is not None)
        else:
            path = concept
        left = sum(
            1 for image in fixed.looked_at if (album.index.line(image, known.name) or {}).get("verdict") == "unsure"
        )
    came_of_it = f"unsure ones that were looked at again: {len(fixed.looked_at)}, still unsure: {left}"
    if not learned:
        came_of_it = "the thing is in none of them, which teaches nothing, so the concept stays as it is"
    say(f"Corrected: {len(fixed.corrected)}; {came_of_it} -> {path}")
    say_what_next(fixed.report, place, {known.name: str(path)}, [fixed.concept])
    refuse_failures(fixed.report.failures, fixed.report.photos)


def _photo_of(album: Album, photo: str) -> str:
    """A photo as it was named, or the only one of the album with this file name."""
    alike = [] if is_remote(photo) or Path(photo).exists() else album.index.images()
    called = [each for each in alike if Path(each).name == photo]
    return called[0] if len(called) == 1 else photo


@app.command("export")
def export(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The album's folder.", show_default=False)],
    formats: Formats = None,
    copy: Copy = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are not persam's.")] = False,
) -> None:
    """Write what was found in an album in the forms that other tools read.

    [bold]Examples[/bold]

    persam album export album --format yolo --copy

    persam album export album --format blur
    """
    from persam.album.album import Album
    from persam.album.formats import FORMATS

    if not formats:
        raise UsageError(f"Say with --format which; there are {', '.join(FORMATS)}.")
    place = _album_at(folder)
    with Album(place, overwrite=overwrite) as album:
        failed = _export(album, formats, copy)
    say(f"Written: {', '.join(str(place / FORMATS[name].place) for name in dict.fromkeys(formats))}.")
    _refuse_failed(failed, place)


def _loading(
    engine: RayEngine | None,
    model: str,
    encoder: str | None,
    finder: str | None,
    concepts: Sequence[Concept],
    *,
    device: str,
    dtype: str,
    backend: str,
) -> Callable[[], PerSAM]:
    """What loads the model, and the finder if one is named, wherever photos are looked at."""
    there, on = loaded_by(engine, model, device)
    looking = None if finder is None else loaded_by(engine, finder, device)[0]

    def load() -> PerSAM:
        loaded = load_model(there, device=on, dtype=dtype, backend=backend, encoder=encoder)
        return model_with_finder(loaded, looking, concepts, device=on, dtype=dtype)

    return load


def _export(album: Album, formats: list[str], copy: bool) -> list[tuple[str, str]]:
    """Write the formats; returns the photos that could not be written, which are named at once."""
    with progress_bar("Formats", len(formats)) as advance:
        written = album.export(formats, copy=copy, on_format=lambda name: advance(what=name))
    for _, problem in written.failures:
        complain(problem)
    if {"blur", "blank"} & set(formats):
        say("What was not found, or not all of it, is not hidden: look at the pictures before you hand them on.")
    return written.failures


def _refuse_failed(failed: list[tuple[str, str]], folder: Place) -> None:
    if failed:
        raise PersamError(f"{len(failed)} photos could not be written for other tools; all else is in {folder}/.")


def _album_at(folder: str) -> Place:
    from persam.album.outputs import INDEX
    from persam.ledger import HIDDEN

    place = place_of(folder)
    if not (place / HIDDEN / INDEX).exists():
        raise UsageError(f"{place} is no album; make one: persam album CONCEPT PHOTOS -o {place}.")
    return place


def _on_this_disk(file: str | None) -> Path | None:
    return None if file is None or is_remote(file) else Path(file)


@app.command("find")
def find(
    concept: Annotated[
        Path, typer.Argument(metavar="CONCEPT.safetensors", help="What to look for.", show_default=False)
    ],
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The album's folder.", show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="Show so many photos.")] = 20,
    cache: Cache = "0",
    engine: Engine = "local",
    workers: Workers = None,
    address: Address = None,
    model: ConceptsModel = None,
    encoder: ConceptsEncoder = None,
    finder: FinderToo = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "torch",
    json: Json = False,
) -> None:
    """Rank an album's photos by the chance that a concept, which may be new, is in them. No results are written.

    [bold]Example[/bold]

    persam album find bike.safetensors album --top 10
    """
    from persam.album.album import Album
    from persam.models.loading import dtypes_of

    limit = bytes_of(cache)
    where = engine_of(engine, workers, address, device)
    (wanted,), _ = concepts_in([str(concept)])
    check_finder(finder, [wanted])
    name, other = model_of(wanted, model, encoder)
    load = _loading(where, name, other, finder, [wanted], device=device, dtype=dtype, backend=backend)
    place = _album_at(folder)
    failed: list[tuple[str, str]] = []
    with Album(place) as album:
        total = len(album.index.images())
        with photo_bar(total, failed) as (_, on_photo):
            ranked = album.find(
                load,
                wanted,
                cache=limit,
                dtypes=dtypes_of(name, other, device=device, dtype=dtype, backend=backend),
                finder=finder or "",
                engine=where,
                on_photo=on_photo,
            )
    if json:
        first = [vars(one) for one in ranked[:top]]
        print_json({"concept": wanted.name, "photos": total, "ranked": first, "failed": failed_ones(failed)})
    else:
        grid = table("photo", "score", "verdict", "box", right=("score",))
        for one in ranked[:top]:
            box = "" if one.box is None else ",".join(map(str, one.box))
            grid.add_row(escape(printable(one.image)), f"{one.score:.2f}", one.verdict, box)
        out().print(grid)
    refuse_failures(failed, total)


def bytes_of(text: str) -> int:
    """Read an amount such as ``20GB``, ``500M`` or ``0``.

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", text, re.IGNORECASE)
    if match is None:
        raise UsageError(f"--cache takes an amount such as 20GB or 500MB, not {text!r}.")
    return int(float(match[1]) * _UNITS[match[2].upper()])


app.command("views")(views)
