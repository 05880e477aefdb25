"""`persam check`: what will go wrong with a reference, before anything is learned from it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from persam.cli.console import out, print_json, say, table
from persam.cli.options import Backend, Device, Dtype, Encoder, Fitted, Json, Mode, Model, load_model
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
from persam.errors import PersamWarning

if TYPE_CHECKING:
    from persam.doctor import CrossCheck, Diagnosis
    from persam.reference import Reference

_COLOURS = {"good reference": "green", "will work, but": "yellow", "do not use": "red"}


def check(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="The photo, or a transparent cut-out of the object.")],
    mask: MaskFile = None,
    reference: MoreReferences = None,
    box: Box = None,
    point: Point = None,
    not_point: NotPoint = None,
    scribble: Scribble = None,
    label: OfLabel = None,
    mask_as_stored: MaskAsStored = False,
    text: Text = None,
    text_index: TextIndex = None,
    finder: Finder = None,
    model: Model = "tiny",
    mode: Mode = "persam",
    encoder: Encoder = None,
    fitted: Fitted = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "torch",
    picture: Annotated[
        Path | None, typer.Option(help="Also write a picture: the mask, the confidence map, and what persam finds.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a picture that exists.")] = False,
    json: Json = False,
) -> None:
    """Say what will go wrong with a reference, before anything is learned from it: what it means and what to do.

    Of several references it also says which one predicts the others best, and which one hurts.

    [bold]Examples[/bold]

    persam check mug.jpg mug_mask.png --picture check.png

    persam check 1.jpg 1.png -r 2.jpg:2.png -r 3.jpg:3.png
    """
    from persam.doctor import check as check_references
    from persam.doctor.picture import draw_check
    from persam.reports.pictures import write_image
    from persam.targets import check_targets

    pairs = [pair_of(each) for each in reference or []]
    if picture is not None:
        sources = [photo, mask, scribble, model, encoder, fitted, finder, *(file for pair in pairs for file in pair)]
        check_targets([("--picture", picture)], sources, overwrite=overwrite)
    shown = HowShown(box, point, not_point, scribble, label, mask_as_stored, text, text_index)
    load = cache(
        lambda: load_model(
            model, device=device, dtype=dtype, backend=backend, mode=mode, encoder=encoder, fitted=fitted
        )
    )
    looking = FinderWhenNeeded(finder, model, load, device=device, dtype=dtype)
    references, doubts = _with_doubts(read_references(photo, mask, pairs, shown, looking))
    loaded = load()
    with progress_bar("Checking") as advance:
        diagnosis = check_references(
            loaded, references, doubts=doubts, progress=lambda done, total: advance(done=done, total=total)
        )
    if picture is not None:
        write_image(picture, draw_check(diagnosis))
    if json:
        print_json(diagnosis.to_dict())
        return
    _print_diagnosis(diagnosis)
    if picture is not None:
        say(f"What it saw is in {picture}.")


def _with_doubts(readers: Iterator[Reference]) -> tuple[list[Reference], list[list[str]]]:
    """Read references, and keep for each what is said on the way: here it is a finding among others."""
    references: list[Reference] = []
    doubts: list[list[str]] = []
    while True:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", PersamWarning)
            reference = next(readers, None)
        if reference is None:
            return references, doubts
        references.append(reference)
        doubts.append([str(each.message) for each in heard if issubclass(each.category, PersamWarning)])


def _print_diagnosis(diagnosis: Diagnosis) -> None:
    console = out()
    grid = table("reference", "cells", "own IoU", "told apart", "verdict", right=("cells", "own IoU", "told apart"))
    for number, each in enumerate(diagnosis.references, 1):
        seen = each.measures
        grid.add_row(
            escape(f"{number}: {each.name}" if diagnosis.comparison else each.name),
            f"{seen.cells:.0f}",
            f"{seen.own_iou:.2f}",
            f"{seen.separation:.2f}",
            f"[{_COLOURS[each.verdict]}]{each.verdict}[/]",
        )
    console.print(grid)
    for number, each in enumerate(diagnosis.references, 1):
        for finding in each.findings:
            where = f"{number}: " if diagnosis.comparison else ""
            console.print(f"- {where}{finding.severity}: {finding.sentence}", markup=False, soft_wrap=True)
    if diagnosis.comparison is not None:
        _print_comparison(diagnosis.comparison)


def _print_comparison(several: CrossCheck) -> None:
    numbers = [str(number) for number in range(1, len(several.ious) + 1)]
    columns = [f"in {number}" for number in numbers]
    more = ["the others", *(["without it"] if several.without_it else [])]
    grid = table("learned from", *columns, *more, right=(*columns, *more))
    for row, number in enumerate(numbers):
        cells = [f"{iou:.2f} ({score:.2f})" for iou, score in zip(several.ious[row], several.scores[row], strict=True)]
        cells.append(f"{several.predicts[row]:.2f}")
        if several.without_it:
            cells.append(f"{several.with_it[row]:.2f} -> {several.without_it[row]:.2f}")
        grid.add_row(number, *cells)
    console = out()
    console.print()
    console.print("IoU of what is found in each photo, and how sure it is that the object is there:", markup=False)
    console.print(grid)
    if several.without_it:
        console.print(
            "Without it: mean IoU in the other photos, learned from all references but their own, then without it."
        )
    console.print(f"Reference {several.best + 1} predicts the others best.")
