"""Does a check name the bad one among three references: another object's, or one whose mask is damaged?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from persam.benchmark.episodes import Episode, Sample, samples_of
from persam.benchmark.suites.damage import DAMAGES, spread
from persam.doctor import CrossCheck, check
from persam.persam import PerSAM
from persam.reference import Reference
from persam.reports.tables import Table

COUNT = 3  # references in a set; the last one is the odd one
ALIKE, STRANGER = "none", "of another object"
_MASKS = ("mask shifted", "mask inverted")


@dataclass(frozen=True)
class OddOne:
    """One set of references, checked.

    Attributes:
        odd: what the last one is: ``none``, ``of another object``, or a damage.
        severe: numbers of those that have a severe finding by themselves.
        strangers: those that are said to show another object.
        hurting: those that are said to hurt.
    """

    odd: str
    severe: frozenset[int]
    strangers: frozenset[int]
    hurting: frozenset[int]


def look_for_odd_ones(
    model: PerSAM, episodes: Sequence[Episode], progress: Callable[[], object] = lambda: None
) -> list[OddOne]:
    """Three references of every object, then the last one replaced by a bad one of each kind.

    Args:
        model: that learns from them.
        episodes: of several objects; those with fewer than three photos are passed over.
        progress: called after every set.
    """
    found = []
    for number, episode in enumerate(episodes):
        stranger = next(
            (each for each in (*episodes[number + 1 :], *episodes[:number]) if each.object != episode.object), None
        )
        for odd, references in _sets(episode, stranger):
            diagnosis = check(model, references)
            among = diagnosis.comparison
            assert among is not None
            severe = frozenset(
                place
                for place, each in enumerate(diagnosis.references)
                if any(f.severity == "severe" and f.code not in CrossCheck.CODES for f in each.findings)
            )
            found.append(OddOne(odd, severe, frozenset(among.strangers), frozenset(among.hurting)))
            progress()
    return found


def _sets(episode: Episode, stranger: Episode | None) -> Iterator[tuple[str, list[Reference]]]:
    samples = [each for each in samples_of([episode]) if _shows(each)]
    if len(samples) < COUNT:
        return
    *sound, last = (_read(each) for each in spread(samples, COUNT))
    yield ALIKE, [*sound, last]
    if stranger is not None:
        yield STRANGER, [*sound, _read(stranger.references[0])]
    for name in _MASKS:
        photo, mask = DAMAGES[name](last.image, np.asarray(last.mask))
        if mask.any():
            yield name, [*sound, Reference(photo, mask=mask)]


def _read(sample: Sample) -> Reference:
    photo, mask = sample.read()
    return Reference(photo, mask=mask)


def _shows(sample: Sample) -> bool:
    mask = sample.read()[1]
    return bool(mask.any()) and not bool(mask.all())


def odd_one_table(found: Sequence[OddOne], title: str) -> Table:
    """How often the last one is named, by which finding, and how often one of the others is."""
    rows = []
    last = COUNT - 1
    for odd in dict.fromkeys(each.odd for each in found):
        those = [each for each in found if each.odd == odd]
        named = [sum(last in getattr(each, kind) for each in those) for kind in ("severe", "strangers", "hurting")]
        any_way = sum(last in each.severe | each.strangers | each.hurting for each in those)
        wrongly = sum(bool((each.strangers | each.hurting) - {last}) for each in those)
        rows.append((odd, str(len(those)), *map(str, named), str(any_way), str(wrongly)))
    columns = ("the odd one", "sets", "severe by itself", "another-object", "hurts", "any of them", "another one named")
    return Table(f"The odd one of three references: {title}", columns, tuple(rows))
