"""The reference doctor: what will go wrong with a reference, said before the work.

>>> from persam import PerSAM, Reference
>>> from persam.doctor import check
>>> model = PerSAM.from_pretrained()                          # doctest: +SKIP
>>> diagnosis = check(model, [Reference.read("mug.jpg", "mug_mask.png")])  # doctest: +SKIP
>>> diagnosis.verdict, [finding.sentence for finding in diagnosis.findings]   # doctest: +SKIP
"""

from __future__ import annotations

from persam.doctor.diagnosis import CheckedReference, Diagnosis, check
from persam.doctor.findings import Finding
from persam.doctor.measures import Measures
from persam.doctor.several import CrossCheck

__all__ = ["CheckedReference", "CrossCheck", "Diagnosis", "Finding", "Measures", "check"]
