"""A tracked clip in a folder: a picture of labels and a line of results for every frame, and videos on request."""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from persam.drawing import Colour, colours_of
from persam.errors import PersamError, PersamWarning, UsageError, write_error
from persam.files import UniqueNames, check_folder, expanded, safe_name
from persam.journal import json_line
from persam.ledger import Ledger, written_in
from persam.persam import PerSAM
from persam.targets import check_targets
from persam.video.clips import Clip, ClipFrame, FrameFolder, VideoFile
from persam.video.start import Start
from persam.video.track import TrackedFrame, TrackOptions, track
from persam.video.writers import drawn, video_writer, write_labels

RESULTS, LABELS, OVERLAY, CUTOUT = "results.jsonl", "labels", "overlay.mp4", "cutout.webm"


@dataclass(frozen=True)
class Outputs:
    """What is written, and where.

    Attributes:
        folder: ``labels/FRAME.png`` with DAVIS' palette, and ``results.jsonl``, are always written.
        overlay: also ``overlay.mp4``, the clip with its objects marked, and its sound.
        cutout: also ``cutout.webm``, the objects, transparent beside them.
        overwrite: replace the results of an earlier run, and files of others.
    """

    folder: Path
    overlay: bool = False
    cutout: bool = False
    overwrite: bool = False


@dataclass
class TrackReport:
    """What was done: the number of frames, in how many of them every object is, and the files, relative to the folder
    (of the labels the folder alone)."""

    frames: int = 0
    present: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)


def track_into(
    persam: PerSAM,
    clip: Clip,
    start: Start,
    outputs: Outputs,
    on_frame: Callable[[TrackedFrame], object] = lambda _: None,
    on_look: Callable[[int], object] = lambda _: None,
    **options: Unpack[TrackOptions],
) -> TrackReport:
    """Follow objects through a clip, and write what is found, which stays if the clip breaks off or is stopped.

    Args:
        persam: the model.
        clip: from `open_clip`.
        start: as in `track`.
        outputs: what to write, and where.
        on_frame: called after every frame.
        on_look: as in `track`.
        options: of `track`.

    Raises:
        UsageError: the folder has results already, or files of others that are not to be replaced; or what is read
            would be replaced.
        PersamError: as `track`; or something cannot be written.
        KeyboardInterrupt: it was stopped, as a camera only can be; says how many frames are kept, and where.

    Warns:
        PersamWarning: it broke off, and what was found before is kept.
    """
    folder = expanded(outputs.folder)
    check_folder(folder)
    tracked = track(persam, clip, start, on_look=on_look, **options)
    first = next(tracked)  # what is wrong with the clip or its start is said before anything is written
    label_names = _LabelNames(clip)
    names = [one.concept for one in first.segmentations]
    chosen = colours_of(names)
    colours: list[Colour] = [chosen[each] for each in names]
    report = TrackReport(present=dict.fromkeys(names, 0), files=[RESULTS, LABELS])
    with Ledger(folder, overwrite=outputs.overwrite) as ledger, ExitStack() as stack:
        _check(ledger, clip, start, outputs, label_names)
        overlay = cutout = None
        if outputs.overlay:
            overlay = stack.enter_context(video_writer(folder / OVERLAY, clip))
            report.files.append(OVERLAY)
        if outputs.cutout:
            cutout = stack.enter_context(video_writer(folder / CUTOUT, clip, see_through=True, sound=False))
            report.files.append(CUTOUT)
        # Nothing of an earlier run is taken away before all that is needed to write another is there.
        ledger.remove(place for place in written_in(folder) if place in (OVERLAY, CUTOUT) or _is_label(place))
        write_line = stack.enter_context(_lines(folder / RESULTS))
        ledger.adopt([RESULTS])  # as it is when it begins: it is known as that of a run that was stopped
        try:
            for found in chain([first], tracked):
                place = f"{LABELS}/{label_names.of(found.frame)}"
                write_labels(folder / place, found.labels)
                write_line(_line(found, place))
                report.frames += 1
                for one in found.segmentations:
                    report.present[one.concept] += one.found
                if overlay is not None:
                    overlay(found.frame, drawn(found.frame.pixels, found.labels, colours))
                if cutout is not None:
                    alpha = np.where(found.labels > 0, 255, 0).astype(np.uint8)
                    cutout(found.frame, np.dstack([found.frame.pixels, alpha]))
                on_frame(found)
        except KeyboardInterrupt as stop:
            raise type(stop)(f"{report.frames} frames are done and kept in {folder}/.") from None
        except PersamError:
            kept = f"It broke off; the results of the {report.frames} frames before are kept in {folder}/."
            warnings.warn(kept, PersamWarning, stacklevel=2)
            raise
        ledger.adopt([RESULTS])
    return report


def _check(ledger: Ledger, clip: Clip, start: Start, outputs: Outputs, label_names: _LabelNames) -> None:
    """See before the work that no results, no files of others and nothing that is read would be replaced.

    Raises:
        UsageError: something would be.
    """
    folder = ledger.folder
    if (folder / RESULTS).exists() and not outputs.overwrite and RESULTS in written_in(folder):
        if ledger.is_own(RESULTS):
            raise UsageError(f"{folder} holds the results of a clip; choose another --output, or add --overwrite.")
        raise UsageError(
            f"{folder} holds the results of a run that was stopped, or that were changed since, and following cannot "
            "go on in the middle; add --overwrite to begin anew, or choose another --output."
        )
    planned = [RESULTS, *[OVERLAY] * outputs.overlay, *[CUTOUT] * outputs.cutout]
    labels = label_names.existing(folder / LABELS)
    sources = _sources_of(clip, start)
    home = os.path.realpath(folder / LABELS)
    near = [file for file in sources if file.name in labels and os.path.realpath(file.parent) == home]
    check_targets(
        [("--output", file) for file in (*(folder / name for name in planned), *near)], sources, overwrite=True
    )
    ledger.check([*planned, *(f"{LABELS}/{name}" for name in sorted(labels))])


def _sources_of(clip: Clip, start: Start) -> list[Path]:
    """The files that are read."""
    files: list[Any] = list(start.values()) if isinstance(start, Mapping) else [start]
    if isinstance(clip, VideoFile):
        files.append(clip.path)
    elif isinstance(clip, FrameFolder):
        files += clip.files
    return [expanded(file) for file in files if isinstance(file, (str, Path))]


def _is_label(place: str) -> bool:
    return Path(place).parent == Path(LABELS)


class _LabelNames:
    """What the label pictures of a clip's frames are called: as the frame, or its number in DAVIS' five digits.

    Frames of one name, such as ``a.jpg`` and ``a.png``, get a number, in the order of the files, readable or not.
    """

    def __init__(self, clip: Clip) -> None:
        self._names: UniqueNames | None = None
        if isinstance(clip, FrameFolder):
            self._names = UniqueNames()
            for number, file in enumerate(clip.files):
                name = safe_name(file.stem)
                self._names.of(str(number), [name], name)
            self._all = {self._named(key) for key in self._names.keys}

    def _named(self, key: str) -> str:
        assert self._names is not None
        return f"{self._names.of(key, [], key)}.png"

    def of(self, frame: ClipFrame) -> str:
        """A frame's."""
        return f"{frame.number:05d}.png" if self._names is None else self._named(str(frame.number))

    def existing(self, folder: Path) -> set[str]:
        """Of the files in a folder, those whose names are frames', too."""
        try:
            files = {file.name for file in folder.iterdir()}
        except OSError:
            return set()
        return (
            {name for name in files if re.fullmatch(r"\d{5,}\.png", name)} if self._names is None else files & self._all
        )


@contextmanager
def _lines(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write lines of JSON, which are there as soon as they are written, and are not kept in memory as a journal's."""
    try:
        stream = path.open("wb")
    except OSError as error:
        raise write_error(path, error) from error

    def write(line: dict[str, Any]) -> None:
        try:
            stream.write(json_line(line))
            stream.flush()
        except OSError as error:
            raise write_error(path, error) from error

    try:
        yield write
    finally:
        with contextlib.suppress(OSError):  # what could not be flushed was told
            stream.close()


def _line(found: TrackedFrame, place: str) -> dict[str, Any]:
    time = found.frame.time
    return {
        "frame": found.frame.number,
        "time": None if time is None else round(float(time), 6),
        "labels": place,
        "objects": [one.to_dict() for one in found.segmentations],
    }
