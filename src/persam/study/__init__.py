"""An annotation study: several people mask the same photos, and a model is compared with each of them.

>>> from persam import PerSAM, study
>>> result = study.run(study.read("my-study"), PerSAM.from_pretrained())   # doctest: +SKIP
>>> study.write_report(result, "my-report")                               # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persam.lazy import lazy_names

if TYPE_CHECKING:
    from persam.study.annotating import Annotation, add_annotator, photo_order, shuffle
    from persam.study.checks import CheckReport, Problem, check
    from persam.study.compare import StudyRun, run
    from persam.study.create import new
    from persam.study.layout import Study, StudyCategory, read
    from persam.study.report import write_report
    from persam.study.results import StudyResult, StudySummary, summarise
    from persam.study.times import MaskTime

__all__ = [
    "Annotation",
    "CheckReport",
    "MaskTime",
    "Problem",
    "Study",
    "StudyCategory",
    "StudyResult",
    "StudyRun",
    "StudySummary",
    "add_annotator",
    "check",
    "new",
    "photo_order",
    "read",
    "run",
    "shuffle",
    "summarise",
    "write_report",
]

# Loaded on first use: to make or check a study, PyTorch is not needed.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "persam.study.annotating": "Annotation add_annotator photo_order shuffle",
        "persam.study.checks": "CheckReport Problem check",
        "persam.study.compare": "StudyRun run",
        "persam.study.create": "new",
        "persam.study.layout": "Study StudyCategory read",
        "persam.study.report": "write_report",
        "persam.study.results": "StudyResult StudySummary summarise",
        "persam.study.times": "MaskTime",
    },
)
