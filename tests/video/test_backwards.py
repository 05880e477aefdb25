"""A clip once more: frames backwards and by their numbers are those of going through it forwards, few at a time."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from tests.video.drawn import grey_frames, number_of, write_clip

from persam import PersamError, PersamWarning, UsageError
from persam.video import backwards
from persam.video.backwards import frames_again
from persam.video.clips import Clip, ClipFrame, open_clip

SIZE = (48, 64, 3)
COUNT = 41
B_FRAMES = {"bf": "3", "g": "12", "sc_threshold": "0"}
KINDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "closed": ("clip.mp4", "libx264", {"x264-params": "keyint=12:bframes=3:b-adapt=0:scenecut=0"}),
    "open": ("clip.mp4", "libx264", {"x264-params": "keyint=8:bframes=3:b-adapt=0:scenecut=0:open-gop=1"}),
    "short": ("clip.mov", "libx264", {"x264-params": "keyint=2:bframes=1:b-adapt=0:scenecut=0"}),
    "one key frame": ("clip.mkv", "libx264", {"x264-params": "keyint=900:bframes=2:b-adapt=0:scenecut=0"}),
    "refresh": ("clip.mp4", "libx264", {"x264-params": "keyint=10:intra-refresh=1:bframes=0:scenecut=0"}),
    "stream": ("clip.ts", "libx264", {"x264-params": "keyint=8:bframes=3:b-adapt=0:scenecut=0:open-gop=1"}),
    "old": ("clip.mpg", "mpeg2video", B_FRAMES),
    "older": ("clip.avi", "mpeg4", B_FRAMES),
    "vp9": ("clip.webm", "libvpx-vp9", {"g": "10", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "pictures": ("clip.avi", "mjpeg", {}),
    "lossless": ("clip.mkv", "ffv1", {}),
}


def write(path: Path, codec: str, options: dict[str, str], *, times: list[int] | None = None) -> Path:
    """A clip in which every frame differs from every other."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width = SIZE[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = options
        base = Fraction(1, 25 if times is None else 100)
        stream.codec_context.time_base = base
        for number in range(COUNT):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = number if times is None else times[number], base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def picture(number: int) -> np.ndarray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    wave = 120 + 60 * np.sin((x + 3 * number) / 5) + 50 * np.cos((y - 2 * number) / 6)
    return np.repeat(wave[..., None].clip(0, 255), 3, 2).astype(np.uint8)


def assert_same(one: ClipFrame, other: ClipFrame) -> None:
    assert (one.number, one.time, one.name, one.pixel_aspect) == (
        other.number,
        other.time,
        other.name,
        other.pixel_aspect,
    )
    np.testing.assert_array_equal(one.pixels, other.pixels)


def assert_backwards(clip: Clip, monkeypatch: pytest.MonkeyPatch, held: int = 7) -> None:
    """All of it and parts of it come backwards, a few frames held at a time, as they come forwards."""
    monkeypatch.setattr(backwards, "HELD", held * int(np.prod(SIZE)) + 5)
    forwards = list(clip)
    again = frames_again(clip)
    for first, last in ((0, COUNT - 1), (13, 29), (5, 5)):
        found = list(again.backwards(last, first, SIZE))
        assert [frame.number for frame in found] == list(range(last, first - 1, -1))
        for frame in found:
            assert_same(frame, forwards[frame.number])
    assert_same(again.at(17), forwards[17])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_backwards(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, codec, options = KINDS[kind]
    clip = open_clip(write(tmp_path / name, codec, options))
    assert len(list(clip)) == COUNT
    assert_backwards(clip, monkeypatch)


@pytest.mark.parametrize("kind", ["closed", "open", "vp9"])
def test_a_variable_rate_backwards(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, codec, options = KINDS[kind]
    steps = np.random.default_rng(1).integers(1, 30, COUNT)
    clip = open_clip(write(tmp_path / name, codec, options, times=steps.cumsum().tolist()))
    assert len({b.time - a.time for a, b in zip(list(clip), list(clip)[1:], strict=False)}) > 5  # type: ignore[operator]
    assert_backwards(clip, monkeypatch)


@pytest.mark.parametrize("kind", ["closed", "open", "older", "vp9"])
def test_parts_of_a_file_are_decoded_from_the_key_frame_before(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not from its start, which would take a long clip's square."""
    name, codec, options = KINDS[kind]
    clip = open_clip(write(tmp_path / name, codec, options))
    again = frames_again(clip)
    again.at(0)
    monkeypatch.setattr(type(clip), "frames_from", None)
    assert [frame.number for frame in again.backwards(COUNT - 1, 0, SIZE)] == list(range(COUNT - 1, -1, -1))


def test_seeking_that_misses_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that are not what they were are noticed, and the file is read from its start."""
    name, codec, options = KINDS["closed"]
    clip = open_clip(write(tmp_path / name, codec, options))
    again: Any = frames_again(clip)
    again.index.marks[20] ^= 1
    asked: list[int] = []
    whole = type(clip).frames_from
    monkeypatch.setattr(type(clip), "frames_from", lambda self, first: asked.append(first) or whole(self, first))
    found = list(again.backwards(25, 15, SIZE))
    assert asked == [15]
    for frame, other in zip(found, list(clip)[25:14:-1], strict=True):
        assert_same(frame, other)


def test_a_damaged_file_backwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be read of it, under the numbers that it has forwards; it is not trusted to be sought in."""
    noise = np.random.default_rng(0).integers(0, 255, (30, *SIZE), dtype=np.uint8)
    file = write_clip(tmp_path / "clip.mp4", list(noise), "mpeg4", options={"movflags": "faststart"})
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 6000] = b"\xff" * 6000
    file.write_bytes(bytes(data))
    clip = open_clip(file)
    with pytest.warns(PersamWarning, match="is damaged in"):
        forwards = list(clip)
    monkeypatch.setattr(backwards, "HELD", 5 * int(np.prod(SIZE)))
    again: Any = frames_again(clip)
    found = list(again.backwards(len(forwards) - 1, 0, SIZE))
    assert [frame.number for frame in found] == list(range(len(forwards) - 1, -1, -1))
    assert [frame.time for frame in found] == [frame.time for frame in forwards[::-1]]
    assert list(again.index.keys) == []


def test_a_file_that_ends_early_backwards(tmp_path: Path) -> None:
    name, codec, options = KINDS["old"]
    file = write(tmp_path / name, codec, options)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    clip = open_clip(file)
    forwards = [frame.number for frame in clip]
    assert 5 < len(forwards) < COUNT
    again = frames_again(clip)
    assert [frame.number for frame in again.backwards(forwards[-1], 0, SIZE)] == forwards[::-1]
    for beyond in (1, 2, 10**9):
        with pytest.raises(UsageError, match=f"There is no frame .*: its frames are 0 to {forwards[-1]};"):
            again.at(forwards[-1] + beyond)


# --------------------------------------------------------------------------------- folders, arrays, and others


def test_a_folder_backwards(tmp_path: Path) -> None:
    for number, pixels in enumerate(grey_frames(5)):
        Image.fromarray(pixels).save(tmp_path / f"f{number}.png")
    (tmp_path / "f1.png").write_bytes(b"no picture")
    again = frames_again(open_clip(tmp_path))
    found = list(again.backwards(4, 0, SIZE))
    assert [(frame.number, frame.name, number_of(frame.pixels)) for frame in found] == [
        (number, f"f{number}", number) for number in (4, 3, 2, 0)
    ]
    with pytest.raises(PersamError, match=r"Frame 1 of .* cannot be read"):
        again.at(1)
    with pytest.raises(UsageError, match="There is no frame 5 in .*: its frames are 0 to 4"):
        again.at(5)


@pytest.mark.parametrize("kind", [list, np.stack, lambda frames: Renewed(frames)])
def test_frames_that_can_be_given_again(kind: Any) -> None:
    again = frames_again(open_clip(kind(grey_frames(6))))
    assert [number_of(frame.pixels) for frame in again.backwards(4, 1, SIZE)] == [4, 3, 2, 1]
    assert again.at(2).number == 2
    with pytest.raises(UsageError, match="There is no frame 6 in the clip: its frames are 0 to 5"):
        again.at(6)


class Renewed:
    """Gives its frames whenever it is asked."""

    def __init__(self, frames: list[np.ndarray]) -> None:
        self.frames = frames

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.frames)


@pytest.mark.parametrize(
    "source", [lambda: iter(grey_frames(3)), lambda: (frame for frame in grey_frames(3)), lambda: "http://a.b/c.ts"]
)
def test_what_gives_its_frames_once_is_refused(source: Any) -> None:
    with pytest.raises(UsageError, match="gives its frames only once"):
        frames_again(open_clip(source()))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_gives_its_frames_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe gives its frames only once"):
        frames_again(open_clip(tmp_path / "pipe"))


def test_frames_of_another_size_are_no_clip_backwards_either() -> None:
    again = frames_again(open_clip([*grey_frames(1), np.zeros((10, 20, 3), np.uint8), *grey_frames(1)]))
    with pytest.raises(PersamError, match="Frame 1 of the clip is 20 x 10 pixels, the first one 64 x 48"):
        list(again.backwards(2, 0, SIZE))


def test_few_frames_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file in which all hang on one key frame, and of files side by side one."""
    name, codec, options = KINDS["one key frame"]
    for number, pixels in enumerate(grey_frames(20)):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "frames" / f"{number}.png")
    monkeypatch.setattr(backwards, "HELD", 4 * int(np.prod(SIZE)))
    for clip, most in ((write(tmp_path / name, codec, options), 4), (tmp_path / "frames", 1)):
        alive: list[weakref.ref[np.ndarray]] = []
        made = ClipFrame.__init__

        def counted(self: ClipFrame, *args: Any, made: Any = made, alive: Any = alive, **rest: Any) -> None:
            made(self, *args, **rest)
            alive.append(weakref.ref(self.pixels))

        with monkeypatch.context() as patch:
            patch.setattr(ClipFrame, "__init__", counted)
            for frame in frames_again(open_clip(clip)).backwards(19, 0, SIZE):
                assert sum(each() is not None for each in alive) <= most + 1, frame.number  # one is looked at
        assert len(alive) == 20
