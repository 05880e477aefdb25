"""`persam dreambooth`: a text-to-image model learns a subject from a few photos, from the subject's pixels alone."""

from __future__ import annotations

import typer

from persam.cli.dreambooth_train import train

app = typer.Typer(
    help="Teach a text-to-image model your thing: prepare its photos, train, generate, score.",
    no_args_is_help=True,
)

app.command()(train)
