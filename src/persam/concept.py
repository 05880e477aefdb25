"""A concept: what was learned from one or more references. Its file: `concept_file.py`.

It holds no pixels, but on request a small thumbnail, and the references themselves.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persam.errors import PersamError
from persam.files import write_bytes
from persam.method.cues import CueFeatures
from persam.method.learn import Learned, TargetFeatures
from persam.method.settings import Settings
from persam.models.fingerprint import known_as
from persam.models.fitted import Fitted

if TYPE_CHECKING:
    from persam.kept import KeptReference
    from persam.models.base import EncodedImage, FeatureEncoder
    from persam.reference import Reference

# Of a concept's metadata: what was learned from the references is in its vectors.
_NO_MATTER = ("created", "has_thumbnail", "keeps_references", "references")


@dataclass(frozen=True)
class ReferenceRecord:
    """What a concept remembers of a reference without keeping it: file name, hash of its bytes, photo size (H, W),
    share of the photo that the mask covers, the number of feature cells under it, and the text that it came with."""

    source: str
    sha256: str
    size: tuple[int, int]
    coverage: float
    cells: int
    text: str = ""

    @classmethod
    def of(cls, reference: Reference, learned: Learned) -> ReferenceRecord:
        """Of a reference that was learned."""
        height, width = learned.mask.shape
        coverage = round(float(learned.mask.float().mean()), 6)
        cells = int(learned.cells.sum())
        return cls(reference.source, reference.sha256, (height, width), coverage, cells, reference.text)


@dataclass(frozen=True, repr=False)
class Concept:
    """An object that a model has learned. Made by `PerSAM.learn`, refined by `PerSAM.tune`.

    Attributes:
        name: what people call it.
        settings: the form of the method it was learned with; it is segmented with the same.
        model, model_name: fingerprint and name of the promptable model.
        encoder, encoder_name: of the encoder of the confidence map; the model's own if there is no other.
        targets: target features, one for each reference; then of those that were learned from afar, too
            (`method/afar.py`).
        references: where they came from.
        threshold: lowest similarity at which the concept counts as present, where nothing was fitted for the encoder.
        from_afar: how many of the targets, the last ones, are of a reference from afar.
        own_similarity: the references' own, where the threshold was calibrated on them; else it is a fixed share.
        cues: what the cues compare with, one for each target; none where the confidence map is the paper's.
        fitted: how much each cue says with this encoder, or None: then the confidence map is the paper's.
        scale_weights: PerSAM-F's weights of the decoder's three scales, or None.
        created: when, UTC, ISO 8601.
        thumbnail: a small PNG of the first reference, or None.
        kept: the references themselves, if that was asked for: one for each, None for one that was not kept; or none.
        material: what `PerSAM.tune` needs of every reference, in memory only; None for one that came from a file.
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
    own_similarity: float | None = None
    from_afar: int = 0
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    thumbnail: bytes | None = None
    kept: tuple[KeptReference | None, ...] = field(default=(), repr=False, compare=False)
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

    @property
    def views(self) -> slice:
        """Which of the targets, and of the cues, are of references as they are."""
        return slice(0, len(self.targets) - self.from_afar)

    @property
    def views_from_afar(self) -> slice:
        """Which are of references from afar."""
        return slice(len(self.targets) - self.from_afar, None)

    @property
    def text(self) -> str:
        """What kind of thing it is, in a word or two: the last that was said of any reference; "" if nothing was."""
        return next((each.text for each in reversed(self.references) if each.text), "")

    @property
    def keeps_references(self) -> bool:
        """Whether all photos and masks that it was learned from are kept in it, so that it can be tuned again."""
        return len(self.kept) == len(self.references) and None not in self.kept

    def kept_references(self) -> list[Reference]:
        """The references that it was learned from, to learn from again, perhaps with another model.

        Raises:
            PersamError: they were not kept; say `keep_references=True` to `PerSAM.learn`.
        """
        if not self.keeps_references:
            raise PersamError(
                f'The concept "{self.name}" does not keep its photos; learn it again from them, with '
                "--keep-reference to keep them from now on."
            )
        return [
            replace(kept.read(source=record.source, sha256=record.sha256), text=record.text)
            for kept, record in zip(self.kept, self.references, strict=True)
            if kept is not None
        ]

    def check_made_with(self, model: FeatureEncoder, encoder: FeatureEncoder) -> None:
        """See that it belongs to a model, and to the encoder of its confidence map.

        Raises:
            PersamError: it was made with another one; says which.
        """
        if self.model not in known_as(model):
            raise PersamError(
                f'The concept "{self.name}" was made with the model {self.model_name} ({self.model}), this is '
                f"{model.name} ({model.fingerprint}); use that model or learn the concept again."
            )
        if self.encoder not in known_as(encoder):
            raise PersamError(
                f'The concept "{self.name}" was made with the encoder {self.encoder_name} ({self.encoder}), '
                f"this is {encoder.name} ({encoder.fingerprint}); use that encoder or learn the concept again."
            )

    def check_vectors(self, image: EncodedImage) -> None:
        """See that its vectors are as long as the features of a photo that its model encoded.

        Raises:
            PersamError: they are not, so the file was changed by hand.
        """
        lengths = len(self.targets[0].embedding), len(self.targets[0].direction)
        wanted = image.features.shape[1], (image.other or image).features.shape[1]
        if lengths != wanted:
            raise PersamError(
                f'The concept "{self.name}" has vectors of {lengths[0]} and {lengths[1]} numbers, its model of '
                f"{wanted[0]} and {wanted[1]}; learn it again."
            )

    def joined(self, other: Concept, name: str) -> Concept:
        """Both as one concept, learned from the references of both; of one model, with one form, neither tuned."""
        ours, theirs = len(self.references), len(other.references)

        def mean(one: float, another: float) -> float:
            return (one * ours + another * theirs) / (ours + theirs)

        own, others_own = self.own_similarity, other.own_similarity
        nothing, none_of_theirs = (None,) * ours, (None,) * theirs
        return replace(
            self.also_seen_as(other.targets, other.cues, other.from_afar),
            name=name,
            references=self.references + other.references,
            threshold=mean(self.threshold, other.threshold),
            own_similarity=None if own is None or others_own is None else mean(own, others_own),
            created=other.created,
            thumbnail=self.thumbnail or other.thumbnail,
            kept=(self.kept or nothing) + (other.kept or none_of_theirs) if self.kept or other.kept else (),
            material=(self.material or nothing) + (other.material or none_of_theirs),
        )

    def also_seen_as(
        self, targets: tuple[TargetFeatures, ...], cues: tuple[CueFeatures, ...], from_afar: int = 0
    ) -> Concept:
        """It with what it looks like in other shots, too; the last `from_afar` of them are from afar."""
        near = len(targets) - from_afar

        def joined(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> tuple[Any, ...]:
            return ours[self.views] + theirs[:near] + ours[self.views_from_afar] + theirs[near:]

        return replace(
            self,
            targets=joined(self.targets, targets),
            cues=joined(self.cues, cues) if self.cues else (),
            from_afar=self.from_afar + from_afar,
        )

    def metadata(self) -> dict[str, Any]:
        """All but the vectors, as plain JSON values."""
        from persam.concept_file import metadata_of

        return metadata_of(self)

    @property
    def content_hash(self) -> str:
        """Tells concepts apart by all that decides what they find: a concept that was learned again from the same is
        the same, and so is one that keeps its references, or whose photos and model have other file names."""
        words = {key: value for key, value in self.metadata().items() if key not in _NO_MATTER}
        words |= {"model": self.model, "encoder": self.encoder}  # without their names
        digest = hashlib.sha256(json.dumps(words, sort_keys=True).encode())
        for part in (*self.targets, *self.cues):
            for name, tensor in sorted(vars(part).items()):
                digest.update(f"{name}{tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def save(self, path: str | Path, *, thumbnail: bool = False) -> Path:
        """Write the concept file, whole or not at all.

        Args:
            path: where; missing folders are made.
            thumbnail: also store the thumbnail, if there is one.

        Raises:
            PersamError: the place is not writable, or the disk is full.
        """
        from persam.concept_file import file_bytes

        path = Path(path)
        write_bytes(path, file_bytes(self, thumbnail=thumbnail))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Concept:
        """Read a concept file.

        Raises:
            PersamError: missing, damaged, no concept of persam, or of a newer format.
        """
        from persam.concept_file import read_concept

        return read_concept(Path(path))
