"""Several objects of one kind in a photo: are all of them found, each by itself, and none too many?

A kind is learned from one of its objects, as a person would show it, and looked for in photos of which the truth of
every object is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from persam.benchmark.datasets.things import ids_of
from persam.benchmark.episodes import Crop, Episode, Sample
from persam.benchmark.methods.base import Example, SharedPhoto
from persam.benchmark.methods.ours import PersamMethod
from persam.benchmark.records import Query, presence_queries
from persam.benchmark.suites.damage import spread
from persam.benchmark.suites.instance_figures import Counted, counted, instance_tables, summarise_instances
from persam.benchmark.suites.suite import Findings, Missed, Trial, headline
from persam.concept import Concept
from persam.errors import UsageError
from persam.instance import Instance
from persam.method.settings import Settings
from persam.segmentation import SURE_ENOUGH, Segmentation, check_search

PROTOCOL = (
    "a kind is learned from one of its objects, the largest of a photo {where}; a question is a photo and a kind: all "
    "of its objects are looked for, up to {most} with a score of {threshold} at least; pixels that the truth "
    "leaves open do not count"
)
ELSEWHERE = "that is none of those in which it is looked for, with that object alone if there is such a photo"
INTERVALS = (
    "Exact: share of the questions with the right number of objects; count error: mean distance from it; a found and a "
    "true object are a pair if their IoU is above 0.5; F1 and PQ (panoptic quality: F1 times the mean IoU of the "
    "pairs): of all questions together; AP: COCO's, of masks, mean over kinds; all but counts in percent; [..] is a "
    "95 % bootstrap interval over kinds"
)


@dataclass(frozen=True)
class _Form:
    """How objects are looked for: by which method, and how many at most."""

    name: str
    method: PersamMethod
    most: int


def count_instances(
    trial: Trial,
    modes: Sequence[str] = ("persam", "paper", "official"),
    *,
    most: int = 10,
    without: int = 2,
    threshold: float = SURE_ENOUGH,
    same_photo: bool = False,
) -> Findings:
    """Count and find the objects of every kind, in several modes, and of each one object alone in the first.

    Args:
        trial: on what and with what: episodes whose truths have an id for every object, see `read_things`.
        modes: of the method.
        most: objects that are looked for in a photo.
        without: photos without it in which a kind is looked for, too, at most.
        threshold: score from which on an object counts as found, 0..1.
        same_photo: learn from the largest object of each photo, and find the others in the same photo.

    Raises:
        UsageError: no such mode; a number is out of range; no photo has ids.
    """
    check_search(most, threshold)
    methods = [PersamMethod(mode, **trial.shared, settings=Settings.of(mode)) for mode in modes]
    forms = [_Form(method.name, method, most) for method in methods]
    forms.insert(1, _Form(f"{methods[0].name}, one object", methods[0], 1))
    learned = _Concepts(methods, same_photo=same_photo)
    asked: list[Counted] = []
    missed = Missed()
    for look in _looks(trial.photos.episodes, without, same_photo=same_photo):
        photo: SharedPhoto | None = None
        for query in look:
            with missed.over(query.name):
                photo = photo or SharedPhoto(query.sample.read_photo())
                asked += _answers(query, photo, forms, learned, threshold)
            if query.is_marked and trial.progress is not None:
                trial.progress()
    if not any(each.true for each in asked):
        raise UsageError("No photo here has objects with ids of their own; see the data set `things`.")
    where = "in which it is looked for itself" if same_photo else ELSEWHERE
    about = trial.about(modes=list(modes), most=most, threshold=threshold, solver=None) | {
        "protocol": PROTOCOL.format(where=where, most=most, threshold=f"{threshold:g}"),
        "intervals": INTERVALS,
        "photos": len({(each.photo, each.crop) for episode in trial.photos.episodes for each in episode.tests}),
        "questions": len(asked) // len(forms),
    }
    summaries = summarise_instances(asked)
    notes = missed.notes("questions had no answer")
    return Findings(
        "instances", about, [asdict(each) for each in summaries], instance_tables(summaries, headline(about)), notes
    )


def _looks(episodes: Sequence[Episode], without: int, *, same_photo: bool) -> Iterator[list[Query]]:
    """The questions about each photo: every kind that is there, and some that are not."""
    looks = presence_queries([replace(each, object=f"{each.data_set}/{each.object}") for each in episodes])
    absent: dict[str, list[Query]] = {}
    for query in (query for look in looks for query in look if not query.is_marked):
        absent.setdefault(query.episode.object, []).append(query)
    chosen = {query.name for queries in absent.values() for query in spread(queries, 0 if same_photo else without)}
    for look in looks:
        if kept := [query for query in look if query.is_marked or query.name in chosen]:
            yield kept


class _Concepts:
    """Concepts, each learned once from one object."""

    def __init__(self, methods: Sequence[PersamMethod], *, same_photo: bool) -> None:
        self._methods = methods
        self._same_photo = same_photo
        self._known: dict[tuple[str, Path, Crop | None], dict[str, Concept]] = {}

    def of(self, query: Query) -> dict[str, Concept]:
        """The concept of each method with which a question is asked.

        Raises:
            PersamError: the reference cannot be read.
        """
        shown = query.sample if self._same_photo else query.episode.references[0]
        key = (query.episode.object, shown.photo, shown.crop)
        if key not in self._known:
            example = _largest(shown)
            self._known[key] = {each.name: each.learn([example], query.episode.category) for each in self._methods}
        return self._known[key]


def _largest(sample: Sample) -> Example:
    """The largest object of a sample, as a reference."""
    pixels, whole = sample.read()
    masks = _truths(sample, whole.shape) or [whole]
    return Example(SharedPhoto(pixels), max(masks, key=np.count_nonzero))


def _truths(sample: Sample, shape: tuple[int, ...]) -> list[np.ndarray]:
    """The mask of every object, those left out of which nothing is to be seen."""
    masks = [each.read((shape[0], shape[1])) for each in ids_of(sample)]
    return [mask for mask in masks if mask.any()]


def _answers(
    query: Query, photo: SharedPhoto, forms: Sequence[_Form], learned: _Concepts, threshold: float
) -> list[Counted]:
    true, ignore = _truths(query.sample, photo.size), query.sample.truth.read_ignore(photo.size)
    concepts, kind = learned.of(query), query.episode.object
    answers = []
    for form in forms:
        persam, concept = form.method.persam, concepts[form.method.name]
        found = persam.segment(form.method.encode(photo), concept, max_instances=form.most, threshold=threshold)
        answers.append(counted(form.name, kind, query.sample.name, _objects(found), true, ignore))
    return answers


def _objects(found: Segmentation) -> Sequence[Instance]:
    return found.instances if found.found else ()
