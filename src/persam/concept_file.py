"""A concept's file: safetensors, with vectors as tensors and everything readable in its metadata.

What is read was perhaps made by hand, or damaged, so that every value is looked at before it is used. Nothing in it is
ever unpickled.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from persam.concept import Concept, ReferenceRecord
from persam.errors import PersamError, UsageError, first_line
from persam.files import writable
from persam.images import IMAGE_SUFFIXES
from persam.kept import KeptReference
from persam.method.cues import BINS, CueFeatures
from persam.method.learn import TargetFeatures
from persam.method.settings import Settings
from persam.models.fitted import Fitted
from persam.models.identity.network import LENGTH

FORMAT = "1"
_LARGEST = 1e15  # of numbers that mean something; so far off neither NaN nor infinity, nor digits without end
_LARGEST_FEATURE = 1e6  # of vectors: SAM's features are below a hundred, all others near 1
_KEPT_PARTS = ("photo", "mask", "values")
# Axes of every tensor of a reference: the encoder's channels (C), the matching encoder's (D), anything (n), or a size.
_PARTS: dict[str, tuple[str | int, ...]] = {
    "embedding": ("C",),
    "direction": ("D",),
    "tuned_direction": ("D",),
    "background": ("D", "n"),
}
_CUE_PARTS: dict[str, tuple[str | int, ...]] = {
    "object_cells": ("n", "D"),
    "background_cells": ("n", "D"),
    "colours": (BINS, BINS, BINS),
    "colour_ratio": (BINS, BINS, BINS),
    "identity": (LENGTH,),
}


def metadata_of(concept: Concept) -> dict[str, Any]:
    """All of a concept but vectors and pixels, as plain JSON values."""
    return {
        "format": FORMAT,
        "name": writable(concept.name),
        "mode": concept.mode,
        "settings": concept.settings.to_dict(),
        "model": {"name": concept.model_name, "fingerprint": concept.model},
        "encoder": {"name": concept.encoder_name, "fingerprint": concept.encoder},
        "threshold": round(concept.threshold, 6),
        **({} if concept.own_similarity is None else {"own_similarity": round(concept.own_similarity, 6)}),
        "fitted": None if concept.fitted is None else concept.fitted.to_dict(),
        "scale_weights": None if concept.scale_weights is None else [round(w, 6) for w in concept.scale_weights],
        "references": [
            vars(reference)
            | {"size": list(reference.size)}
            | {name: writable(getattr(reference, name)) for name in ("source", "text")}
            for reference in concept.references
        ],
        "from_afar": concept.from_afar,
        "created": concept.created,
        "has_thumbnail": concept.thumbnail is not None,
        "keeps_references": [kept is not None for kept in concept.kept] or [False] * len(concept.references),
    }


def file_bytes(concept: Concept, *, thumbnail: bool) -> bytes:
    """The file."""
    tensors = {
        f"target.{i}.{part}": getattr(target, part).detach().float().cpu().contiguous()
        for i, target in enumerate(concept.targets)
        for part in _PARTS
    } | {
        f"cue.{i}.{part}": getattr(kept, part).detach().float().cpu().contiguous()
        for i, kept in enumerate(concept.cues)
        for part in _CUE_PARTS
    }
    for i, reference in enumerate(concept.kept):
        for part in _KEPT_PARTS if reference is not None else ():
            if data := getattr(reference, part):
                tensors[f"kept.{i}.{part}"] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    shown = concept.thumbnail if thumbnail else None
    metadata = metadata_of(concept) | {"has_thumbnail": shown is not None}
    words = {"persam": json.dumps(metadata, ensure_ascii=False), "format": "pt"}
    if shown is not None:
        words["thumbnail"] = base64.b64encode(shown).decode()
    return save(tensors, metadata=words)


def read_concept(path: Path) -> Concept:
    """Read a concept file.

    Raises:
        PersamError: missing, damaged, no concept of persam, or of a newer format.
    """
    if not path.is_file():
        raise PersamError(f"There is no concept file {path}; make one with `persam learn`.")
    try:
        with safe_open(path, framework="pt") as file:
            words = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise PersamError(f"{path} is a picture; name the concept file that `persam learn` made of it.") from error
        raise PersamError(f"{path} is damaged or no safetensors file; learn the concept again.") from error
    if "persam" not in words:
        raise PersamError(f"{path} is a safetensors file, but holds no concept of persam.")
    try:
        meta = _Fields(json.loads(words["persam"]), "the metadata")
        if _format_of(meta) > int(FORMAT):
            raise PersamError(
                f"{path} has concept format {_format_of(meta)}, this persam reads up to {FORMAT}; upgrade persam."
            )
        return _concept_from(meta, tensors, words.get("thumbnail"))
    except (_DamagedError, RecursionError, ValueError) as error:  # the last two: from the JSON
        raise PersamError(
            f"{path} is a damaged concept file ({first_line(error)}); learn the concept again."
        ) from error


class _DamagedError(Exception):
    """What is wrong in a file, as a part of a sentence."""


def _format_of(meta: _Fields) -> int:
    text = meta.text("format")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise _DamagedError(f"format is {text!r}")
    return int(text)


def _concept_from(meta: _Fields, tensors: dict[str, Tensor], thumbnail: str | None) -> Concept:
    references = tuple(_record_from(_Fields(each, "a reference")) for each in meta.items("references"))
    if not references:
        raise _DamagedError("it has no reference")
    model, encoder = meta.part("model"), meta.part("encoder")
    weights = meta.values.get("scale_weights")
    numbers = meta.values.get("fitted")  # which files of persam 0.1.0 may lack
    try:
        settings = Settings.from_dict(meta.part("settings").values)
    except UsageError as error:
        raise _DamagedError(str(error).rstrip(".")) from error
    try:
        fitted = None if numbers is None else Fitted.from_dict(meta.part("fitted").values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _DamagedError(f"fitted: {first_line(error)}") from error
    axes: dict[str, int] = {}
    # Files of persam 0.1.0 may lack the identity, which their numbers do not ask for.
    is_asked = fitted is not None and fitted.identity
    cue_parts = {part: axes_of for part, axes_of in _CUE_PARTS.items() if part != "identity" or is_asked}
    from_afar = _whole(meta.values.get("from_afar", 0), "from_afar", lowest=0)
    targets = len(references) + from_afar
    return Concept(
        name=meta.text("name"),
        settings=settings,
        model=model.text("fingerprint"),
        model_name=model.text("name"),
        encoder=encoder.text("fingerprint"),
        encoder_name=encoder.text("name"),
        targets=tuple(TargetFeatures(**_tensors_of(tensors, f"target.{i}", _PARTS, axes)) for i in range(targets)),
        references=references,
        threshold=meta.number("threshold"),
        cues=tuple(
            CueFeatures(**_tensors_of(tensors, f"cue.{i}", cue_parts, axes))
            for i in range(0 if fitted is None else targets)
        ),
        fitted=fitted,
        scale_weights=None if weights is None else _scale_weights(meta),
        own_similarity=meta.number("own_similarity") if "own_similarity" in meta.values else None,
        from_afar=from_afar,
        created=meta.text("created"),
        thumbnail=None if thumbnail is None else _decoded(thumbnail),
        kept=_kept_from(tensors, len(references)),
    )


def _record_from(record: _Fields) -> ReferenceRecord:
    size = [_whole(each, "size", lowest=1) for each in record.items("size")]
    if len(size) != 2:
        raise _DamagedError(f"a reference's size is {size}")
    coverage = record.number("coverage")
    if not 0 <= coverage <= 1:
        raise _DamagedError(f"a reference's coverage is {coverage}")
    cells = _whole(record.get("cells"), "cells", lowest=0)
    text = record.text("text") if "text" in record.values else ""  # which files of persam 0.1.0 lack
    return ReferenceRecord(record.text("source"), record.text("sha256"), (size[0], size[1]), coverage, cells, text)


def _scale_weights(meta: _Fields) -> tuple[float, float, float]:
    weights = [_number(each, "a scale weight") for each in meta.items("scale_weights")]
    if len(weights) != 3:
        raise _DamagedError(f"it has {len(weights)} scale weights, not 3")
    return weights[0], weights[1], weights[2]


def _tensors_of(
    tensors: dict[str, Tensor], home: str, parts: dict[str, tuple[str | int, ...]], axes: dict[str, int]
) -> dict[str, Tensor]:
    """The tensors of one reference, float32. Axes of one name have one length in all of the file."""
    found = {}
    for part, shape in parts.items():
        name = f"{home}.{part}"
        tensor = tensors.get(name)
        if tensor is None:
            raise _DamagedError(f"{name} is missing")
        if not tensor.is_floating_point():
            raise _DamagedError(f"{name} holds {str(tensor.dtype).removeprefix('torch.')}, not numbers with a point")
        expected = tuple(
            length if axis == "n" else axis if isinstance(axis, int) else axes.setdefault(axis, length)
            for axis, length in zip(shape, tensor.shape, strict=False)
        )
        if len(shape) != tensor.ndim or expected != tuple(tensor.shape):
            raise _DamagedError(f"{name} has the shape {'x'.join(map(str, tensor.shape)) or 'of one number'}")
        if part in ("embedding", "direction", "object_cells") and len(tensor) == 0:
            raise _DamagedError(f"{name} is empty")
        if tensor.numel() and not float(tensor.abs().max()) <= _LARGEST_FEATURE:
            raise _DamagedError(f"{name} holds NaN, infinity, or a number that no model gives")
        if part == "colours" and bool((tensor < 0).any()):
            raise _DamagedError(f"{name} holds a share below 0")
        found[part] = tensor.float()
    return found


def _kept_from(tensors: dict[str, Tensor], count: int) -> tuple[KeptReference | None, ...]:
    kept = []
    for i in range(count):
        parts = {part: tensors[name] for part in _KEPT_PARTS if (name := f"kept.{i}.{part}") in tensors}
        if any(part.dtype != torch.uint8 or part.ndim != 1 for part in parts.values()):
            raise _DamagedError(f"what it keeps of reference {i + 1} is no file")
        data = {part: tensor.numpy().tobytes() for part, tensor in parts.items()}
        kept.append(KeptReference(**data) if {"photo", "mask"} <= data.keys() else None)
    return tuple(kept) if any(kept) else ()


def _decoded(thumbnail: str) -> bytes:
    try:
        return base64.b64decode(thumbnail, validate=True)
    except binascii.Error as error:
        raise _DamagedError("its thumbnail is no picture") from error


# ------------------------------------------------------------------------------------------- values as they should be


class _Fields:
    """A JSON object whose values are asked for by kind."""

    def __init__(self, values: Any, what: str) -> None:
        if not isinstance(values, dict):
            raise _DamagedError(f"{what} is no JSON object")
        self.values: dict[str, Any] = values
        self.what = what

    def get(self, name: str) -> Any:
        if name not in self.values:
            raise _DamagedError(f"{self.what} has no {name}")
        return self.values[name]

    def part(self, name: str) -> _Fields:
        return _Fields(self.get(name), name)

    def text(self, name: str) -> str:
        value = self.get(name)
        if not isinstance(value, str) or writable(value) != value:
            raise _DamagedError(f"{name} is {_shown(value)}, not text")
        return value

    def number(self, name: str) -> float:
        return _number(self.get(name), name)

    def items(self, name: str) -> list[Any]:
        value = self.get(name)
        if not isinstance(value, list):
            raise _DamagedError(f"{name} is {_shown(value)}, not a list")
        return value


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
        raise _DamagedError(f"{what} is {_shown(value)}, not a number")
    return float(value)


def _whole(value: Any, what: str, *, lowest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value < 10**9:
        raise _DamagedError(f"{what} is {_shown(value)}, not a whole number from {lowest} on")
    return value


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
