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
    from persam.study.compare import METHODS as METHODS
    from persam.study.compare import StudyRun, run
    from persam.study.create import README as README
    from persam.study.create import new, photo_folders
    from persam.study.layout import GOLD as GOLD
    from persam.study.layout import Study, StudyCategory, read
    from persam.study.report import check_libraries, claimed_out, write_report
    from persam.study.results import StudyResult, StudySummary, summarise
    from persam.study.times import BOTH as BOTH
    from persam.study.times import BY_HAND as BY_HAND
    from persam.study.times import CORRECTED as CORRECTED
    from persam.study.times import HAND as HAND
    from persam.study.times import PROMPTS as PROMPTS
    from persam.study.times import PROPOSAL as PROPOSAL
    from persam.study.times import WITH_MODEL as WITH_MODEL
    from persam.study.times import MaskTime, saw_nothing

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
    "check_libraries",
    "claimed_out",
    "new",
    "photo_folders",
    "photo_order",
    "read",
    "run",
    "saw_nothing",
    "shuffle",
    "summarise",
    "write_report",
]

# Loaded on first use: to make or check a study, PyTorch is not needed. Words that stand in files, such as `BY_HAND`,
# are here for the studio, and on no page of the reference.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "persam.study.annotating": "Annotation add_annotator photo_order shuffle",
        "persam.study.checks": "CheckReport Problem check",
        "persam.study.compare": "METHODS StudyRun run",
        "persam.study.create": "README new photo_folders",
        "persam.study.layout": "GOLD Study StudyCategory read",
        "persam.study.report": "check_libraries claimed_out write_report",
        "persam.study.results": "StudyResult StudySummary summarise",
        "persam.study.times": "BOTH BY_HAND CORRECTED HAND PROMPTS PROPOSAL WITH_MODEL MaskTime saw_nothing",
    },
)
