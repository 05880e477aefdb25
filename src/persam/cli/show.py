"""`persam show`: what a concept file holds, and what finds it in photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from persam.cli.console import out, print_json, table
from persam.cli.options import Json, finding_command
from persam.words import counted


def show(
    file: Annotated[Path, typer.Argument(help="A concept file.", metavar="CONCEPT.safetensors")],
    json: Json = False,
) -> None:
    """Print what a concept file holds: name, model, mode, references, threshold; and which pixels, if any.

    Also the command that finds it in photos, and whether its model is on this machine.

    [bold]Example[/bold]

    persam show mug.safetensors
    """
    from persam.concept import Concept
    from persam.models.catalog import here_as
    from persam.models.encoder_name import EncoderName, recorded

    concept = Concept.load(file)
    data = concept.metadata()
    model, encoder = data["model"]["name"], data["encoder"]["name"]
    gone = {}  # by the option that would say where it is
    if (at := here_as(model, concept.model)) is None:
        gone["--model"] = model
    other = None
    if concept.encoder != concept.model:
        asked = EncoderName.read(recorded(encoder))
        if (place := here_as(asked.base, concept.encoder)) is None:
            gone["--encoder"] = asked.base
        other = str(replace(asked, base=place or asked.base))
    command = finding_command(file, at or model, other)
    data |= {"here": not gone, "command": command}
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
        ("encoder", f"{data['encoder']['name']} ({data['encoder']['fingerprint']})" if other else "the model's own"),
        ("on this machine", f"no; {_missing(gone)}" if gone else "yes"),
        ("finds it with", command),
        *([("words, too", f"with --finder MODEL it also looks for {concept.text!r}")] if concept.text else []),
        ("fitted", "cues and score" if data["fitted"] else f"nothing; similarity threshold {data['threshold']:.3f}"),
        ("scale weights", "not tuned" if weights is None else ", ".join(f"{weight:.3f}" for weight in weights)),
        ("from afar, too", f"{data['from_afar']} of {counted(len(data['references']), 'reference')}"),
        ("places looked at", str(concept.settings.places) if concept.fitted else "1"),
        ("drawn again", "yes" if concept.settings.redraw and concept.fitted and concept.fitted.refine else "no"),
        ("created", data["created"]),
        ("thumbnail", "yes" if data["has_thumbnail"] else "no"),
        ("photos kept", _kept(data["keeps_references"])),
        ("format", data["format"]),
    ]
    for index, reference in enumerate(data["references"], start=1):
        height, width = reference["size"]
        source = reference["source"] or "from memory"
        said = f", in words {reference['text']!r}" if reference["text"] else ""
        value = f"{source}, {width} x {height}, object {reference['coverage']:.1%}, sha256 {reference['sha256'][:12]}"
        rows.append((f"reference {index}", value + said))
    for word, value in rows:
        grid.add_row(f"[bold]{word}[/bold]", escape(str(value)))
    out().print(grid)


def _missing(gone: dict[str, str]) -> str:
    """How a model and encoder come here, by the options that name them."""
    return "; ".join(
        f"{name} is downloaded when it is first named"
        if name.count("/") == 1  # an id of the hub; files and folders are known by their own names
        else f"say with {option} where the file or folder of {name} is"
        for option, name in gone.items()
    )


def _kept(kept: list[bool]) -> str:
    if all(kept):
        return "yes, with their masks: it can be tuned and learned again"
    return f"{sum(kept)} of {len(kept)}" if any(kept) else "no"
