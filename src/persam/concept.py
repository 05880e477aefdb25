"""A concept: what was learned from one or more references, and its file.

The file is safetensors: vectors as tensors, everything readable in its metadata. It holds no pixels, but for a small
thumbnail on request.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from persam.errors import PersamError
from persam.files import write_bytes
from persam.method.cues import CueFeatures
from persam.method.learn import TargetFeatures
from persam.method.settings import Settings
from persam.models.fitted import Fitted

FORMAT = "1"
_PARTS = ("embedding", "direction", "tuned_direction", "background")
_CUE_PARTS = ("object_cells", "background_cells", "colours", "colour_ratio")


@dataclass(frozen=True)
class ReferenceRecord:
    """What a concept remembers of a reference without keeping it: file name, hash of its bytes, photo size (H, W),
    share of the photo that the mask covers, and the number of feature cells under it."""

    source: str
    sha256: str
    size: tuple[int, int]
    coverage: float
    cells: int


@dataclass(frozen=True, repr=False)
class Concept:
    """An object that a model has learned. Made by `PerSAM.learn`, refined by `PerSAM.tune`.

    Attributes:
        name: what people call it.
        settings: the form of the method it was learned with; it is segmented with the same.
        model, model_name: fingerprint and name of the promptable model.
        encoder, encoder_name: of the encoder of the confidence map; the model's own if there is no other.
        targets: target features, one for each reference.
        references: where they came from.
        threshold: lowest similarity at which the concept counts as present, where nothing was fitted for the encoder.
        cues: what the cues compare with, one for each reference; none where the confidence map is the paper's.
        fitted: how much each cue says with this encoder, or None: then the confidence map is the paper's.
        scale_weights: PerSAM-F's weights of the decoder's three scales, or None.
        created: when, UTC, ISO 8601.
        thumbnail: a small PNG of the first reference, or None.
        material: what `PerSAM.tune` needs of every reference, in memory only.
    """

    name: str
    settings: Settings
    model: str
    model_name: str
    encoder: str
    encoder_name: str
    targets: tuple[TargetFeatures, ...]
    references: tuple[ReferenceRecord, ...]
    threshold: float
    cues: tuple[CueFeatures, ...] = ()
    fitted: Fitted | None = None
    scale_weights: tuple[float, float, float] | None = None
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    thumbnail: bytes | None = None
    material: tuple[Any, ...] = field(default=(), repr=False, compare=False)

    def __repr__(self) -> str:
        tuned = "tuned" if self.tuned else "not tuned"
        return (
            f"<Concept {self.name!r}: references {len(self.references)}, {self.model_name}, mode {self.mode}, {tuned}>"
        )

    @property
    def mode(self) -> str:
        """Mode of the settings."""
        return self.settings.mode

    @property
    def tuned(self) -> bool:
        """Whether the scale weights were fitted (PerSAM-F)."""
        return self.scale_weights is not None

    def metadata(self) -> dict[str, Any]:
        """All but the vectors, as plain JSON values."""
        return {
            "format": FORMAT,
            "name": self.name,
            "mode": self.mode,
            "settings": self.settings.to_dict(),
            "model": {"name": self.model_name, "fingerprint": self.model},
            "encoder": {"name": self.encoder_name, "fingerprint": self.encoder},
            "threshold": round(self.threshold, 6),
            "fitted": None if self.fitted is None else self.fitted.to_dict(),
            "scale_weights": None if self.scale_weights is None else [round(w, 6) for w in self.scale_weights],
            "references": [vars(reference) | {"size": list(reference.size)} for reference in self.references],
            "created": self.created,
            "has_thumbnail": self.thumbnail is not None,
        }

    def save(self, path: str | Path, *, thumbnail: bool = False) -> Path:
        """Write the concept file, whole or not at all.

        Args:
            path: where; missing folders are made.
            thumbnail: also store the thumbnail, if there is one.

        Raises:
            PersamError: the place is not writable, or the disk is full.
        """
        path = Path(path)
        tensors = {
            f"target.{i}.{part}": getattr(target, part).detach().float().cpu().contiguous()
            for i, target in enumerate(self.targets)
            for part in _PARTS
        } | {
            f"cue.{i}.{part}": getattr(kept, part).detach().float().cpu().contiguous()
            for i, kept in enumerate(self.cues)
            for part in _CUE_PARTS
        }
        shown = self.thumbnail if thumbnail else None
        metadata = self.metadata() | {"has_thumbnail": shown is not None}
        words = {"persam": json.dumps(metadata, ensure_ascii=False), "format": "pt"}
        if shown is not None:
            words["thumbnail"] = base64.b64encode(shown).decode()
        write_bytes(path, save(tensors, metadata=words))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Concept:
        """Read a concept file.

        Raises:
            PersamError: missing, damaged, no concept of persam, or of a newer format.
        """
        path = Path(path)
        if not path.is_file():
            raise PersamError(f"There is no concept file {path}; make one with `persam learn`.")
        try:
            with safe_open(path, framework="pt") as file:
                words = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise PersamError(f"{path} is damaged or no safetensors file; learn the concept again.") from error
        if "persam" not in words:
            raise PersamError(f"{path} is a safetensors file, but holds no concept of persam.")
        try:
            return cls._from_file(json.loads(words["persam"]), tensors, words.get("thumbnail"))
        except _NewerFormatError as error:
            raise PersamError(
                f"{path} has concept format {error}, this persam reads up to {FORMAT}; upgrade persam."
            ) from error
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise PersamError(f"{path} is a damaged concept file ({error}); learn the concept again.") from error

    @classmethod
    def _from_file(cls, meta: dict[str, Any], tensors: dict[str, Tensor], thumbnail: str | None) -> Concept:
        if int(meta["format"]) > int(FORMAT):
            raise _NewerFormatError(meta["format"])
        weights, fitted = meta["scale_weights"], meta.get("fitted")  # which files of persam 0.1 have not
        return cls(
            name=str(meta["name"]),
            settings=Settings.from_dict(meta["settings"]),
            model=meta["model"]["fingerprint"],
            model_name=meta["model"]["name"],
            encoder=meta["encoder"]["fingerprint"],
            encoder_name=meta["encoder"]["name"],
            targets=tuple(
                TargetFeatures(**{part: tensors[f"target.{i}.{part}"] for part in _PARTS})
                for i in range(len(meta["references"]))
            ),
            references=tuple(
                ReferenceRecord(**(record | {"size": tuple(record["size"])})) for record in meta["references"]
            ),
            threshold=float(meta["threshold"]),
            cues=tuple(
                CueFeatures(**{part: tensors[f"cue.{i}.{part}"] for part in _CUE_PARTS})
                for i in range(0 if fitted is None else len(meta["references"]))
            ),
            fitted=None if fitted is None else Fitted.from_dict(fitted),
            scale_weights=None if weights is None else (float(weights[0]), float(weights[1]), float(weights[2])),
            created=meta["created"],
            thumbnail=None if thumbnail is None else base64.b64decode(thumbnail),
        )


class _NewerFormatError(Exception):
    """The file was written by a newer persam."""
