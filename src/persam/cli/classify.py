"""`persam classify`: name the class of photos by a few shots of each, looking at the object alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from persam.cli.console import complain, out, print_json, say, table
from persam.cli.default_command import RunByDefault
from persam.cli.options import Device, Dtype, Json, Model, load_model
from persam.cli.photos import photo_bar, refuse_failures
from persam.cli.progress import progress_bar
from persam.errors import UsageError, printable
from persam.words import counted

if TYPE_CHECKING:
    from persam.classify.accuracy import ClassifyBench
    from persam.classify.descriptions import Described
    from persam.classify.naming import NamedPhoto

app = typer.Typer(
    cls=RunByDefault,
    help="Name the class of photos by a few photos of each: persam classify PHOTOS... --classes FOLDER -o DIR",
    no_args_is_help=True,
)

Masks = Annotated[
    Path | None,
    typer.Option(help="Folder with a folder of masks for each class. Default: masks/ in FOLDER or CLASS."),
]
FeatureEncoderName = Annotated[
    str | None,
    typer.Option("--encoder", help="Whose features: a CLIP (with its words), a DINOv2, ... Default: the model's own."),
]
WholePhoto = Annotated[bool, typer.Option("--whole", help="Look at whole photos alone; no mask is needed.")]
Prompt = Annotated[str, typer.Option(help="What CLIP is asked; {} is the class's name.", show_default=True)]
Words = Annotated[bool, typer.Option("--words/--no-words", help="Use the classes' names, where the encoder is a CLIP.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are not persam's.")]
_ROWS_SHOWN = 60


@app.command("run")
def run(
    photos: Annotated[
        list[str],
        typer.Argument(metavar="PHOTOS...", help="Photos to name: files, folders, quoted globs.", show_default=False),
    ],
    classes: Annotated[
        Path,
        typer.Option("--classes", help="Folder with a folder for each class: CLASS/photo.jpg.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path("named"),
    masks: Masks = None,
    tune: Annotated[bool, typer.Option("--tune", help="Train the cache (Tip-Adapter-F); seconds.")] = False,
    sheet: Annotated[bool, typer.Option("--sheet", help="Also write a contact sheet, PNG and HTML.")] = False,
    whole: WholePhoto = False,
    model: Model = "tiny",
    encoder: FeatureEncoderName = None,
    words: Words = True,
    prompt: Prompt = "a photo of a {}.",
    device: Device = "auto",
    dtype: Dtype = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Name the class of photos, with its probability and the runner-up: classes.csv and classes.jsonl.

    One rough mask for one photo of each class is enough: FOLDER/CLASS/masks/photo.png. persam finds the object in all
    others.

    [bold]Examples[/bold]

    persam classify new_photos/ --classes things -o named --sheet

    persam classify new_photos/ --classes things --encoder openai/clip-vit-base-patch32 --tune
    """
    from persam.classify.folder import read_classes
    from persam.classify.names_file import claimed_names, write_names
    from persam.classify.naming import Classifier
    from persam.finding import find_images

    found = read_classes(classes, masks)
    wanted = find_images(photos)
    failures: list[tuple[str, str]] = []
    with claimed_names(output, sheet=sheet, overwrite=overwrite):
        described = _described(
            found, model, encoder, whole=whole, words=words, prompt=prompt, device=device, dtype=dtype
        )
        with progress_bar("Cache", None):
            classifier = Classifier.of(described, tune=tune)
        named = []
        with photo_bar(len(wanted), failures) as (_, on_photo):
            for photo in wanted:
                named += _each(classifier.name, photo, on_photo)
        write_names(named, described, output, sheet=sheet)
    if json:
        print_json(
            {
                "output": str(output),
                "classes": list(described.names),
                "features": described.describer.features.name,
                "looked_at": classifier.features,
                "method": classifier.method,
                "words": described.words is not None,
                "alpha": classifier.cache.alpha,
                "beta": classifier.cache.beta,
                "left_out": [{"file": file, "error": problem} for file, problem in described.left_out],
                "failed": [{"image": photo, "error": problem} for photo, problem in failures],
                "results": [one.to_dict(described.names) for one in named],
            }
        )
    else:
        _print_names(named)
        shots = f"{len(described.photos)} photos of {len(described.names)} classes"
        names = "with the classes' names" if described.words is not None else "without the classes' names"
        how = f"{classifier.method} from {shots}, {classifier.features}, {names}"
        say(f"{counted(len(named), 'photo')} named by {how}; in {output}/")
    refuse_failures(failures, len(wanted), "named")


@app.command("bench")
def bench(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder for each class: CLASS/photo.jpg.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the report.")] = Path("classify-report"),
    masks: Masks = None,
    model: Model = "tiny",
    encoder: FeatureEncoderName = None,
    whole: WholePhoto = False,
    words: Words = True,
    prompt: Prompt = "a photo of a {}.",
    shots: Annotated[str, typer.Option(help="Numbers of shots, with commas.")] = "1,2,4,8,16",
    draws: Annotated[int, typer.Option(min=1, help="How often shots are drawn.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Measure it on your own photos: accuracy over shots, object alone against whole photo, tuned or not.

    [bold]Examples[/bold]

    persam classify bench things -o report

    persam classify bench PerSeg/Images --masks PerSeg/Annotations --shots 1,2,4
    """
    from persam.classify.accuracy import bench
    from persam.classify.folder import read_classes
    from persam.classify.report import accuracy_table, claimed_folder, figures, gain_tables, write_report
    from persam.reports.figures import check_plots

    numbers = _shots(shots)
    check_plots()
    found = read_classes(folder, masks)
    with claimed_folder(output, overwrite=overwrite):
        described = _described(
            found, model, encoder, whole=whole, words=words, prompt=prompt, device=device, dtype=dtype
        )
        with progress_bar("Draws", draws) as advance:
            result = bench(described, numbers, draws=draws, seed=seed, progress=advance)
            page = write_report(result, output)
    if json:
        print_json(figures(result) | {"report": str(page)})
        return
    _print_bench(result, [accuracy_table(result), *gain_tables(result)])
    say(f"The report is {page}.")


def _shots(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--shots takes numbers from 1 on with commas between, such as 1,2,4, not {text!r}.")
    return [int(part) for part in parts]


def _described(
    classes: Sequence[Any],
    model: str,
    encoder: str | None,
    *,
    whole: bool,
    words: bool,
    prompt: str,
    device: str,
    dtype: str,
) -> Described:
    """Load what is needed, and describe the photos of the classes; what could not be read is told."""
    from persam.classify.descriptions import describe
    from persam.classify.features import load_features

    loaded = load_model(model, device=device, dtype=dtype)
    features = load_features(
        encoder, model_name=loaded.model.name, device=device, dtype=dtype, words=words, prompt=prompt
    )
    unshown = [each.name for each in classes if not each.is_shown]
    if unshown and not whole:
        say(
            f"No mask shows {', '.join(unshown[:5])}{', ...' if len(unshown) > 5 else ''}, so whole photos are looked "
            "at; give one mask of each class, as CLASS/masks/PHOTO.png, to look at the objects alone."
        )
    total = sum(len(each.photos) for each in classes)
    with progress_bar("Classes", total) as advance:

        def on_photo(photo: Path, problem: str | None) -> None:
            advance()
            if problem is not None:
                complain(problem)

        return describe(loaded, classes, features, foreground=not whole, on_photo=on_photo)


def _each(
    name: Callable[[Any], NamedPhoto], photo: Any, on_photo: Callable[[Any, str | None], None]
) -> list[NamedPhoto]:
    from persam.errors import PersamError

    try:
        named = name(photo)
    except PersamError as error:
        on_photo(photo, str(error))
        return []
    on_photo(photo, None)
    return [named]


def _print_names(named: Sequence[NamedPhoto]) -> None:
    grid = table("photo", "class", "probability", "runner-up", "probability ", right=("probability", "probability "))
    for one in named[:_ROWS_SHOWN]:
        grid.add_row(
            escape(printable(one.described.path)),
            escape(printable(one.name)),
            f"{one.probability:.2f}",
            escape(printable(one.runner_up)),
            f"{one.probabilities[one.runner_up]:.2f}",
        )
    out().print(grid)
    if len(named) > _ROWS_SHOWN:
        out().print(f"... and {len(named) - _ROWS_SHOWN} more lines in classes.csv")


def _print_bench(result: ClassifyBench, tables: Sequence[Any]) -> None:
    console = out()
    for each in tables:
        each.print(console)
        console.print()
