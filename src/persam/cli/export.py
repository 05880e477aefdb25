"""`persam export`: a model and concepts as files for ONNX Runtime or OpenVINO, which need no PyTorch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from persam.cli.console import out, print_json, say
from persam.cli.options import Json, load_model
from persam.errors import UsageError


def export(
    model: Annotated[str, typer.Argument(help="tiny, a hub id, a folder, a .pth or .pt of SAM; see `persam models`.")],
    onnx: Annotated[Path | None, typer.Option(metavar="DIR", help="Write ONNX files there (extra: onnx).")] = None,
    openvino: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write OpenVINO's files there (extra: openvino).")
    ] = None,
    concept: Annotated[
        list[Path] | None,
        typer.Option(metavar="CONCEPT", help="Also write a concept of mode paper as NAME.npz; may be repeated."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    json: Json = False,
) -> None:
    """Write a model's image encoder and guided decoder as files that need no PyTorch.

    A concept is an input of the decoder: of another concept only its small NAME.npz is written. With ONNX files comes a
    short program that finds a concept in a photo with onnxruntime, numpy and Pillow.

    [bold]Examples[/bold]

    persam export tiny --onnx exported

    persam learn mug.jpg mug_mask.png --mode paper -o mug.safetensors

    persam export tiny --onnx exported --concept mug.safetensors
    """
    from persam.concept import Concept
    from persam.exporting import concept_arrays, export_concept, export_model, files_of, is_exported
    from persam.targets import check_targets

    started = time.perf_counter()
    wanted = [(form, folder) for form, folder in (("onnx", onnx), ("openvino", openvino)) if folder is not None]
    if not wanted:
        raise UsageError("Say where to write the model: --onnx DIR, --openvino DIR, or both.")
    concepts = {file: Concept.load(file) for file in concept or []}
    loaded = load_model(model, device="cpu", dtype="float32").model
    for each in concepts.values():
        concept_arrays(each, loaded)  # before the long part, to see that it can be done
    written: list[Path] = []
    to_do = [
        (form, folder)
        for form, folder in wanted
        if overwrite or not (concepts and is_exported(loaded, folder, form))  # only the concepts are new
    ]
    targets = [(f"--{form}", file) for form, folder in to_do for file in files_of(loaded, folder, form)]
    arrays = [(f"--{form}", folder / f"{file.stem}.npz", file) for form, folder in wanted for file in concepts]
    check_targets(targets + [(option, path) for option, path, _ in arrays], [model, *concepts], overwrite=overwrite)
    if to_do:
        say(f"Writing {model}; a large model takes minutes.")
        written += export_model(loaded, **dict(to_do))
    for _, path, file in arrays:
        written.append(export_concept(concepts[file], loaded, path))
    if json:
        print_json({"files": [str(file) for file in written], "fingerprint": loaded.fingerprint})
        return
    for file in written:
        out().print(str(file), markup=False)
    say(f"Wrote {len(written)} files in {time.perf_counter() - started:.1f} s.")
