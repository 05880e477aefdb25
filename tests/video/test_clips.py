"""Reading clips: every container, what phones do to them, and what is wrong with them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.video.drawn import flat, grey_frames, number_of, write_clip

from persam import PersamError, PersamWarning, UsageError
from persam.video.clips import FrameFolder, open_clip

FRONT = {"movflags": "faststart"}  # the table of contents at the beginning


def numbers(source: object) -> list[int]:
    return [number_of(frame.pixels) for frame in open_clip(source)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "size"),
    [
        ("clip.mp4", "libx264", "yuv420p", (48, 64)),
        ("clip.mov", "libx264", "yuv444p", (33, 41)),
        ("clip.webm", "libvpx-vp9", "yuv420p", (31, 45)),
        ("clip.avi", "mpeg4", "yuv420p", (48, 64)),
        ("clip.gif", "gif", "rgb8", (30, 50)),
        ("clip.mkv", "ffv1", "yuv420p10le", (48, 64)),
    ],
)
def test_a_file_gives_its_frames_in_order(
    tmp_path: Path, name: str, codec: str, pixel_format: str, size: tuple[int, int]
) -> None:
    file = write_clip(tmp_path / name, grey_frames(6, size), codec, pixel_format=pixel_format)
    clip = open_clip(file)
    frames = list(clip)
    assert clip.count == 6
    assert [frame.number for frame in frames] == list(range(6))
    assert {frame.pixels.shape for frame in frames} == {(*size, 3)}
    assert frames[0].pixels.flags.c_contiguous
    if codec != "gif":  # of 8 bits for a colour there
        assert [number_of(frame.pixels) for frame in frames] == list(range(6))
    assert [frame.time - frames[0].time for frame in frames] == pytest.approx([k / 10 for k in range(6)], abs=0.002)
    assert clip.rate == pytest.approx(10, rel=0.01)
    assert numbers(file) == numbers(clip)  # a file can be gone through again


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [0, 3, 4, 50, 120]
    frames = list(open_clip(write_clip(tmp_path / "clip.mp4", grey_frames(5), times=times)))
    assert [frame.time for frame in frames] == [Fraction(tick, 100) for tick in times]


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turned_clip_is_upright(tmp_path: Path, degrees: int) -> None:
    upright = flat((30, 30, 30), (48, 64))
    upright[:12, :16] = 220  # the upper left corner
    stored = np.ascontiguousarray(np.rot90(upright, -degrees // 90))
    (frame,) = open_clip(write_clip(tmp_path / "clip.mp4", [stored], rotation=degrees))
    assert frame.pixels.shape == upright.shape
    assert np.abs(frame.pixels.astype(int) - upright).mean() < 3


def test_colours_are_those_that_were_written(tmp_path: Path) -> None:
    for colour in ((200, 30, 40), (20, 160, 60)):
        # 1, 1, 1: BT.709 and its matrix, as nearly every HD video has it
        file = write_clip(tmp_path / "clip.mkv", [flat(colour)], "ffv1", pixel_format="yuv444p", colorspace=1)
        (frame,) = open_clip(file)
        assert np.abs(frame.pixels.astype(int) - colour).max() <= 12


def test_ten_bits_become_eight(tmp_path: Path) -> None:
    frame = flat((1000 << 6, 500 << 6, 100 << 6), kind=np.uint16)
    (read,) = open_clip(write_clip(tmp_path / "clip.mkv", [frame], "ffv1", pixel_format="yuv444p10le"))
    assert read.pixels.dtype == np.uint8
    assert np.abs(read.pixels[0, 0].astype(int) - (249, 125, 25)).max() <= 3


@pytest.mark.parametrize(("curve", "white", "grey"), [(16, 0.5807, 0.3799), (18, 0.75, 0.38)])
def test_high_dynamic_range_looks_like_a_photo(tmp_path: Path, curve: int, white: float, grey: float) -> None:
    """PQ and HLG code values of paper white (203 nits) and of a grey; shown as they are, they would be dull."""
    levels = []
    for value in (white, grey, 0.0):
        frame = flat((round(value * 65535),) * 3, kind=np.uint16)
        tags = {"color_trc": curve, "color_primaries": 9, "colorspace": 9}
        (read,) = open_clip(write_clip(tmp_path / f"{value}.mkv", [frame], "ffv1", pixel_format="yuv444p10le", **tags))
        assert int(np.ptp(read.pixels[0, 0])) <= 2
        levels.append(float(read.pixels.mean()))
    assert 230 < levels[0] <= 250  # and what is brighter than paper still has room
    assert 90 < levels[1] < 150
    assert levels[2] < 3


def test_see_through_places_are_white(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (40, 30), (200, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 20, 30))
    picture.save(tmp_path / "clip.gif", save_all=True, append_images=[picture.rotate(0)], duration=100)
    frame = next(iter(open_clip(tmp_path / "clip.gif")))
    assert tuple(frame.pixels[5, 5]) == (255, 255, 255)
    assert tuple(frame.pixels[5, 35]) == (200, 0, 0)


# ------------------------------------------------------------------------------------------------ pictures


def test_a_folder_is_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number, pixels in enumerate(grey_frames(11)):
        Image.fromarray(pixels).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("mine")
    clip = open_clip(tmp_path)
    frames = list(clip)
    assert clip.count == 11
    assert [number_of(frame.pixels) for frame in frames] == list(range(11))
    assert frames[10].name == "frame10"
    assert frames[10].time is None


def test_arrays_are_taken_one_by_one() -> None:
    taken = []

    def frames() -> Iterator[np.ndarray]:
        for number, pixels in enumerate(grey_frames(5)):
            taken.append(number)
            yield pixels

    given = iter(open_clip(frames()))
    assert taken == []
    next(given)
    next(given)
    assert taken == [0, 1]
    assert numbers(np.stack(grey_frames(3))) == [0, 1, 2]


def test_a_damaged_frame_of_a_folder_is_left_out(tmp_path: Path) -> None:
    for number, pixels in enumerate(grey_frames(3)):
        Image.fromarray(pixels).save(tmp_path / f"{number:05d}.png")
    (tmp_path / "00001.png").write_bytes((tmp_path / "00001.png").read_bytes()[:40])
    with pytest.warns(PersamWarning, match=r"Frame 1 is left out: .*00001.png"):
        frames = list(FrameFolder(tmp_path))
    assert [(frame.number, frame.name) for frame in frames] == [(0, "00000"), (2, "00002")]


def test_frames_of_several_sizes_are_no_clip() -> None:
    with pytest.raises(PersamError, match="Frame 1 of the clip is 20 x 10 pixels, the first one 64 x 48"):
        list(open_clip([*grey_frames(1), np.zeros((10, 20, 3), np.uint8)]))


def test_nothing_is_no_clip() -> None:
    with pytest.raises(PersamError, match="no frame"):
        list(open_clip([]))


# ------------------------------------------------------------------------------------------ what is wrong


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("clip.mp4", "libx264", FRONT), ("clip.webm", "libvpx-vp9", {}), ("clip.ts", "mpeg4", {})],
)
def test_a_truncated_file_gives_what_is_there(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), dtype=np.uint8)
    file = write_clip(tmp_path / name, list(noise), codec, options=options)
    assert len(list(open_clip(file))) == 30
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    if name == "clip.ts":  # made to be cut anywhere: it does not say how long it is
        frames = list(open_clip(file))
    else:
        with pytest.warns(PersamWarning, match=r"clip\.\w+ ends early: \d+ frames could be read \(1\.\d of 3\.0 s\)"):
            frames = list(open_clip(file))
    assert 10 <= len(frames) <= 20
    assert np.abs(frames[3].pixels.astype(int) - noise[3]).mean() < 60


def test_a_damaged_middle_is_told(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), dtype=np.uint8)
    file = write_clip(tmp_path / "clip.mp4", list(noise), "mpeg4", options=FRONT)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 6000] = b"\xff" * 6000
    file.write_bytes(bytes(data))
    with pytest.warns(PersamWarning, match=r"clip\.mp4 (is damaged in \d+ places?, first near 0\.7 s;|ends early)"):
        assert len(list(open_clip(file))) >= 20


def test_a_folder_with_frames_of_two_sizes_is_refused_before_one_is_followed(tmp_path: Path) -> None:
    for number, size in enumerate([(48, 64), (48, 64), (64, 48), (48, 64)]):
        picture = Image.fromarray(flat(number, size))
        turned = picture.getexif()
        turned[0x0112] = 6 if number == 1 else 1
        picture.transpose(Image.Transpose.ROTATE_90 if number == 1 else Image.Transpose.ROTATE_180).save(
            tmp_path / f"{2 * number}.jpg", exif=turned
        )
    (tmp_path / "1.jpg").write_bytes(b"no picture")
    frames = iter(open_clip(tmp_path))
    with pytest.raises(
        PersamError, match=r"Frame 3 of .*, 4\.jpg, is 48 x 64 pixels, the first one 64 x 48; a clip has"
    ):
        next(frames)
    (tmp_path / "4.jpg").unlink()
    with pytest.warns(PersamWarning, match="Frame 1 is left out"):
        assert [frame.name for frame in open_clip(tmp_path)] == ["0", "2", "6"]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_frames_that_are_stored_turned_are_of_one_size(tmp_path: Path, suffix: str) -> None:
    for number in range(3):
        picture = Image.fromarray(flat((9, 90, 200)))
        turned = picture.getexif()
        turned[0x0112] = 6 if number == 1 else 1
        stored = picture.transpose(Image.Transpose.ROTATE_90) if number == 1 else picture
        stored.save(tmp_path / f"{number}.{suffix}", exif=turned)
    assert [frame.pixels.shape for frame in open_clip(tmp_path)] == [(48, 64, 3)] * 3


@pytest.mark.parametrize("number", [0, 2])
def test_a_damaged_frame_of_another_size_is_left_out(tmp_path: Path, number: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 200, 3), dtype=np.uint8)
    for each in range(4):
        Image.fromarray(noise if each == number else noise[:48, :64]).save(tmp_path / f"{each}.png")
    file = tmp_path / f"{number}.png"
    file.write_bytes(file.read_bytes()[:9000])
    with pytest.warns(PersamWarning, match=f"Frame {number} is left out"):
        assert len(list(open_clip(tmp_path))) == 3


def test_a_file_without_its_table_of_contents(tmp_path: Path) -> None:
    file = write_clip(tmp_path / "clip.mp4", grey_frames(10))  # its table is at the end
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(PersamError, match=r"clip\.mp4 is damaged, or no video"):
        open_clip(file)


def test_what_is_no_clip(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "notes.txt").write_text("a text\n" * 50)
    (tmp_path / "notes.mp4").write_text("a text\n" * 50)
    (tmp_path / "folder").mkdir()
    for given, words in {
        "gone.mp4": "There is no clip at",
        "empty.mp4": "is empty",
        "notes.txt": "is damaged, or no video",
        "notes.mp4": "is damaged, or no video",
        "folder": "no pictures in the folder",
    }.items():
        with pytest.raises(PersamError, match=words) as told:
            open_clip(tmp_path / given)
        assert str(told.value).count("\n") == 0
    for strange in (None, b"clip.mp4", 1.5, True):
        with pytest.raises(UsageError, match="A clip is a file"):
            open_clip(strange)  # type: ignore[arg-type]


def test_sound_alone_is_no_clip(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(PersamError, match="no pictures, only sound"):
        open_clip(tmp_path / "song.m4a")


def test_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_clip(tmp_path / "clip.mp4", grey_frames(1))
    monkeypatch.setenv("PERSAM_MAX_PIXELS", "1000")
    with pytest.raises(PersamError, match=r"more than the"):
        list(open_clip(file))


def test_cameras_and_streams_are_opened_when_asked_for() -> None:
    with pytest.raises(UsageError, match="counted from 0"):
        open_clip(-1)
    camera, stream = open_clip(99), open_clip("http://127.0.0.1:9/live.ts")
    with pytest.raises(PersamError, match="Camera 99 cannot be opened"):
        next(iter(camera))
    with pytest.raises(PersamError, match=r"http://127.0.0.1:9/live.ts cannot be opened"):
        next(iter(stream))


def test_passwords_of_streams_are_not_shown() -> None:
    stream = open_clip("http://me:pass@word@127.0.0.1:9/live.ts?token=abc")
    assert stream.source == "http://127.0.0.1:9/live.ts?token=..."
    with pytest.raises(PersamError, match="cannot be opened") as caught:
        next(iter(stream))
    assert not any(secret in str(caught.value) for secret in ("me:", "pass", "word", "abc"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    """As in ``persam video <(...)``; a stream's URL is read the same way."""
    data = write_clip(tmp_path / "clip.ts", grey_frames(5), "mpeg4").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    assert numbers(tmp_path / "pipe") == list(range(5))
    writer.join()


def test_an_address_of_a_file_is_a_stream(tmp_path: Path) -> None:
    file = write_clip(tmp_path / "clip.mp4", grey_frames(4))
    assert numbers(file.as_uri()) == list(range(4))
