"""`persam dreambooth`: a text-to-image model learns a subject from a few photos, from the subject's pixels alone."""

from __future__ import annotations

import typer

from persam.cli import dreambooth_generate, dreambooth_prepare, dreambooth_train

app = typer.Typer(
    help="Teach a text-to-image model your thing: prepare its photos, train, generate, score.",
    no_args_is_help=True,
)

app.command("prepare")(dreambooth_prepare.prepare)
app.command("train")(dreambooth_train.train)
app.command("generate")(dreambooth_generate.generate)
app.command("score")(dreambooth_generate.score)
app.command("leak")(dreambooth_generate.leak)
app.command("enlarge")(dreambooth_prepare.enlarge)
