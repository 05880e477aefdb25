"""The protocol of a promptable model: encode a photo once, decode prompts as often as needed.

Everything above this line (the method, albums, video, servers) knows a model only by what stands here.  The shape was
tried on SAM, SAM-HQ and SAM 2 of transformers: their extra features travel in `EncodedImage.extras`, SAM 2's stretched
canvas in `Frame`, its object score in `Decoded.presence`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from persam.geometry import Frame, Size
from persam.models.guidance import Guidance


@dataclass(frozen=True)
class EncodedImage:
    """One photo, encoded once for every concept, instance and refinement.

    Attributes:
        features: what the decoder attends to and what concepts are made of, (1, C, rows, columns).
        frame: the photo's place on the model's canvas.
        extras: whatever else the model's decoder wants (SAM 2's finer features, SAM-HQ's early ones).
        other: the same photo as another encoder sees it, for the confidence map; None: these features serve for both.
        source: name of the photo, or None.
    """

    features: Tensor
    frame: Frame
    extras: dict[str, Any] = field(default_factory=dict)
    other: EncodedImage | None = None
    source: str | None = None

    @property
    def matching(self) -> EncodedImage:
        """The encoding that the confidence map is made of."""
        return self.other or self


@dataclass(frozen=True)
class Prompts:
    """P prompts for one photo, decoded in one pass. Coordinates are canvas pixels; None means: not given.

    Attributes:
        points: (P, N, 2) as (x, y).
        labels: (P, N), 1 on the object, 0 off it, -1 no point.
        boxes: (P, 4) as (x0, y0, x1, y1).
        logits: mask prompt, (P, 1, h, w) at the decoder's own low resolution.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    logits: Tensor | None = None


@dataclass(frozen=True)
class Decoded:
    """What a decoder pass gives for P prompts: M masks each (1, or the 3 scales).

    Attributes:
        logits: (P, M, h, w) over the canvas; the mask is where they exceed 0.
        scores: predicted IoU, (P, M).
        presence: logit of "the object is visible", (P, 1), where the model has it.
    """

    logits: Tensor
    scores: Tensor
    presence: Tensor | None = None


@runtime_checkable
class PromptableModel(Protocol):
    """A model that turns prompts into masks."""

    name: str
    fingerprint: str
    device: torch.device

    @property
    def low_resolution(self) -> Size:
        """Size (h, w) of the logits, and of a mask prompt."""
        ...

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Encode a photo, (H, W, 3) uint8 RGB."""
        ...

    def decode(
        self, encoding: EncodedImage, prompts: Prompts, *, multimask: bool, guidance: Guidance | None = None
    ) -> Decoded:
        """Masks for prompts: three scales each with `multimask`, otherwise the single-mask output."""
        ...


class FeatureEncoder(Protocol):
    """An encoder for the confidence map alone (DINOv2, DINOv3, CLIP)."""

    name: str
    fingerprint: str

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Encode a photo, (H, W, 3) uint8 RGB."""
        ...
