"""Grounding DINO + SAM (arXiv 2303.05499, 2401.14159): the object's category in words gives a box, SAM the mask in it.

It sees no reference, only the word: what a person gets who asks for "a dog" instead of showing their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from persam.benchmark.methods.base import Example, Prediction, SharedPhoto, check_type
from persam.models.base import PromptableModel
from persam.models.grounding_dino import BOX_THRESHOLD, GroundingDino, masks_in, question_of
from persam.models.loading import choose_device
from persam.persam import PerSAM


class GroundedSam:
    """The highest-scoring box of Grounding DINO as SAM's box prompt, single-mask output.

    Args:
        checkpoint: hub id or folder of the detector, its preprocessing and its tokenizer.
        model: the promptable model.
        device: where the detector computes.
        threshold: probability from which on a box counts.

    Raises:
        PersamError: not to be had, or another kind of model.
    """

    name = "grounded-sam"

    def __init__(
        self, checkpoint: str, model: PromptableModel, *, device: str = "auto", threshold: float = BOX_THRESHOLD
    ) -> None:
        check_type(checkpoint, "grounding-dino", "not Grounding DINO", "IDEA-Research/grounding-dino-tiny")
        self.model = model
        self.detector = GroundingDino.load(checkpoint, choose_device(device), threshold=threshold)

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`."""
        return {
            "method": "Grounding DINO + SAM",
            "checkpoint": self.detector.name,
            "fingerprint": self.detector.fingerprint,
            "size": {key: value for key, value in dict(self.detector.processor.size).items() if value is not None},
            "threshold": self.detector.threshold,
            "prompt": "the category, lower case, with a full stop",
            "model": self.model.name,
            "model_fingerprint": self.model.fingerprint,
        }

    def learn(self, examples: Sequence[Example], category: str) -> str:
        """The detector's question."""
        return question_of(category)

    @torch.inference_mode()
    def find(self, photo: SharedPhoto, learned: str) -> Prediction:
        """See `Method.find`."""
        boxes, scores = self.detector.boxes(photo.pixels, learned)
        if len(boxes) == 0:
            return Prediction.nothing(photo)
        encoding = photo.encoded(PerSAM(self.model))
        mask = encoding.frame.to_photo_mask(masks_in(self.model, encoding, boxes[:1])[0]).cpu().numpy()
        x, y = boxes[0].reshape(2, 2).mean(0)
        return Prediction(mask, float(scores[0]), present=True, peak=(float(x), float(y)))
