"""PerSAM-assisted DreamBooth (paper, section 2.4): text-to-image models trained on a subject's pixels alone.

>>> from persam.dreambooth import train
>>> run = train("my-mug", "my-mug-run")                                             # doctest: +SKIP
>>> run.pipeline()("a photo of t@y mug on the beach").images[0].save("mug.png")     # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persam.lazy import lazy_names

if TYPE_CHECKING:
    from persam.dreambooth.runs import Run, load_run
    from persam.dreambooth.training import train

__all__ = ["Run", "load_run", "train"]

# Loaded on first use: diffusers takes seconds, and preparing photos does not need it.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "persam.dreambooth.runs": "Run load_run",
        "persam.dreambooth.training": "train",
    },
)
