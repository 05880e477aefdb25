"""What a run asks and what was answered: queries, and records. All tables and plots are computed from records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from persam.benchmark.episodes import Crop, Episode, NotThere, Sample
from persam.metrics import Counts


@dataclass(frozen=True)
class Query:
    """One question of a run: where is the episode's object in this sample, if it is there at all?

    Attributes:
        name: unique within the run: the sample's, with a number where the same sample is asked again (with other
            references, or for another object); ``mug in cat/01`` where every object is looked for in every photo.
    """

    episode: Episode
    sample: Sample
    name: str

    @property
    def is_marked(self) -> bool:
        """Whether the data set marks the object in this photo; if it does, the mask may still be empty."""
        return not isinstance(self.sample.truth, NotThere)


def queries_of(episodes: Iterable[Episode]) -> list[Query]:
    """Every object in its own photos, in the order in which they are asked."""
    asked: Counter[str] = Counter()
    found = []
    for episode in episodes:
        for sample in episode.tests:
            asked[sample.name] += 1
            times = asked[sample.name]
            found.append(Query(episode, sample, sample.name if times == 1 else f"{sample.name}~{times}"))
    return found


def presence_queries(episodes: Iterable[Episode]) -> list[list[Query]]:
    """Every object in the photos of all objects, one list a photo: is it there at all?

    An object is absent where the data set marks none of it, so objects must be marked wherever they are: true of
    PerSeg, DAVIS, FSS-1000 and folders, not of photos of streets and kitchens with one class marked. No object is
    looked for in its own references, nor in photos of which its episode says so; of several episodes of one object the
    first is asked.
    """
    first: dict[str, Episode] = {}
    marked: dict[tuple[Path, Crop | None], dict[str, Sample]] = {}
    for episode in episodes:
        first.setdefault(episode.object, episode)
        for sample in episode.tests:
            marked.setdefault((sample.photo, sample.crop), {}).setdefault(episode.object, sample)
    left_out = {
        name: {reference.photo for reference in episode.references} | episode.not_asked
        for name, episode in first.items()
    }
    found = []
    for (photo, _), samples in marked.items():
        place = next(iter(samples.values()))  # several objects may be marked in one photo: it has the first's name
        unmarked = replace(place, truth=NotThere())
        found.append(
            [
                Query(episode, replace(samples.get(name, unmarked), name=place.name), f"{name} in {place.name}")
                for name, episode in first.items()
                if photo not in left_out[name]
            ]
        )
    return found


@dataclass(frozen=True)
class Record:
    """One method's answer on one photo, measured.

    Attributes:
        method: name of the method.
        data_set: name of the data set.
        object: what was looked for.
        sample: name of the photo within its data set.
        references: names of the photos that showed the object.
        fold: of the data set's protocol, or None.
        counts: of the mask against the truth.
        on_object: whether the method's peak lies on the object; None where it names none or there is no object.
        score: how sure the method is that the object is there; None if it did not answer.
        present: the method's own verdict on that, or None.
        threshold: from which score on the method says so, or None.
        seconds: for this photo, without the encoding if another method had made it.
        boundary: of the boundaries of both masks, for boundary IoU; None where it was not measured.
        contour: boundary F of DAVIS, in [0, 1]; None where it was not measured.
        query: name of the question in its run: the sample's, with a number where a photo is asked more than once.
        digest: of photo and truth as read, so that two runs can be told to be about the same pixels.
        failure: why there is no answer, or None. What failed counts as an empty mask.
        calibrated: whether the score is meant as the probability, 0 to 1, that the object is there.
    """

    method: str
    data_set: str
    object: str
    sample: str
    references: tuple[str, ...]
    fold: int | None
    counts: Counts
    on_object: bool | None
    score: float | None
    present: bool | None
    seconds: float
    boundary: Counts | None = None
    contour: float | None = None
    query: str = ""
    digest: str = ""
    failure: str | None = None
    threshold: float | None = None
    calibrated: bool = False

    @property
    def iou(self) -> float:
        """Of this photo, in [0, 1]; 0 if the method failed, even where nothing was to be found."""
        return 0.0 if self.failure is not None else self.counts.iou

    @property
    def boundary_iou(self) -> float | None:
        """Boundary IoU of this photo, in [0, 1]; None where it was not measured."""
        if self.boundary is None:
            return None
        return 0.0 if self.failure is not None else self.boundary.iou

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"references": list(self.references)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Record:
        """Undo `to_dict`.

        Raises:
            TypeError, KeyError: a part is missing, or there is one that a record does not have.
        """
        parts = dict(values)
        parts["references"] = tuple(parts["references"])
        parts["counts"] = Counts(**parts["counts"])
        parts["boundary"] = None if parts["boundary"] is None else Counts(**parts["boundary"])
        return cls(**parts)


def grouped(records: Iterable[Record], by: str) -> dict[str, list[Record]]:
    """Records by their ``method``, ``object``, ``query`` or ``data_set``, in the order in which these come."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(getattr(record, by), []).append(record)
    return groups
