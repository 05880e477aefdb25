"""What the measures of a reference mean, and what to do about it.

Every limit was measured: references on which the thing is found in other photos stay, with few exceptions, on the good
side of the severe ones, and those beyond a limit do worse than the others (`persam bench references`; docs/check.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from persam.doctor.measures import Examined
from persam.doctor.several import CrossCheck
from persam.doubts import doubt_of_mask
from persam.segmentation import UNSURE

Severity = Literal["severe", "mild"]
Verdict = Literal["good reference", "will work, but", "do not use"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)  # the best first

# Beyond the first a finding is severe, beyond the second mild; None: never severe, because such references often work.
FEW_CELLS = (4.0, 20.0)  # below
DIFFERENT = (0.30, 0.60)  # IoU in the photo or its mirror image, below
NOT_TOLD_APART = (0.90, 0.995)  # separation, below
NO_EDGES = (
    None,
    1.2,
)  # below; severe where the separation is below this one, too: then the mask lies beside the object
_BESIDE = 0.98
LOST = (0.90, 0.30)  # above
ALIKE_COLOURS = (None, 0.60)  # above
NOT_SURE = (None, UNSURE[1])  # score, below; of models whose score is a probability
CUT_OFF = (None, 0.10)  # above
BLURRED = (None, 0.10)  # below
_SMALLEST_PHOTO = 0.5  # of the side at which the model sees it


@dataclass(frozen=True)
class Finding:
    """One thing that is to be said of a reference.

    Attributes:
        code: which, for programs: ``few-cells``, ``cut-off``, ``different``, ...
        severity: ``severe``: do not learn from it; ``mild``: it works, but less well.
        sentence: what was found, what it means, and what to do.
        value: of the measure behind it, or None.
    """

    code: str
    severity: Severity
    sentence: str
    value: float | None = None


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    """A reference's verdict."""
    if not findings:
        return "good reference"
    return "do not use" if any(finding.severity == "severe" for finding in findings) else "will work, but"


def findings_of(one: Examined, doubts: Sequence[str] = ()) -> tuple[Finding, ...]:
    """All that is to be said of one reference.

    Args:
        one: examined.
        doubts: what was said when it was read (`persam.doubts`).
    """
    name = Path(one.reference.source).name
    found = [*_of_reading(one, doubts, f"The mask of {name}" if name else "The mask"), *_of_mask(one), *_of_photo(one)]
    if not any(finding.code == "mask" for finding in found):  # what is found from a wrong mask says nothing more
        found += _of_concept(one)
    return tuple(found)


def findings_among(several: CrossCheck, number: int) -> tuple[Finding, ...]:
    """All that the other references say of one."""
    found = []
    if number in several.strangers:
        kinship = several.kinship[number]
        found.append(
            Finding(
                "another-object",
                "severe",
                "It seems to show another object: what was learned from it is hardly found in the others' photos, "
                f"nor theirs in its photo (score {kinship:.2f} with the nearest of them); leave it out, or learn it by "
                "itself.",
                kinship,
            )
        )
    if number in several.hurting:
        with_it, without_it = several.with_it[number], several.without_it[number]
        found.append(
            Finding(
                "hurts",
                "severe",
                f"In the photos of the other references the object is found with a mean IoU of {with_it:.2f} when this "
                f"one is learned from too, and of {without_it:.2f} without it; leave it out.",
                without_it - with_it,
            )
        )
    return tuple(found)


def _of_reading(one: Examined, doubts: Sequence[str], name: str) -> list[Finding]:
    """Doubts of the mask as it was given: the mask itself severe, others are questions."""
    doubt = doubt_of_mask(one.mask, name)
    found = [] if doubt is None else [Finding("mask", "severe", doubt)]
    others = [each for each in doubts if doubt is None or not each.endswith(doubt.removeprefix(name))]
    return found + [Finding("doubt", "mild", each) for each in others]


def _of_mask(one: Examined) -> list[Finding]:
    seen, found = one.measures, []
    rows, columns = (one.image.other or one.image).frame.grid
    if severity := _below(seen.cells, FEW_CELLS):
        count = "less than one cell" if seen.cells < 1 else f"about {seen.cells:.0f} cells"
        found.append(
            Finding(
                "few-cells",
                severity,
                f"The object covers {count} of the encoder's {columns} x {rows}, so little is seen of it; give a "
                "photo in which it is larger, or crop the photo around it (and the mask with it).",
                seen.cells,
            )
        )
    if severity := _above(seen.cut, CUT_OFF):
        found.append(
            Finding(
                "cut-off",
                severity,
                f"The photo's border cuts the object off along {seen.cut:.0%} of its outline, so the rest of it is not "
                "learned; give a photo that shows all of it.",
                seen.cut,
            )
        )
    if seen.parts > 1:
        found.append(
            Finding(
                "parts",
                "mild",
                f"The mask has {seen.parts} separate parts, the largest {seen.main_part:.0%} of it; if they are "
                "several objects, mark one, and if something hides its middle, give a photo that shows it whole.",
                seen.parts,
            )
        )
    return found


def _of_photo(one: Examined) -> list[Finding]:
    seen, found = one.measures, []
    frame, (height, width) = (one.image.other or one.image).frame, one.mask.shape
    if max(height, width) < _SMALLEST_PHOTO * max(frame.content):
        found.append(
            Finding(
                "small-photo",
                "mild",
                f"The photo is {width} x {height} pixels and the model looks at {frame.content[1]} x "
                f"{frame.content[0]}, so it is enlarged and soft; give a larger photo.",
                max(height, width),
            )
        )
    if severity := _below(seen.sharpness, BLURRED):
        found.append(
            Finding(
                "blurred",
                severity,
                f"The photo is blurred around the object (sharpness {seen.sharpness:.2f}, usual is 0.3 to 0.6), so its "
                "texture is not learned; give a sharp one.",
                seen.sharpness,
            )
        )
    if severity := _above(seen.lost, LOST):
        found.append(
            Finding(
                "dark-or-bright",
                severity,
                f"{seen.lost:.0%} of the object's pixels are black or white, with nothing to be seen in them; give a "
                "photo in better light.",
                seen.lost,
            )
        )
    return found


def _of_concept(one: Examined) -> list[Finding]:
    seen, found = one.measures, []
    if severity := _below(seen.separation, NOT_TOLD_APART):
        found.append(
            Finding(
                "background",
                severity,
                f"What was learned {'hardly' if severity == 'severe' else 'not everywhere'} tells the object from what "
                f"is around it (AUROC of its confidence map {seen.separation:.3f}, usual is 0.999); see that the mask "
                "lies on the object, or give a photo with another background.",
                seen.separation,
            )
        )
    if severity := _below(seen.found_again, DIFFERENT):
        found.append(
            Finding(
                "different",
                severity,
                f"In this very photo persam finds something else than the mask (IoU {seen.own_iou:.2f}, "
                f"{seen.own_size:.1f} times its area); see with --picture which of the two is right, draw the mask "
                "along the object's edges, or give a photo in which it stands apart.",
                seen.found_again,
            )
        )
    if one.concept.fitted is not None and (severity := _below(seen.score, NOT_SURE)):
        found.append(
            Finding(
                "unsure",
                severity,
                f"In this photo's mirror image persam is not sure to see the object (score {seen.score:.2f}, usual "
                "is 0.9), so in other photos it may well be taken for absent; give more references of it, or one in "
                "which more of it can be seen.",
                seen.score,
            )
        )
    if severity := _below(seen.edges, NO_EDGES):
        severity = "severe" if seen.separation < _BESIDE else severity
        found.append(
            Finding(
                "no-edges",
                severity,
                f"The mask's outline hardly follows edges of the photo ({seen.edges:.2f} times as strong as those "
                "near it), as if it were shifted or very rough; draw it along the object's edges.",
                seen.edges,
            )
        )
    if severity := _above(seen.colours, ALIKE_COLOURS):
        found.append(
            Finding(
                "colours",
                severity,
                f"The object and the rest of the photo share {seen.colours:.0%} of their colours, so colour does not "
                "tell it apart; a photo with another background is a better reference.",
                seen.colours,
            )
        )
    return found


def _below(value: float, limits: tuple[float | None, float]) -> Severity | None:
    severe, mild = limits
    if severe is not None and value < severe:
        return "severe"
    return "mild" if value < mild else None


def _above(value: float, limits: tuple[float | None, float]) -> Severity | None:
    severe, mild = limits
    return _below(-value, (None if severe is None else -severe, -mild))
