"""Grounding DINO (arXiv 2303.05499): boxes of what words name, and with a promptable model masks (arXiv 2401.14159)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from persam.models.base import PromptableModel, Prompts
from persam.models.fingerprint import check_numbers, fingerprint_of
from persam.models.hub import hub_call, load_network
from persam.models.words import OTHERWISE, Named, check_length, distinct, load_tokenizer, words_of

BOX_THRESHOLD = 0.25  # transformers' default
LONGEST = 16  # times the shorter side; the detector's preprocessing leaves less than a pixel of longer strips


class GroundingDino:
    """The detector, frozen.

    Args:
        network: transformers' `GroundingDinoForObjectDetection`.
        processor: its preprocessing, which knows the size that it sees photos at.
        tokenizer: its own.
        name: how people call it.
        device: where it computes.
        threshold: probability from which on a box counts.

    Raises:
        PersamError: a weight is NaN or infinite.
    """

    def __init__(
        self,
        network: Any,
        processor: Any,
        tokenizer: Any,
        *,
        name: str,
        device: torch.device,
        threshold: float = BOX_THRESHOLD,
    ) -> None:
        self.name, self.device, self.threshold = name, device, threshold
        check_numbers(network, name)
        self.fingerprint = fingerprint_of(network)
        self.network = network.eval().requires_grad_(False).to(device, torch.float32)
        self.processor, self.tokenizer = processor, tokenizer

    @classmethod
    def load(cls, name: str, device: torch.device, *, threshold: float = BOX_THRESHOLD) -> GroundingDino:
        """Load it by hub id or local folder.

        Raises:
            PersamError: not to be had, or damaged.
        """
        from transformers import GroundingDinoForObjectDetection, GroundingDinoImageProcessorPil

        network = load_network(name, GroundingDinoForObjectDetection, otherwise=OTHERWISE)
        processor = hub_call(name, GroundingDinoImageProcessorPil.from_pretrained, otherwise=OTHERWISE)
        return cls(network, processor, load_tokenizer(name), name=name, device=device, threshold=threshold)

    @torch.inference_mode()
    def boxes(self, image: np.ndarray, question: str) -> tuple[np.ndarray, np.ndarray]:
        """Boxes of what a `question_of` asks for, the likeliest first; what is too long of it is cut off.

        Args:
            image: (H, W, 3) uint8 RGB.
            question: as the detector was trained to be asked.

        Returns:
            (n, 4) float64 (x0, y0, x1, y1) in photo pixels, and their probabilities, (n,) float32.
        """
        shape = (image.shape[0], image.shape[1])
        images = self.processor(images=_not_too_long(image), input_data_format="channels_last", return_tensors="pt")
        words = self.tokenizer(
            question, return_tensors="pt", truncation=True, max_length=self.network.config.max_text_len
        )
        outputs = self.network(
            pixel_values=images["pixel_values"].to(self.device),
            pixel_mask=images["pixel_mask"].to(self.device),
            **{key: value.to(self.device) for key, value in words.items()},
        )
        found = self.processor.post_process_object_detection(outputs, self.threshold, [shape])[0]
        scores: Tensor = found["scores"]
        order = scores.argsort(descending=True, stable=True)
        boxes = found["boxes"][order].cpu().numpy().astype(np.float64)
        last = np.array([shape[1] - 1, shape[0] - 1, shape[1] - 1, shape[0] - 1])
        return boxes.clip(0, last), scores[order].cpu().numpy()


class GroundingDinoFinder:
    """Grounding DINO's boxes, and the masks that a promptable model draws in them.

    Args:
        detector: finds the boxes.
        model: draws one mask in each.
    """

    def __init__(self, detector: GroundingDino, model: PromptableModel) -> None:
        self.detector, self.model, self.name = detector, model, detector.name

    @torch.inference_mode()
    def find_words(self, image: np.ndarray, text: str) -> Named:
        """See `persam.models.words.WordFinder.find_words`."""
        self.check_text(text)
        boxes, scores = self.detector.boxes(image, question_of(text))
        if len(boxes) == 0:
            return Named(np.zeros((0, *image.shape[:2]), bool), scores)
        encoding = self.model.encode(image)
        logits = masks_in(self.model, encoding, boxes)
        kept = distinct(logits > 0)
        masks = [encoding.frame.to_photo_mask(each).cpu().numpy() for each in logits[kept]]
        return Named(np.stack(masks) if masks else np.zeros((0, *image.shape[:2]), bool), scores[kept.cpu().numpy()])

    def check_text(self, text: str) -> None:
        """See `persam.models.words.WordFinder.check_text`."""
        tokens = len(self.detector.tokenizer(question_of(words_of(text)))["input_ids"])
        check_length(text, tokens, self.detector.network.config.max_text_len, self.name)


def question_of(text: str) -> str:
    """The detector was trained on lower-case phrases, each ended by a full stop."""
    words = " ".join(text.replace("_", " ").replace(".", " ").lower().split())
    return f"{words}."


def masks_in(model: PromptableModel, encoding: Any, boxes: np.ndarray) -> Tensor:
    """Logits of the single-mask output in each of boxes, (n, 4) in photo pixels: (n, h, w) over the canvas."""
    corners = encoding.frame.to_canvas(boxes.reshape(-1, 2)).reshape(-1, 4)
    prompts = Prompts(boxes=torch.as_tensor(corners, dtype=torch.float32, device=model.device))
    return model.decode(encoding, prompts, multimask=False).logits[:, 0]


def _not_too_long(pixels: np.ndarray) -> np.ndarray:
    """A photo (H, W, 3), or a strip made broader: the detector gives boxes as shares of the sides, so none is moved."""
    height, width = pixels.shape[:2]
    size = max(height, -(-width // LONGEST)), max(width, -(-height // LONGEST))
    if size == (height, width):
        return pixels
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.NEAREST))
