"""`persam bench`: how good and how fast, on your machine and your data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    help="Measure: accuracy of the modes, speed of tuning, time added to plain SAM.", no_args_is_help=True
)

Model = Annotated[str, typer.Option("--model", help="bundled: tiny; else a hub id, a folder, or a .pth of SAM")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps")]
Count = Annotated[int, typer.Option(min=1)]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]


@app.command()
def modes(
    data: Annotated[Path, typer.Option("--data", help="folder that holds perseg/, fss/ and/or davis/")],
    model: Model = "tiny",
    encoder: Annotated[str | None, typer.Option("--encoder", help="another encoder for the confidence map")] = None,
    solver: Annotated[str, typer.Option("--solver", help="of PerSAM-F: direct, or adamw as published")] = "direct",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compare official, paper and persam, PerSAM and PerSAM-F, by mIoU.

    Example: persam bench modes --data ~/data
    """
    from persam.benchmark.episodes import read_all
    from persam.benchmark.modes import PROTOCOL, compare_modes, summarise
    from persam.cli.progress import progress_bar
    from persam.models.loading import load_encoder, load_model

    episodes = read_all(data)
    loaded = load_model(model, device=device)
    other = None if encoder is None else load_encoder(encoder, device=device)
    photos = sum(len(episode.tests) for episode in episodes)
    with progress_bar("measuring", photos) as advance:
        rows = summarise(compare_modes(loaded, episodes, other, solver, advance))
    if as_json:
        header = {"model": loaded.name, "fingerprint": loaded.fingerprint, "encoder": encoder, "solver": solver}
        typer.echo(json.dumps(header | {"protocol": PROTOCOL, "rows": rows}, indent=2))
        return
    sets = list(rows[0]["by_data_set"])
    table = Table("form", "mIoU", *sets, "located", title=f"{loaded.name} ({loaded.fingerprint}), {photos} photos")
    for row in rows:
        table.add_row(
            row["form"],
            _with_interval(row["miou"], row["miou_interval"]),
            *(f"{row['by_data_set'][name]:.3f}" for name in sets),
            _with_interval(row["located"], row["located_interval"]),
        )
    console = Console()
    console.print(table)
    console.print(f"Protocol: {PROTOCOL}. PerSAM-F solver: {solver}.", style="dim", markup=False)


@app.command()
def tuning(model: Model = "tiny", device: Device = "auto", epochs: Count = 1000, as_json: Json = False) -> None:
    """Time PerSAM-F's direct solver against the published 1,000 epochs, on the same model and reference.

    Example: persam bench tuning
    """
    from persam.benchmark.speed import drawn_scene, tuning_speed

    persam = _persam(model, device)
    image, mask = drawn_scene()
    speed = tuning_speed(persam, persam.learn(image, mask), epochs)
    values = vars(speed) | {"model": persam.model.name, "epochs": epochs, "ratio": speed.passes / speed.direct}
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    table = Table("", "seconds", "loss", title=f"Tuning on one reference, {persam.model.name}")
    table.add_row(f"{epochs} decoder passes, as published", f"{speed.passes:.3f}", "")
    table.add_row(f"AdamW, {epochs} epochs, logits kept", f"{speed.published:.3f}", f"{speed.published_loss:.6f}")
    table.add_row("direct, with its decoder pass", f"{speed.direct:.4f}", f"{speed.direct_loss:.6f}")
    Console().print(table)
    typer.echo(f"direct is {speed.passes / speed.direct:.0f} x faster than the decoder passes alone")


@app.command()
def overhead(
    model: Annotated[str, typer.Option("--model", help="as elsewhere, or random vit-b, vit-l, vit-h")] = "vit-b",
    device: Device = "auto",
    repeats: Count = 5,
    as_json: Json = False,
) -> None:
    """Time that PerSAM adds to plain SAM (encode, one decoder pass, mask), per photo.

    Example: persam bench overhead --model vit-b
    """
    from persam.benchmark.speed import added_time, drawn_scene

    persam = _persam(model, device)
    image, mask = drawn_scene(1024)
    seconds = added_time(persam, persam.learn(image, mask), image, repeats)
    values = vars(seconds) | {"model": persam.model.name, "added": seconds.added}
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    table = Table("", "seconds", title=f"One photo, {persam.model.name}, median of {repeats}")
    for name in ("encode", "plain", "persam"):
        table.add_row({"plain": "plain SAM", "persam": "PerSAM"}.get(name, name), f"{getattr(seconds, name):.3f}")
    Console().print(table)
    typer.echo(f"PerSAM adds {seconds.added:.1%}")


def _persam(model: str, device: str) -> Any:
    from persam import PerSAM
    from persam.benchmark.speed import random_sam
    from persam.models.loading import choose_device

    if model in {"vit-b", "vit-l", "vit-h"}:
        return PerSAM(random_sam(model, choose_device(device)))
    return PerSAM.from_pretrained(model, device=device)


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]"
