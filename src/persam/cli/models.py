"""`persam models`: what can be named, what runs it, and what is on this machine."""

from __future__ import annotations

from dataclasses import asdict

from rich.markup import escape

from persam.cli.console import out, print_json, say, table
from persam.cli.options import Json


def models(json: Json = False) -> None:
    """List what --model, --encoder, --propagator and --finder take, what runs it, and what of it is on this machine.

    Every other SAM, SAM-HQ, SAM 2, EdgeTAM and SAM 3 of the Hugging Face hub works too, as do local folders in its
    form and original checkpoints of SAM.

    [bold]Example[/bold]

    persam models
    """
    from persam.models.catalog import catalog

    entries = catalog()
    if json:
        print_json([asdict(entry) for entry in entries])
        return
    grid = table("name", "use", "here", "MB", "license", "run by", "about", right=("MB",))
    grid.columns[0].no_wrap = True  # a name is copied
    for entry in entries:
        grid.add_row(
            escape(entry.name),
            entry.use.replace(", ", "\n"),
            "[green]yes[/green]" if entry.here else "no",
            "" if entry.megabytes is None else str(entry.megabytes),
            entry.license,
            (entry.runs or "").replace(", ", "\n"),
            entry.about,
        )
    out().print(grid)
    say("Those of the hub that are not here are downloaded when they are first named.")
