"""Do the album's own finds help as further shots, without anybody looking at them?

A find is taken by its score alone, or if it also leads back: the object is found again in the reference by a concept of
the find alone.  Then all photos are looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from persam.benchmark.reporting.tables import ends_in_percent
from persam.benchmark.suites.amounts import ALBUM_PHOTOS
from persam.benchmark.suites.one_album import MADE_OF, Looked, OneAlbum, in_albums
from persam.benchmark.suites.suite import Findings, Missed, Trial, change, headline
from persam.concept import Concept
from persam.metrics import PairedTest, auroc, bootstrap_figure, paired_test
from persam.reports.tables import Table
from persam.segmentation import SURE_ENOUGH

COUNTS = (1, 2, 4)  # finds that are taken
SURE, LEADS_BACK = 0.75, 0.7  # score from which on a find is taken; IoU in the reference, with `SURE_ENOUGH` as score
WRONG = 0.5  # IoU of a find up to which it shows something else
PROTOCOL = (
    f"{MADE_OF}; the finds with the highest scores become further shots, as they were found, and all photos are looked "
    "at again; IoU in the photos that show the object, taken to be there; right: photos of which presence is said "
    "rightly"
)
NOTES = (
    f"By score: finds with a score of {SURE} or more.",
    (
        f"Leads back: a score of {SURE_ENOUGH} or more, and the find alone finds the object in the reference, with an "
        f"IoU of {LEADS_BACK} or more."
    ),
    f"Wrong: an IoU of {WRONG} or less.",
)
INTERVALS = (
    "In percent; changes are those against the reference alone; [..] is a 95 % bootstrap interval of a change, for "
    "which whole albums are drawn"
)


@dataclass(frozen=True)
class Find:
    """Something that was found in a photo of an album.

    Attributes:
        place: of the photo.
        score: that it had.
        concept: learned from it alone.
        leads_back: IoU with which the object is found in the reference by that.
    """

    place: int
    score: float
    concept: Concept
    leads_back: float


#: What is found in every photo, by the album's name.
Answers = Mapping[str, Sequence[Looked]]


def learn_from_finds(trial: Trial, mode: str = "persam", *, photos: int = ALBUM_PHOTOS) -> Findings:
    """Take finds as shots, by score and by whether they lead back.

    Args:
        trial: on what and with what.
        mode: of the method.
        photos: of the object in an album, at most; as many others beside them.

    Raises:
        UsageError: no such mode; one object alone, so that there are no photos of others.
        PersamError: no album could be measured.
    """
    missed = Missed()
    measured = in_albums(trial, mode, photos, lambda album: _with_finds(album, missed), missed)
    about = trial.about(mode=mode, solver=None) | {
        "protocol": PROTOCOL, "intervals": INTERVALS, "photos_of_an_object": photos,
    }  # fmt: skip
    before = {name: of_album.before for name, of_album in measured.items()}
    rows = [row_of("the reference alone", 0, before, before, {})]
    for key in _WAYS:
        after = {name: of_album.after[key] for name, of_album in measured.items()}
        taken = {name: of_album.taken[key] for name, of_album in measured.items()}
        rows.append(row_of(*key, before, after, taken))
    notes = [*NOTES, *missed.notes("albums, photos or finds could not be measured")]
    return Findings("finds", about, rows, [find_table(rows, headline(about))], notes)


#: How finds are chosen, and how many are taken.
Way = tuple[str, int]


@dataclass(frozen=True)
class _WithFinds:
    """What is found in an album with the reference alone, and after finds were taken; and the places of these."""

    before: list[Looked]
    after: dict[Way, list[Looked]]
    taken: dict[Way, list[int]]


def _with_finds(album: OneAlbum, missed: Missed) -> _WithFinds:
    """Take finds of an album as shots, in every way."""
    before, finds = album.looked(), finds_of(album, missed)
    measured = _WithFinds(before, {}, {})
    for way, count in _WAYS:
        chosen = _CHOICES[way](finds)[:count]
        measured.taken[way, count] = [find.place for find in chosen]
        measured.after[way, count] = album.look(album.joined([find.concept for find in chosen])) if chosen else before
    return measured


def finds_of(album: OneAlbum, missed: Missed) -> list[Find]:
    """All that the reference finds well enough to learn from it, the surest first; `missed` is told what cannot be."""
    found = []
    for place, each in enumerate(album.found(album.first)):
        if each.score >= SURE_ENOUGH and each.mask.any() and not each.mask.all():
            with missed.over(f"find {place + 1} in the album {album.name}"):
                concept = album.learned(place, each.mask)
                found.append(Find(place, each.score, concept, album.finds_reference(concept)))
    return sorted(found, key=lambda find: (-find.score, find.place))


def _by_score(finds: Sequence[Find]) -> list[Find]:
    return [find for find in finds if find.score >= SURE]


def _that_lead_back(finds: Sequence[Find]) -> list[Find]:
    return sorted(
        (find for find in finds if find.leads_back >= LEADS_BACK), key=lambda find: -find.score * find.leads_back
    )


_CHOICES = {"by score": _by_score, "leads back": _that_lead_back}
_WAYS: tuple[Way, ...] = tuple(product(_CHOICES, COUNTS))


# ------------------------------------------------------------------------------------------------- what is shown


def row_of(way: str, count: int, before: Answers, after: Answers, taken: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """How finds as shots compare with the reference alone, as JSON values."""
    shots = [(name, place) for name, places in taken.items() for place in places]
    first, second = (_ious(answers) for answers in (before, after))
    not_shots = [key for key in first if key not in shots]
    scores, scores_before = (np.array(_figures(answers, "score")) for answers in (after, before))
    there = np.array([each.assumed is not None for looked in before.values() for each in looked])
    names = [name for name, looked in before.items() for _ in looked]
    right, right_before = (dict(enumerate(_is_right(answers, there))) for answers in (after, before))
    both = bool(there.any() and not there.all())
    better = None if after is before or not both else _better_auroc(scores_before, scores, there, names)
    return {
        "way": way,
        "finds": count,
        "albums": len(before),
        "shots": len(shots),
        "wrong_shots": sum(first.get(shot, 0.0) <= WRONG for shot in shots),
        "iou": float(np.mean(list(second.values()))),
        "change": _change(first, second),
        "change_elsewhere": _change(*({key: each[key] for key in not_shots} for each in (first, second))),
        "auroc": auroc(scores, there) if both else None,
        "auroc_change": better,
        "right": float(np.mean(list(right.values()))),
        "right_change": paired_test(right_before, right, dict(enumerate(names)))._asdict(),
    }


def _ious(answers: Answers) -> dict[tuple[str, int], float]:
    return {
        (name, place): each.assumed
        for name, looked in answers.items()
        for place, each in enumerate(looked)
        if each.assumed is not None
    }


def _figures(answers: Answers, key: str) -> list[Any]:
    return [each.figures[key] for looked in answers.values() for each in looked]


def _is_right(answers: Answers, there: np.ndarray) -> list[float]:
    """Of every photo 1 if presence was said rightly, else 0."""
    return (np.array(_figures(answers, "present")) == there).astype(float).tolist()


def _change(first: Mapping[tuple[str, int], float], second: Mapping[tuple[str, int], float]) -> dict[str, Any] | None:
    return paired_test(first, second, {key: key[0] for key in first})._asdict() if first else None


def _better_auroc(first: np.ndarray, second: np.ndarray, there: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    def difference(before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> float:
        return auroc(after, labels) - auroc(before, labels)

    ends = bootstrap_figure(difference, [first, second, there], names, resamples=1000)
    return {"difference": difference(first, second, there), "interval": ends}


def find_table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """The comparison."""
    cells = tuple(
        (
            row["way"] if row["finds"] == 0 else f"{row['way']}, {row['finds']}",
            f"{row['shots']} ({row['wrong_shots']} wrong)" if row["finds"] else "–",
            f"{100 * row['iou']:.1f}",
            _tested(row, "change"),
            _tested(row, "change_elsewhere"),
            "–" if row["auroc"] is None else f"{100 * row['auroc']:.1f}",
            _auroc_change(row["auroc_change"]),
            f"{100 * row['right']:.1f}",
            _tested(row, "right_change"),
        )
        for row in rows
    )
    columns = ("further shots", "taken", "IoU", "change", "where no shot is", "AUROC", "change", "right", "change")
    return Table(f"Finds as further shots: {title}", columns, cells)


def _tested(row: Mapping[str, Any], key: str) -> str:
    return change(PairedTest(**row[key]) if row["finds"] and row[key] else None)


def _auroc_change(better: Mapping[str, Any] | None) -> str:
    if better is None:
        return "–"
    return f"{100 * better['difference']:+.1f}" + (
        f" {ends_in_percent(better['interval'])}" if better["interval"] else ""
    )
