"""What the papers report for each kind of data set, computed from records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from persam.benchmark.episodes import SEEN, UNSEEN
from persam.benchmark.records import Record
from persam.metrics import (
    Counts,
    Interval,
    bootstrap_figure,
    bootstrap_mean,
    bootstrap_objects,
    class_iou,
    davis_score,
    fb_iou,
    mean_object_accuracy,
    mean_object_iou,
    object_accuracy,
)

Ends = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """A number with its 95 % bootstrap intervals.

    Attributes:
        value: in [0, 1] (a decay: in [-1, 1]).
        over_images: interval when photos are drawn, or None where the figure is none of single photos.
        over_objects: interval when objects are drawn with all their photos, or None where that makes no sense.
    """

    value: float
    over_images: Ends | None = None
    over_objects: Ends | None = None


Groups = dict[str, list[Record]]


@dataclass(frozen=True)
class Protocol:
    """How a kind of data set is measured.

    Attributes:
        name: short.
        sentence: what a reader must know to compare the numbers with others.
        shown: keys of the figures that a table shows, the main one first.
        brief: those that a terminal has room for.
        figures: computes this protocol's own figures from one method's records, grouped by object.
        drawn: what the intervals of its own figures draw.
        drawn_with: names what an object is drawn with, in every interval, as frames of one sequence are too much alike
            to be drawn one by one; None where intervals draw objects, and photos.
    """

    name: str
    sentence: str
    shown: tuple[str, ...]
    brief: tuple[str, ...]
    figures: Callable[[Groups], dict[str, Figure]]
    drawn: str = "objects"
    drawn_with: Callable[[str], str] | None = None

    @property
    def headline(self) -> str:
        """Key of the main figure."""
        return self.shown[0]


#: What the keys of figures are called in tables.
LABELS = {
    "iou": "IoU per image",
    "miou": "mIoU",
    "macc": "mAcc",
    "biou": "bIoU",
    "biou_image": "bIoU per image",
    "fb_iou": "FB-IoU",
    "jf": "J&F",
    "j_mean": "J mean",
    "j_recall": "J recall",
    "j_decay": "J decay",
    "f_mean": "F mean",
    "f_recall": "F recall",
    "f_decay": "F decay",
    "j_seen": "J seen",
    "f_seen": "F seen",
    "j_unseen": "J unseen",
    "f_unseen": "F unseen",
    "located": "located",
    "presence": "presence",
}


def common_figures(records: Sequence[Record], drawn_with: Callable[[str], str] | None = None) -> dict[str, Figure]:
    """What is told of every data set: means over photos.

    ``iou`` and ``biou_image`` are those of each photo; ``located`` is the share of photos with the object on which the
    method's peak lies on it; ``presence`` the share of photos on which its verdict (is it there?) is right.

    Args:
        records: of one method.
        drawn_with: as `Protocol.drawn_with`.
    """
    values: dict[str, Callable[[Record], float | None]] = {
        "iou": lambda record: record.iou,
        "biou_image": lambda record: record.boundary_iou,
        "located": lambda record: None if record.on_object is None else float(record.on_object),
        "presence": lambda record: (
            None if record.present is None else float(record.present == (record.counts.target > 0))
        ),
    }
    found = {key: _over_photos(records, value, drawn_with) for key, value in values.items()}
    return {key: figure for key, figure in found.items() if figure is not None}


def _over_photos(
    records: Sequence[Record], value: Callable[[Record], float | None], drawn_with: Callable[[str], str] | None
) -> Figure | None:
    known = [(found, record.object) for record in records if (found := value(record)) is not None]
    if not known:
        return None
    values = [found for found, _ in known]
    names = [thing if drawn_with is None else drawn_with(thing) for _, thing in known]
    images, clusters = bootstrap_mean(values), bootstrap_mean(values, names)
    over_images = _ends(images) if drawn_with is None else None
    return Figure(images.mean, over_images, _ends(clusters) if len(set(names)) > 1 else None)


def _over_objects(values: Sequence[float], together: Sequence[str] | None = None) -> Figure:
    """Mean over objects; those that `together` calls by one name are drawn together."""
    drawn = bootstrap_mean(values, together)
    return Figure(drawn.mean, over_objects=_ends(drawn) if len(set(together or range(len(values)))) > 1 else None)


def _ends(interval: Interval) -> Ends:
    return interval.low, interval.high


def _counts(groups: Groups) -> dict[str, list[Counts]]:
    return {name: [record.counts for record in records] for name, records in groups.items()}


def _boundaries(groups: Groups) -> dict[str, list[Counts]] | None:
    """Boundary counts by object, or None if a photo has none."""
    found = {name: [record.boundary for record in records] for name, records in groups.items()}
    if any(counts is None for images in found.values() for counts in images):
        return None
    return {name: [counts for counts in images if counts is not None] for name, images in found.items()}


def _perseg(groups: Groups) -> dict[str, Figure]:
    counts, boundaries = _counts(groups), _boundaries(groups)
    accuracy = _over_objects(list(object_accuracy(counts).values()))
    found = {"miou": _pooled(counts), "macc": Figure(mean_object_accuracy(counts), over_objects=accuracy.over_objects)}
    return found if boundaries is None else found | {"biou": _pooled(boundaries)}


def _pooled(counts: Mapping[str, list[Counts]]) -> Figure:
    drawn = bootstrap_objects(counts)
    return Figure(mean_object_iou(counts), over_objects=_ends(drawn) if len(counts) > 1 else None)


def _davis(groups: Groups, together: Sequence[str] | None = None) -> dict[str, Figure]:
    j, f = _j_and_f(groups)
    score = davis_score(j, f)
    both = [(float(np.mean(j[name])) + float(np.mean(f[name]))) / 2 for name in j]
    found = {"jf": _over_objects(both, together)}
    for letter, values, row in (("j", j, score.j), ("f", f, score.f)):
        drawn = _over_objects([float(np.mean(frames)) for frames in values.values()], together)
        found[f"{letter}_mean"] = Figure(row.mean, over_objects=drawn.over_objects)
        found[f"{letter}_recall"] = Figure(row.recall)
        found[f"{letter}_decay"] = Figure(row.decay)
    return found


def _j_and_f(groups: Groups) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """J and F of every frame, by object."""
    j = {name: [record.iou for record in records] for name, records in groups.items()}
    f = {name: [record.contour or 0.0 for record in records] for name, records in groups.items()}
    return j, f


def sequence_of(thing: str) -> str:
    """The sequence of an object of a video: ``bear`` of ``bear/1``."""
    return thing.split("/")[0]


def _followed(groups: Groups) -> dict[str, Figure]:
    """What DAVIS reports. What one sequence does to its objects it does to all, so they are drawn together."""
    return _davis(groups, [sequence_of(name) for name in groups])


def _youtube_vos(groups: Groups) -> dict[str, Figure]:
    """The overall figure is the mean of J and F over seen and unseen categories, four numbers that count the same."""
    found = _followed(groups)
    parts: dict[str, Figure] = {}
    rows: list[tuple[float, float, bool]] = []  # of every object: J, F, whether its category is seen
    sequences: list[str] = []
    for fold, what in ((SEEN, "seen"), (UNSEEN, "unseen")):
        of_fold = by_fold(groups).get(fold)
        if not of_fold:
            continue
        names = [sequence_of(name) for name in of_fold]
        j, f = ([float(np.mean(frames)) for frames in values.values()] for values in _j_and_f(of_fold))
        parts[f"j_{what}"], parts[f"f_{what}"] = _over_objects(j, names), _over_objects(f, names)
        rows += [(*both, fold == SEEN) for both in zip(j, f, strict=True)]
        sequences += names
    if parts.keys() >= {"j_seen", "j_unseen"}:
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        drawn = bootstrap_figure(_of_four, columns, sequences) if len(set(sequences)) > 1 else None
        found["jf"] = Figure(_of_four(*columns), over_objects=drawn)
    return found | parts


def _of_four(j: np.ndarray, f: np.ndarray, seen: np.ndarray) -> float:
    """The mean of four means: of J and of F (N,) of objects, of those whose category is seen (N,) and of the others.

    Raises:
        ValueError: there are none of the one kind.
    """
    if seen.all() or not seen.any():
        raise ValueError("Objects of seen and of unseen categories are needed.")
    return float(np.mean([values[kind].mean() for kind in (seen, ~seen) for values in (j, f)]))


def by_fold(groups: Groups) -> dict[int | None, Groups]:
    """Groups of every fold; a class that is in several folds is in each with that fold's records."""
    folds: dict[int | None, Groups] = {}
    for name, records in groups.items():
        for record in records:
            folds.setdefault(record.fold, {}).setdefault(name, []).append(record)
    return folds


def fold_figures(groups: Groups) -> dict[str, float]:
    """Class-pooled mIoU and FB-IoU of one fold."""
    counts = _counts(groups)
    return {"miou": float(np.mean(list(class_iou(counts).values()))), "fb_iou": fb_iou(counts)}


def _few_shot(groups: Groups) -> dict[str, Figure]:
    folds = [fold_figures(of_fold) for of_fold in by_fold(groups).values()]
    classes = _over_objects(list(class_iou(_counts(groups)).values()))
    return {
        "miou": Figure(float(np.mean([fold["miou"] for fold in folds])), over_objects=classes.over_objects),
        "fb_iou": Figure(float(np.mean([fold["fb_iou"] for fold in folds]))),
    }


PERSEG = Protocol(
    "perseg",
    "mIoU and mAcc as published for PerSeg: intersections, unions and true pixels pooled over an object's photos, then "
    "the mean over objects; bIoU likewise with the boundaries of boundary IoU (2 % of the diagonal, at the photo's own "
    "size), and once more as the mean over photos; the references do not count",
    ("miou", "biou", "macc", "biou_image", "iou", "located", "presence"),
    ("miou", "biou", "iou", "located"),
    _perseg,
)
DAVIS = Protocol(
    "davis",
    "J (IoU) and F (boundary F, 0.8 % of the diagonal) of every frame, mean, recall and decay per object, then the "
    "mean over objects; as in DAVIS' semi-supervised protocol the first frame is the reference, and it and the last "
    "frame do not count; here every frame is segmented on its own, nothing is carried on from frame to frame",
    ("jf", "j_mean", "j_recall", "j_decay", "f_mean", "f_recall", "f_decay", "iou", "located", "presence"),
    ("jf", "j_mean", "f_mean", "located"),
    _davis,
)
FOLLOWED = Protocol(
    "davis, followed",
    "J (IoU) and F (boundary F, 0.8 % of the diagonal) of every frame, mean, recall and decay (first quarter of the "
    "frames less the last) per object, then the mean over objects, as in DAVIS' semi-supervised protocol: neither the "
    "first frame of a clip, whose masks are given to methods that start from them, nor the last one counts; 255 is no "
    "object, and its pixels do not count; the objects of a sequence are found together, without overlap",
    (*DAVIS.shown[:7], "iou", "presence"),
    (*DAVIS.shown[:5], "presence"),
    _followed,
    "sequences",
    sequence_of,
)
YOUTUBE_VOS = Protocol(
    "youtube-vos",
    "J (IoU) and F (boundary F, 0.8 % of the diagonal) of every annotated frame after the one in which an object is "
    "first shown, the mean over frames, then over objects; J&F is the mean of J and F over seen and unseen categories, "
    "where both are known, else the mean over objects; 255 is no object, and its pixels do not count",
    ("jf", "j_seen", "j_unseen", "f_seen", "f_unseen", "j_mean", "f_mean", "j_decay", "iou", "presence"),
    ("jf", "j_seen", "j_unseen", "f_seen", "f_unseen", "j_mean", "f_mean"),
    _youtube_vos,
    "sequences",
    sequence_of,
)
FEW_SHOT = Protocol(
    "few-shot",
    "HSNet's protocol: intersections and unions pooled over a class's episodes, mIoU the mean over the classes of a "
    "fold, then the mean over folds; FB-IoU the mean of foreground and background, pooled over all classes of a fold",
    ("miou", "fb_iou", "biou_image", "iou", "located", "presence"),
    ("miou", "fb_iou", "iou", "located"),
    _few_shot,
)
FOLDER = Protocol(
    "folder",
    "IoU of every photo at its own size, the mean over photos",
    ("iou", "biou_image", "located", "presence"),
    ("iou", "biou_image", "located", "presence"),
    lambda groups: {},
)
#: By how a data set is summed up, see `persam.benchmark.datasets.catalog.Measure`.
PROTOCOLS = {
    "object-pooled": PERSEG,
    "class-pooled": FEW_SHOT,
    "j-and-f": DAVIS,
    "seen-unseen": YOUTUBE_VOS,
    "image": FOLDER,
}
