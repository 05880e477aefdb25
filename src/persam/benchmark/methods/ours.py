"""PerSAM and PerSAM-F as methods to be measured, in any form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from persam.benchmark.methods.base import Photo, Prediction, Shot
from persam.concept import Concept
from persam.method.scale import check_solver
from persam.method.settings import Settings
from persam.models.base import EncodedImage, FeatureEncoder, PromptableModel
from persam.persam import PerSAM
from persam.reference import Reference
from persam.segmentation import Segmentation


class PersamMethod:
    """One form of PerSAM.

    Args:
        name: of this form.
        model: the promptable model.
        settings: the switches.
        tuned: PerSAM-F.
        encoder: another encoder for the confidence map.
        solver: of PerSAM-F.

    Raises:
        UsageError: no such solver.
    """

    def __init__(
        self,
        name: str,
        model: PromptableModel,
        settings: Settings,
        *,
        tuned: bool = False,
        encoder: FeatureEncoder | None = None,
        solver: str = "direct",
    ) -> None:
        check_solver(solver)
        self.name = name
        self.tuned = tuned
        self.solver = solver
        self.persam = PerSAM(model, encoder=encoder, settings=settings)

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`."""
        model, encoder = self.persam.model, self.persam.encoder
        return {
            "method": "PerSAM-F" if self.tuned else "PerSAM",
            "model": model.name,
            "fingerprint": model.fingerprint,
            "encoder": None if encoder is None else encoder.name,
            "encoder_fingerprint": None if encoder is None else encoder.fingerprint,
            "solver": self.solver if self.tuned else None,
            "settings": self.persam.settings.to_dict(),
        }

    def learn(self, shots: Sequence[Shot], category: str) -> Concept:
        """See `Method.learn`."""
        references = [Reference.read(shot.photo.pixels, shot.mask_file or shot.mask) for shot in shots]
        concept = self.persam.learn(references, name=category)
        return self.persam.tune(concept, solver=self.solver) if self.tuned else concept

    def find(self, photo: Photo, learned: Concept) -> Prediction:
        """See `Method.find`."""
        return prediction_of(self.persam.segment(self.encode(photo), learned))

    def encode(self, photo: Photo) -> EncodedImage:
        """The photo's encoding, made once for every form on the same model and encoder."""
        key = (id(self.persam.model), id(self.persam.encoder))
        if key not in photo.kept:
            photo.kept[key] = self.persam.encode(photo.pixels)
        encoded: EncodedImage = photo.kept[key]
        return encoded


def prediction_of(found: Segmentation) -> Prediction:
    """What PerSAM found, as any method's answer."""
    peak = tuple(float(value) for value in found.points[0]) if len(found.points) else None
    return Prediction(found.assumed_mask, found.score, found.present, peak)  # type: ignore[arg-type]
