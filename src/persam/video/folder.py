"""A tracked clip in a folder: a picture of labels and a line of results for every frame, and videos on request.

A run that was stopped or killed goes on where it was, see `persam.video.resume`; one that is done is not done again,
but what else is asked for is drawn from its labels.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Unpack

from persam.drawing import Colour, colours_of
from persam.errors import PersamError, PersamWarning, UsageError
from persam.files import check_folder, expanded, write_bytes
from persam.ledger import HIDDEN, Ledger, written_in
from persam.persam import PerSAM
from persam.places import is_remote
from persam.targets import check_targets
from persam.video.carry import propagator_for
from persam.video.clips import Clip, ClipFrame, FrameFolder, VideoFile
from persam.video.coco import COCO, write_coco
from persam.video.drawings import VIDEOS, video_drawer
from persam.video.layout import LABELS, LabelNames, Outputs
from persam.video.results import NOTHING, RESULTS, FrameLines, Mark, holds_frames, lines_in
from persam.video.resume import DoneFrames, KeptRun, Progress, labels_of, made_of
from persam.video.start import Start, concepts_of
from persam.video.state import DamagedStateError
from persam.video.timeline import TIMELINE_PICTURE, TIMELINE_TABLE, Timeline, write_timeline
from persam.video.track import TrackedFrame, TrackOptions, check_call
from persam.video.writers import davis_palette, write_labels


@dataclass
class TrackReport:
    """What was done: the number of frames, how many of them an earlier run had done, in how many every object is, the
    files, relative to the folder (of the labels the folder alone), and in which frame every object has its lowest
    score, of those in which it is, and which: there one looks first."""

    frames: int = 0
    done_before: int = 0
    present: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    least_sure: dict[str, tuple[int, float]] = field(default_factory=dict)


def track_into(
    persam: PerSAM,
    clip: Clip,
    start: Start,
    outputs: Outputs,
    on_frame: Callable[[TrackedFrame], object] = lambda _: None,
    on_earlier: Callable[[int], object] = lambda _: None,
    on_drawn: Callable[[int], object] = lambda _: None,
    on_look: Callable[[int], object] = lambda _: None,
    **options: Unpack[TrackOptions],
) -> TrackReport:
    """Follow objects through a clip, and write what is found, which stays if the clip breaks off or is stopped.

    Where a run with the same model, clip, start and options was stopped, it goes on; where one came to its end, only
    what is asked for and not there is drawn, from its labels. One with ``cotracker`` keeps no state,
    and begins anew, which a warning says. What cannot be known again (a camera, a stream, frames that are handed
    over, an own tracker or propagator) is refused after a stop, unless it is to be overwritten.

    Args:
        persam: the model.
        clip: from `open_clip`.
        start: as in `track`.
        outputs: what to write, and where.
        on_frame: called after every frame that was followed.
        on_earlier: called before them with the number of frames that an earlier run did, if it goes on.
        on_drawn: called with their number after every frame of a finished run that is drawn again.
        on_look: as in `track`.
        options: of `track`.

    Raises:
        UsageError: the folder has results of something else already, or files of others that are not to be replaced; or
            what is read would be replaced.
        PersamError: as `track`; or something cannot be written, or another command is writing there.
        KeyboardInterrupt: it was stopped, as a camera only can be; says how many frames are kept, and where.

    Warns:
        PersamWarning: it broke off, and what was found before is kept; or what was kept cannot be gone on from.
    """
    folder = expanded(outputs.folder)
    check_folder(folder)
    if (named := options.get("propagator")) is not None:
        options["propagator"] = propagator_for(persam, named)  # a run is known by its weights
    with Ledger(folder, overwrite=outputs.overwrite) as ledger:
        job = _Job(ledger, clip, start, outputs, KeptRun(ledger, made_of(persam, clip, start, options)))
        try:
            mark, state = job.look(_sources_of(clip, start))
        except UsageError:
            check_call(persam, clip, start, options)  # what is wrong with the call is said before
            raise
        if job.is_done:
            return job.draw_again(on_drawn)
        progress = job.progress_from(mark, state)
        tracked = persam.track(clip, start, earlier=progress, on_look=on_look, **options)
        return job.follow(tracked, mark, progress, on_frame, on_earlier)


class _Job:
    """One run into a folder, which is held.

    Args:
        ledger: of the folder.
        clip: the clip.
        start: what it is started with.
        outputs: what to write.
        run: what is known of the last run.
    """

    def __init__(self, ledger: Ledger, clip: Clip, start: Start, outputs: Outputs, run: KeptRun) -> None:
        self.ledger, self.folder, self.clip, self.outputs, self.run = ledger, ledger.folder, clip, outputs, run
        self._from_masks = not concepts_of(start)
        self.labels = LabelNames(clip)
        self.is_done = False
        self._kept: set[str] = set()  # labels of an earlier run that stay
        self._keeps_nothing = False  # the same run was stopped, and nothing is there to go on from

    def look(self, sources: list[Path]) -> tuple[Mark, dict[str, Any] | None]:
        """See what an earlier run left, and that no results, no files of others and nothing that is read would be lost.

        Returns:
            How far an earlier run was that is to go on, and its tracker's state.

        Raises:
            UsageError: something would be.
        """
        self.ledger.sweep([HIDDEN, LABELS])
        earlier, known = None, False
        if (self.folder / RESULTS).exists() and RESULTS in written_in(self.folder):
            if not self.outputs.overwrite:
                self._refuse_another()
                known = True  # the lines that a stopped run added are not in the ledger
                self.is_done = self.run.frames is not None
            if self.run.is_same and self.run.frames is None:  # goes on, also if the stopped one was to overwrite
                earlier = self._state()
        if earlier is not None:
            self._kept = {line["labels"] for line in lines_in(self.folder / RESULTS, earlier[0].size)}
        planned = [*self._missing(), *[RESULTS] * (not known)]
        names = set() if self.is_done else self.labels.existing(self.folder / LABELS)
        home = os.path.realpath(self.folder / LABELS)
        near = [file for file in sources if file.name in names and os.path.realpath(file.parent) == home]
        targets = [("--output", file) for file in (*(self.folder / name for name in planned), *near)]
        check_targets(targets, sources, overwrite=True)
        self.ledger.check([*planned, *sorted({f"{LABELS}/{name}" for name in names} - self._kept)])
        return earlier or (NOTHING, None)

    def _missing(self) -> list[str]:
        """What is to be written beside labels and lines."""
        files = [*self.outputs.videos, *self.outputs.summaries]
        if not self.is_done:
            return files
        ours = written_in(self.folder)  # a file of others is not taken for what is asked for
        changed = self._labels_changed(ours) if self.outputs.videos else 0

        def is_missing(name: str) -> bool:
            file = self.folder / name
            return name not in ours or not file.exists() or (name in VIDEOS and file.stat().st_mtime_ns < changed)

        return [name for name in files if is_missing(name)]

    def _labels_changed(self, ours: Collection[str]) -> int:
        """When a person last changed a label picture, in nanoseconds; videos from before do not show it. 0: never."""
        others = (self.folder / place for place in ours if _is_label(place) and not self.ledger.is_own(place))
        return max((file.stat().st_mtime_ns for file in others if file.exists()), default=0)

    def _refuse_another(self) -> None:
        """See that the results are of the same run, as it left them."""
        whole = self.ledger.is_own(RESULTS)
        if self.run.is_same and (whole or self.run.frames is None):
            return
        differs = self.run.differences
        of = f", with {' and '.join(differs)}" if differs else ""
        if whole:
            known = "earlier results" if self.run.made is None else "the results of a clip"  # it may be an album
            raise UsageError(f"{self.folder} holds {known}{of}; choose another --output, or add --overwrite.")
        if not differs and self.run.frames is not None:
            raise UsageError(
                f"{self.folder / RESULTS} was changed since; choose another --output, or add --overwrite to begin anew."
            )
        raise UsageError(
            f"{self.folder} holds the results of a run that was stopped{of}, which this command does not go on with; "
            "add --overwrite to begin anew, or choose another --output."
        )

    def _state(self) -> tuple[Mark, dict[str, Any]] | None:
        """What the run that was stopped kept, if it is of use."""
        earlier, is_damaged = None, False
        try:
            earlier = self.run.read()
        except DamagedStateError:
            is_damaged = True
        results = self.folder / RESULTS
        if not (holds_frames(results) if earlier is None else earlier[0].fits(results)):
            if self.outputs.overwrite:
                return None
            raise UsageError(
                f"{results} was changed after the run was stopped, so that it cannot go on; add "
                "--overwrite to begin anew, or choose another --output."
            )
        if is_damaged:
            warnings.warn(
                f"What {self.folder} kept of the run that was stopped is damaged, so it begins anew.",
                PersamWarning,
                stacklevel=5,
            )
        elif earlier is None and not self.outputs.overwrite:
            self._keeps_nothing = results.stat().st_size > 0
        return earlier

    # ------------------------------------------------------------------------------------------------ following

    def progress_from(self, mark: Mark, state: dict[str, Any] | None) -> Progress:
        """What keeps the tracker's state, and gives the frames that were done."""
        return Progress(self.run, self._done(mark) if mark.frames else None, state)

    def _done(self, mark: Mark) -> DoneFrames:
        return DoneFrames(self.ledger, mark, self._place)

    def follow(
        self,
        tracked: Iterator[TrackedFrame],
        mark: Mark,
        progress: Progress,
        on_frame: Callable[[TrackedFrame], object],
        on_earlier: Callable[[int], object],
    ) -> TrackReport:
        """Write what is found, from the beginning or from where an earlier run was."""
        if mark.frames:
            on_earlier(mark.frames)
        first = self._first(tracked, mark, progress)
        names = [one.concept for one in first.segmentations]
        if self._keeps_nothing and not progress.may_go_on:
            warnings.warn(
                "A run of this kind cannot go on where it was stopped, so it begins anew.", PersamWarning, stacklevel=3
            )
        with _unwrapped(), ExitStack() as stack:
            draw = stack.enter_context(
                video_drawer(self.folder, self.outputs.videos, self.clip, self._colours(names), names)
            )
            # Nothing of an earlier run is taken away before all that is needed to write another is there.
            if not mark.frames:
                self.run.begin()
                self._clear_drawn()
                self.ledger.adopt([RESULTS])  # it may have grown, and goes
                write_bytes(self.folder / RESULTS, b"")  # so that the ledger knows it, whenever a kill comes
            self._clear_labels()
            lines = stack.enter_context(FrameLines(self.folder / RESULTS, mark))
            is_catching_up = mark.frames > 0
            try:
                for found in chain([first], tracked):
                    is_new = found.frame.number > mark.last
                    if is_new and is_catching_up:
                        is_catching_up = False
                        self._clear_drawn()
                    if is_new:
                        place = self._place(found.frame)
                        write_labels(self.folder / place, found.labels)
                        lines.add(_line(found, place))
                        progress.add(lines)
                    draw(found.frame, found.labels)
                    if is_new:
                        on_frame(found)
                if is_catching_up:  # there was no other frame
                    self._clear_drawn()
            except (KeyboardInterrupt, PersamError) as problem:
                self._keep(progress, lines)
                told = self._told(problem, lines.mark.frames, progress)
                # Videos that end before those of the run that was stopped are not to take their place.
                raise _StoppedCatchingUpError(told) if is_catching_up else told from problem.__cause__
        timeline = Timeline.of(self._lines())
        self._summarize(self.outputs.summaries, timeline)
        self.ledger.adopt([RESULTS])
        self.run.finish(lines.mark.frames)
        return self._report(timeline, mark.frames)

    def _first(self, tracked: Iterator[TrackedFrame], mark: Mark, progress: Progress) -> TrackedFrame:
        """The clip's first frame, before anything is written: what is wrong with the clip or its start is said then.

        Frames that are followed backwards are looked at before it.
        """
        try:
            return next(tracked)
        except (KeyboardInterrupt, PersamError) as problem:
            if not mark.frames:
                raise
            raise self._told(problem, mark.frames, progress) from problem.__cause__

    def _told(self, problem: BaseException, frames: int, progress: Progress) -> BaseException:
        """What is to be raised of a problem, when it is said what is kept."""
        how = "; run the same command again to go on." if progress.may_go_on else "."
        if isinstance(problem, KeyboardInterrupt):
            done = "1 frame is" if frames == 1 else f"{frames} frames are"
            return type(problem)(f"{done} done and kept in {self.folder}/{how}")
        done = "one frame before is" if frames == 1 else f"{frames} frames before are"
        kept = f"the {done} kept in {self.folder}/{how}"
        warnings.warn(f"It broke off; the results of {kept}", PersamWarning, stacklevel=4)
        return problem

    def _place(self, frame: ClipFrame) -> str:
        return f"{LABELS}/{self.labels.of(frame)}"

    def _clear_labels(self) -> None:
        """Take away the labels of an earlier run with which this one does not go on."""
        self.ledger.remove(place for place in written_in(self.folder) - self._kept if _is_label(place))

    def _clear_drawn(self) -> None:
        """Take away what was made of an earlier run's labels and lines."""
        self.ledger.remove({*VIDEOS, TIMELINE_TABLE, TIMELINE_PICTURE, COCO} & written_in(self.folder))

    def _keep(self, progress: Progress, lines: FrameLines) -> None:
        """Keep what a run that is stopped did, as well as it can be: the disk may be full."""
        with contextlib.suppress(PersamError):
            progress.keep(lines)
        with contextlib.suppress(PersamError):
            if lines.mark.frames:
                self._summarize(self.outputs.summaries, Timeline.of(self._lines()))

    # ------------------------------------------------------------------------------------- what is made of lines

    def draw_again(self, on_drawn: Callable[[int], object]) -> TrackReport:
        """Write what is asked for and not there, of a clip that was followed to its end."""
        timeline = Timeline.of(map(self._with_label, self._lines()))
        frames, names = len(timeline.numbers), timeline.names
        missing = self._missing()
        videos = [name for name in missing if name in VIDEOS]
        if videos:
            done = self._done(Mark(frames, sys.maxsize, sys.maxsize))
            colours = self._colours(names)
            with _unwrapped(), video_drawer(self.folder, videos, self.clip, colours, names) as draw:
                try:
                    for number, frame in enumerate(self.clip, start=1):
                        known = done.of(frame)
                        assert known is not None
                        draw(frame, known[0])
                        on_drawn(number)
                except (KeyboardInterrupt, PersamError) as problem:
                    raise _StoppedCatchingUpError(problem) from problem.__cause__
        self._summarize([name for name in missing if name not in VIDEOS], timeline)
        return self._report(timeline, frames)

    def _with_label(self, line: dict[str, Any]) -> dict[str, Any]:
        """A line, whose label picture is written again if it was lost."""
        file = self.folder / line["labels"]
        if not file.exists() or not file.stat().st_size:
            write_labels(file, labels_of(line))
        return line

    def _lines(self) -> Iterator[dict[str, Any]]:
        return lines_in(self.folder / RESULTS)

    def _summarize(self, names: Sequence[str], timeline: Timeline) -> None:
        """Write these summaries."""
        write_timeline(self.folder, names, timeline, self._colours(timeline.names))
        if COCO in names:
            files = self.clip.files if isinstance(self.clip, FrameFolder) else None
            write_coco(self.folder / COCO, self._lines, len(timeline.numbers), self.clip.source, files)

    def _report(self, timeline: Timeline, done_before: int) -> TrackReport:
        files = [RESULTS, LABELS, *self.outputs.videos, *self.outputs.summaries]
        return TrackReport(len(timeline.numbers), done_before, timeline.present, files, timeline.least_sure)

    def _colours(self, names: Sequence[str]) -> list[Colour]:
        """Of the objects: several that masks tell apart have the colours of their labels, as in the label pictures; all
        others those of their names, as everywhere."""
        if self._from_masks and len(names) > 1:
            return [(red, green, blue) for red, green, blue in davis_palette()[1 : len(names) + 1].tolist()]
        chosen = colours_of(names)
        return [chosen[each] for each in names]


class _StoppedCatchingUpError(Exception):
    """A run was stopped before its videos were as far as those of an earlier one, which stay; its own are dropped."""

    def __init__(self, problem: BaseException) -> None:
        super().__init__()
        self.problem = problem


@contextlib.contextmanager
def _unwrapped() -> Iterator[None]:
    try:
        yield
    except _StoppedCatchingUpError as stopped:
        raise stopped.problem from stopped.problem.__cause__


def _sources_of(clip: Clip, start: Start) -> list[Path]:
    """The files that are read."""
    files: list[Any] = list(start.values()) if isinstance(start, Mapping) else [start]
    if isinstance(clip, VideoFile):
        files.append(clip.path)
    elif isinstance(clip, FrameFolder):
        files += clip.files
    return [expanded(file) for file in files if isinstance(file, (str, Path)) and not is_remote(file)]


def _is_label(place: str) -> bool:
    return Path(place).parent == Path(LABELS)


def _line(found: TrackedFrame, place: str) -> dict[str, Any]:
    time = found.frame.time
    return {
        "frame": found.frame.number,
        "time": None if time is None else round(float(time), 6),
        "labels": place,
        "objects": [one.to_dict() for one in found.segmentations],
    }
