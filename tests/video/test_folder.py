"""A tracked clip's folder: nothing of others is lost, nothing of an earlier run stays, and what was found is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tests.fakes import ColourModel
from tests.video.drawn import write_clip
from tests.video.test_track import RED, draw

from persam import PerSAM, PersamError, PersamWarning, UsageError
from persam.video import results, writers
from persam.video.clips import Clip, ClipFrame, open_clip
from persam.video.folder import TrackReport, track_into
from persam.video.layout import Outputs
from persam.video.track import TrackedFrame

FRAMES = 3
ALWAYS = {"results.jsonl", "timeline.csv", "timeline.png"}
SCENES = [draw([(RED, 40 + 5 * number, 45, 15)]) for number in range(FRAMES)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    return write_clip(folder / "clip.mp4", [pixels for pixels, _ in SCENES], pixel_format="yuv444p")


def tracked(
    clip: Path | Clip,
    folder: Path,
    start: object = None,
    on_frame: Callable[[TrackedFrame], object] = lambda _: None,
    **outputs: bool,
) -> TrackReport:
    start = SCENES[0][1] if start is None else start
    return track_into(PerSAM(ColourModel()), open_clip(clip), start, Outputs(folder, **outputs), on_frame)  # type: ignore[arg-type]


def files_in(folder: Path) -> dict[str, bytes]:
    files = {file for file in folder.rglob("*") if file.is_file()}
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files if ".persam" not in file.parts}


def names_in(folder: Path) -> set[str]:
    return set(files_in(folder))


def labels(*numbers: int) -> set[str]:
    return {f"labels/{number:05d}.png" for number in numbers}


# ------------------------------------------------------------------------------------------ what would be lost


def test_an_earlier_run_goes_when_the_next_one_can_be_written(clip, tmp_path, monkeypatch):
    tracked(clip, tmp_path, overlay=True)
    before = files_in(tmp_path)
    assert set(before) == {*ALWAYS, "overlay.mp4", *labels(*range(FRAMES))}

    def missing(*_: str) -> None:
        raise PersamError("Writing a video needs av.")

    monkeypatch.setattr(writers, "library", missing)
    with pytest.raises(PersamError, match="needs av"):
        tracked(clip, tmp_path, overlay=True, overwrite=True)
    assert files_in(tmp_path) == before
    monkeypatch.undo()
    tracked(open_clip([pixels for pixels, _ in SCENES[:2]]), tmp_path, overwrite=True)
    assert names_in(tmp_path) == {*ALWAYS, *labels(0, 1)}  # neither the old overlay nor a third label


@pytest.mark.parametrize("name", ["results.jsonl", "overlay.mp4", "labels/00001.png"])
def test_files_of_others_are_not_replaced(clip, tmp_path, name):
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(UsageError, match=f"{name} was not written by persam"):
        tracked(clip, tmp_path, overlay=True)
    assert files_in(tmp_path) == {name: b"mine"}
    tracked(clip, tmp_path, overlay=True, overwrite=True)
    assert mine.read_bytes() != b"mine"


def test_files_that_are_not_in_the_way_stay(clip, tmp_path):
    (tmp_path / "labels").mkdir()
    for name in ("overlay.mp4", "labels/notes.png", "labels/0.png"):
        (tmp_path / name).write_text("mine")
    tracked(clip, tmp_path)
    tracked(clip, tmp_path, overwrite=True)
    for name in ("overlay.mp4", "labels/notes.png", "labels/0.png"):
        assert (tmp_path / name).read_text() == "mine"


def test_what_is_read_is_never_replaced(clip, tmp_path):
    own = tmp_path / "overlay.mp4"
    own.write_bytes(clip.read_bytes())
    with pytest.raises(UsageError, match=r"overlay\.mp4 is read by this command"):
        tracked(own, tmp_path, overlay=True, overwrite=True)
    tracked(clip, tmp_path / "out")
    mask = tmp_path / "out" / "labels" / "00000.png"
    with pytest.raises(UsageError, match=r"00000\.png is read by this command"):
        tracked(clip, tmp_path / "out", mask, overwrite=True)
    assert own.read_bytes() == clip.read_bytes()
    assert names_in(tmp_path / "out") == {*ALWAYS, *labels(*range(FRAMES))}


def test_frames_of_one_name_have_labels_each(tmp_path):
    (tmp_path / "frames").mkdir()
    for name, (pixels, _) in zip(("f1.bmp", "f1.png", "f2.png"), SCENES, strict=True):
        Image.fromarray(pixels).save(tmp_path / "frames" / name)
    tracked(tmp_path / "frames", tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [line["labels"] for line in lines] == ["labels/f1.png", "labels/f1_2.png", "labels/f2.png"]
    assert names_in(tmp_path / "out") == {*ALWAYS, *(line["labels"] for line in lines)}


# ------------------------------------------------------------------------------------------------ what is kept


@pytest.mark.parametrize("stop", [KeyboardInterrupt, PersamError])
def test_what_was_found_before_a_stop_is_kept(clip, tmp_path, stop):
    """As a camera can only be stopped."""

    def stops(found: TrackedFrame) -> None:
        if found.frame.number == 1:
            raise stop("no more")

    if stop is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt, match="2 frames are done and kept in"):
            tracked(clip, tmp_path, on_frame=stops, overlay=True, cutout=True)
    else:
        with pytest.raises(PersamError, match="no more"), pytest.warns(PersamWarning, match="results of the 2 frames"):
            tracked(clip, tmp_path, on_frame=stops, overlay=True, cutout=True)
    assert names_in(tmp_path) == {*ALWAYS, "overlay.mp4", "cutout.webm", *labels(0, 1)}
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 2
    for name in ("overlay.mp4", "cutout.webm"):
        assert len(list(open_clip(tmp_path / name))) == 2
    other = SCENES[0][1][::-1]
    with pytest.raises(UsageError, match=r"was stopped, with another mask or other concepts, .* add --overwrite"):
        tracked(clip, tmp_path, other)
    tracked(clip, tmp_path, overwrite=True)
    with pytest.raises(UsageError, match="holds the results of a clip, with another mask or other concepts"):
        tracked(clip, tmp_path, other)


def test_results_of_which_nothing_is_known_are_not_called_a_clips(clip, tmp_path):
    """They may be an album's."""
    tracked(open_clip([pixels for pixels, _ in SCENES]), tmp_path)
    with pytest.raises(UsageError, match="holds earlier results; choose another --output, or add --overwrite"):
        tracked(clip, tmp_path)


def test_a_problem_elsewhere_is_not_told_of_the_results(tmp_path):
    class Unplugged(Clip):
        source = "the clip"

        def _frames(self) -> Iterator[ClipFrame]:
            yield ClipFrame(0, SCENES[0][0])
            raise OSError(5, "unplugged")

    with pytest.raises(OSError, match="unplugged"):
        tracked(Unplugged(), tmp_path)


def test_a_full_disk_is_told_of_the_results(tmp_path, monkeypatch):
    def full(_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "json_line", full)
    with (
        pytest.raises(PersamError, match=r"results\.jsonl.*no room"),
        pytest.warns(PersamWarning, match="the 0 frames"),
    ):
        tracked(open_clip([SCENES[0][0]]), tmp_path)


def test_a_video_that_ffmpeg_cannot_write_is_a_sentence(clip, tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        raise av.error.InvalidDataError(1, "Invalid data found")

    monkeypatch.setattr(writers._Pictures, "write", broken)
    with (
        pytest.raises(PersamError, match=r"FFmpeg cannot write .*overlay\.mp4"),
        pytest.warns(PersamWarning, match="the one frame before is kept in"),
    ):
        tracked(clip, tmp_path, overlay=True)
    assert names_in(tmp_path) == {*ALWAYS, *labels(0)}


def test_labels_are_those_that_were_found(clip, tmp_path):
    tracked(clip, tmp_path)
    for number, (_, truth) in enumerate(SCENES):
        found = np.array(Image.open(tmp_path / f"labels/{number:05d}.png"))
        assert ((found > 0) & (truth > 0)).sum() > 0.8 * ((found > 0) | (truth > 0)).sum()
