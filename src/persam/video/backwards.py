"""A clip once more: any of its frames by its number, and its frames from the last to the first, a few at a time.

Frames have the numbers, times and pixels that going through the clip forwards gives them.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np

from persam.errors import PersamError, UsageError
from persam.images import read_image
from persam.video.clips import (
    Clip,
    ClipFrame,
    FrameFolder,
    FrameSequence,
    Reading,
    VideoFile,
    pictures_of,
    shown_frame,
)

HELD = 2**28  # bytes of frames that wait, for a file gives them in the wrong order


class FramesAgain:
    """The frames of a clip that can be gone through again, which is done from its start every time.

    Attributes:
        clip: which one.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    def between(self, first: int, stop: int) -> Iterator[ClipFrame]:
        """Frames `first` to `stop` - 1 that can be read, in this order."""
        frames = iter(self.clip)
        while (frame := next(frames, None)) is not None and frame.number < stop:
            if frame.number >= first:
                yield frame

    def at(self, number: int) -> ClipFrame:
        """One frame.

        Raises:
            UsageError: the clip has none of this number.
            PersamError: it cannot be read.
        """
        frame = next(self.between(number, number + 1), None)
        if frame is not None:
            return frame
        count = self._count()
        if number < count:
            raise PersamError(
                f"Frame {number} of {self.clip.source} cannot be read, so that nothing can be followed from it; give "
                "the mask of another one."
            )
        raise UsageError(
            f"There is no frame {number} in {self.clip.source}: its frames are 0 to {count - 1}; give the mask of one "
            "of these."
        )

    def _count(self) -> int:
        """How many frames the clip has, readable or not."""
        return sum(1 for _ in self.clip)

    def backwards(self, last: int, first: int, size: tuple[int, ...]) -> Iterator[ClipFrame]:
        """Frames `last` to `first`, in this order, those that can be read.

        Args:
            last: number of the one that comes first.
            first: number of the one that comes last.
            size: (H, W, 3) of the clip's frames.

        Raises:
            PersamError: as going through the clip.
        """
        step = self._held(size)
        for stop in range(last + 1, first, -step):
            frames = list(self.between(max(first, stop - step), stop))
            while frames:
                frame = frames.pop()  # and is let go of as soon as it was looked at
                self.clip.check_size(frame, size)
                yield frame
                del frame

    def _held(self, size: tuple[int, ...]) -> int:
        """How many frames are held at a time."""
        return max(1, HELD // max(1, int(np.prod(size))))


def frames_again(clip: Clip) -> FramesAgain:
    """The frames of a clip once more.

    Raises:
        UsageError: it gives its frames only once.
    """
    if isinstance(clip, FrameFolder):
        return _FolderFrames(clip)
    if isinstance(clip, VideoFile) and not clip.path.is_fifo():
        return _FileFrames(clip)
    if isinstance(clip, FrameSequence) and isinstance(clip.given, (Sequence, np.ndarray)):
        return _SequenceFrames(clip)
    if isinstance(clip, FrameSequence) and not isinstance(clip.given, Iterator):
        return FramesAgain(clip)
    raise UsageError(
        f"{clip.source[:1].upper()}{clip.source[1:]} gives its frames only once, so that it is followed from its first "
        "frame on; give the mask of frame 0 alone, or save the clip as a file first."
    )


# ---------------------------------------------------------------------------------- frames that lie side by side


class _FolderFrames(FramesAgain):
    clip: FrameFolder

    def between(self, first: int, stop: int) -> Iterator[ClipFrame]:
        for number in range(first, min(stop, self._count())):
            try:
                frame = self.clip.frame(number)
            except UsageError:
                raise
            except PersamError:  # it is left out, which is told where the clip is gone through forwards
                continue
            yield frame

    def _count(self) -> int:
        return len(self.clip.files)

    def _held(self, size: tuple[int, ...]) -> int:
        return 1


class _SequenceFrames(FramesAgain):
    clip: FrameSequence

    def between(self, first: int, stop: int) -> Iterator[ClipFrame]:
        for number in range(first, min(stop, self._count())):
            yield ClipFrame(number, read_image(self.clip.given[number], what="frame"))  # type: ignore[index]

    def _count(self) -> int:
        return len(self.clip.given)  # type: ignore[arg-type]

    def _held(self, size: tuple[int, ...]) -> int:
        return 1


# ----------------------------------------------------------------------------------------------- frames in files


class _FileFrames(FramesAgain):
    """A file is decoded once to learn which frames it has; then parts of it are, from the key frame before.

    What the container says of its frames is not enough: decoders leave some out, key frames are not always ones from
    which all can be decoded, and seeking misses them. So every frame that was sought is compared with the one that
    came before, and where they differ, or times tell frames not apart, the file is decoded from its start.
    """

    clip: VideoFile

    def __init__(self, clip: VideoFile) -> None:
        super().__init__(clip)
        self._index: _Index | None = None

    @property
    def index(self) -> _Index:
        self._index = self._index or _Index.of(self.clip)
        return self._index

    def _count(self) -> int:
        return len(self.index.times)

    def between(self, first: int, stop: int) -> Iterator[ClipFrame]:
        stop = min(stop, len(self.index.times))
        if first >= stop:
            return
        for key in self.index.keys_before(first):
            frames = self._sought(key, first, stop)
            if frames is not None:
                yield from frames
                return
        yield from islice(self.clip.frames_from(first), stop - first)  # without the end, where damage is told of

    def _sought(self, key: int, first: int, stop: int) -> list[ClipFrame] | None:
        """The frames, decoded from a key frame on; None if they are not those that came before."""
        index, frames = self.index, list[ClipFrame]()
        with self.clip.opened() as container:
            pictures = pictures_of(container)
            pictures.thread_type = "AUTO"
            try:
                container.seek(index.times[key], stream=pictures)
                for frame in container.decode(pictures):
                    number = index.number_of(frame.pts)
                    if number is not None and number >= stop:
                        break
                    if number is None or number < first:  # also of before the key frame, which nobody will see
                        continue
                    if number != first + len(frames) or index.marks[number] != _mark(frame, index.size):
                        return None
                    time = Fraction(frame.pts * frame.time_base)
                    frames.append(shown_frame(frame, number, index.size, time, pictures))
            except self.clip.av.FFmpegError:
                return None
        return frames if len(frames) == stop - first else None


class _Index:
    """What is known of every frame of a file, by its number.

    Attributes:
        times: in the stream's ticks.
        marks: by which pixels are recognised.
        keys: numbers of the frames from which on it can be decoded; none if frames cannot be told apart by their times.
        size: (width, height) of the first one, as it is stored.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.times, self.marks, self.keys = array("q"), array("L"), array("q")
        self.size = size

    @classmethod
    def of(cls, clip: VideoFile) -> _Index:
        """Decode all of a file."""
        index, state, sound = cls((0, 0)), Reading(), True
        with clip.opened() as container:
            pictures = pictures_of(container)
            pictures.thread_type = "AUTO"
            for number, frame in enumerate(clip.decoded(container, pictures, state)):
                if number == 0:
                    index.size = frame.width, frame.height
                if frame.key_frame:
                    index.keys.append(number)
                told = frame.pts is not None and frame.time_base is not None
                sound = sound and told and (number == 0 or frame.pts > index.times[-1])
                index.times.append(frame.pts if told else 0)
                index.marks.append(_mark(frame, index.size))
        if state.damaged or not sound:
            index.keys = array("q")
        return index

    def number_of(self, time: int | None) -> int | None:
        """Which frame has this time."""
        place = -1 if time is None else bisect_left(self.times, time)
        return place if 0 <= place < len(self.times) and self.times[place] == time else None

    def keys_before(self, number: int) -> list[int]:
        """The key frames to try for a frame, the best one first: formats seek by another time than the frames'."""
        last = bisect_right(self.keys, number)
        return list(reversed(self.keys[max(0, last - 2) : last]))


def _mark(frame: Any, size: tuple[int, int]) -> int:
    """A number that tells a decoded frame's brightness from another's."""
    return zlib.crc32(frame.reformat(format="gray", width=size[0], height=size[1]).to_ndarray().tobytes())
