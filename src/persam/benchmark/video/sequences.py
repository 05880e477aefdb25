"""What a benchmark of video asks: sequences, their objects, where each is first shown, and the frames that count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.datasets import layout
from persam.benchmark.datasets.catalog import DATASETS, find_data_set
from persam.benchmark.episodes import Episode, Loaded, MaskFile, Sample
from persam.benchmark.records import Query, queries_of
from persam.benchmark.video.video_methods import Shown
from persam.errors import PersamError, UsageError
from persam.files import expanded
from persam.labels import VOID
from persam.words import counted


@dataclass(frozen=True)
class SequenceObject:
    """One object of a sequence.

    Attributes:
        name: ``bear``, or ``bear/1`` where a sequence has several.
        value: of its pixels in pictures of labels, those of the data set and those that are written.
        first: number of the frame in which it is first shown.
        shown: this frame, and the mask that shows it there.
        photo: the photo from which a concept of it is learned; the same, unless a clip starts later.
        queries: what is asked, by number of the frame.
    """

    name: str
    value: int
    first: int
    shown: Sample
    photo: Sample
    queries: Mapping[int, Query]


@dataclass(frozen=True)
class VideoSequence:
    """A sequence of frames through which objects are followed.

    Attributes:
        name: ``bear``.
        frames: all that are followed, in order.
        objects: in the order of their values.
        hidden: names of objects that nothing is asked of, as they are out of sight where the clip begins.
    """

    name: str
    frames: tuple[Path, ...]
    objects: tuple[SequenceObject, ...]
    hidden: tuple[str, ...] = ()

    @property
    def queries(self) -> list[Query]:
        """All that is asked, frame by frame."""
        asked = [(number, query) for one in self.objects for number, query in one.queries.items()]
        return [query for _, query in sorted(asked, key=lambda pair: pair[0])]

    @property
    def counted(self) -> list[int]:
        """Numbers of the frames in which something is asked."""
        return sorted({number for one in self.objects for number in one.queries})

    def labels_at(self, number: int, size: tuple[int, int]) -> np.ndarray:
        """The objects that are first shown in a frame, (H, W) uint8 of their values."""
        labels = np.zeros(size, np.uint8)
        for one in self.objects:
            if one.first == number:
                labels[one.shown.truth.read(size)] = one.value
        return labels


def read_sequences(
    data_set: str,
    root: str | Path,
    *,
    frames: int | None = None,
    names: Sequence[str] = (),
    start: Shown = "mask",
    **options: Any,
) -> tuple[Loaded, list[VideoSequence]]:
    """Read the sequences of a data set of videos.

    Args:
        data_set: its name.
        root: its folder.
        frames: of every sequence these first frames alone; None for all.
        names: of sequences; none for all.
        start: ``mask``: a clip begins with its first frame, whose mask is shown. ``photo``: it begins in the middle,
            and the first frame is a photo that was taken before.
        options: of the data set.

    Returns:
        The data set with what is asked as its episodes, and the sequences.

    Raises:
        UsageError: not a data set of videos, no such sequence, or nothing is left to measure.
    """
    entry = find_data_set(data_set)
    if not entry.is_video:
        those = ", ".join(each.name for each in DATASETS.values() if each.is_video)
        raise UsageError(f"{entry.title} has photos and no videos, so nothing is followed; use {those}.")
    loaded = entry.read(expanded(root), **options)
    groups: dict[str, list[Episode]] = {}
    for episode in loaded.episodes:
        groups.setdefault(episode.references[0].photo.parent.name, []).append(episode)
    strange = [name for name in names if name not in groups]
    if strange:
        raise UsageError(f"{root} has no sequence {strange[0]}; there are {layout.some(sorted(groups))}.")
    found, short = [], []
    for name, episodes in groups.items():
        if names and name not in names:
            continue
        # DAVIS does not count the last frame.
        sequence = _sequence(name, episodes, frames, start, last_counts=entry.measure != "j-and-f")
        if sequence is None:
            short.append(name)
        else:
            found.append(sequence)
    if not found:
        raise UsageError(f"No sequence of {root} has a frame that counts, as each is too short; take more --frames.")
    kept = [query.episode for sequence in found for one in sequence.objects for query in [*one.queries.values()][:1]]
    hidden = [name for sequence in found for name in sequence.hidden]
    notes = (
        *loaded.notes,
        *layout.passed_over("sequences without a frame that counts", short),
        *layout.passed_over("objects that are out of sight where the clip begins", hidden),
    )
    how = {"frames": frames, "sequences": list(names), "start": start}
    told = replace(loaded, episodes=tuple(kept), settings={**loaded.settings, **how}, notes=notes)
    return replace(told, protocol=_protocol(entry.title, found, frames, start)), found


def _protocol(title: str, sequences: Sequence[VideoSequence], frames: int | None, start: Shown) -> str:
    objects = sum(len(each.objects) for each in sequences)
    measured = sum(len(each.counted) for each in sequences)
    begins = "where an object is first shown, its mask is given, and it is followed from there"
    if start == "photo":
        begins = (
            "the first frame is a photo from which concepts are learned; the clip begins in the middle, in the first "
            "frame that shows all of its objects, whose mask is given to methods that start from one; the same frames "
            "count for all"
        )
    cut = "" if frames is None else f" (the first {frames} frames of each)"
    many = counted(len(sequences), "sequence")
    return f"{title}: {many}{cut}, {objects} objects, {measured} frames that count; {begins}"


def _sequence(
    name: str, episodes: Sequence[Episode], most: int | None, start: Shown, *, last_counts: bool
) -> VideoSequence | None:
    """The sequence of these objects; None if no frame counts."""
    frames = layout.photos(episodes[0].references[0].photo.parent)[:most]
    numbers = {path: number for number, path in enumerate(frames)}
    firsts = {episode.object: numbers.get(episode.references[0].photo) for episode in episodes}
    begin = min((first for first in firsts.values() if first is not None), default=0)
    last = len(frames) - (1 if last_counts else 2)
    hidden: list[str] = []
    if start == "photo":  # of what is in the first frame
        first_shown = [episode for episode in episodes if firsts[episode.object] == begin]
        begin, episodes = _middle(first_shown, numbers, len(frames) // 2, last)
        hidden = [episode.object for episode in first_shown if episode not in episodes]
    objects = []
    for episode in episodes:
        first, reference = firsts[episode.object], _without_void(episode.references[0])
        if first is None:  # it comes in after the frames that are taken
            continue
        after = max(first, begin)
        tests = [_without_void(each) for each in episode.tests if after < numbers.get(each.photo, -1) <= last]
        cut = replace(episode, references=(reference,), tests=tuple(tests))
        if not tests:
            continue
        shown = reference
        if start == "photo":
            shown = next(_without_void(each) for each in episode.tests if numbers.get(each.photo) == begin)
        queries = {numbers[query.sample.photo] - begin: query for query in queries_of([cut])}
        objects.append(SequenceObject(episode.object, _value(reference), after - begin, shown, reference, queries))
    if not objects:
        return None
    return VideoSequence(name, tuple(frames[begin:]), tuple(sorted(objects, key=lambda one: one.value)), tuple(hidden))


def _middle(
    episodes: Sequence[Episode], numbers: Mapping[Path, int], half: int, last: int
) -> tuple[int, Sequence[Episode]]:
    """Where a clip begins that has frames to count after it, and which objects are in sight there.

    That is the first frame of the second half in which all objects are annotated and in sight; if there is none, the
    first of those with most of them.
    """
    tests = [{numbers.get(each.photo, -1): each for each in episode.tests} for episode in episodes]
    end = max((number for own in tests for number in own if number <= last), default=0)
    best: tuple[int, Sequence[Episode]] = end, []
    for number in range(max(1, half), end):
        if len(best[1]) < len(episodes) and all(number in own for own in tests):
            seen = [episode for episode, own in zip(episodes, tests, strict=True) if _is_in_sight(own[number])]
            best = (number, seen) if len(seen) > len(best[1]) else best
    return best


def _is_in_sight(sample: Sample) -> bool:
    try:
        return bool(sample.read()[1].any())
    except PersamError:  # nothing can begin with it
        return False


def _value(sample: Sample) -> int:
    truth = sample.truth
    return 1 if not isinstance(truth, MaskFile) or truth.value is None else truth.value


def _without_void(sample: Sample) -> Sample:
    """A sample in whose picture of labels 255 does not count; in one of one object it may be the object."""
    truth = sample.truth
    if isinstance(truth, MaskFile) and truth.value is not None:
        return replace(sample, truth=replace(truth, ignored=VOID))
    return sample
