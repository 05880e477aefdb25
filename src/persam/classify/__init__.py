"""Few-shot classification: which of a folder's classes does a photo show?

The cache of Tip-Adapter (arXiv 2111.03930), of features of the object alone, which persam finds, or of whole photos.

>>> from persam import PerSAM, classify
>>> model = PerSAM.from_pretrained()                                     # doctest: +SKIP
>>> described = classify.describe(model, classify.read_classes("things"))  # doctest: +SKIP
>>> classify.Classifier.of(model, described).name("new.jpg").name          # doctest: +SKIP
'mug'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persam.lazy import lazy_names

if TYPE_CHECKING:
    from persam.classify.accuracy import ClassifyBench, bench
    from persam.classify.cache import Cache, fit_cache
    from persam.classify.descriptions import Described, describe
    from persam.classify.features import ClipPhotoFeatures, PhotoFeatures, PooledFeatures, load_features
    from persam.classify.folder import ClassFolder, read_classes
    from persam.classify.naming import Classifier, NamedPhoto
    from persam.classify.report import write_report

__all__ = [
    "Cache",
    "ClassFolder",
    "Classifier",
    "ClassifyBench",
    "ClipPhotoFeatures",
    "Described",
    "NamedPhoto",
    "PhotoFeatures",
    "PooledFeatures",
    "bench",
    "describe",
    "fit_cache",
    "load_features",
    "read_classes",
    "write_report",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "persam.classify.accuracy": "ClassifyBench bench",
        "persam.classify.cache": "Cache fit_cache",
        "persam.classify.descriptions": "Described describe",
        "persam.classify.features": "ClipPhotoFeatures PhotoFeatures PooledFeatures load_features",
        "persam.classify.folder": "ClassFolder read_classes",
        "persam.classify.naming": "Classifier NamedPhoto",
        "persam.classify.report": "write_report",
    },
)
