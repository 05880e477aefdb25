"""PerSAM-assisted DreamBooth (paper, section 2.4): text-to-image models trained on a subject's pixels alone.

>>> from persam import Concept, PerSAM, dreambooth
>>> model, mug = PerSAM.from_pretrained(), Concept.load("mug.safetensors")            # doctest: +SKIP
>>> done = dreambooth.prepare(model, ["photos/"], mug, "my-mug", class_words=["mug"])  # doctest: +SKIP
>>> done.sheet, done.doubts                                                            # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persam.lazy import lazy_names

if TYPE_CHECKING:
    from persam.dreambooth.framing import Framing
    from persam.dreambooth.preparation import prepare, prepare_masked
    from persam.dreambooth.review import LeftOut, Prepared, recheck
    from persam.dreambooth.subjects import Subject, TrainingPhoto, read_prepared, write_prepared

__all__ = [
    "Framing",
    "LeftOut",
    "Prepared",
    "Subject",
    "TrainingPhoto",
    "prepare",
    "prepare_masked",
    "read_prepared",
    "recheck",
    "write_prepared",
]

# Loaded on first use: diffusers takes seconds, and preparing photos does not need it.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "persam.dreambooth.framing": "Framing",
        "persam.dreambooth.preparation": "prepare prepare_masked",
        "persam.dreambooth.review": "LeftOut Prepared recheck",
        "persam.dreambooth.subjects": "Subject TrainingPhoto read_prepared write_prepared",
    },
)
