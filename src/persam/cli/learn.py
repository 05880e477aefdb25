"""`persam learn`: a photo and a mask in, a concept file out."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persam.cli.console import heard_warnings, out, print_json, say
from persam.cli.options import (
    Backend,
    Device,
    Dtype,
    Encoder,
    Fitted,
    Json,
    concept_path,
    finding_command,
    load_model,
    model_of,
)
from persam.cli.progress import progress_bar
from persam.cli.references import (
    Box,
    Finder,
    FinderWhenNeeded,
    HowShown,
    MaskAsStored,
    MaskFile,
    MoreReferences,
    NotPoint,
    OfLabel,
    Point,
    Scribble,
    Text,
    TextIndex,
    pair_of,
    read_references,
)
from persam.errors import PersamError, UsageError
from persam.models.encoder_name import EncoderName
from persam.words import counted

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.method.settings import Settings
    from persam.persam import PerSAM
    from persam.reference import Reference

# What the modes other than persam do instead of these looks.
_INSTEAD = {
    "from_afar": "nothing is learned from afar",
    "redraw": "masks are drawn once",
    "places": "the likeliest place alone is looked at",
}


def learn(
    photo: Annotated[
        Path | None,
        typer.Argument(metavar="PHOTO", help="The reference photo, or a transparent cut-out of the object."),
    ] = None,
    mask: MaskFile = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Concept file to write; default NAME.safetensors.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the object; default: the output's name, or the concept's.")
    ] = None,
    reference: MoreReferences = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="CONCEPT", help="Go on from this concept: add the photos to it, tune it."),
    ] = None,
    box: Box = None,
    point: Point = None,
    not_point: NotPoint = None,
    scribble: Scribble = None,
    label: OfLabel = None,
    mask_as_stored: MaskAsStored = False,
    text: Text = None,
    text_index: TextIndex = None,
    finder: Finder = None,
    tune: Annotated[
        bool | None,
        typer.Option("--tune/--no-tune", help="Fit PerSAM-F's scale weights.", show_default="no-tune"),
    ] = None,
    solver: Annotated[str, typer.Option(help="How to tune: direct, or adamw as published.")] = "direct",
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            help="tiny, a hub id, a folder, a .pth or .pt of SAM; see `persam models`. With --from: the concept's.",
            show_default="tiny",
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(help="persam, official or paper. With --from: the concept's.", show_default="persam"),
    ] = None,
    closer_look: Annotated[
        str | None,
        typer.Option(
            help="Look again from near in photos: small (where what was found is small), always (twice the time), off. "
            "With --from: the concept's.",
            show_default="small",
        ),
    ] = None,
    places: Annotated[
        int | None,
        typer.Option(
            help="Places of a photo that are compared where it is not clear (mode persam); 1: the likeliest alone, in "
            "less time. With --from: the concept's.",
            show_default="3",
        ),
    ] = None,
    redraw: Annotated[
        bool | None,
        typer.Option(
            "--redraw/--no-redraw",
            help="Draw masks again from close by, in photos that have pixels to spare (mode persam; half of the time "
            "that a photo takes). With --from: the concept's.",
            show_default="redraw",
        ),
    ] = None,
    from_afar: Annotated[
        bool | None,
        typer.Option(
            "--from-afar/--no-from-afar",
            help="Learn what fills its photo as it looks when it is small, too (mode persam); with --from: new ones.",
            show_default="from-afar",
        ),
    ] = None,
    encoder: Encoder = None,
    fitted: Fitted = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "torch",
    thumbnail: Annotated[bool, typer.Option("--thumbnail", help="Keep a small picture in the file.")] = False,
    keep_reference: Annotated[
        bool,
        typer.Option("--keep-reference", help="Keep photos and masks in the file, to tune and learn from them again."),
    ] = False,
    preview: Annotated[Path | None, typer.Option(help="Also write a picture of the mask on the photo.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    json: Json = False,
) -> None:
    """Learn an object from one photo (or a few) and show it by a mask, a box, points, a scribble or words.

    [bold]Examples[/bold]

    persam learn mug.jpg mug_mask.png -o mug.safetensors --name "my mug"

    persam learn mug.jpg --box 120,80,420,460 --preview check.png -o boxed.safetensors

    persam learn mug.jpg --text mug --finder facebook/sam3 --preview check.png -o by_text.safetensors

    persam learn 1.jpg 1.png -r 2.jpg:2.png --tune --keep-reference -o two.safetensors

    persam learn 3.jpg 3.png --from two.safetensors -o three.safetensors
    """
    from persam.concept import Concept
    from persam.method.scale import check_solver
    from persam.method.settings import Settings
    from persam.targets import check_targets

    started = time.perf_counter()
    check_solver(solver)
    looks = _looks_of(
        {"places": places, "closer_look": closer_look, "redraw": redraw, "from_afar": from_afar}, mode, photo
    )
    settings = Settings.of(mode or "persam").but(**looks) if mode or looks else None
    if photo is None and start is None:
        raise UsageError("Give a photo of the object, and a mask, a box, points, a scribble or words that show it.")
    if photo is None and (reference or box or point or not_point or scribble or text or finder or preview):
        raise UsageError("Name the first photo to learn from before the options, such as: persam learn 2.jpg 2.png.")
    if start is not None and output is None:
        raise UsageError("Say with -o where to write the new concept; the one that it goes on from stays as it is.")
    path = concept_path(output, name, photo or Path())
    pairs = [pair_of(each) for each in reference or []]
    targets = [("-o", path)] if preview is None else [("-o", path), ("--preview", preview)]
    sources = [photo, mask, scribble, start, fitted, model, encoder, finder, *(file for pair in pairs for file in pair)]
    check_targets(targets, sources, overwrite=overwrite)
    base = None if start is None else _looking(Concept.load(start), looks)
    tune = (base is not None and base.tuned) if tune is None else tune
    if solver != "direct" and not tune:
        raise UsageError(f"--solver {solver} says how to tune; add --tune.")
    if photo is None and not (tune or name or model or mode or looks or encoder):
        raise UsageError(f"There is nothing to do with {start}; give a photo to add to it, or --tune.")
    named, encoder = (model or "tiny", encoder) if base is None else model_of(base, model, encoder)
    settings = base.settings if base is not None and (mode is None or settings is None) else settings
    load = cache(
        lambda: load_model(
            named, device=device, dtype=dtype, backend=backend, settings=settings, encoder=encoder, fitted=fitted
        )
    )
    looking = FinderWhenNeeded(finder, named, load, device=device, dtype=dtype)
    with heard_warnings() as warned:
        references = []
        if photo is not None:
            shown = HowShown(box, point, not_point, scribble, label, mask_as_stored, text, text_index)
            references = list(read_references(photo, mask, pairs, shown, looking))
        is_doubtful = bool(warned)
        loaded = load()
        if base is None:
            concept = loaded.learn(references, name=name or path.stem, keep_references=keep_reference)
        else:
            concept = _go_on(loaded, base, references, keep_reference)
            concept = replace(concept, name=name or concept.name)
        if tune:
            concept = _tune(loaded, concept, solver)
    has_thumbnail = concept.thumbnail is not None and (thumbnail or (base is not None and base.thumbnail is not None))
    check_targets(targets, sources, overwrite=overwrite)  # again: tuning may take minutes, and others write too
    concept.save(path, thumbnail=has_thumbnail)
    if preview is not None:
        _write_preview(preview, concept, references)
    if json:
        print_json({"path": str(path)} | concept.metadata() | {"has_thumbnail": has_thumbnail, "warnings": warned})
        return
    unseen = looking.name if looking.is_loaded and preview is None else None
    _tell(concept, path, len(references), time.perf_counter() - started, base, unseen)
    _tell_if_nothing_was_far(concept, base, from_afar)
    say(f"Find it in other photos: {_next_command(path, named, encoder)}")
    if is_doubtful:
        words = ["persam", "check", str(photo), *([] if mask is None else [str(mask)])]
        say(f"See how good a reference it is: {shlex.join(words)}{'' if mask else ', with the same options'}")


def _looks_of(asked: dict[str, Any], mode: str | None, photo: Path | None) -> dict[str, Any]:
    """The settings that say where and from how near things are looked at, those of `asked` that are not None."""
    from persam.method.settings import Settings

    if asked["from_afar"] is not None and photo is None:
        raise UsageError("--from-afar and --no-from-afar say how photos are learned; give one, or leave them out.")
    looks = {name: value for name, value in asked.items() if value is not None}
    beyond = _beyond(Settings.of(mode), looks) if mode else None
    if beyond:
        option = f"--{beyond.replace('_', '-')}"
        raise UsageError(f"In mode {mode} {_INSTEAD[beyond]}; leave out {option} or --mode.")
    return looks


def _beyond(usual: Settings, looks: dict[str, Any]) -> str | None:
    """The first of the looks that a mode other than persam does without, by its preset."""
    if usual.mode == "persam":
        return None
    return next((name for name in _INSTEAD if looks.get(name, 0) > getattr(usual, name)), None)


def _looking(concept: Concept, looks: dict[str, Any]) -> Concept:
    """A concept that is looked for otherwise; what was learned stays."""
    from persam.method.settings import Settings

    here = {name: value for name, value in looks.items() if name != "from_afar"}  # which is for new photos
    if beyond := _beyond(Settings.of(concept.mode), here):
        raise UsageError(f"The concept {concept.name} is of mode {concept.mode}, in which {_INSTEAD[beyond]}.")
    return replace(concept, settings=concept.settings.but(**looks))


def _go_on(model: PerSAM, base: Concept, references: list[Reference], keep: bool) -> Concept:
    """A concept with more references; for another model or mode it is learned anew from those that it keeps."""
    try:
        model.check(base)
        fits = base.settings == model.settings
    except PersamError:
        if not base.keeps_references:
            raise
        fits = False
    if not fits:
        kept = base.kept_references()
        concept = model.learn([*kept, *references], name=base.name, keep_references=True)
        return concept if keep else replace(concept, kept=concept.kept[: len(kept)] + (None,) * len(references))
    return model.learn(references, base=base, keep_references=keep) if references else base


def _tune(model: PerSAM, concept: Concept, solver: str) -> Concept:
    if solver != "adamw":
        return model.tune(concept, solver=solver)
    from persam.method.scale import PUBLISHED_EPOCHS

    with progress_bar("Tuning", PUBLISHED_EPOCHS) as advance:
        return model.tune(concept, solver=solver, progress=lambda done: advance(done=done))


def _write_preview(path: Path, concept: Concept, references: list[Reference]) -> None:
    from persam.drawing import colour_of, draw_overlay
    from persam.reports.pictures import write_image

    mask = concept.material[-len(references)].mask.cpu().numpy()  # those of a concept to go on from come first
    write_image(path, draw_overlay(references[0].image, mask, colour_of(concept.name), dim=0.4))


def _tell(concept: Concept, path: Path, new: int, seconds: float, base: Concept | None, finder: str | None) -> None:
    """Say what was done; `finder` is what drew a mask that nobody has seen yet."""
    count = len(concept.references)
    photos = counted(count, "photo")
    if base is None:
        covered = concept.references[0].coverage
        done = f"Learned {concept.name!r} from {photos} in {seconds:.1f} s (it covers {covered:.0%} of the first)"
    elif new:
        done = f"Learned {concept.name!r} from {photos}, {new} of them new, in {seconds:.1f} s"
    else:
        done = f"{'Tuned' if concept.tuned else 'Made'} {concept.name!r} with {photos} in {seconds:.1f} s"
    out().print(f"{done} -> {path}", markup=False)
    if concept.kept and not concept.keeps_references:
        say("Not all of its photos are kept in it, so it cannot be tuned again; --keep-reference keeps new ones.")
    if finder is not None:
        say(f"The mask is what {finder} found by the words {concept.text!r}; see it with --preview check.png.")


def _tell_if_nothing_was_far(concept: Concept, base: Concept | None, asked: bool | None) -> None:
    """Whoever asked for what is done anyway is told where it is not done."""
    from persam.method.afar import FILLS

    if not asked or concept.from_afar > (0 if base is None else base.from_afar):
        return
    where = (
        f"where the object covers more than {FILLS:.0%} of its photo, and numbers for it were fitted for the encoder"
    )
    older = "" if base is None else " (a concept that was learned before there were any has none: learn it anew)"
    say(f"Nothing was learned from afar: that is done {where}{older}.")


def _next_command(path: Path, model: str, encoder: str | None) -> str:
    """What to type next: it names files and folders of models, of which the concept only knows what they are called."""
    is_own = encoder is not None and Path(EncoderName.read(encoder).base).exists()
    return finding_command(path, model if Path(model).exists() else None, encoder if is_own else None)
