"""The protocol of a method that is shown references and then finds their object in photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np


@dataclass(eq=False)
class Photo:
    """A photo on its way through several methods, and what they keep of it for each other.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        kept: encodings, so that methods on one model encode it once; each method chooses its keys.
    """

    pixels: np.ndarray
    kept: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Shot:
    """A reference.

    Attributes:
        photo: that shows the object.
        mask: of the object, (H, W) bool.
        mask_file: the picture that holds this mask and nothing else, if there is one: what the published code makes of
            a mask depends on the values in its file.
    """

    photo: Photo
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
    """

    mask: np.ndarray
    score: float
    present: bool | None = None
    peak: tuple[float, float] | None = None


class Method(Protocol):
    """Shown references, it finds their object in photos.

    Attributes:
        name: short, unique within a run, fit for a folder: ``persam``, ``persam-f``, ``seggpt``.
    """

    name: str

    def describe(self) -> dict[str, Any]:
        """What a reader must know to do the same again: model, fingerprint, encoder, mode, switches. JSON values."""
        ...

    def learn(self, shots: Sequence[Shot], category: str) -> Any:
        """Look at the references; `category` is the object in words. What it returns goes to `find`."""
        ...

    def find(self, photo: Photo, learned: Any) -> Prediction:
        """Find the object in a photo."""
        ...
