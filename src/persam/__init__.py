"""persam: one photo and one rough mask of your thing, and every other photo of it is segmented.

>>> from persam import PerSAM
>>> model = PerSAM.from_pretrained()                      # doctest: +SKIP
>>> concept = model.learn("mug.jpg", "mug_mask.png")      # doctest: +SKIP
>>> model.segment("kitchen.jpg", concept).box             # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.errors import PersamError, UsageError
    from persam.method.settings import Settings
    from persam.models.base import EncodedImage
    from persam.persam import PerSAM
    from persam.reference import Reference
    from persam.segmentation import Instance, Segmentation

__version__ = "0.1.0"

__all__ = [
    "Concept",
    "EncodedImage",
    "Instance",
    "PerSAM",
    "PersamError",
    "Reference",
    "Segmentation",
    "Settings",
    "UsageError",
    "__version__",
]

# Loaded on first use: PyTorch takes seconds, and `persam --help` needs none of it.
_HOME = {
    "Concept": "persam.concept",
    "EncodedImage": "persam.models.base",
    "Instance": "persam.segmentation",
    "PerSAM": "persam.persam",
    "PersamError": "persam.errors",
    "Reference": "persam.reference",
    "Segmentation": "persam.segmentation",
    "Settings": "persam.method.settings",
    "UsageError": "persam.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
