"""PerSAM-assisted DreamBooth (paper, section 2.4): text-to-image models trained on a subject's pixels alone.

>>> from persam import Concept, PerSAM, dreambooth
>>> model, mug = PerSAM.from_pretrained(), Concept.load("mug.safetensors")            # doctest: +SKIP
>>> done = dreambooth.prepare(model, ["photos/"], mug, "my-mug", class_words=["mug"])  # doctest: +SKIP
>>> done.sheet, done.doubts                                                            # doctest: +SKIP
>>> run = dreambooth.train("my-mug", "my-mug-run")                                     # doctest: +SKIP
>>> run.pipeline()("a photo of t@y mug on the beach").images[0].save("mug.png")        # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persam.lazy import lazy_names

if TYPE_CHECKING:
    from persam.dreambooth.features import ClipFeatures, DinoFeatures, InceptionFeatures
    from persam.dreambooth.framing import Framing
    from persam.dreambooth.gallery import write_gallery_of
    from persam.dreambooth.generated import GeneratedFolder, GeneratedPicture, read_generated
    from persam.dreambooth.generation import PicturePlan, SamplingChoice, generate, plan
    from persam.dreambooth.kid import KernelDistance, kernel_distance
    from persam.dreambooth.perseg_set import Enlarged, ReviewedPhoto, enlarge
    from persam.dreambooth.preparation import prepare, prepare_masked
    from persam.dreambooth.review import LeftOut, Prepared, recheck
    from persam.dreambooth.runs import Run, load_run
    from persam.dreambooth.score_report import write_scores
    from persam.dreambooth.scores import Networks, PictureScore, Scores, score
    from persam.dreambooth.sources import PictureSource, read_sources
    from persam.dreambooth.subjects import Subject, TrainingPhoto, read_prepared, write_prepared
    from persam.dreambooth.training import train

__all__ = [
    "ClipFeatures",
    "DinoFeatures",
    "Enlarged",
    "Framing",
    "GeneratedFolder",
    "GeneratedPicture",
    "InceptionFeatures",
    "KernelDistance",
    "LeftOut",
    "Networks",
    "PicturePlan",
    "PictureScore",
    "PictureSource",
    "Prepared",
    "ReviewedPhoto",
    "Run",
    "SamplingChoice",
    "Scores",
    "Subject",
    "TrainingPhoto",
    "enlarge",
    "generate",
    "kernel_distance",
    "load_run",
    "plan",
    "prepare",
    "prepare_masked",
    "read_generated",
    "read_prepared",
    "read_sources",
    "recheck",
    "score",
    "train",
    "write_gallery_of",
    "write_prepared",
    "write_scores",
]

# Loaded on first use: diffusers takes seconds, and preparing photos does not need it.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "persam.dreambooth.features": "ClipFeatures DinoFeatures InceptionFeatures",
        "persam.dreambooth.framing": "Framing",
        "persam.dreambooth.gallery": "write_gallery_of",
        "persam.dreambooth.generated": "GeneratedFolder GeneratedPicture read_generated",
        "persam.dreambooth.generation": "PicturePlan SamplingChoice generate plan",
        "persam.dreambooth.kid": "KernelDistance kernel_distance",
        "persam.dreambooth.perseg_set": "Enlarged ReviewedPhoto enlarge",
        "persam.dreambooth.preparation": "prepare prepare_masked",
        "persam.dreambooth.review": "LeftOut Prepared recheck",
        "persam.dreambooth.runs": "Run load_run",
        "persam.dreambooth.score_report": "write_scores",
        "persam.dreambooth.scores": "Networks PictureScore Scores score",
        "persam.dreambooth.sources": "PictureSource read_sources",
        "persam.dreambooth.subjects": "Subject TrainingPhoto read_prepared write_prepared",
        "persam.dreambooth.training": "train",
    },
)
