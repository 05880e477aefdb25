"""The reference doctor: what will go wrong with a reference, said before the work.

>>> from persam import PerSAM, Reference
>>> from persam.doctor import check
>>> model = PerSAM.from_pretrained()                                             # doctest: +SKIP
>>> report = check(model, [Reference.read("mug.jpg", "mug_mask.png")])           # doctest: +SKIP
>>> report.verdict, [finding.sentence for finding in report.findings]            # doctest: +SKIP
"""

from __future__ import annotations

from persam.doctor.findings import Finding
from persam.doctor.measures import Measures
from persam.doctor.report import CheckedReference, Report, check
from persam.doctor.several import Comparison

__all__ = ["CheckedReference", "Comparison", "Finding", "Measures", "Report", "check"]
