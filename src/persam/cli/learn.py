"""`persam learn`: a photo and a mask in, a concept file out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persam.cli.console import out, print_json, say
from persam.cli.options import Device, Dtype, Encoder, Json, Mode, Model, concept_path, load_model, numbers
from persam.cli.progress import progress_bar
from persam.errors import UsageError

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.persam import PerSAM
    from persam.reference import Reference


def learn(
    photo: Annotated[
        Path, typer.Argument(metavar="PHOTO", help="The reference photo, or a transparent cut-out of the object.")
    ],
    mask: Annotated[
        Path | None,
        typer.Argument(
            metavar="MASK", help="Its mask: an image in which the object is not black. A rough one is enough."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Concept file to write; default NAME.safetensors.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the object; default: the output's name.")] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            "-r", "--reference", metavar="PHOTO:MASK", help="One more photo and its mask; repeat for several."
        ),
    ] = None,
    box: Annotated[str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Instead of a mask: a box around it.")] = None,
    point: Annotated[list[str] | None, typer.Option(metavar="X,Y", help="Instead of a mask: a point on it.")] = None,
    not_point: Annotated[list[str] | None, typer.Option(metavar="X,Y", help="A point beside it.")] = None,
    scribble: Annotated[Path | None, typer.Option(help="Instead of a mask: an image of strokes on it.")] = None,
    tune: Annotated[bool, typer.Option("--tune/--no-tune", help="Fit PerSAM-F's scale weights.")] = False,
    solver: Annotated[str, typer.Option(help="How to tune: direct, or adamw as published.")] = "direct",
    model: Model = "tiny",
    mode: Mode = "persam",
    encoder: Encoder = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    thumbnail: Annotated[bool, typer.Option("--thumbnail", help="Keep a small picture in the file.")] = False,
    preview: Annotated[Path | None, typer.Option(help="Also write a picture of the mask on the photo.")] = None,
    json: Json = False,
) -> None:
    """Learn an object from one photo (or a few) and show it by a mask, a box, points or a scribble.

    [bold]Examples[/bold]

    persam learn mug.jpg mug_mask.png -o mug.safetensors --name "my mug"

    persam learn mug.jpg --box 120,80,420,460 --preview check.png

    persam learn 1.jpg 1.png -r 2.jpg:2.png -r 3.jpg:3.png --tune -o mug.safetensors
    """
    from persam.reference import Reference

    started = time.perf_counter()
    if solver != "direct" and not tune:
        raise UsageError(f"--solver {solver} says how to tune; add --tune.")
    path = concept_path(output, name, photo)
    points = [numbers(text, 2, "--point", "x,y") for text in point or []]
    outside = [numbers(text, 2, "--not-point", "x,y") for text in not_point or []]
    references = [
        Reference.read(
            photo,
            mask,
            box=None if box is None else numbers(box, 4, "--box", "x0,y0,x1,y1"),
            points=points + outside or None,
            labels=[1] * len(points) + [0] * len(outside) if points or outside else None,
            scribble=scribble,
        ),
        *(Reference.read(*_pair(text)) for text in reference or []),
    ]
    loaded = load_model(model, device=device, dtype=dtype, mode=mode, encoder=encoder)
    concept = loaded.learn(references, name=name or path.stem)
    if tune:
        concept = _tune(loaded, concept, solver)
    concept.save(path, thumbnail=thumbnail)
    if preview is not None:
        _write_preview(preview, concept, references[0])
    if json:
        print_json({"path": str(path)} | concept.metadata() | {"has_thumbnail": thumbnail})
        return
    seconds = time.perf_counter() - started
    count = len(references)
    covered = concept.references[0].coverage
    out().print(
        f"Learned {concept.name!r} from {count} photo{'s' * (count > 1)} in {seconds:.1f} s "
        f"(it covers {covered:.0%} of the first) -> {path}",
        markup=False,
    )
    say(f"Find it in other photos: persam segment {path} PHOTOS")


def _pair(text: str) -> tuple[str, str | None]:
    """Read ``PHOTO:MASK``, or a cut-out alone. A colon may also follow a drive letter, so the files decide."""
    if Path(text).is_file():
        return text, None
    places = [index for index, letter in enumerate(text) if letter == ":" and index != 1]
    for place in places:
        if Path(text[:place]).is_file() or len(places) == 1:
            return text[:place], text[place + 1 :]
    raise UsageError(f"--reference takes PHOTO:MASK, such as 2.jpg:2_mask.png, not {text!r}.")


def _tune(model: PerSAM, concept: Concept, solver: str) -> Concept:
    if solver != "adamw":
        return model.tune(concept, solver=solver)
    from persam.method.scale import PUBLISHED_EPOCHS

    with progress_bar("Tuning", PUBLISHED_EPOCHS) as advance:
        return model.tune(concept, solver=solver, progress=lambda done: advance(done=done))


def _write_preview(path: Path, concept: Concept, reference: Reference) -> None:
    from persam.drawing import colour_of, draw_overlay
    from persam.outputs import write_image

    mask = concept.material[0].mask.cpu().numpy()
    write_image(path, draw_overlay(reference.image, mask, colour_of(concept.name), dim=0.4))
