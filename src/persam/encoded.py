"""A photo, encoded once, and its confidence map for a concept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from persam.concept import Concept
from persam.method.confidence import ConfidenceMaps, confidence_cells
from persam.models.base import Encoding, FeatureEncoder, PromptableModel


@dataclass(frozen=True)
class EncodedImage:
    """A photo, encoded once for every concept, instance and refinement.

    Attributes:
        prompting: encoding of the promptable model.
        matching: encoding that the confidence map is made of; the same one unless there is another encoder.
        source: name of the photo, or None.
    """

    prompting: Encoding
    matching: Encoding
    source: str | None = None

    @classmethod
    def of(
        cls, pixels: np.ndarray, model: PromptableModel, encoder: FeatureEncoder | None, source: str | None = None
    ) -> EncodedImage:
        """Encode (H, W, 3) uint8 RGB."""
        prompting = model.encode(pixels)
        return cls(prompting, prompting if encoder is None else encoder.encode(pixels), source)

    def maps(self, concept: Concept, model: PromptableModel, *, tuned: bool) -> ConfidenceMaps:
        """The confidence map of a concept in this photo; `tuned` takes the direction that a tuned concept uses."""
        return ConfidenceMaps.of(
            confidence_cells(self.matching.features, concept.targets, tuned),
            self.matching.frame,
            self.prompting.frame,
            model.low_resolution,
            with_photo=concept.settings.map == "photo",
        )
