"""`persam video`: the user's path, and what is said of bad input."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.video.drawn import write_clip

from persam.places import place_of
from persam.video import folder
from persam.video.clips import open_clip
from persam.video.track import TrackedFrame

FRAMES = 4


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with sound, in which the drawn object moves."""
    scenes = [draw_scene(96, 128, center=(45 + 5 * number, 50), radius=22) for number in range(FRAMES)]
    folder = tmp_path_factory.mktemp("clip")
    Image.fromarray(scenes[0][1]).save(folder / "first.png")
    return write_clip(folder / "clip.mp4", [pixels for pixels, _ in scenes], sound=True)


def lines_in(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_from_a_mask_of_the_first_frame(run, clip, tmp_path):
    arguments = ["video", clip, "--mask", clip.with_name("first.png"), "--name", "disc", "-o", "out"]
    result = run(*arguments, "--overlay", "--cutout", "--masks", "--coco")
    assert result.exit_code == 0, result.output
    assert f"disc: in {FRAMES} of {FRAMES} frames." in result.stderr
    out = tmp_path / "out"
    lines = lines_in(out)
    assert [line["labels"] for line in lines] == [f"labels/0000{number}.png" for number in range(FRAMES)]
    assert [line["time"] for line in lines] == [0, 0.1, 0.2, 0.3]
    for number, line in enumerate(lines):
        labels = np.array(Image.open(out / line["labels"]))
        (found,) = line["objects"]
        assert found["concept"] == "disc"
        assert found["present"]
        _, truth = draw_scene(96, 128, center=(45 + 5 * number, 50), radius=22)
        assert ((labels > 0) & truth).sum() > 0.8 * ((labels > 0) | truth).sum()
    assert len(list(open_clip(out / "overlay.mp4"))) == FRAMES
    with av.open(str(out / "overlay.mp4")) as written:
        assert written.streams.audio
    assert len(list(open_clip(out / "cutout.webm"))) == FRAMES
    assert len(list(open_clip(out / "masks.mp4"))) == FRAMES
    assert len(json.loads((out / "coco.json").read_text())["annotations"]) == FRAMES
    assert (out / "timeline.csv").read_text().splitlines()[1].startswith(f"disc,0,{FRAMES - 1},0.0,0.3,{FRAMES},")
    assert Image.open(out / "timeline.png").width > 1000
    again = run(*arguments, "--cutout-as", "mov")
    assert again.exit_code == 0
    assert len(list(open_clip(out / "cutout.mov"))) == FRAMES
    assert f"{FRAMES} frames, done already; " in again.stderr
    other = run(*arguments, "--tune")
    assert other.exit_code == 2
    assert "holds the results of a clip, with another choice of tuning (then off, now on); choose" in other.stderr
    assert run(*arguments, "--overwrite", "--json").exit_code == 0
    assert len(lines_in(out)) == FRAMES


def truth_of(number: int) -> np.ndarray:
    return draw_scene(96, 128, center=(45 + 5 * number, 50), radius=22)[1]


def write_mask(path: Path, number: int) -> str:
    Image.fromarray(truth_of(number)).save(path)
    return path.name


def assert_found(folder: Path, *given: int) -> None:
    """The disc is where it is in every frame, and on those that were given exactly there."""
    lines = lines_in(folder)
    assert [line["frame"] for line in lines] == list(range(FRAMES))
    for number, line in enumerate(lines):
        labels, truth = np.array(Image.open(folder / line["labels"])) > 0, truth_of(number) > 0
        assert (labels & truth).sum() > 0.8 * (labels | truth).sum()
        assert number not in given or np.array_equal(labels, truth)


def test_from_masks_of_other_frames(run, clip, tmp_path, monkeypatch):
    last = write_mask(tmp_path / "last.png", 3)
    assert run("video", clip, "--mask", f"3={last}", "-o", "one", "--overlay").exit_code == 0
    assert_found(tmp_path / "one", 3)
    assert [float(frame.time) for frame in open_clip(tmp_path / "one" / "overlay.mp4")] == [0, 0.1, 0.2, 0.3]
    first = clip.with_name("first.png")
    result = run("video", clip, "--mask", f"00003={last}", "--mask", first, "-o", "two", "--mode", "official")
    assert result.exit_code == 0, result.output
    assert_found(tmp_path / "two", 0, 3)


def test_from_a_mask_that_is_elsewhere(run, clip, tmp_path):
    store = place_of(f"memory://{uuid.uuid4().hex}")
    (store / "last.png").write_bytes((tmp_path / write_mask(tmp_path / "last.png", 3)).read_bytes())
    for mask in (f"3={store}/last.png", f"{store}/last.png"):
        result = run("video", clip, "--mask", mask, "-o", "out", "--overwrite")
        assert result.exit_code == 0, result.output
        assert "done already" in run("video", clip, "--mask", mask, "-o", "out").stderr
    assert len(lines_in(tmp_path / "out")) == FRAMES


def test_a_frame_of_a_folder_by_its_name(run, clip, tmp_path):
    (tmp_path / "frames").mkdir()
    for frame in open_clip(clip):
        Image.fromarray(frame.pixels).save(tmp_path / "frames" / f"{frame.number + 1:03d}.png")
    assert run("video", "frames", "--mask", f"003={write_mask(tmp_path / 'third.png', 2)}", "-o", "out").exit_code == 0
    assert_found(tmp_path / "out", 2)


def test_a_mask_that_is_read_is_never_replaced(run, refused, clip, tmp_path):
    write_mask(tmp_path / "last.png", 3)
    assert run("video", clip, "--mask", "3=last.png", "-o", "out").exit_code == 0
    mine = tmp_path / "out" / "labels" / "00002.png"
    before = mine.read_bytes()
    told = refused("video", clip, "--mask", f"2={mine}", "--mask", "3=last.png", "-o", "out", "--overwrite", code=2)
    assert "00002.png is read by this command" in told
    assert mine.read_bytes() == before


def test_from_a_concept(run, clip, learned, tmp_path):
    result = run("video", clip, learned, "-o", "out", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["frames"] == FRAMES
    assert list(told["present"]) == ["my disc"]
    assert told["files"] == ["results.jsonl", "labels", "timeline.csv", "timeline.png"]


def test_a_folder_keeps_its_names_and_a_damaged_frame_is_told(run, clip, tmp_path):
    (tmp_path / "frames").mkdir()
    for frame in open_clip(clip):
        Image.fromarray(frame.pixels).save(tmp_path / "frames" / f"f{frame.number}.png")
    (tmp_path / "frames" / "f2.png").write_bytes(b"no picture")
    result = run("video", "frames", "--mask", clip.with_name("first.png"), "-o", "out", "--mode", "official")
    assert result.exit_code == 0, result.output
    assert "Frame 2 is left out" in result.stderr
    assert sorted(path.name for path in (tmp_path / "out" / "labels").iterdir()) == ["f0.png", "f1.png", "f3.png"]


def test_a_folder_named_by_a_number_is_no_camera(run, clip, tmp_path):
    (tmp_path / "00001").mkdir()
    for frame in open_clip(clip):
        Image.fromarray(frame.pixels).save(tmp_path / "00001" / f"{frame.number}.png")
    result = run("video", "00001", "--mask", clip.with_name("first.png"), "-o", "out")
    assert result.exit_code == 0, result.output
    assert len(lines_in(tmp_path / "out")) == FRAMES


def test_a_run_that_is_stopped_says_what_it_keeps(run, clip, tmp_path, monkeypatch):
    def stopped(found: TrackedFrame) -> None:
        if found.frame.number == 1:
            raise KeyboardInterrupt

    whole = folder.track_into
    monkeypatch.setattr(folder, "track_into", lambda *args, **rest: whole(*args, on_frame=stopped, **rest))
    arguments = ["video", clip, "--mask", clip.with_name("first.png"), "-o", "out", "--overlay"]
    result = run(*arguments)
    assert result.exit_code == 130
    assert "Stopped. 2 frames are done and kept in out/; run the same command again to go on." in result.stderr
    assert len(list(open_clip(tmp_path / "out" / "overlay.mp4"))) == 2
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    again = run(*arguments)
    assert again.exit_code == 0, again.output
    assert "It goes on after 2 frames." in again.stderr
    assert len(lines_in(tmp_path / "out")) == FRAMES
    assert len(list(open_clip(tmp_path / "out" / "overlay.mp4"))) == FRAMES


def test_options_that_would_do_nothing_are_refused(refused, clip, learned):
    mask = clip.with_name("first.png")
    assert "leave tune out" in refused("video", clip, learned, "--tune", code=2)
    official = ("video", clip, "--mask", mask, "--mode", "official")
    assert "no threshold" in refused(*official, "--threshold", "0.5", code=2)


def test_what_is_refused(refused, clip, learned, tmp_path):
    mask = clip.with_name("first.png")
    assert "Say what to follow" in refused("video", clip, code=2)
    assert "not from both" in refused("video", clip, learned, "--mask", mask, code=2)
    assert "Name one clip, not 2" in refused("video", clip, clip, "--mask", mask, code=2)
    several = refused("video", "rtsp://ann:secret@cam/1", "disc.safetensor", code=2)
    assert "Name one clip, not 2 (rtsp://cam/1, disc.safetensor); concepts are files that end in" in several
    assert "Name one clip, not none" in refused("video", "disc.safetensors", code=2)
    assert "leave --mode out" in refused("video", clip, learned, "--mode", "paper", code=2)
    assert "There is no clip at gone.mp4" in refused("video", "gone.mp4", "--mask", mask, code=1)
    assert "There is no mask at gone.png" in refused("video", clip, "--mask", "gone.png", code=1)
    assert "There is no frame 4 in" in refused("video", clip, "--mask", f"4={mask}", code=2)
    assert "There is no mask at gone.png" in refused("video", clip, "--mask", "1=gone.png", code=1)
    assert "-1 is no number of a frame" in refused("video", clip, "--mask", f"-1={mask}", code=2)
    once = refused("video", "http://127.0.0.1:9/a.ts", "--mask", f"2={mask}", code=2)
    assert "a.ts gives its frames only once" in once
    assert "written as webm or mov, not gif" in refused("video", clip, "--mask", mask, "--cutout-as", "gif", code=2)
    assert "give it one name" in refused("video", clip, "--mask", mask, "--name", "a", "--name", "b", code=2)
    (tmp_path / "file").write_text("mine")
    assert "file is a file" in refused("video", clip, "--mask", mask, "-o", "file", code=2)
    assert not (tmp_path / "tracked").exists()


def test_points_are_carried_along_if_asked_for(run, clip, tmp_path):
    arguments = ["video", clip, "--mask", clip.with_name("first.png"), "-o", "points"]
    result = run(*arguments, "--track-points", "lk")
    assert result.exit_code == 0, result.output
    assert all(line["objects"][0]["present"] for line in lines_in(tmp_path / "points"))
    wrong = run(*arguments, "--overwrite", "--track-points", "pips")
    assert wrong.exit_code == 2
    assert (
        "There is no point tracker 'pips'; choose lk, cotracker, or in Python one with start and follow."
        in wrong.stderr
    )
