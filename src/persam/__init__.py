"""persam: one photo and one rough mask of your thing, and every other photo of it is segmented.

>>> from persam import PerSAM
>>> model = PerSAM.from_pretrained()                      # doctest: +SKIP
>>> concept = model.learn("mug.jpg", "mug_mask.png")      # doctest: +SKIP
>>> model.segment("kitchen.jpg", concept).box             # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persam.lazy import lazy_names

if TYPE_CHECKING:
    from persam.album.album import Album
    from persam.concept import Concept
    from persam.errors import PersamError, PersamWarning, UsageError
    from persam.instance import Instance
    from persam.method.settings import Settings
    from persam.models.base import EncodedImage
    from persam.models.words import load_finder
    from persam.persam import PerSAM
    from persam.reference import Reference
    from persam.segmentation import Segmentation
    from persam.text_and_photo import with_finder

__version__ = "0.1.0"

__all__ = [
    "Album",
    "Concept",
    "EncodedImage",
    "Instance",
    "PerSAM",
    "PersamError",
    "PersamWarning",
    "Reference",
    "Segmentation",
    "Settings",
    "UsageError",
    "__version__",
    "load_finder",
    "with_finder",
]

# Loaded on first use: PyTorch takes seconds, and `persam --help` needs none of it.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "persam.album.album": "Album",
        "persam.concept": "Concept",
        "persam.errors": "PersamError PersamWarning UsageError",
        "persam.method.settings": "Settings",
        "persam.models.base": "EncodedImage",
        "persam.models.words": "load_finder",
        "persam.persam": "PerSAM",
        "persam.reference": "Reference",
        "persam.instance": "Instance",
        "persam.segmentation": "Segmentation",
        "persam.text_and_photo": "with_finder",
    },
)
