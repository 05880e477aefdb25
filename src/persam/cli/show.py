"""`persam show`: what a concept file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from persam.cli.console import out, print_json, table
from persam.cli.options import Json


def show(
    file: Annotated[Path, typer.Argument(help="A concept file.", metavar="CONCEPT.safetensors")],
    json: Json = False,
) -> None:
    """Print what a concept file holds: name, model, mode, references, threshold; and which pixels, if any.

    [bold]Example[/bold]

    persam show mug.safetensors
    """
    from persam.concept import Concept

    concept = Concept.load(file)
    data = concept.metadata()
    if json:
        print_json(data)
        return
    grid = table("", "")
    grid.show_header = False
    weights = data["scale_weights"]
    rows = [
        ("name", data["name"]),
        ("mode", data["mode"]),
        ("model", f"{data['model']['name']} ({data['model']['fingerprint']})"),
        ("encoder", "the model's own" if data["encoder"] == data["model"] else data["encoder"]["name"]),
        ("fitted", "cues and score" if data["fitted"] else f"nothing; similarity threshold {data['threshold']:.3f}"),
        ("scale weights", "not tuned" if weights is None else ", ".join(f"{weight:.3f}" for weight in weights)),
        ("created", data["created"]),
        ("thumbnail", "yes" if data["has_thumbnail"] else "no"),
        ("photos kept", _kept(data["keeps_references"])),
        ("format", data["format"]),
    ]
    for index, reference in enumerate(data["references"], start=1):
        height, width = reference["size"]
        source = reference["source"] or "from memory"
        rows.append(
            (
                f"reference {index}",
                f"{source}, {width} x {height}, object {reference['coverage']:.1%}, sha256 {reference['sha256'][:12]}",
            )
        )
    for word, value in rows:
        grid.add_row(f"[bold]{word}[/bold]", escape(str(value)))
    out().print(grid)


def _kept(kept: list[bool]) -> str:
    if all(kept):
        return "yes, with their masks: it can be tuned and learned again"
    return f"{sum(kept)} of {len(kept)}" if any(kept) else "no"
