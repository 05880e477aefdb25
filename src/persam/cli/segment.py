"""`persam segment`: concepts and photos in, masks and a table out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from persam.cli.console import out, print_json, say, table
from persam.cli.options import Backend, Device, Dtype, Json, load_model, model_of
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
from persam.errors import UsageError

if TYPE_CHECKING:
    from persam.album.batch import BatchReport, Plan

_ROWS_SHOWN = 60


def segment(
    items: Items,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path("found"),
    overlay: Overlay = False,
    cutout: Cutout = False,
    coco: Annotated[bool, typer.Option("--coco", help="Also write coco.json.")] = False,
    sheet: Annotated[bool, typer.Option("--sheet", help="Also write a contact sheet, PNG and HTML.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Also write the way to each mask as a picture.")] = False,
    per_instance: PerInstance = False,
    max_instances: MaxInstances = 1,
    threshold: Threshold = 0.5,
    model: ConceptsModel = None,
    encoder: ConceptsEncoder = None,
    finder: FinderToo = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "torch",
    overwrite: OverwriteAll = False,
    json: Json = False,
) -> None:
    """Find learned objects in photos. Masks and results.jsonl are always written.

    What an earlier run did is not done again, so that a run that was stopped goes on when it is called again.

    [bold]Examples[/bold]

    persam segment mug.safetensors album/ -o found --overlay --sheet

    persam segment mug.safetensors cat.safetensors 'holiday/**/*.jpg' --coco --json
    """
    from persam.album.batch import Wanted, plan_photos, segment_photos
    from persam.album.outputs import OutputFolder
    from persam.finding import find_images
    from persam.models.loading import dtypes_of

    started = time.perf_counter()
    concepts, others = concepts_in(items)
    if finder is not None and explain:
        raise UsageError("--explain shows the way of what the photo's features find alone; leave out --finder, or it.")
    check_finder(finder, concepts)
    photos = find_images(others)
    name, other = model_of(concepts[0], model, encoder)
    dtypes = dtypes_of(name, other, device=device, dtype=dtype, backend=backend)
    wanted = Wanted(
        overlay=overlay,
        cutout=cutout,
        explain=explain,
        per_instance=per_instance,
        coco=coco,
        sheet=sheet,
        max_instances=max_instances,
        threshold=threshold,
        finder=finder or "",
    )
    with OutputFolder(output, overwrite=overwrite) as folder:
        plan = plan_photos(concepts, photos, folder, wanted, dtypes=dtypes)
        loaded = load_model(name, device=device, dtype=dtype, backend=backend, encoder=other) if plan.tasks else None
        if loaded is not None:
            loaded = model_with_finder(loaded, finder, concepts, device=device, dtype=dtype)
        with photo_bar(len(plan.tasks)) as (advance, on_photo):

            def on_sheet(done: int, total: int) -> None:
                advance(done=done, total=total, what="Contact sheet")

            report = segment_photos(loaded, plan, on_photo=on_photo, on_sheet=on_sheet)
        dropped = len({image for image, _ in folder.outdated}) if report.photos else 0
    seconds = time.perf_counter() - started
    if json:
        print_json(_summary(report, plan, seconds))
    else:
        _print_table(report, plan.wanted.threshold)
        say(_what_was_done(report, plan, seconds))
    if dropped:
        say(
            f"Of the photos that another version of persam did, {dropped} were not named now and have no line in "
            f"{folder.results_path} any more; name them to do them again."
        )
    if report.stop is not None:
        done = plan.done_before + report.photos
        refuse_stopped(report.stop, done, len(photos), output)
    refuse_failures(report.failures, len(photos))


def _is_found(line: dict[str, Any]) -> bool:
    return line["present"] and line["box"] is not None


def _what_was_done(report: BatchReport, plan: Plan, seconds: float) -> str:
    hits = sum(_is_found(line) for _, line in report.lines)
    photos = len({photo for photo, _ in report.lines})
    before = f" ({plan.done_before} of {len(plan.photos)} were done before)" if plan.done_before else ""
    where = f"; all of it in {plan.output.folder}/" if report.lines else ""
    return f"{hits} found in {photos} photos{before}, {seconds:.1f} s{where}"


def _print_table(report: BatchReport, threshold: float) -> None:
    from persam.errors import printable

    if not report.lines:
        return
    grid = table(
        "photo", "object", "found", "score", "similarity", "box", "area", right=("score", "similarity", "area")
    )
    for photo, line in report.lines[:_ROWS_SHOWN]:
        found = _is_found(line)
        grid.add_row(
            escape(printable(str(photo))),
            escape(printable(line["concept"])),
            ("[green]yes[/green]" if found else "no") + ("?" if line["verdict"] == "unsure" else ""),
            _score_told(line["score"], threshold),
            f"{line['similarity']:.2f}",
            ",".join(map(str, line["box"])) if found else "",
            f"{line['area']:.1%}" if found else "",
        )
    console = out()
    console.print(grid)
    if any(line["verdict"] == "unsure" for _, line in report.lines[:_ROWS_SHOWN]):
        console.print("?: unsure; have a look.")
    if len(report.lines) > _ROWS_SHOWN:
        console.print(f"... and {len(report.lines) - _ROWS_SHOWN} more lines in results.jsonl")


def _score_told(score: float, threshold: float) -> str:
    """Two digits of a score, and more where it would be rounded to the other side of the threshold."""
    digits = next(count for count in range(2, 18) if (round(score, count) >= threshold) == (score >= threshold))
    return f"{score:.{digits}f}"


def _summary(report: BatchReport, plan: Plan, seconds: float) -> dict[str, Any]:
    return {
        "output": str(plan.output.folder),
        "photos": len(plan.photos),
        "done_before": plan.done_before,
        "found": sum(_is_found(line) for _, line in report.lines),
        "failed": [{"image": photo, "error": problem} for photo, problem in report.failures],
        "stopped": report.stop is not None,
        "seconds": round(seconds, 2),
        "files": report.files,
        "results": [line for _, line in report.lines],
    }
