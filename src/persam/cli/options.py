"""Options that several commands share, and how the values in them are read."""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persam.errors import UsageError
from persam.models.catalog import on_disk
from persam.models.encoder_name import EncoderName, recorded

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.persam import PerSAM

CONCEPT_SUFFIX = ".safetensors"

Model = Annotated[
    str, typer.Option("-m", "--model", help="tiny, a hub id, a folder, a .pth or .pt of SAM; see `persam models`.")
]
Mode = Annotated[str, typer.Option(help="persam, official or paper.")]
Encoder = Annotated[
    str | None,
    typer.Option(help="Another encoder for the confidence map, such as facebook/dinov2-base or ...@layers=9,12."),
]
Fitted = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Numbers that training.fit made for this model and encoder.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", show_default=True)]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", show_default=True)]
Backend = Annotated[
    str,
    typer.Option(
        help="What runs the image encoder: torch; onnxruntime or openvino, quicker on a CPU; openvino-bf16; either "
        "with -int8, still quicker, finds a little else. The extras onnx and openvino bring them.",
        show_default=True,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]


def quiet_libraries() -> None:
    """Keep the pipe clean: the hub's and transformers' own progress bars are for terminals."""
    if sys.stderr.isatty():
        return
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if {"transformers", "huggingface_hub"} & sys.modules.keys():  # they have read the variables; else they will
        from transformers.utils import logging

        logging.disable_progress_bar()


def load_model(name: str, *, device: str, dtype: str, **more: Any) -> PerSAM:
    """Load a model for a command, with a clean pipe; `more` as `PerSAM.from_pretrained` takes it."""
    quiet_libraries()
    from persam.persam import PerSAM

    return PerSAM.from_pretrained(name, device=device, dtype=dtype, **more)


Host = Annotated[str, typer.Option(help="Address to listen on; others than this machine's need a token.")]


def model_of(concept: Concept, model: str | None, encoder: str | None) -> tuple[str, str | None]:
    """Take the model and encoder that were asked for, else those that the concept was made with.

    Raises:
        UsageError: That model or encoder is a file or folder, and neither here nor where it was.
    """
    if encoder is None and concept.encoder != concept.model:
        asked = EncoderName.read(recorded(concept.encoder_name))
        encoder = str(replace(asked, base=_found(concept, "encoder", asked.base, concept.encoder)))
    if model is None:
        model = _found(concept, "model", concept.model_name, concept.model)
    return model, encoder


def _found(concept: Concept, what: str, name: str, fingerprint: str) -> str:
    if name == "tiny":
        return name
    if place := on_disk(name, fingerprint):
        return place
    if "/" in name:
        return name
    raise UsageError(
        f"The concept {concept.name!r} was made with the {what} {name}, a file or folder that is not here; say with "
        f"--{what} where it is."
    )


def finding_command(file: Path, model: str | None, encoder: str | None) -> str:
    """What to type to look for a concept; `model` and `encoder` as they are to be named, None: the concept says it."""
    named = {"--model": model, "--encoder": encoder}
    options = [word for option, name in named.items() if name is not None for word in (option, name)]
    return shlex.join(["persam", "segment", str(file), "PHOTOS", *options])


def numbers(text: str, count: int, option: str, form: str) -> tuple[float, ...]:
    """Read ``"12,34"``: ``count`` numbers with commas (or blanks) between them.

    Raises:
        UsageError: The text has another form.
    """
    parts = [part for part in re.split(r"[,;\s]+", text.strip()) if part]
    try:
        values = tuple(float(part) for part in parts)
    except ValueError:
        values = ()
    if len(values) != count:
        raise UsageError(f"{option} takes {form} in photo pixels, such as {_EXAMPLES[count]}, not {text!r}.")
    return values


_EXAMPLES = {2: "120,80", 4: "40,30,200,180"}


def concept_path(output: Path | None, name: str | None, photo: Path) -> Path:
    """Return where to save a concept: ``output``, or one named after the object or the photo.

    Raises:
        UsageError: Its name has another suffix, by which `persam segment` would not know it.
    """
    from persam.files import safe_name

    if output is None:
        return Path(safe_name(name or photo.stem) + CONCEPT_SUFFIX)
    if not output.suffix:
        return output.with_suffix(CONCEPT_SUFFIX)
    if output.suffix.lower() != CONCEPT_SUFFIX:
        raise UsageError(f"A concept file ends in {CONCEPT_SUFFIX}; {output} does not.")
    return output
