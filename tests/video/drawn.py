"""Clips that are drawn and written here, so that their truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def grey_frames(count: int, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Frames that tell their number: frame k is grey 20 + 10 k."""
    return [np.full((*size, 3), 20 + 10 * number, np.uint8) for number in range(count)]


def number_of(pixels: np.ndarray) -> int:
    """Which of `grey_frames` it is."""
    return round((float(pixels.mean()) - 20) / 10)


def write_clip(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    *,
    pixel_format: str = "yuv420p",
    times: Sequence[int] | None = None,
    rate: int = 10,
    rotation: int = 0,
    sound: bool = False,
    options: dict[str, str] | None = None,
    pixel_aspect: Fraction | None = None,
    **tags: Any,
) -> Path:
    """Write frames (H, W, 3) uint8, or uint16 for rgb48; `times` are in ticks of 1 / (10 `rate`) s."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        if codec == "libx264":
            stream.options = {"crf": "5", "preset": "ultrafast"}
        for name, value in tags.items():
            setattr(context, name, value)
        if pixel_aspect is not None:
            context.sample_aspect_ratio = pixel_aspect
        base = Fraction(1, rate if times is None else 10 * rate)
        context.time_base = base
        if rotation:
            stream.set_display_rotation(rotation)
        audio = (
            container.add_stream("aac" if path.suffix in (".mp4", ".mov", ".ts") else "libopus", rate=48000)
            if sound
            else None
        )
        for number, pixels in enumerate(frames):
            kind = "rgb48le" if pixels.dtype == np.uint16 else "rgb24"
            frame = av.VideoFrame.from_ndarray(pixels, format=kind)
            for name, value in tags.items():
                setattr(frame, name, value)
            frame.pts, frame.time_base = (number if times is None else times[number]), base
            container.mux(stream.encode(frame))
        if audio is not None:
            seconds = (len(frames) if times is None else times[-1]) * base
            _hum(container, audio, float(seconds))
        container.mux(stream.encode(None))
    return path


def _hum(container: Any, stream: Any, seconds: float) -> None:
    wave = (8000 * np.sin(np.arange(int(48000 * seconds)) * 440 * 2 * np.pi / 48000)).astype(np.int16)
    for start in range(0, len(wave), 960):
        part = np.ascontiguousarray(wave[None, start : start + 960])
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48000, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def flat(colour: Sequence[int], size: tuple[int, int] = (48, 64), kind: type = np.uint8) -> np.ndarray:
    """One colour, (H, W, 3)."""
    return np.full((*size, 3), colour, kind)
