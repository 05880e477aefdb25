"""What is written of a tracked clip: label pictures as DAVIS has them, videos with the clip's timing and its sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from persam.drawing import Colour, draw_overlay, fit_text, font
from persam.errors import PersamError, UsageError, first_line, write_error
from persam.files import atomic_path, expanded
from persam.instance import mask_box
from persam.lazy import library
from persam.video.clips import Clip, ClipFrame, VideoFile

MOST_LABELS = 255
RATE = Fraction(24)  # frames a second where a clip does not say, as DAVIS' folders
_TICK = Fraction(1, 90_000)  # seconds; divides the usual rates
# By suffix: video codec, its pixel format, its options, and the audio codec where the clip's own does not fit.
_SOLID: dict[str, tuple[str, str, dict[str, str], str]] = {
    ".mp4": ("libx264", "yuv420p", {"crf": "18", "preset": "veryfast"}, "aac"),
    ".mov": ("libx264", "yuv420p", {"crf": "18", "preset": "veryfast"}, "aac"),
    ".mkv": ("libx264", "yuv420p", {"crf": "18", "preset": "veryfast"}, "aac"),
    ".webm": ("libvpx-vp9", "yuv420p", {"crf": "24", "b:v": "0", "deadline": "realtime", "cpu-used": "6"}, "libopus"),
}
_SEE_THROUGH: dict[str, tuple[str, str, dict[str, str], str]] = {
    ".webm": ("libvpx-vp9", "yuva420p", {"crf": "18", "b:v": "0", "deadline": "realtime", "cpu-used": "4"}, "libopus"),
    ".mov": ("prores_ks", "yuva444p10le", {"profile": "4444"}, "aac"),
}
# Masks: so exact that a threshold in the middle gives them back, and yet, unlike lossless, what every player knows.
_EXACT: dict[str, tuple[str, str, dict[str, str], str]] = {
    ".mp4": ("libx264", "yuv420p", {"crf": "6", "preset": "veryfast"}, "aac"),
}


# ---------------------------------------------------------------------------------------------------- pictures


def write_labels(path: str | Path, labels: np.ndarray) -> None:
    """Write labels (H, W) uint8 as a PNG with DAVIS' palette: its values are the labels, its colours tell them apart.

    Raises:
        PersamError: it cannot be written.
    """
    picture = Image.fromarray(np.ascontiguousarray(labels, np.uint8))
    picture.putpalette(davis_palette().tobytes())  # which makes a picture of grey levels one of a palette's
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def davis_palette() -> np.ndarray:
    """Colours of the labels in DAVIS and PASCAL VOC, (256, 3) uint8: the bits of a label, spread over the channels."""
    labels = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((labels >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


def drawn(pixels: np.ndarray, labels: np.ndarray, colours: Sequence[Colour], names: Sequence[str] = ()) -> np.ndarray:
    """A frame (H, W, 3) with its objects tinted and outlined, and their names at them, if there are several.

    Args:
        pixels: the frame, uint8 RGB.
        labels: (H, W) uint8.
        colours: of the labels 1, 2, ...
        names: likewise.
    """
    boxes = []
    for number, colour in enumerate(colours, start=1):
        mask = labels == number
        pixels = draw_overlay(pixels, mask, colour)
        boxes.append(mask_box(mask))
    if len(names) < 2:
        return pixels
    page = Image.fromarray(pixels)
    draw = ImageDraw.Draw(page)
    height, width = labels.shape
    size = max(10, round(min(height, width) / 28))
    taken: list[tuple[float, float, float, float]] = []
    for name, colour, box in zip(names, colours, boxes, strict=True):
        if box is not None:
            shown = fit_text(name, width // 3, size)
            left, _, right, bottom = draw.textbbox((0, 0), shown, font=font(size, shown))
            x = max(0, min(box[0], width - round(right) - 6))
            y = max(0, box[1] - round(bottom) - 6)
            taken.append(_below((x, y, x + right + 6, y + bottom + 4), taken))
            draw.rounded_rectangle(taken[-1], 3, fill=colour)
            ink = "black" if sum(colour) > 380 else "white"
            draw.text((x + 3 - left, taken[-1][1] + 2), shown, font=font(size, shown), fill=ink)
    return np.asarray(page)


def _below(
    sign: tuple[float, float, float, float], taken: Sequence[tuple[float, float, float, float]]
) -> tuple[float, float, float, float]:
    """A sign (x0, y0, x1, y1), moved down until it covers no other: things that are close have their names close."""
    x0, y0, x1, y1 = sign
    for left, top, right, bottom in sorted(taken, key=lambda each: each[1]):
        if x0 <= right and left <= x1 and y0 <= bottom and top <= y1:
            y0, y1 = bottom + 1, bottom + 1 + y1 - y0
    return x0, y0, x1, y1


# ------------------------------------------------------------------------------------------------------ videos


@contextmanager
def video_writer(
    path: str | Path, clip: Clip, *, see_through: bool = False, exact: bool = False, sound: bool = True
) -> Iterator[Callable[[ClipFrame, np.ndarray], None]]:
    """Write a video frame by frame, with a clip's timing and its sound; whole or not at all.

    If the clip breaks off (`PersamError`) or is stopped (`KeyboardInterrupt`), the video of the frames before is whole.

    Args:
        path: MP4, MOV, MKV or WebM, by its suffix; with `see_through` WebM (VP9) or MOV (ProRes 4444).
        clip: what the frames are of.
        see_through: frames have an alpha channel, (H, W, 4).
        exact: for masks, MP4 alone: a threshold of 128 gives black and white back to the pixel.
        sound: copy the clip's sound, if it is a file and has one.

    Yields:
        A function that takes each frame of the clip, for its time, and the pixels to write for it, (H, W, 3) or
        (H, W, 4) uint8.

    Raises:
        UsageError: another suffix.
        PersamError: it cannot be written, PyAV is not installed, or no frame came.
    """
    av = library("av", "Writing a video", "video")
    formats = _SEE_THROUGH if see_through else _EXACT if exact else _SOLID
    target = expanded(path)
    if target.suffix.lower() not in formats:
        raise UsageError(f"{path}: a video is written as {' or '.join(formats)}; choose one of these.")
    stopped: BaseException | None = None
    with atomic_path(target) as temporary, _in_words(av, target), ExitStack() as open_files:
        container = open_files.enter_context(av.open(str(temporary), "w"))
        pictures = _Pictures(av, container, formats[target.suffix.lower()], clip.rate or RATE)
        heard = None
        if sound and isinstance(clip, VideoFile) and not clip.path.is_fifo():
            source = open_files.enter_context(av.open(str(clip.path)))
            heard = _Sound.of(av, container, source, formats[target.suffix.lower()][3])

        def write(frame: ClipFrame, pixels: np.ndarray) -> None:
            with _in_words(av, target):
                time = pictures.write(frame, pixels)
                if heard is not None:
                    heard.copy(until=time)

        try:
            yield write
        except (KeyboardInterrupt, PersamError) as error:
            if not pictures.started:
                raise
            stopped = error
        if not pictures.started:
            raise PersamError(f"Nothing was written to {path}, as the clip gave no frame; give another clip.")
        pictures.finish()
        if heard is not None:
            heard.copy(until=pictures.end)
            heard.finish()
    if stopped is not None:
        raise stopped


@contextmanager
def _in_words(av: Any, target: Path) -> Iterator[None]:
    """Tell in one sentence what FFmpeg did not write."""
    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise write_error(target, error) from error
        raise PersamError(
            f"FFmpeg cannot write {target} ({first_line(error)}); convert the clip to MP4 first, or do without it."
        ) from error


class _Pictures:
    """The pictures of a video that is being written."""

    def __init__(self, av: Any, container: Any, form: tuple[str, str, dict[str, str], str], rate: Fraction) -> None:
        self._av, self._container, self._rate = av, container, rate
        codec, pixel_format, options, _ = form
        self._stream = container.add_stream(codec, rate=rate)
        self._stream.pix_fmt = pixel_format
        self._stream.options = options
        self._stream.codec_context.time_base = _TICK
        self._square = container.format.name == "webm"  # which PyAV gives no other aspect of pixels
        self._halved = "420" in pixel_format  # colours for every second pixel: the sides must be even
        self.started = False
        self.end = Fraction(0)

    def write(self, frame: ClipFrame, pixels: np.ndarray) -> Fraction:
        """Write one frame; returns its time."""
        if self._square:
            pixels = _stretched(pixels, frame.pixel_aspect)
        height, width = pixels.shape[:2]
        if self._halved:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if not self.started:
            self._stream.height, self._stream.width = pixels.shape[:2]
            if not self._square:
                self._stream.codec_context.sample_aspect_ratio = frame.pixel_aspect
            self.started = True
        time = frame.number / self._rate if frame.time is None else frame.time
        kind = "rgba" if pixels.shape[2] == 4 else "rgb24"
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=kind)
        picture.pts, picture.time_base = round(time / _TICK), _TICK
        self._container.mux(self._stream.encode(picture))
        self.end = time + 1 / self._rate
        return time

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))


def _stretched(pixels: np.ndarray, aspect: Fraction) -> np.ndarray:
    """A frame (H, W, C) whose pixels have an aspect, as one of squares."""
    if aspect == 1:
        return pixels
    height, width = pixels.shape[:2]
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)


class _Sound:
    """The sound of one file on its way into another: as it is where the new file may hold it, else coded anew."""

    def __init__(self, av: Any, container: Any, source: Any, stream: Any, packets: Iterator[Any]) -> None:
        self._av, self._container, self._source, self._stream = av, container, source, stream
        self._packets = packets
        self._waiting: Any = None

    @classmethod
    def of(cls, av: Any, container: Any, source: Any, otherwise: str) -> _Sound | None:
        """The sound of an open file, or None if there is none."""
        if not source.streams.audio:
            return None
        template = source.streams.audio[0]
        if template.codec_context.name in _fitting(container):
            stream = container.add_stream_from_template(template)
            packets = cls._copied(av, source, template, stream)
        else:
            stream = container.add_stream(otherwise, rate=48_000)
            packets = cls._coded(av, source, template, stream)
        return cls(av, container, source, stream, _rising(packets))

    def copy(self, until: Fraction) -> None:
        """What is heard until a time, in seconds."""
        while True:
            packet = self._waiting if self._waiting is not None else next(self._packets, None)
            self._waiting = None
            if packet is None:
                return
            if packet.pts is not None and packet.pts * packet.time_base > until:
                self._waiting = packet
                return
            self._container.mux(packet)

    def finish(self) -> None:
        """Let the packets go before the files are closed."""
        self._packets, self._waiting = iter(()), None

    @staticmethod
    def _copied(av: Any, source: Any, template: Any, stream: Any) -> Iterator[Any]:
        try:
            for packet in source.demux(template):
                if packet.dts is not None:
                    packet.stream = stream
                    yield packet
        except av.FFmpegError:  # a damaged file is heard as far as it can be; reading its pictures tells of it
            return

    @staticmethod
    def _coded(av: Any, source: Any, template: Any, stream: Any) -> Iterator[Any]:
        context = stream.codec_context
        resampler = av.AudioResampler(format=context.format, layout=template.layout, rate=48_000)
        try:
            for frame in source.decode(template):
                for part in resampler.resample(frame):
                    yield from stream.encode(part)
        except av.FFmpegError:
            pass
        yield from stream.encode(None)


def _rising(packets: Iterator[Any]) -> Iterator[Any]:
    """The packets; where their times jump back, as where recordings were joined, they go on from the last one."""
    shift, last, following = 0, None, 0
    for packet in packets:
        if packet.dts is not None:
            if last is not None and packet.dts + shift <= last:
                shift = following - packet.dts
            if shift:
                packet.pts = None if packet.pts is None else packet.pts + shift
                packet.dts += shift
            last = packet.dts
            following = last + max(1, packet.duration or 0)
        yield packet


def _fitting(container: Any) -> set[str]:
    """Names of the codecs of sound that a kind of file may hold, and every player plays in it."""
    return {"opus", "vorbis"} if "webm" in container.format.name else {"aac", "mp3", "ac3", "alac"}
