"""What a method is asked and answers: shown references, it finds their object in photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from persam.errors import PersamError
from persam.geometry import Size
from persam.models.base import EncodedImage
from persam.models.hub import hub_call

if TYPE_CHECKING:
    from persam.persam import PerSAM


@dataclass(eq=False)
class SharedPhoto:
    """A photo on its way through several methods, and what they keep of it for each other.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        kept: encodings, so that methods on one model encode it once; each method chooses its keys.
    """

    pixels: np.ndarray
    kept: dict[Any, Any] = field(default_factory=dict)

    @property
    def size(self) -> Size:
        """(H, W)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def encoded(self, persam: PerSAM) -> EncodedImage:
        """The photo as PerSAM encodes it, once for all methods on the same model and encoder."""
        key = (id(persam.model), id(persam.encoder))
        if key not in self.kept:
            self.kept[key] = persam.encode(self.pixels)
        encoding: EncodedImage = self.kept[key]
        return encoding


@dataclass(frozen=True, eq=False)
class Example:
    """A reference.

    Attributes:
        photo: that shows the object.
        mask: of the object, (H, W) bool.
        mask_file: the picture that holds this mask and nothing else, if there is one: what the published code makes of
            a mask depends on the values in its file.
    """

    photo: SharedPhoto
    mask: np.ndarray
    mask_file: Path | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a method found in one photo.

    Attributes:
        mask: (H, W) bool, empty where nothing was found.
        score: how sure it is that the object is there at all; higher is surer, whatever the scale.
        present: its own verdict on that, or None if it has none.
        peak: (x, y) in pixels, the place that it holds to be the object above all others, or None.
        threshold: the score from which on its verdict is that the object is there, or None if it has none.
        calibrated: whether the score is meant as the probability, 0 to 1, that the object is there.
    """

    mask: np.ndarray
    score: float
    present: bool | None = None
    peak: tuple[float, float] | None = None
    threshold: float | None = None
    calibrated: bool = False

    @classmethod
    def nothing(cls, photo: SharedPhoto) -> Prediction:
        """The answer of a method that is sure to have found nothing."""
        return cls(np.zeros(photo.size, bool), 0.0, present=False)


class Method(Protocol):
    """Shown references, it finds their object in photos.

    Attributes:
        name: short, unique within a run, fit for a folder: ``persam``, ``persam-f``, ``seggpt``.
    """

    name: str

    def describe(self) -> dict[str, Any]:
        """What a reader must know to do the same again: model, fingerprint, encoder, mode, switches. JSON values."""
        ...

    def learn(self, examples: Sequence[Example], category: str) -> Any:
        """Look at the references; `category` is the object in words. What it returns goes to `find`."""
        ...

    def find(self, photo: SharedPhoto, learned: Any) -> Prediction:
        """Find the object in a photo."""
        ...


def answer(probability: np.ndarray, ranking: np.ndarray | None = None) -> Prediction:
    """The pixels above one half, how sure they are, and the likeliest of all.

    Args:
        probability: (H, W) in [0, 1].
        ranking: (H, W), what the likeliest pixel is chosen by; the same map before it was clipped, for instance.

    Returns:
        Its score is the mean probability of the mask's pixels, above 0.5, or, if the mask is empty, the highest
        probability there is.
    """
    mask = probability > 0.5
    score = probability[mask].mean() if mask.any() else probability.max()
    row, column = np.unravel_index(int((probability if ranking is None else ranking).argmax()), probability.shape)
    return Prediction(mask, float(score), bool(mask.any()), (float(column), float(row)))


def to_size(values: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """A map (h, w) resized to (H, W)."""
    options = {"align_corners": False} if mode == "bilinear" else {}
    return F.interpolate(values[None, None].to(torch.float32), size, mode=mode, **options)[0, 0]


def check_type(checkpoint: str, wanted: str, otherwise: str, such_as: str) -> None:
    """See that a checkpoint on the hub or in a folder is of the type that transformers calls `wanted`.

    Raises:
        PersamError: it is not to be had, or another (what is then said: `otherwise`, and an example).
    """
    from transformers import AutoConfig

    found = hub_call(checkpoint, AutoConfig.from_pretrained).model_type
    if found != wanted:
        raise PersamError(f"{checkpoint} is a model of type {found}, {otherwise}; name one such as {such_as}.")
