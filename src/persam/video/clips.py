"""Clips as people have them: a file, a folder of frames, arrays, a camera, a stream; read lazily, frame by frame.

One frame is in memory at a time, however long the clip.  A clip that is damaged gives what can be read of it, and says
so in a `PersamWarning`.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from persam.errors import PersamError, PersamWarning, UsageError, first_line
from persam.files import expanded
from persam.finding import find_images
from persam.images import ImageSource, check_file, check_pixels, max_pixels_allowed, read_image
from persam.lazy import library
from persam.places import Place, is_url, without_secrets
from persam.video.colours import rgb_of
from persam.words import counted

ClipSource = str | Path | int | Iterable[ImageSource]

_PATIENCE = 15.0  # seconds without a sign from a stream
_CAMERAS = {"linux": ("/dev/video{}", "v4l2"), "darwin": ("{}", "avfoundation")}  # by platform: name, and its reader
_MAY_LACK = Fraction(1, 2)  # seconds by which files end earlier than they say though nothing is missing


@dataclass(frozen=True, eq=False)
class ClipFrame:
    """One frame of a clip.

    Attributes:
        number: its place in the clip, from 0.
        pixels: (H, W, 3) uint8 RGB, upright.
        time: when it is shown, in seconds; None where the clip does not say (a folder, arrays).
        name: its file's name without the suffix, for a folder; otherwise None.
        pixel_aspect: width of a pixel over its height, as it is shown; other than 1 in anamorphic clips.
    """

    number: int
    pixels: np.ndarray
    time: Fraction | None = None
    name: str | None = None
    pixel_aspect: Fraction = Fraction(1)


class Clip(ABC):
    """What gives frames, all of one size: ``for frame in clip``. A file and a folder can be gone through again.

    Attributes:
        source: what it is called in sentences; a file's or a folder's path as given.
        count: about how many frames it has, as far as it says so; None for a stream.
        rate: about how many frames a second, or None.
    """

    source: str
    count: int | None = None
    rate: Fraction | None = None

    def __iter__(self) -> Iterator[ClipFrame]:
        """The frames.

        Raises:
            PersamError: the clip cannot be read, has no frames, or frames of several sizes.

        Warns:
            PersamWarning: it is damaged or ends early, and this was what could be read of it.
        """
        size, frame = None, None
        for frame in self._frames():
            size = size or frame.pixels.shape
            self.check_size(frame, size)
            yield frame
        if frame is None:
            raise PersamError(f"{self.source} has no frame that can be read; give another clip.")

    def check_size(self, frame: ClipFrame, first: tuple[int, ...]) -> None:
        """See that a frame has the shape (H, W, 3) of the first one.

        Raises:
            PersamError: it has not.
        """
        if frame.pixels.shape != first:
            height, width = frame.pixels.shape[:2]
            raise PersamError(
                f"{self.called(frame)} is {width} x {height} pixels, the first one {first[1]} x {first[0]}; a clip has "
                "frames of one size, so scale it, or take it away."
            )

    def called(self, frame: ClipFrame) -> str:
        """What a frame is called in sentences."""
        return f"Frame {frame.number} of {self.source}"

    @abstractmethod
    def _frames(self) -> Iterator[ClipFrame]: ...


def open_clip(source: ClipSource | Clip) -> Clip:
    """Open a clip, of which no frame is read yet.

    Args:
        source: a video file (mp4, mov, webm, gif, whatever FFmpeg reads); a folder of frames, in the order of the
            numbers in their names; the URL of a stream; the number of a camera; or frames one by one, as `read_image`
            takes them, such as a (T, H, W, 3) uint8 array.

    Raises:
        PersamError: no such file, or one that is no clip; PyAV is not installed.
        UsageError: something else.
    """
    if isinstance(source, Clip):
        return source
    if isinstance(source, int) and not isinstance(source, bool):
        return _camera(source)
    if isinstance(source, str) and is_url(source):
        return VideoStream(without_secrets(source), source)
    if isinstance(source, (str, os.PathLike)):
        path = expanded(source)
        return FrameFolder(path) if path.is_dir() else VideoFile(path)
    if isinstance(source, Iterable) and not isinstance(source, (bytes, dict)):
        return FrameSequence(source)
    raise UsageError(f"A clip is a file, a folder, a camera's number, a URL or frames, not {type(source).__name__}.")


# ----------------------------------------------------------------------------------- frames that are pictures


class FrameSequence(Clip):
    """Frames that are handed over one by one."""

    source = "the clip"

    def __init__(self, frames: Iterable[ImageSource]) -> None:
        self.given = frames
        self.count = len(frames) if isinstance(frames, Sized) else None

    def _frames(self) -> Iterator[ClipFrame]:
        for number, frame in enumerate(self.given):
            yield ClipFrame(number, read_image(frame, what="frame"))


class FrameFolder(Clip):
    """A folder of frames, in the order of the numbers in their names: frame 2 before frame 10.

    Raises:
        UsageError: it has no pictures.
        PersamError: it may not be read.
    """

    def __init__(self, folder: Path) -> None:
        self.source = str(folder)
        self.files = sorted(find_images([folder]), key=_by_number)
        self.count = len(self.files)
        self._is_checked = False

    def called(self, frame: ClipFrame) -> str:
        """With its file."""
        return f"{super().called(frame)}, {self.files[frame.number].name},"

    def _frames(self) -> Iterator[ClipFrame]:
        if not self._is_checked:
            self._check_sizes()
            self._is_checked = True
        for number in range(len(self.files)):
            try:
                frame = self.frame(number)
            except UsageError:
                raise
            except PersamError as error:  # the others go on, under their own numbers
                warnings.warn(f"Frame {number} is left out: {error}", PersamWarning, stacklevel=3)
                continue
            yield frame

    def _check_sizes(self) -> None:
        """See that all frames have one size, before any is followed. The heads of their files tell; those whose heads
        differ are read, as they may be turned, or damaged and left out.

        Raises:
            PersamError: one has another size.
        """
        heads = [_size_in_head(file) for file in self.files]
        if len(set(heads) - {None}) < 2:
            return
        first: ClipFrame | None = None
        for number, head in enumerate(heads):
            if first is not None and head in (None, heads[first.number]):
                continue
            try:
                frame = self.frame(number)
            except PersamError:
                continue
            first = first or frame
            self.check_size(frame, first.pixels.shape)

    def frame(self, number: int) -> ClipFrame:
        """One frame, 0 to `count` - 1.

        Raises:
            PersamError: its file cannot be read.
        """
        file = self.files[number]
        return ClipFrame(number, read_image(file, what="frame"), name=file.stem)


def _size_in_head(file: Place) -> tuple[int, int] | None:
    """(Width, height) of a picture as it is stored; None where the head of its file does not tell, or is far away."""
    if not isinstance(file, Path):
        return None
    try:
        with Image.open(file) as picture:
            return picture.size
    except Exception:  # reading all of it will tell what is wrong
        return None


def _by_number(file: Place) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", file.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


# ------------------------------------------------------------------------------------------ what FFmpeg reads


class VideoStream(Clip):
    """What FFmpeg opens: a file, a stream, a camera. It is opened when its first frame is asked for.

    Args:
        source: what it is called in sentences.
        place: what FFmpeg is to open.
        reader: which of FFmpeg's readers, by name, where that does not follow from the place.

    Raises:
        PersamError: PyAV is not installed.
    """

    def __init__(self, source: str, place: str, reader: str | None = None) -> None:
        self.source, self.place, self.reader = source, place, reader
        self.av = library("av", "Reading a clip", "video")

    def opened(self) -> Any:
        """The container, open; its stream of pictures is known to be there."""
        try:
            container = self.av.open(self.place, format=self.reader, timeout=self._patience)
        except (self.av.FFmpegError, OSError, ValueError) as error:
            raise self._unreadable(error) from error
        problem = self._problem_with(container)
        if problem:
            container.close()
            raise PersamError(problem)
        # Its frames may be larger than it says, or grow on the way; those count as damaged.
        pictures_of(container).codec_context.options = {"max_pixels": str(max_pixels_allowed())}
        return container

    _patience: float | None = _PATIENCE

    def _unreadable(self, error: Exception) -> PersamError:
        return PersamError(f"{self.source} cannot be opened ({_said(error)}); check the address, and that it is on.")

    def _problem_with(self, container: Any) -> str | None:
        pictures = pictures_of(container)
        if pictures is None:
            return f"{self.source} has no pictures, only sound or text; give a video."
        if pictures.codec_context is None:
            return f"The pictures of {self.source} are coded in a way that FFmpeg does not read; save it as MP4."
        return None

    def _frames(self) -> Iterator[ClipFrame]:
        return self.frames_from(0)

    def frames_from(self, first: int) -> Iterator[ClipFrame]:
        """The frames from a number on; those before it are decoded, which is quick, and no more."""
        with self.opened() as container:
            pictures = pictures_of(container)
            pictures.thread_type = "AUTO"
            check_pixels((pictures.width, pictures.height), max_pixels_allowed(), self.source, "clip")
            state = Reading()
            size: tuple[int, int] | None = None
            for number, frame in enumerate(self.decoded(container, pictures, state)):
                time = _time_of(frame, state.time, pictures)
                state.time = time
                stored = size or (frame.width, frame.height)  # some files change their size on the way
                size = stored
                if number >= first:
                    yield shown_frame(frame, number, stored, time, pictures)
        if state.number and (told := self._told(state)):
            warnings.warn(told, PersamWarning, stacklevel=3)

    def decoded(self, container: Any, pictures: Any, state: Reading) -> Iterator[Any]:
        """Every frame that can be decoded; what cannot is counted."""
        start = Fraction(container.start_time or 0, 1_000_000)
        packets = container.demux()  # of the sound too, which tells whether the file is whole
        while True:
            try:
                packet = next(packets, None)
            except self.av.FFmpegError as error:
                state.broken = _said(error)
                packet = None
            if packet is not None and packet.pts is not None and packet.time_base:
                state.end = max(state.end, (packet.pts + (packet.duration or 0)) * packet.time_base - start)
            if packet is not None and packet.stream.index != pictures.index:
                continue
            try:
                frames = pictures.codec_context.decode(packet) if packet is None else packet.decode()
            except self.av.EOFError:
                frames = []
            except self.av.FFmpegError:
                state.is_damaged(packet, start)
                frames = []
            for frame in frames:
                if frame.is_corrupt:
                    state.is_damaged(frame, start)
                state.number += 1
                yield frame
            if packet is None:
                break
        state.promised = Fraction(container.duration or 0, 1_000_000)

    def _told(self, state: Reading) -> str | None:
        if state.broken:
            return f"{self.source} broke off after {state.number} frames ({state.broken}); they were used."
        return None


class VideoFile(VideoStream):
    """A video file; what it says of itself is read at once.

    Args:
        path: the file.
        reader: which of FFmpeg's readers, by name; by default whichever fits. A file of a stranger is not left to that:
            it may be a playlist, which names other files.

    Raises:
        PersamError: there is none, or it is no video.
    """

    _patience = None

    def __init__(self, path: Path, reader: str | None = None) -> None:
        self.path = check_file(path, what="clip")
        super().__init__(str(path), str(path), reader)
        if self.path.is_fifo():  # what is read of it is gone
            return
        with self.opened() as container:
            pictures = pictures_of(container)
            self.rate = pictures.average_rate or pictures.guessed_rate
            seconds = _seconds_of(container, pictures)
            counted = round(seconds * self.rate) if seconds and self.rate else None
            self.count = pictures.frames or counted

    def _unreadable(self, error: Exception) -> PersamError:
        if isinstance(error, self.av.PermissionError):
            return PersamError(f"The clip {self.source} may not be read; change its permissions.")
        return PersamError(
            f"The clip {self.source} is damaged, or no video ({_said(error)}); "
            "copy or download it again, or give an MP4, MOV, WebM or GIF file."
        )

    def _told(self, state: Reading) -> str | None:
        if state.broken or state.end + max(_MAY_LACK, 3 / (self.rate or Fraction(24))) < state.promised:
            lasts = f"{float(state.end):.1f} of {float(state.promised):.1f} s" if state.promised else "its beginning"
            return (
                f"The clip {self.source} ends early: {state.number} frames could be read ({lasts}); "
                "copy or download it again for the rest."
            )
        if state.damaged:
            read = f" ({state.number} of {self.count} frames)" if state.number < (self.count or 0) else ""
            first = "" if state.damaged_at is None else f", first near {float(state.damaged_at):.1f} s"
            return (
                f"The clip {self.source} is damaged in {counted(state.damaged, 'place')}{first}; what could be read of "
                f"it{read} was used."
            )
        return None


@dataclass
class Reading:
    """What is known of a clip while it is read: frames so far, the last one's time; how far its parts reach, and how
    far they should; what broke it off; in how many places it is damaged, and about when first, in seconds."""

    number: int = 0
    time: Fraction | None = None
    end: Fraction = Fraction(0)
    promised: Fraction = Fraction(0)
    broken: str = ""
    damaged: int = 0
    damaged_at: Fraction | None = None

    def is_damaged(self, part: Any, start: Fraction) -> None:
        """There is one more damaged place, in or right before this packet or frame of a clip that starts then."""
        self.damaged += 1
        time = None if part is None else part.dts if part.pts is None else part.pts
        if self.damaged == 1 and time is not None and part.time_base:
            self.damaged_at = max(Fraction(0), time * part.time_base - start)


def pictures_of(container: Any) -> Any:
    """The stream of pictures of an open container, or None; a cover on a piece of music is none."""
    for stream in container.streams.video:
        if not stream.disposition & stream.disposition.attached_pic:
            return stream
    return None


def _seconds_of(container: Any, pictures: Any) -> Fraction | None:
    if pictures.duration and pictures.time_base:
        return Fraction(pictures.duration * pictures.time_base)
    return Fraction(container.duration, 1_000_000) if container.duration else None


def _time_of(frame: Any, before: Fraction | None, pictures: Any) -> Fraction:
    """When a frame is shown; one that does not say follows the one before, as one that says nonsense does."""
    step = 1 / (pictures.average_rate or pictures.guessed_rate or Fraction(24))
    time = None if frame.pts is None or frame.time_base is None else Fraction(frame.pts * frame.time_base)
    if before is None:
        return Fraction(0) if time is None else time
    return time if time is not None and time > before else before + step


def shown_frame(frame: Any, number: int, size: tuple[int, int], time: Fraction, pictures: Any) -> ClipFrame:
    """A decoded frame of a stream as a clip gives it; `size` (width, height) is the first one's, as it is stored."""
    return ClipFrame(number, rgb_of(frame, size), time, pixel_aspect=_pixel_aspect(frame, pictures))


def _pixel_aspect(frame: Any, pictures: Any) -> Fraction:
    aspect = pictures.sample_aspect_ratio or Fraction(1)
    return 1 / aspect if round(frame.rotation / 90) % 2 else aspect


def _said(error: Exception) -> str:
    return without_secrets(getattr(error, "strerror", None) or first_line(error))


def _camera(number: int) -> VideoStream:
    if number < 0:
        raise UsageError(f"Cameras are counted from 0, not {number}.")
    if sys.platform not in _CAMERAS:
        raise UsageError("A camera by its number works on Linux and macOS; here give the URL of a stream.")
    name, reader = _CAMERAS[sys.platform]
    return VideoStream(f"Camera {number}", name.format(number), reader)
