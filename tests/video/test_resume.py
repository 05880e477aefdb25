"""Runs that are stopped at any frame and gone on with: what they leave is what one run would have left."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.fakes import ColourModel, random_sam
from tests.video.drawn import write_clip
from tests.video.memories import ScriptedMemory, saved_tracker
from tests.video.test_folder import files_in
from tests.video.test_track import BLUE, RED, draw
from tests.video.test_writers import heard

from persam import Concept, PerSAM, PersamError, PersamWarning, UsageError
from persam.files import write_bytes
from persam.ledger import Ledger
from persam.method.settings import Settings
from persam.models.loading import load_model
from persam.video import points, resume
from persam.video.clips import ClipFrame, open_clip
from persam.video.folder import TrackReport, track_into
from persam.video.layout import Outputs
from persam.video.results import FrameLines
from persam.video.resume import RUN, STATE, differences
from persam.video.state import DamagedStateError, Resumable, read_state, write_state
from persam.video.track import TrackedFrame, track

FRAMES = 8
# One disc moves, the other leaves and comes back, so that every part of a state matters.
SCENES = [
    draw([(RED, 30 + 8 * k, 30, 14), *([(BLUE, 100 - 3 * k, 76, 12)] if k not in (3, 4) else [])])
    for k in range(FRAMES)
]
SURE = 0.9  # threshold, with which it is absent where it is not
VIDEOS = ("overlay.mp4", "masks.mp4", "cutout.webm")
ALL = {"overlay": True, "masks": True, "cutout": True, "coco": True}


@pytest.fixture(autouse=True)
def every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the state after every frame, however quick they are."""
    monkeypatch.setattr(resume, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(resume, "KEEP_SHARE", 1e9)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    times = [0, 10, 13, 14, 30, 40, 60, 61]  # of no steady rate
    frames = [pixels for pixels, _ in SCENES]
    return write_clip(folder / "clip.mp4", frames, pixel_format="yuv444p", times=times, sound=True)


class Killed(BaseException):
    """Nothing is finished after it, as after a kill."""


def run(
    clip: Path, folder: Path, *, until: int | None = None, start: Any = None, persam: PerSAM | None = None, **more: Any
) -> TrackReport:
    """Follow into a folder; killed after a frame."""

    def on_frame(found: TrackedFrame) -> None:
        if found.frame.number == until:
            raise Killed

    outputs = {name: more.pop(name) for name in (*ALL, "cutout_as", "overwrite") if name in more}
    start = SCENES[0][1] if start is None else start
    persam = PerSAM(ColourModel()) if persam is None else persam
    options = ({} if persam.settings.mode == "official" else {"threshold": SURE}) | more
    return track_into(persam, open_clip(clip), start, Outputs(folder, **outputs), on_frame, **options)


def killed(clip: Path, folder: Path, until: int, **more: Any) -> None:
    with pytest.raises(Killed):
        run(clip, folder, until=until, **more)


def shown(file: Path) -> list[tuple[Any, bytes]]:
    return [(frame.time, frame.pixels.tobytes()) for frame in open_clip(file)]


def assert_same(one: Path, other: Path) -> None:
    """All files byte for byte, videos frame for frame."""
    left, right = files_in(one), files_in(other)
    assert left.keys() == right.keys()
    assert [name for name in left if name not in VIDEOS and left[name] != right[name]] == []
    for name in VIDEOS:
        if name in left:
            assert shown(one / name) == shown(other / name), name
            if name == "overlay.mp4":
                np.testing.assert_array_equal(heard(one / name), heard(other / name))
    with Ledger(other) as ledger:  # all of it is known as persam's own
        assert [name for name in right if not ledger.is_own(name)] == []
    assert not list(other.rglob(".*.tmp*"))


@pytest.fixture(scope="module")
def whole(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one run writes."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    run(clip, folder, **ALL)
    return folder


# ------------------------------------------------------------------------------------------------------ going on


def test_killed_after_every_frame_it_ends_as_in_one_go(clip, whole, tmp_path):
    for until in range(FRAMES - 1):
        killed(clip, tmp_path, until, **ALL)
    report = run(clip, tmp_path, **ALL)
    assert (report.frames, report.done_before) == (FRAMES, FRAMES - 1)
    assert_same(whole, tmp_path)


def two_concepts() -> list[Concept]:
    pixels, labels = SCENES[0]
    return [PerSAM(ColourModel()).learn(pixels, labels == which, name=f"disc {which}") for which in (1, 2)]


WAYS: dict[str, dict[str, Any]] = {
    "a mask of frame 0": {"start": {0: SCENES[0][1]}},
    "a mask of a later frame": {"start": {3: SCENES[3][1]}},
    "masks of two frames": {"start": {1: SCENES[1][1], 6: SCENES[6][1]}},
    "masks of the first and the last frame": {"start": {0: SCENES[0][1], 7: SCENES[7][1]}},
    "a mask of the last frame, lk": {"start": {7: SCENES[7][1]}, "points": "lk"},
    "lk": {"points": "lk"},
    "lk, tuned": {"points": "lk", "tune": True},
    "concepts with lk": {"points": "lk", "start": two_concepts()},
    "official": {"mode": "official"},
    "official with lk": {"mode": "official", "points": "lk"},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_that_keeps_a_state_ends_as_in_one_go(clip, tmp_path, way):
    more = dict(WAYS[way])
    if more.pop("mode", None):
        more["persam"] = PerSAM(random_sam(2), settings=Settings.of("official"))
    run(clip, tmp_path / "whole", **more)
    for until in range(5) if "start" in more else (1, 4):
        killed(clip, tmp_path / "out", until, **more)
    assert run(clip, tmp_path / "out", **more).done_before == 5
    assert_same(tmp_path / "whole", tmp_path / "out")


def test_the_model_does_not_look_again_at_what_was_done(clip, tmp_path, monkeypatch):
    killed(clip, tmp_path, 5)
    seen: list[int] = []
    told: list[int] = []
    looked = []
    follow = resume.Progress.begin

    def begin(self: resume.Progress, tracker: Any, number: int) -> None:
        follow(self, tracker, number)
        whole = tracker.follow
        tracker.follow = lambda pixels: (looked.append(1), whole(pixels))[1]

    monkeypatch.setattr(resume.Progress, "begin", begin)
    outputs, model = Outputs(tmp_path), PerSAM(ColourModel())
    # The mark on the tracker would be part of its state.
    monkeypatch.setattr(resume.Progress, "add", lambda *_: None)
    track_into(
        model,
        open_clip(clip),
        SCENES[0][1],
        outputs,
        lambda found: seen.append(found.frame.number),
        told.append,
        threshold=SURE,
    )
    assert told == [6]
    assert seen == [6, 7]
    assert len(looked) == 2


def test_lines_after_the_state_are_cut_also_half_a_line(clip, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "KEEP_SECONDS", 1e9)

    def stop(found: TrackedFrame) -> None:
        if found.frame.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="4 frames are done and kept in .*; run the same command again"):
        track_into(PerSAM(ColourModel()), open_clip(clip), SCENES[0][1], Outputs(tmp_path, **ALL), stop, threshold=SURE)
    assert len(shown(tmp_path / "overlay.mp4")) == 4
    killed(clip, tmp_path, 5, **ALL)  # which keeps no later state
    with (tmp_path / "results.jsonl").open("ab") as stream:
        stream.write(b'{"frame": 6, "ti')
    assert run(clip, tmp_path, **ALL).done_before == 4
    assert_same(whole, tmp_path)


def test_a_label_that_is_gone_or_damaged_is_written_again(clip, whole, tmp_path):
    killed(clip, tmp_path, 4, **ALL)
    (tmp_path / "labels" / "00001.png").unlink()
    (tmp_path / "labels" / "00002.png").write_bytes(b"")  # as a loss of power may leave it
    assert run(clip, tmp_path, **ALL).done_before == 5
    assert_same(whole, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "another file"])
def test_without_its_state_it_begins_anew(clip, whole, tmp_path, damage):
    killed(clip, tmp_path, 4, **ALL)
    data = bytearray((tmp_path / STATE).read_bytes())
    if damage == "gone":
        (tmp_path / STATE).unlink()
    elif damage == "another file":
        (tmp_path / STATE).write_text("mine")
    else:
        data[-5] ^= 1
        (tmp_path / STATE).write_bytes(data if damage == "flipped" else data[:-100])
    if damage == "gone":
        report = run(clip, tmp_path, **ALL)
    else:
        with pytest.warns(PersamWarning, match=r"kept of the run that was stopped is damaged, so it begins anew"):
            report = run(clip, tmp_path, **ALL)
    assert (report.frames, report.done_before) == (FRAMES, 0)
    assert_same(whole, tmp_path)


def stop_catching_up(monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]) -> None:
    of = resume.DoneFrames.of

    def stopped(self: resume.DoneFrames, frame: ClipFrame) -> Any:
        if frame.number == 2:
            raise stop("no more")
        return of(self, frame)

    monkeypatch.setattr(resume.DoneFrames, "of", stopped)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, PersamError])
def test_stopped_while_it_catches_up_good_videos_stay(clip, whole, tmp_path, stop, monkeypatch):
    def stopping(found: TrackedFrame) -> None:
        if found.frame.number == 4:
            raise KeyboardInterrupt

    model, options = PerSAM(ColourModel()), {"threshold": SURE}
    with pytest.raises(KeyboardInterrupt):
        track_into(model, open_clip(clip), SCENES[0][1], Outputs(tmp_path, **ALL), stopping, **options)
    before = files_in(tmp_path)
    label = (tmp_path / "labels" / "00004.png").read_bytes()
    with Ledger(tmp_path):
        write_bytes(tmp_path / "labels" / "00005.png", label)  # as a kill leaves one that has no line yet
    stop_catching_up(monkeypatch, stop)
    said = "5 frames are done and kept" if stop is KeyboardInterrupt else "no more"
    with pytest.raises(stop, match=said), warnings.catch_warnings(action="ignore"):
        run(clip, tmp_path, **ALL)
    assert files_in(tmp_path) == before
    monkeypatch.undo()
    assert run(clip, tmp_path, **ALL).done_before == 5
    assert_same(whole, tmp_path)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, PersamError])
def test_stopped_before_its_first_frame_comes_out_it_says_what_is_kept(clip, tmp_path, stop):
    """What is followed backwards is looked at before anything else, also where it goes on."""
    start = {5: SCENES[5][1]}
    run(clip, tmp_path / "whole", start=start)
    killed(clip, tmp_path / "out", 1, start=start)
    before = files_in(tmp_path / "out")

    def stops(number: int) -> None:
        if number == 3:
            raise stop("no more")

    more: Any = {"start": start, "on_look": stops}
    if stop is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt, match="2 frames are done and kept in .*; run the same command again"):
            run(clip, tmp_path / "out", **more)
    else:
        with pytest.raises(PersamError, match="no more"), pytest.warns(PersamWarning, match="the 2 frames before are"):
            run(clip, tmp_path / "out", **more)
    assert files_in(tmp_path / "out") == before
    assert run(clip, tmp_path / "out", start=start).done_before == 2
    assert_same(tmp_path / "whole", tmp_path / "out")


def test_how_much_was_done_is_told_before_anything_is_looked_at(clip, tmp_path):
    """So that a bar that begins there only goes forwards, and ends at the clip's end."""
    start = {5: SCENES[5][1]}
    killed(clip, tmp_path, 1, start=start)
    told: list[Any] = []
    more: Any = {"start": start, "on_look": told.append, "on_earlier": lambda done: told.append(f"{done} done")}
    run(clip, tmp_path, **more)
    assert told == ["2 done", 4, 3, 2, 5, 6, 7]


def test_killed_when_its_lines_begin_they_are_known(clip, tmp_path, monkeypatch):
    def kill(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(FrameLines, "__enter__", kill)
    with pytest.raises(Killed):
        run(clip, tmp_path)
    monkeypatch.undo()
    assert (tmp_path / "results.jsonl").read_bytes() == b""
    assert run(clip, tmp_path).frames == FRAMES


def test_other_outputs_may_be_asked_for_when_it_goes_on(clip, whole, tmp_path):
    killed(clip, tmp_path, 3, overlay=True)
    run(clip, tmp_path, masks=True, cutout=True, coco=True, overlay=True)
    assert_same(whole, tmp_path)


def test_a_folder_of_frames_goes_on(tmp_path):
    (tmp_path / "frames").mkdir()
    for number, (pixels, _) in enumerate(SCENES):
        Image.fromarray(pixels).save(tmp_path / "frames" / f"f{number}.png")
    run(tmp_path / "frames", tmp_path / "whole", coco=True)
    killed(tmp_path / "frames", tmp_path / "out", 4, coco=True)
    assert run(tmp_path / "frames", tmp_path / "out", coco=True).done_before == 5
    assert_same(tmp_path / "whole", tmp_path / "out")


def test_frames_that_cannot_be_read_again_begin_anew_when_asked(tmp_path):
    with pytest.raises(Killed):
        run([pixels for pixels, _ in SCENES], tmp_path, until=2)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a run that was stopped, which this command does not go on with"):
        run([pixels for pixels, _ in SCENES], tmp_path)  # type: ignore[arg-type]
    assert run([pixels for pixels, _ in SCENES], tmp_path, overwrite=True).frames == FRAMES  # type: ignore[arg-type]


def test_a_run_that_overwrites_goes_on_as_it_says(clip, tmp_path):
    """The same command, and it holds --overwrite; another run begins anew with it."""
    run(clip, tmp_path / "out", start=SCENES[0][1] == 1, overlay=True)
    run(clip, tmp_path / "whole", overlay=True)
    killed(clip, tmp_path / "out", 4, overwrite=True, overlay=True)
    assert run(clip, tmp_path / "out", overwrite=True, overlay=True).done_before == 5
    assert_same(tmp_path / "whole", tmp_path / "out")
    assert run(clip, tmp_path / "out", overwrite=True, overlay=True).done_before == 0  # it had come to its end


class Still:
    """A point tracker that is not of persam."""

    def start(self, frame: np.ndarray, points: np.ndarray) -> None:
        self.points = points

    def follow(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.points, np.ones(len(self.points), bool)


@pytest.mark.parametrize("start", [{0: SCENES[0][1]}, {3: SCENES[3][1]}], ids=["forwards", "both ways"])
@pytest.mark.parametrize("kind", ["sam2_video", "sam3_tracker_video"])
def test_a_propagator_goes_on_with_all_that_it_remembers(clip, tmp_path, kind, start):
    more: Any = {"propagator": saved_tracker(kind, tmp_path / "network"), "start": start}
    run(clip, tmp_path / "whole", **more)
    for until in (1, 4):
        killed(clip, tmp_path / "out", until, **more)
    assert run(clip, tmp_path / "out", **more).done_before == 5
    assert_same(tmp_path / "whole", tmp_path / "out")


def test_what_keeps_no_state_says_that_it_begins_anew(clip, tmp_path, monkeypatch):
    monkeypatch.setitem(points.POINT_TRACKERS, "still", lambda device: Still())
    more: Any = {"points": "still"}
    run(clip, tmp_path / "whole", **more)
    killed(clip, tmp_path / "out", 4, **more)
    with pytest.warns(PersamWarning, match="of this kind cannot go on where it was stopped, so it begins anew"):
        assert run(clip, tmp_path / "out", **more).done_before == 0
    assert_same(tmp_path / "whole", tmp_path / "out")


@dataclass
class Quick(Still):
    speed: float = 1.0


@pytest.mark.parametrize("option", ["points", "propagator"])
def test_what_is_the_users_own_is_never_taken_for_the_same(clip, tmp_path, option):
    own: type = Quick if option == "points" else ScriptedMemory
    killed(clip, tmp_path, 4, **{option: own()})
    with pytest.raises(UsageError, match="a run that was stopped, which this command does not go on with"):
        run(clip, tmp_path, **{option: own()})


# ---------------------------------------------------------------------------------------------- what is refused


def test_lines_of_others_are_not_begun_anew(clip, tmp_path):
    killed(clip, tmp_path, 4)
    (tmp_path / STATE).unlink()
    results = tmp_path / "results.jsonl"
    before = results.read_bytes() + b'{"my": "notes"}\n'
    results.write_bytes(before)
    with pytest.raises(UsageError, match=r"results\.jsonl was changed after the run was stopped"):
        run(clip, tmp_path)
    assert results.read_bytes() == before
    run(clip, tmp_path, overwrite=True)


def test_another_run_is_refused_in_one_sentence(clip, tmp_path):
    killed(clip, tmp_path, 2)
    before = files_in(tmp_path)
    for more, what in (
        ({"start": SCENES[0][1] == 1}, "another mask or other concepts"),
        ({"threshold": 0.3}, r"another threshold \(then 0.9, now 0.3\)"),
        ({"threshold": None, "tune": True}, r"another choice of tuning \(then off, now on\) and .* now 0.5\)"),
        ({"names": ["a", "b"]}, r"other names \(then none, now a, b\)"),
        ({"points": "lk"}, r"another point tracker \(then none, now lk\)"),
        ({"persam": PerSAM(ColourModel(), settings=Settings.of("paper"))}, r"another mode \(then persam, now paper\)"),
    ):
        with pytest.raises(UsageError, match=f"was stopped, with {what}, which this .* add --overwrite to begin anew"):
            run(clip, tmp_path, **more)
    other = shutil.copy(clip, tmp_path.with_name("other.mp4"))
    with pytest.raises(UsageError, match="another clip, or one that was changed since"):
        run(Path(other), tmp_path)
    assert files_in(tmp_path) == before
    assert run(clip, tmp_path, overwrite=True, start=SCENES[0][1] == 1).done_before == 0


def test_the_default_threshold_is_that_threshold(clip, tmp_path):
    killed(clip, tmp_path, 4, threshold=0.5)
    assert run(clip, tmp_path, threshold=None).done_before == 5


def test_what_differs_between_runs_is_said_with_both_values():
    sam_2 = ["facebook/sam2.1-hiera-tiny", "ab", "torch.bfloat16"]
    then = {"persam": "1.0", "model": ["a", "torch.float32"], "device": "cpu", "options": {"propagator": sam_2}}
    assert differences(then, then) == []
    now = {**then, "persam": "1.1", "device": "cuda:0", "options": {"propagator": [*sam_2[:2], "torch.float32"]}}
    assert differences(then, now) == [
        "another version of persam (then 1.0, now 1.1)",
        "another device (then cpu, now cuda:0)",
        "another propagator (then facebook/sam2.1-hiera-tiny in bfloat16, now facebook/sam2.1-hiera-tiny in float32)",
    ]
    now = {**then, "model": ["b", "torch.float32"], "options": {"faults": {"areas": True, "boxes": False}}}
    assert differences(now, then) == [
        "another model",
        "other faults (then areas, now none)",
        "another propagator (then none, now facebook/sam2.1-hiera-tiny in bfloat16)",
    ]
    other = {**then, "options": {"propagator": [sam_2[0], "cd", sam_2[2]]}}
    assert differences(then, other) == ["other weights of the propagator"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"names": ["a"]}, "Of 2 objects there are these names: a"),
        ({"threshold": 2.0}, "The threshold is a score between 0 and 1, not 2.0"),
        ({"points": "pips"}, "There is no point tracker 'pips'"),
        ({"start": "gone.png"}, "There is no mask at gone.png"),
        ({"start": {40: SCENES[0][1]}}, r"There is no frame 40 in .*: its frames are 0 to 7"),
        ({"start": two_concepts(), "tune": True}, "leave tune out"),
    ],
)
def test_what_is_wrong_with_the_call_is_said_before_the_folder_is_complained_of(clip, tmp_path, more, words):
    killed(clip, tmp_path, 2)
    before = files_in(tmp_path)
    with pytest.raises(PersamError, match=words):
        run(clip, tmp_path, **more)
    assert files_in(tmp_path) == before


def test_results_that_were_changed_are_not_cut(clip, tmp_path):
    killed(clip, tmp_path, 4)
    results = tmp_path / "results.jsonl"
    results.write_text(results.read_text().replace('"frame": 1', '"frame": 9'))
    before = results.read_bytes()
    with pytest.raises(UsageError, match="was changed after the run was stopped"):
        run(clip, tmp_path)
    assert results.read_bytes() == before


def test_labels_that_a_person_changed_are_kept(clip, tmp_path):
    killed(clip, tmp_path, 4)
    mine = tmp_path / "labels" / "00002.png"
    Image.fromarray(np.full((96, 128), 1, np.uint8)).save(mine)
    before = mine.read_bytes()
    run(clip, tmp_path)
    assert mine.read_bytes() == before
    (tmp_path / "out").mkdir()
    killed(clip, tmp_path / "out", 4)
    later = tmp_path / "out" / "labels" / "00006.png"
    later.write_bytes(before)
    with pytest.raises(UsageError, match=r"00006\.png was not written by persam"):
        run(clip, tmp_path / "out")


def test_a_label_that_was_changed_after_the_end_is_drawn(clip, tmp_path):
    """The videos are older than it; once they are drawn, they stay."""
    run(clip, tmp_path, masks=True)
    video = tmp_path / "masks.mp4"
    frames = [round(float(frame.pixels[..., 0].mean())) for frame in open_clip(video)]
    Image.fromarray(np.full((96, 128), 1, np.uint8)).save(tmp_path / "labels" / "00002.png")
    assert run(clip, tmp_path, masks=True).done_before == FRAMES
    now = [round(float(frame.pixels[..., 0].mean())) for frame in open_clip(video)]
    assert now[2] > 120 > 60 > max(frames)  # all of the frame has the first colour of DAVIS
    assert now[:2] + now[3:] == frames[:2] + frames[3:]
    drawn = video.stat().st_mtime_ns
    run(clip, tmp_path, masks=True)
    assert video.stat().st_mtime_ns == drawn


@pytest.mark.parametrize("number", [0, 5])
def test_a_video_stays_when_it_cannot_be_drawn_anew(clip, tmp_path, number):
    run(clip, tmp_path, masks=True)
    video = tmp_path / "masks.mp4"
    before = video.read_bytes()
    label = tmp_path / "labels" / f"{number:05}.png"
    whole = label.read_bytes()
    Image.open(label).convert("RGB").save(label)
    with pytest.raises(PersamError, match=rf"{label.name} is no picture of labels any more"):
        run(clip, tmp_path, masks=True)
    assert video.read_bytes() == before
    Image.fromarray(np.full((96, 128), 1, np.uint8)).save(label)

    def stop(frames: int) -> None:
        if frames == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outputs = Outputs(tmp_path, masks=True)
        track_into(PerSAM(ColourModel()), open_clip(clip), SCENES[0][1], outputs, on_drawn=stop, threshold=SURE)
    assert video.read_bytes() == before
    label.write_bytes(whole)
    assert list(tmp_path.glob("*.part*")) == []


def test_a_label_that_is_none_any_more_is_told_of(clip, whole, tmp_path):
    """As some programs save pictures; what to do costs nothing that was done."""
    killed(clip, tmp_path, 4, **ALL)
    label = tmp_path / "labels" / "00002.png"
    Image.open(label).convert("RGB").save(label)
    mine = label.read_bytes()
    for more in ({}, {"overwrite": True}):
        with (
            pytest.raises(PersamError, match=r"00002\.png is no picture of labels any more; save it with its palette"),
            pytest.warns(PersamWarning, match="the results of the 5 frames before are kept"),
        ):
            run(clip, tmp_path, **ALL, **more)
        assert label.read_bytes() == mine
    label.unlink()
    assert run(clip, tmp_path, **ALL).done_before == 5
    assert_same(whole, tmp_path)


def test_two_runs_into_one_folder(clip, tmp_path):
    def second(_: TrackedFrame) -> None:
        with pytest.raises(PersamError, match="Another persam is writing into"):
            run(clip, tmp_path)
        raise Killed

    with pytest.raises(Killed):
        track_into(PerSAM(ColourModel()), open_clip(clip), SCENES[0][1], Outputs(tmp_path), second, threshold=SURE)


# ------------------------------------------------------------------------------------------- what is done already


def test_a_run_that_is_done_is_not_done_again(clip, whole, tmp_path, monkeypatch):
    run(clip, tmp_path)
    assert not (tmp_path / STATE).exists()
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}

    def looks(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(ColourModel, "encode", looks)
    report = run(clip, tmp_path)
    assert (report.frames, report.done_before) == (FRAMES, FRAMES)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()} == before
    report = run(clip, tmp_path, **ALL)  # is drawn, without the model
    assert set(report.files) == {"results.jsonl", "labels", "timeline.csv", "timeline.png", "coco.json", *VIDEOS}
    assert report.present == run(clip, tmp_path).present
    assert_same(whole, tmp_path)


def test_labels_that_are_lost_after_the_end_are_written_again(clip, whole, tmp_path):
    run(clip, tmp_path, **ALL)
    (tmp_path / "labels" / "00001.png").unlink()
    (tmp_path / "labels" / "00002.png").write_bytes(b"")
    run(clip, tmp_path, **ALL)
    assert_same(whole, tmp_path)


def test_a_video_of_others_is_not_taken_for_the_one_that_is_asked_for(clip, tmp_path):
    run(clip, tmp_path)
    (tmp_path / "overlay.mp4").write_text("mine")
    with pytest.raises(UsageError, match=r"overlay\.mp4 was not written by persam and would be lost"):
        run(clip, tmp_path, overlay=True)
    assert (tmp_path / "overlay.mp4").read_text() == "mine"


def test_a_summary_that_a_person_changed_stays(clip, tmp_path):
    run(clip, tmp_path)
    (tmp_path / "timeline.csv").write_text("mine")
    assert run(clip, tmp_path).done_before == FRAMES
    assert (tmp_path / "timeline.csv").read_text() == "mine"


def test_a_video_that_is_drawn_later_is_whole_or_not_there(clip, tmp_path):
    run(clip, tmp_path)

    def stop(number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(clip, tmp_path, overlay=True, on_drawn=stop)
    assert not (tmp_path / "overlay.mp4").exists()
    run(clip, tmp_path, overlay=True)
    assert len(shown(tmp_path / "overlay.mp4")) == FRAMES


def test_results_that_were_changed_after_the_end_are_told_of(clip, tmp_path):
    run(clip, tmp_path)
    with (tmp_path / "results.jsonl").open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(UsageError, match=r"results\.jsonl was changed since"):
        run(clip, tmp_path)


# ------------------------------------------------------------------------------------------- the trackers' states


def insides(thing: Any, seen: set[int] | None = None) -> Any:
    """All that an object holds, as deep as it goes, so that two can be compared."""
    seen = set() if seen is None else seen
    if isinstance(thing, torch.Tensor):
        return ("tensor", tuple(thing.stride()), str(thing.dtype), thing.detach().tolist())
    if isinstance(thing, np.ndarray):
        return ("array", thing.dtype.str, thing.shape, thing.tobytes())
    if isinstance(thing, (list, tuple)):
        return [type(thing).__name__, *(insides(each, seen) for each in thing)]
    if isinstance(thing, dict):
        return {key: insides(each, seen) for key, each in thing.items()}
    if isinstance(thing, PerSAM) or not type(thing).__module__.startswith("persam."):
        return thing if isinstance(thing, (bool, int, float, str, type(None))) else type(thing).__name__
    return {name: insides(each, seen) for name, each in vars(thing).items() if name not in ("material", "created")}


def tracker_of(kind: str) -> Callable[[], Any]:
    """Makes trackers as `track` does, when the first frame was looked at."""
    network = {
        "colours": ColourModel,
        "tiny": lambda: load_model("tiny", device="cpu"),
        "official": lambda: random_sam(2),
    }
    persam = PerSAM(network[kind](), settings=Settings.of("official" if kind == "official" else "persam"))

    def make() -> Any:
        made = []
        earlier: Any = SimpleNamespace(begin=lambda tracker, _: made.append(tracker), of=lambda frame: None, last=-1)
        threshold = None if kind == "official" else SURE
        next(track(persam, [SCENES[0][0]], SCENES[0][1], threshold=threshold, earlier=earlier))
        return made[0]

    return make


@pytest.mark.parametrize("kind", ["colours", "tiny", "official"])
def test_a_state_is_the_tracker_to_the_bit(tmp_path, kind):
    """At every frame: one that is set to a state holds all that the one had that went there, and finds the same.

    An attribute that a state lacks, or that is written into after the state was taken, is found here.
    """
    make = tracker_of(kind)
    tracker = make()
    frames = [pixels for pixels, _ in SCENES[1 : 3 if kind == "tiny" else FRAMES]]
    states, held, found = [], [], []
    for pixels in frames:
        states.append(tracker.state())
        held.append(insides(tracker))
        found.append(tracker.follow(pixels))
    restored = make()
    for number in reversed(range(len(frames))):  # so that it never happens to be there already
        state, inside = states[number], held[number]
        write_state(tmp_path / "state.safetensors", state)
        restored.restore(read_state(tmp_path / "state.safetensors"))
        assert insides(restored) == inside, number
        labels, scores = restored.follow(frames[number])
        np.testing.assert_array_equal(labels, found[number][0])
        assert scores == found[number][1]


def test_an_attribute_that_is_added_is_kept():
    class Grown(Resumable):
        _FIXED = frozenset({"model"})

        def __init__(self) -> None:
            self.model, self.later, self.many = object(), None, [1]

    one, other = Grown(), Grown()
    one.later, one.many = np.arange(3), [1, 2]
    state = one.state()
    one.many.append(3)
    other.restore(state)
    assert other.many == [1, 2]
    assert other.later is one.later


def test_any_state_comes_back(tmp_path):
    file = tmp_path / "state.safetensors"
    turned = torch.arange(6.0).reshape(2, 3).T
    state = {
        "none": None,
        "numbers": (1, 0.1 + 0.2, True, float("inf"), -0.0),
        "array": np.arange(6, dtype=np.uint16).reshape(2, 3)[:, ::2],
        "scalar": np.float32(0.1),
        "flags": np.array([True, False]),
        "empty": torch.zeros(4, 0),
        "turned": turned,
        "half": torch.tensor([0.1], dtype=torch.bfloat16),
        "by number": {1: "a", 2: [turned, turned]},
        "mark": resume.Mark(3, 2, 100, "ab"),
    }
    write_state(file, state)
    back = read_state(file)
    assert insides(back) == insides(state)
    assert back["mark"] == state["mark"]
    assert type(back["scalar"]) is np.float32
    with pytest.raises(TypeError, match="cannot keep a set"):
        write_state(file, {"what": {1, 2}})
    text = file.read_bytes().replace(b"persam.video.results", b"persam.video.xresult")
    file.write_bytes(text)
    with pytest.raises(DamagedStateError):
        read_state(file)


def test_what_a_run_is_made_of_is_written_down(clip, tmp_path):
    killed(clip, tmp_path, 2)
    made = json.loads((tmp_path / RUN).read_text())
    assert made["frames"] is None
    assert made["made"]["clip"][0][0] == str(clip)
    assert "persam" in made["made"]
