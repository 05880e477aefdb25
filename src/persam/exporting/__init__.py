"""A model and concepts as files that need no PyTorch: ONNX for ONNX Runtime, IR for OpenVINO, arrays for numpy.

The model's files hold no concept, so that a new concept needs no new export, and serve photos of every size.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from persam import __version__
from persam.concept import Concept
from persam.errors import PersamError, UsageError, write_error
from persam.files import check_folder, write_bytes
from persam.lazy import library
from persam.method.settings import PRESETS
from persam.models.base import PromptableModel
from persam.models.sam import PIXEL_MEAN, PIXEL_STD, Sam

__all__ = ["FORMS", "concept_arrays", "export_concept", "export_model", "files_of", "is_exported"]

FORMS = {"onnx": (".onnx",), "openvino": (".xml", ".bin")}  # and the suffixes of their files
ABOUT, README, EXAMPLE = "persam.json", "README.txt", "without_torch.py"
_GRAPHS = ("encoder", "decoder")


def files_of(model: PromptableModel, folder: str | Path, form: str) -> list[Path]:
    """What `export_model` writes of a model.

    Raises:
        PersamError: the model is no SAM.
        UsageError: there is no such form.
    """
    from persam.models.graphs import is_large

    if form not in FORMS:
        raise UsageError(f'There is no form "{form}" of an exported model; use {" or ".join(FORMS)}.')
    suffixes = [*FORMS[form], *([".onnx.data"] if form == "onnx" and is_large(_sam(model)) else [])]
    graphs = [f"{name}{suffix}" for name in _GRAPHS for suffix in suffixes]
    return [Path(folder) / name for name in (*graphs, ABOUT, README, *([EXAMPLE] if form == "onnx" else []))]


def _sam(model: PromptableModel) -> Sam:
    if not isinstance(model, Sam):
        raise PersamError(f"The model {model.name} cannot be exported yet; name a SAM, or the bundled model.")
    return model


def is_exported(model: PromptableModel, folder: str | Path, form: str) -> bool:
    """Whether a folder holds this very model in this form, as this version of persam writes it."""
    if not all(file.is_file() for file in files_of(model, folder, form)):
        return False
    try:
        about = json.loads((Path(folder) / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(about == json.loads(json.dumps(about_model(_sam(model)))))


def export_model(
    model: PromptableModel, *, onnx: str | Path | None = None, openvino: str | Path | None = None
) -> list[Path]:
    """Write the image encoder and the guided decoder of a model, and how they are used; every folder whole or not.

    Args:
        model: a SAM in float32 on the CPU.
        onnx: folder for ONNX files; those of an earlier export are replaced.
        openvino: folder for OpenVINO's files.

    Returns:
        The files.

    Raises:
        PersamError: the model is no SAM, or cannot be written so; a library is not installed; a folder cannot be
            written.
        UsageError: no folder; or the model is not in float32 on the CPU.
    """
    from persam.models.graphs import write_decoder, write_encoder

    folders = [(form, Path(each)) for form, each in (("onnx", onnx), ("openvino", openvino)) if each is not None]
    if not folders:
        raise UsageError("Say where to write the model: a folder for ONNX, one for OpenVINO, or both.")
    network = _sam(model)
    if openvino is not None:
        library("openvino", "Writing a model for OpenVINO", "openvino")
    for _, folder in folders:
        check_folder(folder)
    with _folder_for_now(folders[0][1]) as traced:
        for name, write in zip(_GRAPHS, (write_encoder, write_decoder), strict=True):
            write(network, traced / f"{name}.onnx")
        for form, folder in reversed(folders):  # the last one moves the files that it was traced into
            with _folder_for_now(folder) as made:
                _fill(made, traced, network, form)
                _move(made, folder)
    return [file for form, folder in folders for file in files_of(network, folder, form)]


def _fill(folder: Path, traced: Path, model: Sam, form: str) -> None:
    """Put all files of a form into a folder, from the graphs as they were traced into another."""
    if form == "onnx":
        for file in traced.iterdir():  # of a large model the weights lie beside the graph
            file.replace(folder / file.name)
        (folder / EXAMPLE).write_bytes(Path(__file__).with_name(EXAMPLE).read_bytes())
    else:
        openvino = library("openvino", "Writing a model for OpenVINO", "openvino")
        for name in _GRAPHS:
            graph = openvino.Core().read_model(traced / f"{name}.onnx")
            openvino.save_model(graph, folder / f"{name}.xml", compress_to_fp16=False)
    (folder / ABOUT).write_text(json.dumps(about_model(model), indent=2), encoding="utf-8")
    (folder / README).write_text(readme(model, form), encoding="utf-8")


def _move(made: Path, folder: Path) -> None:
    """Replace an earlier export. What says whose the files are is away meanwhile: halves never pass as whole."""
    (folder / ABOUT).unlink(missing_ok=True)
    new = {file.name for file in made.iterdir()}
    for name in sorted(new, key=lambda name: name == ABOUT):
        (made / name).replace(folder / name)
    for graph in _GRAPHS:
        weights = f"{graph}.onnx.data"  # of an earlier, larger model
        if f"{graph}.onnx" in new and weights not in new:
            (folder / weights).unlink(missing_ok=True)


@contextlib.contextmanager
def _folder_for_now(home: Path) -> Iterator[Path]:
    """A folder within another, which is made if need be, until the block ends.

    Raises:
        PersamError: it cannot be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=".exporting-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        raise write_error(home, error) from error


def export_concept(concept: Concept, model: PromptableModel, path: str | Path) -> Path:
    """Write the arrays of a concept for `without_torch.py`, an ``.npz``, whole or not at all.

    Raises:
        PersamError: it was made with another model, or follows another mode than paper; the place is not writable.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **concept_arrays(concept, model))
    write_bytes(path, buffer.getvalue())
    return Path(path)


def concept_arrays(concept: Concept, model: PromptableModel) -> dict[str, np.ndarray]:
    """What is looked for, without PyTorch.

    Returns:
        directions: of n references, (n, C); the confidence of a cell is the largest dot product of one with the cell's
            unit features. semantic: (C,), added to the decoder's tokens. alpha: balance of the guided attention.
            scale_weights: (3,), or (0,) of a concept that is not tuned. threshold: similarity at which it counts as
            present. name, model: words; the latter the model's fingerprint.

    Raises:
        PersamError: it was made with another model or encoder, or follows another mode than paper.
    """
    concept.check_made_with(model, model)
    if concept.settings != PRESETS["paper"]:
        raise PersamError(
            f'The concept "{concept.name}" follows mode {concept.mode}, and without PyTorch there is mode paper alone; '
            "learn it again with --mode paper."
        )
    directions = [each.tuned_direction if concept.tuned else each.direction for each in concept.targets]
    return {
        "directions": np.stack([each.cpu().numpy() for each in directions]).astype(np.float32),
        "semantic": np.stack([each.embedding.cpu().numpy() for each in concept.targets]).mean(0),
        "alpha": np.array(concept.settings.alpha, np.float32),
        "scale_weights": np.array(concept.scale_weights or (), np.float32),
        "threshold": np.array(concept.threshold, np.float32),
        "name": np.array(concept.name),
        "model": np.array(model.fingerprint),
    }


# --------------------------------------------------------------------------------------------- how they are used


def about_model(model: Sam) -> dict[str, Any]:
    """What a program has to know of an exported model, as plain JSON values."""
    from persam.models.graphs import shapes_of

    return {
        "format": 1,
        "model": model.name,
        "fingerprint": model.fingerprint,
        "canvas": model.image_size,
        "grid": list(model.grid),
        "low_resolution": list(model.low_resolution),
        "mean": list(PIXEL_MEAN),
        "std": list(PIXEL_STD),
        **shapes_of(model),
        "persam": __version__,
    }


def readme(model: Sam, form: str) -> str:
    """What a person has to know of it."""
    about = about_model(model)

    def lines(graph: str) -> str:
        ways = (("in ", about[graph]["inputs"]), ("out", about[graph]["outputs"]))
        return "\n".join(f"  {way} {name:<15}{shape}" for way, names in ways for name, shape in names.items())

    run = f"python {EXAMPLE} CONCEPT.npz PHOTO MASK.png   (needs onnxruntime, numpy, Pillow)\n\n"
    words = {key: about[key] for key in ("model", "fingerprint", "canvas", "persam")}
    graphs = {name: lines(name) for name in _GRAPHS}
    return _README.format(run=run if form == "onnx" else "", **words, **graphs)


_README = """\
{model}, fingerprint {fingerprint}: image encoder and guided mask decoder, exported by persam {persam}.
No concept is in them: it is an input of the decoder.

{run}encoder
{encoder}
decoder, for P prompts of one photo with N points each
{decoder}

All are float32.
pixels: RGB; the photo is resized so that its longest side is {canvas} (bilinear with antialias), less the mean and
  divided by the std of persam.json (0..255), and filled up with zeros at the right and the bottom.
points: (x, y) in pixels of that canvas. labels: 1 on the object, 0 off it, 2 and 3 the upper left and the lower right
  corner of a box. Where there is no box, one more point (0, 0) with the label -1 is expected.
mask, has_mask: logits of a mask prompt, and 1; or zeros, and 0.
attention: what is added in the attention of tokens to cells, row by row; zeros: nothing.
second_softmax: 1: it is added to the attention's weights, and a second softmax taken (mode paper); 0: to its logits.
semantic: what is added to every token; zeros: nothing.
logits, scores: of four masks, with predicted IoU: first the one for a single answer, then the three scales. A mask is
  where the logits, resized to the canvas, cut to the photo and resized to its size (bilinear), are above 0.
"""
