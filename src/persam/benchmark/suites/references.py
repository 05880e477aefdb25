"""Is a check of references worth anything? Do those with a finding do worse, and does it see damage that was done?

Photos of every object are references in turn; the object is looked for in others of its photos, from each by itself.
The first ones are also damaged on purpose: turned into each other's contrary, blurred, darkened, cut, shifted, ...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from persam.benchmark.episodes import Episode, Sample
from persam.benchmark.reporting.tables import ends_in_percent
from persam.benchmark.suites.damage import AS_IT_IS, DAMAGES, spread
from persam.benchmark.suites.odd_one import look_for_odd_ones, odd_one_table
from persam.benchmark.suites.suite import Findings, Trial, headline
from persam.concept import Concept
from persam.doctor import CheckedReference, Measures, check
from persam.doctor.findings import VERDICTS, Finding
from persam.metrics import bootstrap_figure, iou
from persam.models.base import EncodedImage
from persam.persam import PerSAM
from persam.reference import Reference
from persam.reports.tables import Table

PROTOCOL = (
    "every photo of an object is a reference in turn, as many as are asked for, evenly spread; the object is looked "
    "for in others of its photos, evenly spread, each on its own, and taken to be there; figures are means over "
    "references of the mean IoU in those photos"
)
INTERVALS = "In percent; [..] is a 95 % bootstrap interval of a difference, for which whole objects are drawn"
SOUND = 0.6  # mean IoU in the other photos above which a reference is sound, whatever a check says


@dataclass(frozen=True)
class Tried:
    """One reference, checked and used.

    Attributes:
        name: of its sample.
        object: ``DATA_SET/OBJECT``.
        damage: a key of `DAMAGES`.
        verdict: of the check.
        findings: of the check.
        measures: behind them.
        photos: in how many others the object was looked for.
        iou: mean in them.
    """

    name: str
    object: str
    damage: str
    verdict: str
    findings: tuple[Finding, ...]
    measures: Measures
    photos: int
    iou: float

    @property
    def is_sound(self) -> bool:
        """Whether the object is found with it."""
        return self.iou > SOUND

    @property
    def codes(self) -> set[str]:
        """Of the findings."""
        return {finding.code for finding in self.findings}


def check_checks(
    trial: Trial,
    mode: str = "persam",
    *,
    references: int = 4,
    tests: int = 3,
    damaged: int = 1,
    odd_ones: bool = False,
) -> Findings:
    """Check references and use them.

    Args:
        trial: on what and with what.
        mode: of the method.
        references: of every object, at most.
        tests: other photos in which it is looked for from each, at most.
        damaged: of every object, how many of these references are also damaged.
        odd_ones: also ask which of three references is the bad one.

    Raises:
        UsageError: no such mode.
    """
    model = trial.persam(mode)
    tried: list[Tried] = []
    for episode in trial.photos.episodes:
        tried += _try_object(model, episode, references, tests, damaged)
        for _ in episode.tests:
            if trial.progress is not None:
                trial.progress()
    about = trial.about(mode=mode, solver=None) | {
        "protocol": PROTOCOL, "intervals": INTERVALS, "references": len(tried),
    }  # fmt: skip
    natural = [each for each in tried if each.damage == AS_IT_IS]
    title = headline(about)
    tables = [verdict_table(natural, title), finding_table(natural, title)]
    if damaged:
        tables.append(damage_table(tried, title))
    if odd_ones:
        tables.append(odd_one_table(look_for_odd_ones(model, trial.photos.episodes), title))
    return Findings("references", about, [_row(each) for each in tried], tables, [sound_note(natural)])


def _try_object(model: PerSAM, episode: Episode, references: int, tests: int, damaged: int) -> Iterator[Tried]:
    by_name = {each.name: each for each in (*episode.references, *episode.tests)}
    samples = [by_name[name] for name in sorted(by_name)]
    album = _Album(model)
    for number, sample in enumerate(spread(samples, references)):
        others = spread([each for each in samples if each is not sample], tests)
        photo, mask = sample.read()
        for name in DAMAGES if number < damaged else [AS_IT_IS]:
            changed, drawn = DAMAGES[name](photo, mask)
            if not drawn.any() or drawn.all():
                continue  # refused when it is read
            checked = check(model, Reference(changed, mask=drawn)).references[0]
            ious = album.ious(checked.examined.concept, others)
            if ious:
                whose = f"{episode.data_set}/{episode.object}"
                yield tried_as(sample.name, whose, name, checked, ious)


def tried_as(name: str, whose: str, damage: str, checked: CheckedReference, ious: Sequence[float]) -> Tried:
    """What is kept of a reference that was checked, and tried on other photos."""
    mean = float(np.mean(ious))
    return Tried(name, whose, damage, checked.verdict, checked.findings, checked.measures, len(ious), mean)


class _Album:
    """The photos of one object, each encoded once."""

    def __init__(self, model: PerSAM) -> None:
        self.model = model
        self.encodings: dict[str, EncodedImage] = {}

    def ious(self, concept: Concept, samples: Sequence[Sample]) -> list[float]:
        """How well a concept is found in each of the photos that show the object."""
        found = []
        for sample in samples:
            if sample.name not in self.encodings:
                self.encodings[sample.name] = self.model.encode(sample.read_photo())
            encoding = self.encodings[sample.name]
            truth, ignored = sample.truth.read(encoding.frame.photo), sample.truth.read_ignore(encoding.frame.photo)
            if truth.any():
                found.append(iou(self.model.segment(encoding, concept).assumed_mask, truth, ignored))
        return found


# ------------------------------------------------------------------------------------------------- what is shown


def verdict_table(tried: Sequence[Tried], title: str) -> Table:
    """What each verdict is worth."""
    rows = []
    for verdict in VERDICTS:
        those = [each for each in tried if each.verdict == verdict]
        sound = sum(each.is_sound for each in those)
        rows.append((verdict, str(len(those)), _mean(those), f"{sound} of {len(those)}"))
    return Table(
        f"Verdicts: {title}", ("verdict", "references", "IoU of other photos", f"sound (IoU > {SOUND})"), tuple(rows)
    )


def finding_table(tried: Sequence[Tried], title: str) -> Table:
    """Every finding: how references with it do, and those without."""
    severities = {(f.code, f.severity) for each in tried for f in each.findings}
    rows = []
    for code, severity in sorted(severities, key=lambda pair: (pair[1] != "severe", pair[0])):
        has = [any((f.code, f.severity) == (code, severity) for f in each.findings) for each in tried]
        with_it = [each for each, is_so in zip(tried, has, strict=True) if is_so]
        without = [each for each, is_so in zip(tried, has, strict=True) if not is_so]
        sound = sum(each.is_sound for each in with_it)
        rows.append(
            (code, severity, str(len(with_it)), _mean(with_it), _mean(without), _difference(tried, has), str(sound))
        )
    columns = ("finding", "severity", "references with it", "IoU with it", "without", "difference", "sound with it")
    return Table(f"Findings: {title}", columns, tuple(rows))


def damage_table(tried: Sequence[Tried], title: str) -> Table:
    """Every damage: what it costs, and what the check says of it."""
    whole = {each.name: each for each in tried if each.damage == AS_IT_IS}
    rows = []
    for damage in DAMAGES:
        those = [each for each in tried if each.damage == damage and (damage != AS_IT_IS or _is_damaged(each, tried))]
        if not those:
            continue
        before = [whole[each.name].iou for each in those if each.name in whole]
        change = (
            f"{100 * (float(np.mean([each.iou for each in those])) - float(np.mean(before))):+.1f}" if before else "–"
        )
        counts = [sum(each.verdict == verdict for each in those) for verdict in VERDICTS]
        common = Counter(code for each in those for code in each.codes).most_common(3)
        said = ", ".join(f"{code} {number}" for code, number in common) or "–"
        rows.append((damage, str(len(those)), _mean(those), change, *map(str, counts), said))
    columns = ("reference", "number", "IoU of other photos", "change", *VERDICTS, "found most often")
    return Table(f"Damage: {title}", columns, tuple(rows))


def _is_damaged(one: Tried, tried: Sequence[Tried]) -> bool:
    """Whether it is among the references that were also damaged."""
    return any(each.name == one.name and each.damage != AS_IT_IS for each in tried)


def sound_note(tried: Sequence[Tried]) -> str:
    """How many sound references, as they are, are told not to be used."""
    sound = [each for each in tried if each.is_sound]
    severe = sum(each.verdict == VERDICTS[-1] for each in sound)
    return (
        f"Of {len(tried)} references as they are, {len(sound)} are sound (the object is found in other photos with a "
        f"mean IoU above {SOUND}), and {severe} of these get a severe finding."
    )


def _mean(tried: Sequence[Tried]) -> str:
    return f"{100 * float(np.mean([each.iou for each in tried])):.1f}" if tried else "–"


def _difference(tried: Sequence[Tried], has: Sequence[bool]) -> str:
    """Mean IoU of those that have it less that of the others, with its interval, in percent points."""

    def figure(ious: np.ndarray, marked: np.ndarray) -> float:
        if marked.all() or not marked.any():
            raise ValueError("one kind alone")
        return float(ious[marked].mean() - ious[~marked].mean())

    columns = [np.array([each.iou for each in tried]), np.array(has)]
    if all(has) or not any(has):
        return "–"
    ends = bootstrap_figure(figure, columns, [each.object for each in tried], resamples=1000)
    return f"{100 * figure(*columns):+.1f}" + ("" if ends is None else f" {ends_in_percent(ends)}")


def _row(tried: Tried) -> dict[str, Any]:
    return {
        "reference": tried.name,
        "object": tried.object,
        "damage": tried.damage,
        "verdict": tried.verdict,
        "findings": {finding.code: finding.severity for finding in tried.findings},
        "measures": asdict(tried.measures),
        "photos": tried.photos,
        "iou": tried.iou,
    }
