"""The protocol of a promptable model: encode a photo once, decode prompts as often as needed.

Everything above this line (the method, albums, video, servers) knows a model only by what stands here.  SAM
(`sam.py`), SAM-HQ (`sam_hq.py`), SAM 2, EdgeTAM and SAM 3's tracker (`sam2.py`) keep it: their extra features travel in
`EncodedImage.extras`, SAM 2's stretched canvas in `Frame`, its object score in `Decoded.presence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from persam.errors import PersamError
from persam.geometry import Frame, Size


@dataclass(frozen=True)
class EncodedImage:
    """One photo, encoded once for every concept, instance and refinement; or, to train, B photos with one frame.

    Attributes:
        features: what the decoder attends to and what concepts are made of, (1, C, rows, columns) or (B, C, ...). Not
            to be written into: a model keeps what it made of those that it decoded last.
        frame: the photo's place on the model's canvas.
        extras: whatever else the model's decoder wants (SAM 2's finer features, SAM-HQ's early ones), as tensors.
        other: the same photo as another encoder sees it, for the confidence map; None: these features serve for both.
        source: name of the photo, or None.
        pixels: the photo itself, small, (h, w, 3) uint8 RGB, for the colour cue and the last refinement; or None.
        detail: the photo as large as a closer look at a part of it can use, (h, w, 3) uint8 RGB, or None.
        for_finder: the photo as large as a finder by words sees it, (h, w, 3) uint8 RGB, or None. A copy of its own, so
            that what is found without words does not depend on there being a finder.
    """

    features: Tensor
    frame: Frame
    extras: dict[str, Any] = field(default_factory=dict)
    other: EncodedImage | None = None
    source: str | None = None
    pixels: np.ndarray | None = None
    detail: np.ndarray | None = None
    for_finder: np.ndarray | None = None

    def of_photo(self, size: Size) -> EncodedImage:
        """The same for a photo of another size (H, W) and equal proportions; what was encoded is a copy of it."""
        other = None if self.other is None else self.other.of_photo(size)
        return replace(self, frame=replace(self.frame, photo=size), other=other)


@dataclass(frozen=True)
class Prompts:
    """P prompts for one photo, or one for each of P, decoded in one pass. In canvas pixels; None means: not given.

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
class Guidance:
    """What steers one decoder pass towards the target; either part may be None.

    Attributes:
        attention: similarity of every image cell to the target, shape (1 or P, 1, 1, h*w) for P prompts, on the padded
            grid of the image embedding (row by row). Its scale is the mode's business.
        where: ``"after"`` adds it to the attention *weights* and applies a second softmax (paper Eq. 8 and the
            published code); ``"before"`` adds it to the attention logits, so that one softmax weighs both. A bool
            tensor, true for "after", leaves it open until the pass runs: an exported decoder serves every mode.
        semantic: the target embedding T, shape (C,), or one for each of P prompts (P, 1, 1, C), added to every token
            (paper Eq. 9-10).
    """

    attention: Tensor | None = None
    where: Literal["before", "after"] | Tensor = "after"
    semantic: Tensor | None = None

    @classmethod
    def joined(cls, guidances: Sequence[Guidance]) -> Guidance:
        """That of several prompts, each of one prompt and all of one form, as one."""
        attention = [each.attention for each in guidances if each.attention is not None]
        semantic = [each.semantic.reshape(1, 1, 1, -1) for each in guidances if each.semantic is not None]
        return cls(
            torch.cat(attention) if attention else None,
            guidances[0].where,
            torch.cat(semantic) if semantic else None,
        )


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

    def best(self) -> Tensor:
        """Logits of the mask with the highest predicted IoU, for every prompt, (P, 1, h, w)."""
        prompts = torch.arange(len(self.scores), device=self.scores.device)
        return self.logits[prompts, self.scores.argmax(1)][:, None]

    def apart(self) -> list[Decoded]:
        """One for each prompt."""
        ones = [slice(prompt, prompt + 1) for prompt in range(len(self.logits))]
        presence = self.presence
        return [
            Decoded(self.logits[one], self.scores[one], None if presence is None else presence[one]) for one in ones
        ]


Question = tuple[Prompts, bool, Guidance | None]  # to the decoder about a photo: prompts, multimask, guidance


def form_of(question: Question) -> tuple[Any, ...]:
    """Questions of one form can be asked in one pass: they give the same things, and as many points."""
    prompts, multimask, guidance = question
    given = (None if each is None else each.shape[1:] for each in vars(prompts).values())
    guided = None if guidance is None else (guidance.where, guidance.attention is None, guidance.semantic is None)
    return multimask, guided, *given


def joined(questions: Sequence[Question]) -> Question:
    """Several of one form, each of one prompt, as one."""
    prompts, multimask, guidance = questions[0]
    if len(questions) == 1:
        return questions[0]
    together = {
        name: None if given is None else torch.cat([getattr(each, name) for each, _, _ in questions])
        for name, given in vars(prompts).items()
    }
    every = [each for _, _, each in questions if each is not None]
    return Prompts(**together), multimask, None if guidance is None else Guidance.joined(every)


def encode_all(encoder: FeatureEncoder, images: Sequence[np.ndarray]) -> list[EncodedImage]:
    """Encode photos, (H, W, 3) uint8 RGB each: in one pass where the encoder has an `encode_many`."""
    many = getattr(encoder, "encode_many", None)
    return many(images) if many is not None and len(images) > 1 else [encoder.encode(image) for image in images]


def no_numbers(name: str, what: str) -> PersamError:
    """What is to be raised where a model gives NaN or infinity for something."""
    return PersamError(
        f"The model {name} gives NaN or infinity for {what}; try --dtype float32, and if that does not help, get the "
        "model again."
    )


def check_encoding(encoding: EncodedImage, name: str) -> EncodedImage:
    """See that a model gave numbers, and return them.

    Raises:
        PersamError: NaN or infinity.
    """
    for each in (encoding, encoding.other):
        if each is not None and not bool(torch.isfinite(each.features).all()):
            raise no_numbers(name, encoding.source or "the photo")
    return encoding


class FeatureEncoder(Protocol):
    """An encoder of photos; for the confidence map alone it may be another than the model's (DINOv2, DINOv3, CLIP)."""

    name: str
    fingerprint: str

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Encode a photo, (H, W, 3) uint8 RGB."""
        ...


@runtime_checkable
class PromptableModel(FeatureEncoder, Protocol):
    """A model that turns prompts into masks."""

    device: torch.device

    @property
    def low_resolution(self) -> Size:
        """Size (h, w) of the logits, and of a mask prompt."""
        ...

    def prepare(self, image: np.ndarray, frame: Frame) -> Tensor:
        """SAM's own preprocessing, to the pixel; mode official treats the reference's mask file like a photo.

        Args:
            image: (H, W, 3) uint8.
            frame: its place on the canvas.

        Returns:
            What the image encoder takes, (1, 3, canvas height, canvas width) float32.

        Raises:
            UsageError: the model's preprocessing is another ("Mode official needs SAM's own preprocessing, which
                NAME does not have; use mode persam or paper.").
        """
        ...

    def decode(
        self, encoding: EncodedImage, prompts: Prompts, *, multimask: bool, guidance: Guidance | None = None
    ) -> Decoded:
        """Masks for prompts: three scales each with `multimask`, otherwise the single-mask output.

        One photo takes any number of prompts, each with guidance of its own or all with the same; B photos take B, each
        its own. What a prompt gets does not depend on the others, but for rounding. Callers that learn nothing run it
        under `torch.inference_mode`; otherwise gradients go where they are required.
        """
        ...
