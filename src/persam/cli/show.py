"""`persam show`: what a concept file holds, and what finds it in photos."""

from __future__ import annotations

import shlex
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
    others = [] if encoder == model else [encoder]
    here = {name: here_as(name) for name in (model, *(EncoderName.read(other).base for other in others))}
    command = _command(file, here[model] or model, *map(recorded, others))
    data |= {"here": None not in here.values(), "command": command}
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
        ("encoder", f"{data['encoder']['name']} ({data['encoder']['fingerprint']})" if others else "the model's own"),
        ("on this machine", "yes" if data["here"] else _missing(here)),
        ("finds it with", command),
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
        said = f", in words {reference['text']!r}" if reference["text"] else ""
        value = f"{source}, {width} x {height}, object {reference['coverage']:.1%}, sha256 {reference['sha256'][:12]}"
        rows.append((f"reference {index}", value + said))
    for word, value in rows:
        grid.add_row(f"[bold]{word}[/bold]", escape(str(value)))
    out().print(grid)


def _command(file: Path, model: str, encoder: str | None = None) -> str:
    """What to type to look for a concept, given how its model and, if it has one, its encoder are named here."""
    words = ["persam", "segment", str(file), "PHOTOS", "--model", model]
    return shlex.join(words if encoder is None else [*words, "--encoder", encoder])


def _missing(here: dict[str, str | None]) -> str:
    """What of a model and encoder is not here, and how it comes here."""
    gone = [name for name, named in here.items() if named is None]
    if all(name.count("/") == 1 for name in gone):  # an id of the hub
        return f"no; {' and '.join(gone)} is downloaded when it is first named"
    return f"no; say with --model where the file or folder of {' and '.join(gone)} is"


def _kept(kept: list[bool]) -> str:
    if all(kept):
        return "yes, with their masks: it can be tuned and learned again"
    return f"{sum(kept)} of {len(kept)}" if any(kept) else "no"
