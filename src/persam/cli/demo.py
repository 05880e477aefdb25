"""`persam demo`: all of the main job, with no input from the user."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persam.cli.console import out, print_json, table
from persam.cli.options import Device, Json, Mode, Model
from persam.cli.progress import progress_bar

if TYPE_CHECKING:
    from persam.demo import DemoReport


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the pictures.")] = Path("persam-demo"),
    model: Model = "tiny",
    mode: Mode = "persam",
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes another album.")] = 0,
    thing: Annotated[
        list[str] | None, typer.Option(help="Only this one: cup, cat or motorcycle; repeat for several.")
    ] = None,
    photos: Annotated[int | None, typer.Option(min=2, help="At most so many photos of each.")] = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace any file that is in the way.")] = False,
    json: Json = False,
) -> None:
    """Learn things from one photo each, tune, find them in small albums, and leave pictures to look at.

    It needs no input and no network: the albums are made of real photographs that come with scikit-image.

    [bold]Examples[/bold]

    persam demo

    persam demo -o big --model facebook/sam-vit-base --seed 3
    """
    from persam.demo import run

    with progress_bar("loading the model") as advance:

        def show(what: str, done: int, total: int) -> None:
            advance(what=what, done=done, total=total)

        report = run(
            output,
            model=model,
            mode=mode,
            seed=seed,
            things=thing,
            photos=photos,
            device=device,
            overwrite=overwrite,
            progress=show,
        )
    if json:
        print_json(report.to_dict())
    else:
        _tell(report)


def _tell(report: DemoReport) -> None:
    console = out()
    for thing in report.things:
        weights = ", ".join(f"{weight:.2f}" for weight in thing.scale_weights)
        console.print(
            f"[bold]{thing.thing}[/bold]: learned in {thing.learn_seconds:.2f} s, tuned in {thing.tune_seconds:.2f} s, "
            f"scale weights {weights}"
        )
        grid = table(
            "photo", "truth", "present?", "score", "IoU PerSAM", "IoU PerSAM-F",
            right=("score", "IoU PerSAM", "IoU PerSAM-F"),
        )  # fmt: skip
        for photo in thing.photos:
            said = "yes" if photo.present else "no"
            grid.add_row(
                photo.name,
                photo.truth,
                said if photo.right else f"[red]{said} (wrong)[/red]",
                f"{photo.score:.2f}",
                _iou(photo.iou_persam),
                _iou(photo.iou_persam_f),
            )
        console.print(grid)
        console.print()
    plain, tuned = report.mean_iou
    seconds, photos = report.mean_seconds(), report.photos
    console.print(
        f"Mean IoU over the {sum(p.count > 0 for p in photos)} photos that have the thing: PerSAM {plain:.2f}, "
        f"PerSAM-F {tuned:.2f} (model {report.model}, mode {report.mode}, seed {report.seed})."
    )
    console.print(
        f"Present or not was told right in {sum(p.right for p in photos)} of {len(photos)} photos. Mean times: learn "
        f"{seconds['learn']:.2f} s, tune {seconds['tune']:.3f} s, find {seconds['segment']:.2f} s per photo."
    )
    if report.model == "tiny":
        console.print("The bundled model is small, for trying and for easy photos; `persam models` names larger ones.")
    console.print(f"\nOpen first: {report.page}  (or {report.sheet}; the way to every mask is in */explain/)")
    console.print("Then, with your own photos:")
    console.print("  persam learn mug.jpg mug_mask.png --tune -o mug.safetensors")
    console.print("  persam segment mug.safetensors photos/ -o found --overlay --sheet")


def _iou(value: float | None) -> str:
    """An IoU, or a dash where there is nothing to find."""
    return "-" if value is None else f"{value:.2f}"
