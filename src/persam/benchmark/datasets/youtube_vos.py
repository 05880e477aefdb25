"""YouTube-VOS: videos of several objects, which may come in later; every 5th frame is annotated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from persam.benchmark.datasets import layout
from persam.benchmark.datasets.options import About
from persam.benchmark.episodes import SEEN, UNSEEN, Episode, Loaded, Sample, read_labels
from persam.errors import UsageError
from persam.labels import VOID

LAYOUT = "JPEGImages/VIDEO/*.jpg and Annotations/VIDEO/*.png"
_META = "meta.json"


def read_youtube_vos(
    root: Path,
    split: Annotated[str | None, About("which part: the name of its folder, such as train; by what is found")] = None,
    seen: Annotated[
        str | None, About("meta.json of the training split, whose categories are seen; by default train/meta.json")
    ] = None,
) -> Loaded:
    """Every object is an episode: the first frame that shows it is its reference, later annotated ones are its tests.

    An object that was seen once and is out of sight has an empty truth.  Of a video whose later objects alone are
    annotated (as in the validation split, whose truth is not handed out) no frame is a test.

    Raises:
        UsageError: the folder is laid out otherwise, or has no truth but that of first frames.
    """
    top = layout.unpacked(root / split if split else root, "JPEGImages", LAYOUT)
    videos = layout.subfolders(top / "JPEGImages")
    if not any((top / "Annotations" / video.name).is_dir() for video in videos):
        raise layout.wrong_layout(root, LAYOUT)
    meta = _videos_of(top / _META)
    categories = _seen_categories(top, seen)
    episodes: list[Episode] = []
    untold: list[str] = []
    for video in videos:
        found = _episodes(video, top / "Annotations" / video.name, meta.get(video.name, {}), categories)
        episodes += found
        if not found:
            untold.append(video.name)
    if not episodes:
        raise UsageError(
            f"{top} has the masks of first frames alone, so there is nothing to measure; give a split with all of its "
            "masks, such as train."
        )
    notes = layout.passed_over("videos without masks after the first ones", untold)
    if categories is None:
        notes.append("which categories are seen is not known: there is no meta.json of the training split beside this")
    return Loaded(
        "youtube-vos",
        tuple(episodes),
        f"YouTube-VOS, {top.name}: {len(videos) - len(untold)} videos, {len(episodes)} objects; the first frame that "
        "shows an object is its reference, every later annotated frame counts",
        {"split": split, "seen": None if categories is None else len(categories)},
        tuple(notes),
    )


@dataclass(frozen=True)
class _Annotated:
    """An annotated frame: its photo, the picture of its labels, and which labels are in it."""

    photo: Path
    mask: Path
    labels: frozenset[int]


def _episodes(video: Path, masks: Path, meta: Mapping[str, Any], seen: frozenset[str] | None) -> list[Episode]:
    frames = [
        _Annotated(photo, mask, frozenset(np.unique(read_labels(mask)).tolist()) - {0, VOID})
        for photo in layout.photos(video)
        if (mask := masks / f"{photo.stem}.png").is_file()
    ]
    first: dict[int, int] = {}
    for number, frame in enumerate(frames):
        for label in sorted(frame.labels):
            first.setdefault(label, number)
    episodes = []
    for label, start in sorted(first.items()):
        told = meta.get(str(label), {})
        told = told if isinstance(told, dict) else {}
        frames_named = told.get("frames")
        visible = frozenset(map(str, frames_named)) if isinstance(frames_named, list) else frozenset()
        category = str(told.get("category", "object"))
        thing = f"{video.name}/{label}"
        tests = [
            _sample(thing, frame, label)
            for number, frame in enumerate(frames)
            if number > start and (label in frame.labels or _is_whole(frame, first, number, visible))
        ]
        if tests:
            fold = None if seen is None else SEEN if category in seen else UNSEEN
            reference = _sample(thing, frames[start], label)
            episodes.append(Episode("youtube-vos", thing, (reference,), tuple(tests), category, fold))
    return episodes


def _is_whole(frame: _Annotated, first: Mapping[int, int], number: int, visible: frozenset[str]) -> bool:
    """Whether a label that is missing in a frame means that the object is out of sight there.

    Frames in which other objects first appear may mark these alone, whatever is said of the frames in which the object
    is in sight. `visible` are these, if meta.json names them.
    """
    marks_newcomers_alone = bool(frame.labels) and all(first[label] >= number for label in frame.labels)
    return not marks_newcomers_alone and frame.photo.stem not in visible


def _sample(thing: str, frame: _Annotated, label: int) -> Sample:
    return layout.sample(f"{thing}/{frame.photo.stem}", frame.photo, frame.mask, label, VOID)


def _videos_of(file: Path) -> dict[str, Mapping[str, Any]]:
    """What a meta.json says of the objects, by video and label; nothing without such a file.

    Raises:
        UsageError: it is something else.
    """
    if not file.is_file():
        return {}
    try:
        videos = json.loads(file.read_text(encoding="utf-8"))["videos"]
        found: dict[str, Mapping[str, Any]] = {name: dict(video["objects"].items()) for name, video in videos.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} is no meta.json of YouTube-VOS; download it again, or take it away.") from error
    return found


def _seen_categories(top: Path, given: str | None) -> frozenset[str] | None:
    """Categories of the training split; None where they are not known, or this is the training split itself."""
    if given is not None and not Path(given).is_file():
        raise UsageError(f"There is no file {given}; give the meta.json of the training split.")
    file = Path(given) if given is not None else top.parent / "train" / _META
    if not file.is_file() or (given is None and file.parent == top):
        return None
    objects = (one for video in _videos_of(file).values() for one in video.values())
    return frozenset(str(one["category"]) for one in objects if isinstance(one, dict) and "category" in one)
