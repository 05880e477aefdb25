"""An annotation study: several people mask the same photos, and a model is compared with each of them.

>>> from persam import PerSAM, study
>>> result = study.run(study.read("my-study"), PerSAM.from_pretrained())   # doctest: +SKIP
>>> study.write_report(result, "my-report")                               # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from persam.study.checks import CheckReport, Problem, check
    from persam.study.compare import run
    from persam.study.create import new
    from persam.study.layout import Category, Study, read
    from persam.study.report import write_report
    from persam.study.results import StudyResult
    from persam.study.summary import Summary, summarise

__all__ = [
    "Category",
    "CheckReport",
    "Problem",
    "Study",
    "StudyResult",
    "Summary",
    "check",
    "new",
    "read",
    "run",
    "summarise",
    "write_report",
]

# Loaded on first use: to make or check a study, PyTorch is not needed.
_HOME = {
    "Category": "layout",
    "CheckReport": "checks",
    "Problem": "checks",
    "Study": "layout",
    "StudyResult": "results",
    "Summary": "summary",
    "check": "checks",
    "new": "create",
    "read": "layout",
    "run": "compare",
    "summarise": "summary",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
