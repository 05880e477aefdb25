"""How masks of frames are named on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from persam import UsageError
from persam.cli.video_masks import masks_of
from persam.video.clips import Clip, FrameSequence, open_clip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("first.png", "mended.png", "3=a=b.png", "a=b.png"):
        Path(name).touch()


def folder(*names: str) -> Clip:
    Path("frames").mkdir()
    for name in names:
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(Path("frames") / name)
    return open_clip("frames")


FILE = FrameSequence([])


@pytest.mark.parametrize(
    ("texts", "masks"),
    [
        (["first.png"], "first.png"),
        (["gone.png"], "gone.png"),  # which reading it will say
        (["3=a=b.png"], "3=a=b.png"),
        (["https://a.b/c.png?size=d=e"], "https://a.b/c.png?size=d=e"),
        (["40=mended.png", "first.png"], {40: "mended.png", 0: "first.png"}),
        (["00040=mended.png"], {40: "mended.png"}),  # as labels are named
        (["2=a=b.png"], {2: "a=b.png"}),
        (["5=3=a=b.png"], {5: "3=a=b.png"}),
        (["7=gone.png"], {7: "gone.png"}),
        (["7=https://a.b/c.png?size=d=e"], {7: "https://a.b/c.png?size=d=e"}),
    ],
)
def test_of_a_file(texts: list[str], masks: object) -> None:
    assert masks_of(texts, FILE) == masks


@pytest.mark.parametrize(
    ("names", "text", "number"),
    [
        (["00000.jpg", "00001.jpg", "00002.jpg"], "2", 2),
        (["00000.jpg", "00001.jpg", "00002.jpg"], "00002", 2),
        (["001.jpg", "002.jpg", "003.jpg"], "002", 1),
        (["001.jpg", "002.jpg", "003.jpg"], "002.jpg", 1),
        (["001.jpg", "002.jpg", "003.jpg"], "0", 0),
        (["001.jpg", "002.jpg", "003.jpg"], "3", 2),  # there is no fourth one
        (["001.jpg", "002.jpg", "003.jpg"], "9", 9),  # which reading it will say
        (["frame-1.png", "frame-5.png"], "frame-5", 1),
        (["frame-1.png", "frame-5.png"], "1", 1),
        (["a.bmp", "a.png"], "a.png", 1),
        (["t=1.png", "t=2.png"], "t=2", 1),
    ],
)
def test_of_a_folder(names: list[str], text: str, number: int) -> None:
    assert masks_of([f"{text}=mended.png"], folder(*names)) == {number: "mended.png"}


def test_a_mask_alone_is_of_the_first_frame_that_can_be_read() -> None:
    clip = folder("0.png", "1.png", "2.png")
    Path("frames/0.png").write_bytes(b"no picture")
    assert masks_of(["first.png", "2=mended.png"], clip) == {1: "first.png", 2: "mended.png"}
    with pytest.raises(UsageError, match="gives two masks of frame 1, first.png and mended.png"):
        masks_of(["first.png", "1=mended.png"], clip)


def test_what_may_mean_two_frames_is_asked_for() -> None:
    clip = folder("001.jpg", "002.jpg", "003.png", "003.jpg")
    with pytest.raises(UsageError, match=r"may mean frame 1 \(002.jpg\) or frame 2 \(003.jpg\); name the frame's file"):
        masks_of(["2=mended.png"], clip)
    with pytest.raises(UsageError, match=r"may mean frame 2 \(003.jpg\) or frame 3 \(003.png\)"):
        masks_of(["003=mended.png"], clip)


def test_what_means_nothing_is_told() -> None:
    for text in ("first=mended.png", "-1=mended.png", "1.5=mended.png", "=mended.png", "x=gone.png"):
        with pytest.raises(UsageError, match="is no number of a frame; write --mask FILE, or --mask N=FILE"):
            masks_of([text], FILE)
    with pytest.raises(UsageError, match="--mask 3= names no file"):
        masks_of(["3="], FILE)
    with pytest.raises(UsageError, match="gives two masks of frame 0, first.png and mended.png; leave one out"):
        masks_of(["first.png", "00=mended.png"], FILE)
    with pytest.raises(UsageError, match="nor is it the name of one"):
        masks_of(["f9=mended.png"], folder("f1.png"))
