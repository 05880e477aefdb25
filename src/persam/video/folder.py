"""A tracked clip in a folder: a picture of labels and a line of results for every frame, and videos on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from persam.drawing import Colour, colours_of
from persam.errors import UsageError, write_error
from persam.files import check_folder, expanded, safe_name
from persam.journal import Journal, json_line
from persam.persam import PerSAM
from persam.video.clips import Clip, ClipFrame
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
        overwrite: replace the results of an earlier run.
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
    **options: Unpack[TrackOptions],
) -> TrackReport:
    """Follow objects through a clip, and write what is found. What was written of a clip that breaks off stays.

    Args:
        persam: the model.
        clip: from `open_clip`.
        start: a mask of the first frame, or concepts.
        outputs: what to write, and where.
        on_frame: called after every frame.
        options: of `track`.

    Raises:
        UsageError: the folder has results already, and they are not to be replaced.
        PersamError: as `track`; or something cannot be written.
    """
    folder = expanded(outputs.folder)
    check_folder(folder)
    tracked = track(persam, clip, start, **options)
    first = next(tracked)  # what is wrong with the clip or its start is said before anything is written
    _make_way(folder, overwrite=outputs.overwrite)
    names = [one.concept for one in first.segmentations]
    chosen = colours_of(names)
    colours: list[Colour] = [chosen[each] for each in names]
    report = TrackReport(present=dict.fromkeys(names, 0), files=[RESULTS, LABELS])
    with ExitStack() as videos, _lines(folder / RESULTS) as write_line:
        overlay = cutout = None
        if outputs.overlay:
            overlay = videos.enter_context(video_writer(folder / OVERLAY, clip))
            report.files.append(OVERLAY)
        if outputs.cutout:
            cutout = videos.enter_context(video_writer(folder / CUTOUT, clip, see_through=True, sound=False))
            report.files.append(CUTOUT)
        for found in chain([first], tracked):
            place = f"{LABELS}/{file_name(found.frame)}"
            write_labels(folder / place, found.labels)
            if overlay is not None:
                overlay(found.frame, drawn(found.frame.pixels, found.labels, colours))
            if cutout is not None:
                alpha = np.where(found.labels > 0, 255, 0).astype(np.uint8)
                cutout(found.frame, np.dstack([found.frame.pixels, alpha]))
            for one in found.segmentations:
                report.present[one.concept] += one.found
            report.frames += 1
            write_line(_line(found, place))
            on_frame(found)
    return report


@contextmanager
def _lines(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write lines of JSON, which are there as soon as they are written, and are not kept in memory as a journal's."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:

            def write(line: dict[str, Any]) -> None:
                stream.write(json_line(line))
                stream.flush()

            yield write
    except OSError as error:
        raise write_error(path, error) from error


def file_name(frame: ClipFrame) -> str:
    """What the label picture of a frame is called: as the frame, or its number in DAVIS' five digits."""
    return f"{frame.number:05d}.png" if frame.name is None else f"{safe_name(frame.name)}.png"


def _line(found: TrackedFrame, place: str) -> dict[str, Any]:
    time = found.frame.time
    return {
        "frame": found.frame.number,
        "time": None if time is None else round(float(time), 6),
        "labels": place,
        "objects": [one.to_dict() for one in found.segmentations],
    }


def _make_way(folder: Path, *, overwrite: bool) -> None:
    """Take away what an earlier run wrote, and nothing else; videos are replaced when the new ones are whole."""
    results = folder / RESULTS
    if not results.exists():
        return
    if not overwrite:
        raise UsageError(f"{folder} holds the results of a clip; choose another --output, or add --overwrite.")
    for line in Journal(results).lines:
        place = line.get("labels")
        if isinstance(place, str) and Path(place).parent == Path(LABELS):
            (folder / place).unlink(missing_ok=True)
    results.unlink()
