"""Grounding DINO + SAM (arXiv 2303.05499, 2401.14159): the object's category in words gives a box, SAM the mask in it.

It sees no reference, only the word: what a person gets who asks for "a dog" instead of showing their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from persam.benchmark.methods.base import Example, Prediction, SharedPhoto, check_type
from persam.models.base import PromptableModel, Prompts
from persam.models.fingerprint import fingerprint_of
from persam.models.hub import hub_call, load_network
from persam.models.loading import choose_device
from persam.persam import PerSAM

BOX_THRESHOLD = 0.25  # transformers' default
LONGEST = 16  # times the shorter side; the detector's preprocessing leaves less than a pixel of longer strips


@dataclass(frozen=True)
class Detection:
    """A box (x0, y0, x1, y1) in photo pixels, and the detector's probability of it."""

    box: np.ndarray
    score: float


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
        from transformers import AutoTokenizer, GroundingDinoForObjectDetection, GroundingDinoImageProcessorPil

        self.checkpoint, self.model, self.threshold = checkpoint, model, threshold
        self.device = choose_device(device)
        check_type(checkpoint, "grounding-dino", "not Grounding DINO", "IDEA-Research/grounding-dino-tiny")
        detector: Any = load_network(checkpoint, GroundingDinoForObjectDetection)
        self.fingerprint = fingerprint_of(detector)
        self.detector = detector.eval().requires_grad_(False).to(self.device, torch.float32)
        self.processor: Any = hub_call(checkpoint, GroundingDinoImageProcessorPil.from_pretrained)
        self.tokenizer: Any = hub_call(checkpoint, AutoTokenizer.from_pretrained)

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`."""
        return {
            "method": "Grounding DINO + SAM",
            "checkpoint": self.checkpoint,
            "fingerprint": self.fingerprint,
            "size": {key: value for key, value in dict(self.processor.size).items() if value is not None},
            "threshold": self.threshold,
            "prompt": "the category, lower case, with a full stop",
            "model": self.model.name,
            "model_fingerprint": self.model.fingerprint,
        }

    def learn(self, examples: Sequence[Example], category: str) -> str:
        """The detector's question: it was trained on lower-case phrases, each ended by a full stop."""
        words = " ".join(category.replace("_", " ").replace(".", " ").lower().split())
        return f"{words}."

    @torch.inference_mode()
    def find(self, photo: SharedPhoto, learned: str) -> Prediction:
        """See `Method.find`."""
        found = self.detect(photo.pixels, learned)
        if found is None:
            return Prediction.nothing(photo)
        encoding = photo.encoded(PerSAM(self.model))
        corners = encoding.frame.to_canvas(found.box.reshape(2, 2)).reshape(1, 4)
        prompts = Prompts(boxes=torch.as_tensor(corners, dtype=torch.float32, device=self.model.device))
        decoded = self.model.decode(encoding, prompts, multimask=False)
        mask = encoding.frame.to_photo_mask(decoded.logits[0, 0]).cpu().numpy()
        x, y = found.box.reshape(2, 2).mean(0)
        return Prediction(mask, found.score, present=True, peak=(float(x), float(y)))

    def detect(self, pixels: np.ndarray, text: str) -> Detection | None:
        """The likeliest box of what the text says in (H, W, 3) uint8 RGB, or None if none is likely enough."""
        shape = (pixels.shape[0], pixels.shape[1])
        images = self.processor(images=_not_too_long(pixels), input_data_format="channels_last", return_tensors="pt")
        words = self.tokenizer(text, return_tensors="pt", truncation=True, max_length=self.detector.config.max_text_len)
        outputs = self.detector(
            pixel_values=images["pixel_values"].to(self.device),
            pixel_mask=images["pixel_mask"].to(self.device),
            **{key: value.to(self.device) for key, value in words.items()},
        )
        found = self.processor.post_process_object_detection(outputs, self.threshold, [shape])[0]
        scores: Tensor = found["scores"]
        if len(scores) == 0:
            return None
        best = int(scores.argmax())
        box = found["boxes"][best].cpu().numpy().astype(np.float64)
        last = np.array([shape[1] - 1, shape[0] - 1, shape[1] - 1, shape[0] - 1])
        return Detection(box.clip(0, last), float(scores[best]))


def _not_too_long(pixels: np.ndarray) -> np.ndarray:
    """A photo (H, W, 3), or a strip made broader: the detector gives boxes as shares of the sides, so none is moved."""
    height, width = pixels.shape[:2]
    size = max(height, -(-width // LONGEST)), max(width, -(-height // LONGEST))
    if size == (height, width):
        return pixels
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.NEAREST))
