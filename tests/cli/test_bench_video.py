"""`persam bench davis --propagate`: the user's path, a stop and a kill, labels scored again, and bad input."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.video_for_tests import SIZE, write_davis_2017, write_youtube_vos
from tests.cli.test_bench import kill_when, metrics
from tests.fakes import ColourModel

from persam.images import read_image

FRAMES = ("--method", "frames-persam", "--device", "cpu")


@pytest.fixture(autouse=True)
def colours(monkeypatch):
    """Every model is the one that finds things by colour."""
    monkeypatch.setattr("persam.models.loading.load_model", lambda *names, **options: ColourModel())


@pytest.fixture
def davis(tmp_path):
    """DAVIS 2017 in small: sequences pair (two objects) and solo, 6 frames each."""
    return write_davis_2017(tmp_path / "DAVIS")


def follow(davis, *more):
    return ("bench", "davis", "--data", davis, "--propagate", *FRAMES, *more)


class TestUsersPath:
    def test_everything_that_is_written(self, run, davis, tmp_path):
        result = run(*follow(davis, "--output", "out"))
        assert result.exit_code == 0, result.output
        assert "J&F of every sequence" in result.stdout
        out = tmp_path / "out"
        values = metrics(out)
        assert values["protocol"]["name"] == "davis, followed"
        assert values["methods"]["frames-persam"]["figures"]["jf"]["value"] > 0.9
        assert values["by_sequence"]["frames-persam"].keys() == {"pair", "solo"}
        assert (values["photos"], values["objects"]) == (12, 3)
        times = json.loads((out / "metrics.json").read_text())["times"]
        assert times["speed"]["frames-persam"]["frames_a_second"]["median"] > 0
        for number in range(6):
            with Image.open(out / f"predictions/frames-persam/pair/{number:05}.png") as picture:
                assert (picture.mode, picture.size) == ("P", SIZE[::-1])
        rows = list(csv.DictReader((out / "per_sequence.csv").open()))
        assert [(row["sequence"], row["objects"]) for row in rows] == [("pair", "2"), ("solo", "1")]
        table = (out / "table.md").read_text()
        for words in (
            "J&F of every sequence",
            "Decay of J in every sequence",
            "# Speed",
            "interval over sequences",
        ):
            assert words in table
        page = (out / "report.html").read_text()
        for words in ("J over time in pair", "solo: frames, one row a method", "Worst cases"):
            assert words in page

    def test_frames_sequences_and_json(self, run, davis):
        result = run(*follow(davis, "--frames", 4, "--sequences", "solo", "--json"))
        assert result.exit_code == 0, result.output
        values = json.loads(result.stdout)
        assert (values["photos"], values["settings"]["frames"], values["settings"]["sequences"]) == (2, 4, ["solo"])

    def test_our_labels_get_our_numbers(self, run, davis, tmp_path):
        assert run(*follow(davis, "--output", "out")).exit_code == 0
        labels = tmp_path / "out/predictions/frames-persam"
        result = run("bench", "score", "davis", "--propagate", "--data", davis, "--predictions", labels, "-o", "again")
        assert result.exit_code == 0, result.output
        ours, again = (metrics(tmp_path / name)["methods"]["frames-persam"] for name in ("out", "again"))
        assert again["figures"]["jf"] == ours["figures"]["jf"]
        assert "J over time in pair" in (tmp_path / "again/report.html").read_text()

    def test_a_photo_before_the_clip(self, run, davis):
        result = run(*follow(davis, "--start", "photo", "--json"))
        assert result.exit_code == 0, result.output
        values = json.loads(result.stdout)
        assert "followed from the middle on, after a photo" in values["title"]
        assert values["photos"] == 2  # frame 4 of two objects: the third is out of sight in frame 3
        assert any("out of sight where the clip begins (pair/2)" in note for note in values["notes"])
        assert values["references"]["pair/1"] == ["pair/1/00000"]

    def test_youtube_vos(self, run, tmp_path):
        root = write_youtube_vos(tmp_path / "YouTube-VOS")
        command = ("bench", "youtube-vos", "--data", root, "--split", "valid")
        result = run(*command, "--propagate", *FRAMES, "--json")
        assert result.exit_code == 0, result.output
        figures = json.loads(result.stdout)["methods"]["frames-persam"]["figures"]
        assert {"jf", "j_seen", "j_unseen", "f_seen", "f_unseen"} <= figures.keys()
        assert run(*command, "--method", "persam").exit_code == 0  # every annotated frame by itself


class TestStopped:
    def test_killed_and_started_again(self, run, davis, tmp_path):
        """`kill -9` after the first sequence, and the same command again: the numbers of a run that was left alone."""
        command = [str(each) for each in follow(davis)]
        waits = "import persam.benchmark.video.following as way; import time; read = way.read_image\n"
        waits += "way.read_image = lambda path: (time.sleep(3600 if 'solo' in str(path) else 0), read(path))[1]\n"
        records = tmp_path / "killed/records.jsonl"
        done = kill_when(records, 8, [*command, "--output", str(tmp_path / "killed")], waits)
        assert done == 8  # of the first sequence
        assert run(*command, "--output", tmp_path / "killed").exit_code == 0
        assert run(*command, "--output", tmp_path / "whole").exit_code == 0
        assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
        assert len(records.read_text().splitlines()) == 12
        for name in ("per_sequence.csv", "worst.png", "predictions/frames-persam/solo/00005.png"):
            assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    def test_ctrl_c_says_how_to_go_on(self, run, davis, monkeypatch):
        def interrupted(path):
            if "solo" in str(path):
                raise KeyboardInterrupt
            return read_image(path)

        monkeypatch.setattr("persam.benchmark.video.following.read_image", interrupted)
        result = run(*follow(davis, "--output", "out"))
        assert result.exit_code == 130
        assert "The sequences that are done are kept in out; run the same command again to go on." in result.stderr
        assert "Nothing was kept; with --output" in run(*follow(davis)).stderr


class TestBadInput:
    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (
                ("--method", "seggpt"),
                'There is no method "seggpt" that follows objects; use persam, persam-f, official',
            ),
            (("--mode", "official"), "--mode has no meaning with --propagate; leave it out, and name the form with"),
            (("--limit", 4), "leave it out, and use --frames and --sequences."),
            (("--absent",), "--absent has no meaning with --propagate; leave it out."),
            (("--step", 2), "--step has no meaning"),
            (("--solver", "adamw"), "--solver has no meaning"),
            (("--seed", 1), "--seed has no meaning with --propagate; leave it out."),
            (("--sequences", "pear"), "has no sequence pear; there are pair, solo."),
            (
                ("--sequences", "pair,"),
                "names with commas between them, such as bear,dog, not 'pair,'.",
            ),
            (("--frames", 2), "as each is too short; take more --frames."),
            (("--start", "video"), "A clip starts from mask or photo, not from video."),
            (("--year", 2015), "DAVIS has no year 2015"),
        ],
    )
    def test_calls(self, refused, davis, more, words):
        assert words in refused("bench", "davis", "--data", davis, "--propagate", *more, "--output", "out", code=2)

    def test_options_of_video_need_propagate(self, run, refused, davis):
        sentence = refused("bench", "davis", "--data", davis, "--frames", 4, code=2)
        assert sentence == "--frames belongs to --propagate; add it, or leave --frames out."
        assert run("bench", "perseg", "--data", davis, "--propagate").exit_code == 2  # photos are not followed

    def test_changed_settings(self, run, refused, davis):
        assert run(*follow(davis, "--frames", 4, "--output", "out")).exit_code == 0
        assert "out holds a run with frames = 4, now it is 5" in refused(
            *follow(davis, "--frames", 5, "--output", "out"), code=2
        )
        assert run(*follow(davis, "--frames", 5, "--output", "out", "--fresh")).exit_code == 0
        assert "out holds a run with question = " in refused(
            "bench", "davis", "--data", davis, "--method", "persam", "--output", "out", code=2
        )

    def test_a_frame_that_cannot_be_read_is_told_of(self, run, davis):
        (davis / "JPEGImages/480p/solo/00002.jpg").write_bytes(b"no picture")
        result = run(*follow(davis))
        assert result.exit_code == 1
        assert "solo/1/00002" in result.stderr
        assert "Traceback" not in result.output
        assert "3 answers are missing and count as none" in result.stderr

    def test_predictions(self, refused, davis, tmp_path):
        call = ("bench", "score", "davis", "--propagate", "--data", davis, "--predictions")
        assert "There is no folder of predictions gone" in refused(*call, "gone", code=2)
        assert "--seed has no meaning with --propagate" in refused(*call, "gone", "--seed", 1, code=2)
        (tmp_path / "tracked/labels").mkdir(parents=True)
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "tracked/labels/00001.png")
        assert "name the one that it is with --sequences" in refused(*call, "tracked", code=2)
