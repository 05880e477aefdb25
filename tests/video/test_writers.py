"""What is written of a clip is read back: labels, pictures and times to the frame, sound and transparency."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tests.video.drawn import flat, grey_frames, number_of, write_clip

from persam import PersamError, UsageError
from persam.labels import LabelMap
from persam.video.clips import open_clip
from persam.video.writers import davis_palette, drawn, video_writer, write_labels


def copied(clip_file: Path, target: Path, **options: bool) -> Path:
    clip = open_clip(clip_file)
    with video_writer(target, clip, **options) as write:
        for frame in clip:
            write(frame, frame.pixels)
    return target


def heard(file: Path) -> np.ndarray:
    """The sound's samples, (N,)."""
    with av.open(str(file)) as container:
        parts = [frame.to_ndarray().mean(0) for frame in container.decode(audio=0)]
    return np.concatenate(parts)


def test_labels_keep_their_numbers(tmp_path: Path) -> None:
    labels = np.zeros((20, 30), np.uint8)
    labels[2:9, 3:9], labels[10:15, 20:28], labels[0, 0] = 1, 2, 255
    write_labels(tmp_path / "00000.png", labels)
    with Image.open(tmp_path / "00000.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.array(picture), labels)
        assert picture.getpalette()[3:9] == [128, 0, 0, 0, 128, 0]
        assert LabelMap.of(picture).labels == (1, 2, 255)
    write_labels(tmp_path / "nothing.png", np.zeros((20, 30), np.uint8))
    assert not np.array(Image.open(tmp_path / "nothing.png")).any()


def test_the_palette_is_that_of_davis() -> None:
    assert davis_palette()[[0, 1, 2, 3, 8, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [64, 0, 0],
        [224, 224, 192],
    ]


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv", "out.webm"])
def test_a_video_has_the_clip_s_frames_and_times(tmp_path: Path, name: str) -> None:
    times = [0, 10, 13, 14, 60, 100]  # of no steady rate
    source = write_clip(tmp_path / "clip.mp4", grey_frames(6, (41, 63)), pixel_format="yuv444p", times=times)
    frames = list(open_clip(copied(source, tmp_path / name)))
    assert [number_of(frame.pixels) for frame in frames] == list(range(6))
    assert [float(frame.time) for frame in frames] == pytest.approx([tick / 100 for tick in times], abs=0.001)
    assert frames[0].pixels.shape == (42, 64, 3)  # these codecs want even sides
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("source", "target"), [("clip.mp4", "out.mp4"), ("clip.mp4", "out.webm"), ("clip.webm", "out.mp4")]
)
def test_the_sound_is_kept(tmp_path: Path, source: str, target: str) -> None:
    codec = "libx264" if source.endswith("mp4") else "libvpx-vp9"
    clip = write_clip(tmp_path / source, grey_frames(15), codec, sound=True)
    before, after = heard(clip), heard(copied(clip, tmp_path / target))
    assert len(after) == pytest.approx(len(before), rel=0.05)
    strongest = np.abs(np.fft.rfft(after[4000:40000].astype(float))).argmax() * 48000 / 36000
    assert strongest == pytest.approx(440, abs=3)
    assert len(list(open_clip(tmp_path / target))) == 15
    with av.open(str(copied(clip, tmp_path / f"mute-{target}", sound=False))) as mute:
        assert not mute.streams.audio


@pytest.mark.parametrize("target", ["out.mp4", "out.webm"])
def test_sound_whose_times_jump_back_goes_on(tmp_path: Path, target: str) -> None:
    part = write_clip(tmp_path / "part.ts", grey_frames(15), "mpeg4", sound=True)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 2)
    after = heard(copied(joined, tmp_path / target))
    assert len(after) / len(heard(part)) == pytest.approx(2, rel=0.1)
    assert len(list(open_clip(tmp_path / target))) == 30


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv", "out.webm"])
@pytest.mark.parametrize(("rotation", "shown"), [(0, Fraction(4, 3)), (90, Fraction(3, 4))])
def test_pixels_keep_their_aspect(tmp_path: Path, name: str, rotation: int, shown: Fraction) -> None:
    source = write_clip(tmp_path / "clip.mp4", grey_frames(3), rotation=rotation, pixel_aspect=Fraction(4, 3))
    assert next(iter(open_clip(source))).pixel_aspect == shown
    with av.open(str(copied(source, tmp_path / name))) as container:
        stream = container.streams.video[0]
        frame = next(iter(open_clip(source))).pixels
        aspect = frame.shape[1] / frame.shape[0] * float(shown)
        assert stream.width / stream.height * float(stream.sample_aspect_ratio) == pytest.approx(aspect, rel=0.03)


@pytest.mark.parametrize(("name", "codec"), [("out.webm", "libvpx-vp9"), ("out.mov", "prores")])
def test_transparency_survives(tmp_path: Path, name: str, codec: str) -> None:
    clip = open_clip([flat((200, 40, 30))] * 3)
    alpha = np.zeros((48, 64), np.uint8)
    alpha[10:30, 16:48] = 255
    with video_writer(tmp_path / name, clip, see_through=True) as write:
        for frame in clip:
            write(frame, np.dstack([frame.pixels, alpha]))
    with av.open(str(tmp_path / name)) as container:
        decoder = av.CodecContext.create(codec, "r")
        decoder.extradata = container.streams.video[0].codec_context.extradata
        frames = [frame for packet in container.demux(video=0) for frame in decoder.decode(packet)]
    read = [frame.to_ndarray(format="rgba") for frame in frames]
    assert len(read) == 3
    assert np.abs(read[1][:, :, 3].astype(int) - alpha).mean() < 3
    assert np.abs(read[1][20, 30, :3].astype(int) - (200, 40, 30)).max() < 12


def test_frames_without_times_get_24_a_second(tmp_path: Path) -> None:
    clip = open_clip(grey_frames(4))
    with video_writer(tmp_path / "out.mp4", clip) as write:
        for frame in clip:
            write(frame, frame.pixels)
    times = [frame.time for frame in open_clip(tmp_path / "out.mp4")]
    assert times == pytest.approx([Fraction(number, 24) for number in range(4)], abs=0.001)


def test_a_video_is_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("an older one")
    clip = open_clip(grey_frames(4))
    with pytest.raises(RuntimeError), video_writer(tmp_path / "out.mp4", clip) as write:
        write(next(iter(clip)), flat((1, 2, 3)))
        raise RuntimeError
    assert (tmp_path / "out.mp4").read_text() == "an older one"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_written(tmp_path: Path) -> None:
    clip = open_clip(grey_frames(1))
    with (
        pytest.raises(UsageError, match=r"out\.png: a video is written as \.mp4 or"),
        video_writer(tmp_path / "out.png", clip),
    ):
        pass
    with (
        pytest.raises(UsageError, match=r"\.webm or \.mov"),
        video_writer(tmp_path / "out.mp4", clip, see_through=True),
    ):
        pass
    with pytest.raises(PersamError, match="the clip gave no frame"), video_writer(tmp_path / "out.mp4", clip):
        pass
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PersamError, match="Cannot write"), video_writer(tmp_path / "file" / "out.mp4", clip):
        pass


def test_several_objects_have_their_names_beside_them() -> None:
    labels = np.zeros((120, 160), np.uint8)
    labels[60:90, 20:50], labels[2:20, 140:158] = 1, 2  # one with room above it, one in a corner
    frame, colours = np.full((120, 160, 3), 100, np.uint8), [(255, 0, 0), (0, 0, 255)]
    plain, named = drawn(frame, labels, colours), drawn(frame, labels, colours, ["mug", "a very long name of a plate"])
    changed = (plain != named).any(2)
    assert changed[40:60, 20:50].any()
    assert changed[:, 100:].any()
    assert not changed[95:].any()
    np.testing.assert_array_equal(drawn(frame, labels > 0, colours[:1], ["mug"]), drawn(frame, labels > 0, colours[:1]))
    assert drawn(frame, np.zeros_like(labels), colours, ["mug", "plate"]).tolist() == frame.tolist()


def test_names_of_objects_that_are_close_do_not_cover_each_other() -> None:
    labels = np.zeros((120, 160), np.uint8)
    labels[60:110, 40:56], labels[62:110, 64:80], labels[61:110, 88:104] = 1, 2, 3
    names, colours = ["first thing", "second thing", "third thing"], [(200, 0, 0), (0, 0, 200), (0, 150, 0)]
    frame = np.full((120, 160, 3), 100, np.uint8)
    together = drawn(frame, labels, colours, names)
    for number, colour in enumerate(colours, start=1):
        alone = drawn(frame, np.where(labels == number, labels, 0), colours, names)
        seen = [int((each == colour).all(2).sum()) for each in (together, alone)]
        assert seen[0] > 0.9 * seen[1]  # but where it lies on the object's outline


def test_objects_are_marked_in_their_colours() -> None:
    labels = np.zeros((48, 64), np.uint8)
    labels[10:30, 5:25], labels[10:30, 35:60] = 1, 2
    picture = drawn(flat((100, 100, 100)), labels, [(255, 0, 0), (0, 0, 255)])
    assert picture[20, 15, 0] > picture[20, 15, 2]
    assert picture[20, 47, 2] > picture[20, 47, 0]
    assert tuple(picture[45, 3]) == (100, 100, 100)
