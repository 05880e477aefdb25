"""PerSAM and PerSAM-F as methods to be measured, in any form, and plain SAM at the positive point."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from persam.benchmark.methods.base import Example, Prediction, SharedPhoto
from persam.benchmark.methods.catalog import named
from persam.concept import Concept
from persam.errors import PersamWarning
from persam.method.scale import check_solver
from persam.method.settings import Settings
from persam.models.base import EncodedImage, FeatureEncoder, PromptableModel
from persam.models.fitted import Fitted
from persam.persam import PerSAM
from persam.reference import Reference
from persam.segmentation import Segmentation

_PLAIN = {
    "positive_points": 1,
    "negative_point": False,
    "dense_prior": False,
    "prior_box": False,
    "attention": "off",
    "semantic": "off",
    "first_pass": "scales",
    "cascade": False,
    "agreement": 0.0,
    "final_agreement": 0.0,
    "fallback": False,
    "refine": False,
    "places": 1,
    "closer_look": "off",
    "redraw": False,
}


def names_of(model: PromptableModel, encoder: FeatureEncoder | None) -> dict[str, str | None]:
    """Names and fingerprints, JSON values."""
    return {
        "model": model.name,
        "fingerprint": model.fingerprint,
        "encoder": None if encoder is None else encoder.name,
        "encoder_fingerprint": None if encoder is None else encoder.fingerprint,
    }


def reference_of(photo: np.ndarray, **shown: Any) -> Reference:
    """A reference as `Reference.read` takes it, without a word on masks that look odd: a data set's are as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PersamWarning)
        return Reference.read(photo, **shown)


class PersamMethod:
    """One form of PerSAM.

    Args:
        name: of this form.
        model: the promptable model.
        settings: the switches.
        tuned: PerSAM-F.
        encoder: another encoder for the confidence map.
        solver: of PerSAM-F.
        fitted: numbers of model and encoder; by default the packaged ones, if any.

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
        fitted: Fitted | None = None,
    ) -> None:
        check_solver(solver)
        self.name = name
        self.tuned = tuned
        self.solver = solver
        self.persam = PerSAM(model, encoder=encoder, settings=settings, fitted=fitted)

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`."""
        return {
            "method": "PerSAM-F" if self.tuned else "PerSAM",
            **names_of(self.persam.model, self.persam.encoder),
            "solver": self.solver if self.tuned else None,
            "settings": self.persam.settings.to_dict(),
            "fitted": None if self.persam.fitted is None else self.persam.fitted.to_dict(),
        }

    def learn(self, examples: Sequence[Example], category: str) -> Concept:
        """See `Method.learn`."""
        references = [reference_of(each.photo.pixels, mask=each.mask_file or each.mask) for each in examples]
        concept = self.persam.learn(references, name=category)
        concept = self.persam.tune(concept, solver=self.solver) if self.tuned else concept
        return replace(concept, material=())  # a run may keep many: without the encodings that only tuning needs

    def find(self, photo: SharedPhoto, learned: Concept) -> Prediction:
        """See `Method.find`."""
        return prediction_of(self.persam.segment(self.encode(photo), learned), learned)

    def encode(self, photo: SharedPhoto) -> EncodedImage:
        """The photo's encoding, made once for every form on the same model and encoder."""
        return photo.encoded(self.persam)


def prediction_of(found: Segmentation, concept: Concept) -> Prediction:
    """What PerSAM found, as any method's answer: the mask under the assumption that the object is there.

    How sure it is, is told by the score where it is calibrated; otherwise by the similarity, which concepts' thresholds
    and the paper's are of.
    """
    peak = tuple(float(value) for value in found.points[0]) if len(found.points) else None
    calibrated = concept.fitted is not None
    sure = found.score if calibrated or found.similarity is None else found.similarity
    threshold = found.threshold if calibrated else concept.threshold
    return Prediction(found.assumed_mask, sure, found.present, peak, threshold, calibrated)  # type: ignore[arg-type]


def persam_method(
    model: PromptableModel,
    mode: str = "persam",
    encoder: FeatureEncoder | None = None,
    solver: str = "direct",
    fitted: Fitted | None = None,
    *,
    tuned: bool = False,
) -> PersamMethod:
    """PerSAM in a mode, or `tuned`, which is PerSAM-F; called by what it is."""
    name = named("persam-f" if tuned else "persam", mode)
    return PersamMethod(name, model, Settings.of(mode), tuned=tuned, encoder=encoder, solver=solver, fitted=fitted)


persam_f_method = partial(persam_method, tuned=True)


class SamPoint(PersamMethod):
    """Plain SAM from the positive point: what it gives where the confidence map is highest, and nothing else.

    The first row of the paper's ablation. One decoder pass on one point, the best of SAM's three masks by predicted
    IoU; no negative point, no guidance, no cascade.

    Args:
        model: the promptable model.
        mode: how the confidence map is made and where its peak is read.
        encoder: another encoder for the confidence map.
        fitted: numbers of both.
    """

    def __init__(
        self,
        model: PromptableModel,
        mode: str = "persam",
        encoder: FeatureEncoder | None = None,
        fitted: Fitted | None = None,
    ) -> None:
        plain = Settings.of(mode).but(**_PLAIN)
        super().__init__(named("sam-point", mode), model, plain, encoder=encoder, fitted=fitted)

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`."""
        return super().describe() | {"method": "SAM, positive point"}
