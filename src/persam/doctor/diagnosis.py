"""Check references: every one for itself, several against each other, and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from persam.doctor.findings import VERDICTS, Finding, Verdict, findings_among, findings_of, verdict_of
from persam.doctor.measures import Examined, Measures, examine
from persam.doctor.several import CrossCheck, compare, passes
from persam.errors import UsageError
from persam.persam import PerSAM
from persam.reference import Reference


@dataclass(frozen=True, eq=False)
class CheckedReference:
    """One reference and what is to be said of it.

    Attributes:
        examined: what was learned from it, and what is found with that in its own photo.
        findings: the worst first; none for a sound one.
    """

    examined: Examined
    findings: tuple[Finding, ...]

    @property
    def name(self) -> str:
        """The photo's file name as given, or ``"photo"`` for one from memory."""
        return self.examined.reference.source or "photo"

    @property
    def measures(self) -> Measures:
        """All that was measured."""
        return self.examined.measures

    @property
    def verdict(self) -> Verdict:
        """``good reference``, ``will work, but``, or ``do not use``."""
        return verdict_of(self.findings)


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What a check found.

    Attributes:
        references: as they were given.
        comparison: of several; None for one.
    """

    references: tuple[CheckedReference, ...]
    comparison: CrossCheck | None = None

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Of all references, in their order."""
        return tuple(finding for each in self.references for finding in each.findings)

    @property
    def verdict(self) -> Verdict:
        """The worst one: a bad reference spoils the concept that is learned from it and good ones."""
        return max((each.verdict for each in self.references), key=VERDICTS.index)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        references = [
            {
                "photo": each.name,
                "verdict": each.verdict,
                "findings": [asdict(finding) for finding in each.findings],
                "measures": asdict(each.measures),
            }
            for each in self.references
        ]
        return {"verdict": self.verdict, "references": references, "comparison": self._comparison()}

    def _comparison(self) -> dict[str, Any] | None:
        several = self.comparison
        if several is None:
            return None
        return {
            "best": several.best,
            "hurting": several.hurting,
            "strangers": several.strangers,
            "iou": several.ious.tolist(),
            "score": several.scores.tolist(),
            "predicts": several.predicts,
            "with_it": list(several.with_it),
            "without_it": list(several.without_it),
        }


def check(
    model: PerSAM,
    references: Reference | Sequence[Reference],
    *,
    doubts: Sequence[Sequence[str]] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Diagnosis:
    """Say before the work what will go wrong with a reference, or with several for one object.

    Args:
        model: that they would be learned with. What its encoder is blind to is no matter of the photo alone.
        references: as `persam.Reference.read` gives them.
        doubts: for each reference what persam warned of when it was read, to stand among the findings.
        progress: called with the number of steps done and that of all.

    Raises:
        UsageError: there is no reference, or something else than references; or not as many doubts as references.
        PersamError: nothing can be learned from one of them, such as from a box under which the model finds nothing.
    """
    given = _references_in(references)
    if not given:
        raise UsageError("There is nothing to check; give at least one reference.")
    count = len(given)
    if doubts is not None and len(doubts) != count:
        raise UsageError(f"There are doubts of {len(doubts)} references and {count} references; give a list for each.")
    steps = count + (passes(count) if count > 1 else 0)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, steps)

    examined = []
    for reference in given:
        examined.append(examine(model, reference))
        advance()
    several = compare(model, examined, advance) if count > 1 else None
    checked = []
    for number, each in enumerate(examined):
        findings = findings_of(each, () if doubts is None else doubts[number])
        if several is not None:
            findings += findings_among(several, number)
        worst_first = sorted(findings, key=lambda finding: finding.severity != "severe")
        checked.append(CheckedReference(each, tuple(worst_first)))
    return Diagnosis(tuple(checked), several)


def _references_in(given: Any) -> list[Reference]:
    """What was given, as a list: a file name is no list of letters, nor an array one of rows."""
    several = list(given) if isinstance(given, list | tuple) else [given]
    for each in several:
        if not isinstance(each, Reference):
            what = repr(each) if isinstance(each, str | Path) else type(each).__name__
            raise UsageError(f"check() takes references, not {what}; read one with Reference.read(photo, mask).")
    return several
