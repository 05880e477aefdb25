"""Options that several commands of `persam bench` share, and how a command gets more options than it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from persam.cli.options import Encoder as Encoder
from persam.cli.options import Fitted as Fitted
from persam.cli.options import Mode as Mode
from persam.cli.options import Model as Model

Data = Annotated[
    Path,
    typer.Option(help="Folder of your photos and masks, or of a data set; or one that holds perseg/, fss/, davis/."),
]
DataSet = Annotated[str | None, typer.Option(help="What --data is, if that is not seen. See persam bench --help.")]
TimedModel = Annotated[
    str,
    typer.Option(
        "-m", "--model", help="As elsewhere, or vit-b, vit-l, vit-h with random weights: nothing to download."
    ),
]
Solver = Annotated[str, typer.Option(help="Of PerSAM-F: direct, or adamw as published.")]
Dtype = Annotated[str, typer.Option(help="Of the image encoder: auto, float32, bfloat16 or float16.")]
Limit = Annotated[
    int | None, typer.Option(min=1, help="No more photos than this, in turns from every object: a quick look.")
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Write metrics.json, table.md and pictures to this folder, too."),
]


def with_options(
    command: Callable[..., None], more: Sequence[Parameter], *, before: bool = False
) -> Callable[..., None]:
    """A command that ends in ``**more``, with these options in their place as typer reads them.

    Help lists what is needed first, then the command's own options and these, or these `before` its own.
    """
    own = [each for each in options_of(command) if each.kind is not Parameter.VAR_KEYWORD]
    needed = [each for each in (*own, *more) if each.default is Parameter.empty]
    others = (*more, *own) if before else (*own, *more)
    options = [*needed, *(each for each in others if each not in needed)]

    def called(**values: Any) -> None:
        command(**values)

    called.__doc__ = command.__doc__
    called.__signature__ = Signature(  # type: ignore[attr-defined]
        [each.replace(kind=Parameter.KEYWORD_ONLY) for each in options]
    )
    called.__annotations__ = {each.name: each.annotation for each in options}
    return called


def options_of(command: Callable[..., None]) -> list[Parameter]:
    """The arguments of a function, with their types."""
    return list(signature(command, eval_str=True).parameters.values())
