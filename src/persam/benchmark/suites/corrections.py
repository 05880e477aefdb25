"""In which order should one correct the photos of an album?  Each order is followed, correction by correction.

A correction is the true mask of a photo, as `persam album fix` takes it: the mask is right from then on, the photo is
one more shot, and all others are looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from persam.album.worth import expected_gain
from persam.benchmark.suites.amounts import ALBUM_PHOTOS, CORRECTIONS, LOTS
from persam.benchmark.suites.one_album import MADE_OF, Looked, OneAlbum, in_albums
from persam.benchmark.suites.suite import Findings, Missed, Trial, change, headline
from persam.metrics import Interval, PairedTest, bootstrap_mean, paired_test
from persam.reports.figures import COLOURS, new_figure, png_of
from persam.reports.tables import Table

PROTOCOL = (
    f"{MADE_OF}; a correction is a photo's true mask, which is right from then on and one more shot with which all "
    "photos are looked at again; IoU of the masks that the album has: a photo without the object counts 1 if nothing "
    "was found in it and else 0, a corrected photo counts 1"
)
INTERVALS = "In percent; [..] is a 95 % bootstrap interval of a difference, for which whole albums are drawn"
PICTURE = "corrections.png"
AT_RANDOM = "at random"
OURS = "expected gain"

#: How much the correction of a photo is worth by what was found in it; the highest comes first.
Order = Callable[[Mapping[str, Any]], float]
ORDERS: dict[str, Order] = {
    OURS: expected_gain,
    "most unsure": lambda found: -abs(found["score"] - 0.5),
    "lowest score": lambda found: -found["score"],
}
NOTES = (
    "On the way: mean after 1, 2, 3, ... corrections.",
    "What a correction gives, in IoU of one photo: to its own, and, as one more shot, to all others together.",
    "The mean of the photos that are not yet corrected also rises where the worst ones were taken away.",
)


@dataclass(frozen=True)
class Course:
    """What came of one order in one album.

    Attributes:
        kept: IoU of every photo's mask after 0, 1, 2, ... corrections, (steps, photos).
        left: which photos are not corrected then, (steps, photos) bool.
        own: what each correction gave to its own photo, (steps - 1,).
    """

    kept: np.ndarray
    left: np.ndarray
    own: np.ndarray

    @property
    def others(self) -> np.ndarray:
        """What each correction gave to all the others together, (steps - 1,)."""
        return np.diff(self.kept.sum(1)) - self.own


#: Of every album, each time that an order was followed in it.
Courses = Mapping[str, Sequence[Course]]


def order_corrections(
    trial: Trial, mode: str = "persam", *, corrections: int = CORRECTIONS, photos: int = ALBUM_PHOTOS, seeds: int = LOTS
) -> Findings:
    """Follow every order.

    Args:
        trial: on what and with what.
        mode: of the method.
        corrections: in every album; it ends where all of its photos are corrected.
        photos: of the object in an album, at most; as many others beside them.
        seeds: so many random orders, of which the mean counts.

    Raises:
        UsageError: no such mode; one object alone, so that there are no photos of others.
        PersamError: no album could be measured.
    """

    def every_order(album: OneAlbum) -> dict[str, list[Course]]:
        ordered = {name: [follow(album, by_worth(order), corrections)] for name, order in ORDERS.items()}
        lots = [follow(album, by_lot(np.random.default_rng(seed)), corrections) for seed in range(seeds)]
        return ordered | {AT_RANDOM: lots}

    missed = Missed()
    measured = in_albums(trial, mode, photos, every_order, missed)
    courses = {order: {name: each[order] for name, each in measured.items()} for order in (*ORDERS, AT_RANDOM)}
    about = trial.about(mode=mode, solver=None) | {
        "protocol": PROTOCOL, "intervals": INTERVALS,
        "corrections": corrections, "photos_of_an_object": photos, "seeds": seeds,
    }  # fmt: skip
    rows = rows_of(courses, corrections)
    title = headline(about)
    tables = [
        gain_table(rows, title),
        step_table(rows, "iou", "IoU of all photos, by number of corrections"),
        step_table(rows, "iou_of_left", "IoU of the photos that are not yet corrected"),
    ]
    notes = [*NOTES, *missed.notes("albums or photos could not be measured")]
    return Findings("corrections", about, rows, tables, notes, {PICTURE: lambda: draw_courses(rows, title)})


# ------------------------------------------------------------------------------------------ following an order

#: Chooses the next photo: from what was found in all, and the places of those that are left.
Choice = Callable[[Sequence[Looked], Sequence[int]], int]


def by_worth(order: Order) -> Choice:
    """The photo that is worth most, of equals the first."""
    return lambda looked, left: max(left, key=lambda place: order(looked[place].figures))


def by_lot(rng: np.random.Generator) -> Choice:
    """Any photo."""
    return lambda looked, left: int(rng.choice(left))


def follow(album: OneAlbum, choose: Choice, corrections: int) -> Course:
    """Correct one photo after the other; once all are corrected nothing changes any more."""
    done: list[int] = []
    kept, left, own = [], [], []
    for step in range(corrections + 1):
        looked = album.looked(done)
        now = np.array([each.kept for each in looked])
        now[done] = 1
        kept.append(now)
        left.append(~np.isin(np.arange(len(album)), done))
        if step == corrections:
            break
        places = np.flatnonzero(left[-1]).tolist()
        if places:
            done.append(choose(looked, places))
        own.append(1 - now[done[-1]] if places else 0.0)
    return Course(np.array(kept), np.array(left), np.array(own))


# ------------------------------------------------------------------------------------------------- what is shown


def rows_of(courses: Mapping[str, Courses], corrections: int) -> list[dict[str, Any]]:
    """A row for every order: IoU by number of corrections, on the way, and what a correction gives."""
    steps = range(corrections + 1)
    ours = _on_the_way(courses[OURS])
    rows = []
    for name, of_albums in courses.items():
        way = _on_the_way(of_albums)
        every = [course for several in of_albums.values() for course in several]
        of_all = [_mean(_by_photo(of_albums, step)) for step in steps]
        of_left = [_mean_of_left(of_albums, step) for step in steps]
        ahead = None if name == OURS else paired_test(way, ours, {key: key[0] for key in way})
        rows.append(
            {
                "order": name,
                "albums": len(of_albums),
                "iou": [each.mean for each in of_all],
                "iou_interval": [each[1:] for each in of_all],
                "iou_of_left": [each and each.mean for each in of_left],
                "iou_of_left_interval": [each and each[1:] for each in of_left],
                "on_the_way": _mean(way).mean,
                "ours_ahead": ahead and ahead._asdict(),
                "own": float(np.mean([course.own.mean() for course in every])),
                "others": float(np.mean([course.others.mean() for course in every])),
            }
        )
    return rows


def _by_photo(of_albums: Courses, step: int) -> dict[tuple[str, int], float]:
    """IoU of every photo of every album, the mean where an order was followed several times."""
    means = {name: np.mean([each.kept[step] for each in several], axis=0) for name, several in of_albums.items()}
    return {(name, place): float(value) for name, kept in means.items() for place, value in enumerate(kept)}


def _on_the_way(of_albums: Courses) -> dict[tuple[str, int], float]:
    """IoU of every photo, the mean after 1, 2, 3, ... corrections: what one has, wherever one stops."""
    steps = [_by_photo(of_albums, step) for step in range(1, len(next(iter(of_albums.values()))[0].kept))]
    return {key: float(np.mean([each[key] for each in steps])) for key in steps[0]}


def _mean(by_photo: Mapping[tuple[str, int], float]) -> Interval:
    return bootstrap_mean(list(by_photo.values()), [name for name, _ in by_photo])


def _mean_of_left(of_albums: Courses, step: int) -> Interval | None:
    values, names = [], []
    for name, several in of_albums.items():
        for each in several:
            values += each.kept[step][each.left[step]].tolist()
            names += [name] * int(each.left[step].sum())
    return bootstrap_mean(values, names) if values else None


def gain_table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """What each order is worth, and where it comes from."""
    cells = tuple(
        (
            row["order"],
            f"{100 * row['on_the_way']:.1f}",
            change(row["ours_ahead"] and PairedTest(**row["ours_ahead"])),
            f"{100 * row['own']:+.1f}",
            f"{100 * row['others']:+.1f}",
        )
        for row in rows
    )
    columns = ("order", "IoU on the way", f"{OURS} over it", "a correction gives its photo", "all others together")
    return Table(f"Orders of correction: {title}", columns, cells)


def step_table(rows: Sequence[Mapping[str, Any]], key: str, title: str) -> Table:
    """IoU by number of corrections: of all photos (``iou``), or of those not yet corrected (``iou_of_left``)."""
    cells = tuple((row["order"], *("–" if each is None else f"{100 * each:.1f}" for each in row[key])) for row in rows)
    count = len(rows[0][key])
    return Table(title, ("corrections", *map(str, range(count))), cells)


def draw_courses(rows: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Draw IoU against the number of corrections: all photos, and those not yet corrected.

    Args:
        rows: of `rows_of`.
        title: what was measured.

    Returns:
        A PNG.

    Raises:
        PersamError: matplotlib is not installed.
    """
    figure, axes = new_figure(11, 4.5, columns=2)
    for axis, key, what in zip(
        axes[0], ("iou", "iou_of_left"), ("all photos", "photos not yet corrected"), strict=True
    ):
        for number, row in enumerate(rows):
            steps = [step for step, value in enumerate(row[key]) if value is not None]
            values = [100 * row[key][step] for step in steps]
            dashes = "--" if row["order"] == AT_RANDOM else "-"
            axis.plot(steps, values, dashes, marker="o", color=COLOURS[number % len(COLOURS)], label=row["order"])
        axis.set_xlabel("corrections")
        axis.set_ylabel(f"IoU of the album's masks, {what}")
        axis.grid(alpha=0.3)
    axes[0, 0].legend(loc="upper left")
    figure.suptitle(title, fontsize=10)
    return png_of(figure)
