"""J and F of objects that are followed, against the definitions and by hand; and labels read back."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest
from tests.benchmark.records_for_tests import record
from tests.benchmark.video_for_tests import (
    SIZE,
    ScriptedFinder,
    labels_of,
    truth_of,
    write_davis_2017,
    write_sequence,
    write_youtube_vos,
)
from tests.metrics import definitions

from persam.benchmark.methods.base import Prediction
from persam.benchmark.reporting.protocols import FOLLOWED, YOUTUBE_VOS
from persam.benchmark.reporting.summary import summarise
from persam.benchmark.reporting.tables import results_table
from persam.benchmark.score import score_predictions
from persam.benchmark.video.finders import together
from persam.benchmark.video.following import go_through
from persam.benchmark.video.sequences import read_sequences
from persam.benchmark.video.video_bench import VideoSetup, score_video
from persam.benchmark.video.video_folder import VideoFolder
from persam.errors import PersamError, UsageError
from persam.metrics import boundary_f, iou
from persam.video.writers import write_labels


def figures(records, protocol=FOLLOWED):
    (summary,) = summarise(records, protocol)
    return {name: figure.value for name, figure in summary.figures.items()}


def nothing(sequence, number):
    return np.zeros(SIZE, np.uint8)


class TestFigures:
    def test_what_is_right_has_all(self, tmp_path):
        """Also where object 2 is out of sight: nothing found of nothing is 1."""
        root = write_davis_2017(tmp_path)
        records, passages = go_through(read_sequences("davis", root)[1], [ScriptedFinder("right", truth_of(root))])
        found = figures(records)
        assert (found["jf"], found["j_recall"], found["f_mean"], found["j_decay"]) == (1, 1, 1, 0)
        assert [(each.sequence, len(each.frames)) for each in passages] == [("pair", 5), ("solo", 5)]

    def test_nothing_is_right_where_nothing_is(self, tmp_path):
        root = write_davis_2017(tmp_path)
        records, _ = go_through(read_sequences("davis", root)[1], [ScriptedFinder("blind", nothing)])
        by_object = {record.query: record.iou for record in records}
        assert {name for name, value in by_object.items() if value} == {"pair/2/00002", "pair/2/00003"}
        assert figures(records)["j_mean"] == pytest.approx((0 + 2 / 4 + 0) / 3)

    def test_against_the_definition(self, tmp_path):
        """Every frame and object by brute force, then the means as DAVIS has them."""
        root = write_davis_2017(tmp_path, frames=11)
        truth = truth_of(root)
        shift = {number: number // 3 for number in range(11)}

        def shifted(sequence, number):
            return np.roll(truth(sequence, number), shift[number], axis=1)

        sequences = read_sequences("davis", root)[1]
        found = figures(go_through(sequences, [ScriptedFinder("late", shifted)])[0])
        rows = []
        for sequence, value in ((sequences[0], 1), (sequences[0], 2), (sequences[1], 1)):
            masks = [(shifted(sequence, n) == value, truth(sequence, n) == value) for n in range(1, 10)]
            j = definitions.sequence_statistics([iou(*pair) for pair in masks])
            f = definitions.sequence_statistics([boundary_f(*pair) for pair in masks])
            rows.append((*j, *f))
        names = ("j_mean", "j_recall", "j_decay", "f_mean", "f_recall", "f_decay")
        assert [found[name] for name in names] == pytest.approx(np.mean(rows, axis=0).tolist())
        assert found["jf"] == pytest.approx((found["j_mean"] + found["f_mean"]) / 2)

    def test_void_does_not_count(self, tmp_path):
        labels = [labels_of({1: (4, 4)}) for _ in range(4)]
        for each in labels:
            each[30:] = 255
        write_sequence(tmp_path, "void", labels)

        def too_much(sequence, number):
            return np.where(labels[number] == 255, 1, labels[number]).astype(np.uint8)

        sequences = read_sequences("davis", tmp_path, year=2017)[1]
        assert figures(go_through(sequences, [ScriptedFinder("more", too_much)])[0])["jf"] == 1

    def test_objects_of_a_sequence_are_drawn_together(self, tmp_path):
        root = write_davis_2017(tmp_path)
        truth = truth_of(root)

        def pair_alone(sequence, number):
            return truth(sequence, number) if sequence.name == "pair" else nothing(sequence, number)

        (summary,) = summarise(
            go_through(read_sequences("davis", root)[1], [ScriptedFinder("half", pair_alone)])[0], FOLLOWED
        )
        assert summary.figures["jf"].value == pytest.approx(2 / 3)
        assert summary.figures["jf"].over_objects == (0, 1)  # either sequence twice; of three objects one might be left
        # Frames that resemble each other are not drawn one by one either.
        assert [summary.figures[key].over_images for key in ("iou", "presence")] == [None, None]
        assert summary.figures["iou"].over_objects[1] == 1
        shown = results_table("t", [summary], FOLLOWED)
        assert "over objects" not in shown.columns
        assert any("An interval over 2 sequences is a rough guess" in note for note in shown.notes)
        assert all(len(row) == len(shown.columns) for row in shown.rows)

    def test_seen_and_unseen_count_the_same(self, tmp_path):
        root = write_youtube_vos(tmp_path) / "valid"
        truth = truth_of(root, size="")

        def cat_alone(sequence, number):
            labels = truth(sequence, number) if number % 2 == 0 else nothing(sequence, number)
            return np.where(labels == 2, 0, labels).astype(np.uint8)

        records, _ = go_through(read_sequences("youtube-vos", root)[1], [ScriptedFinder("cat", cat_alone)])
        found = figures(records, YOUTUBE_VOS)
        assert [found[key] for key in ("j_seen", "f_seen", "j_unseen", "f_unseen", "jf")] == [1, 1, 0, 0, 0.5]
        assert len(records) == 4 + 2

    def test_the_mean_of_four_has_an_interval_that_draws_whole_sequences(self):
        """Every resample of three sequences by hand; those without a category of each kind have no figure."""
        means = {"a/1": (0.9, 0), "b/1": (0.5, 1), "c/1": (0.1, 1), "c/2": (0.7, 0)}  # J is F here; and the fold
        records = [
            record(name, 1, round(100 * j), round(100 * j), 100, contour=j, fold=fold)
            for name, (j, fold) in means.items()
        ]
        (summary,) = summarise(records, YOUTUBE_VOS)
        figure = summary.figures["jf"]
        assert figure.value == pytest.approx(((0.9 + 0.7) / 2 + (0.5 + 0.1) / 2) / 2)
        found = []
        for drawn in itertools.product("abc", repeat=3):
            rows = [means[name] for letter in drawn for name in means if name[0] == letter]
            seen, unseen = ([j for j, fold in rows if fold == kind] for kind in (0, 1))
            found += [(np.mean(seen) + np.mean(unseen)) / 2] if seen and unseen else []
        assert figure.over_objects == pytest.approx(np.quantile(found, [0.025, 0.975]), abs=0.02)

    def test_a_method_that_fails_is_told_of_and_others_go_on(self, tmp_path):
        root = write_davis_2017(tmp_path)
        truth = truth_of(root)

        def breaks(sequence, number):
            if sequence.name == "pair" and number == 3:
                raise PersamError("It broke.")
            return truth(sequence, number)

        sequences = read_sequences("davis", root)[1]
        records, passages = go_through(sequences, [ScriptedFinder("bad", breaks), ScriptedFinder("right", truth)])
        failed = {record.query: record.iou for record in records if record.failure == "It broke."}
        assert failed == {f"pair/{value}/0000{number}": 0 for value in (1, 2) for number in (3, 4)}
        assert all(record.iou == 1 for record in records if record.query not in failed or record.method == "right")
        assert [each.failure for each in passages] == ["It broke.", None, None, None]


def test_what_two_objects_claim_goes_to_the_surer_one():
    left, right = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    left[:, :4], right[:, 2:] = True, True
    found = {1: Prediction(left, 0.4, True), 2: Prediction(right, 0.8, True), 3: Prediction(left, 0.9, False)}
    labels = together(found, (4, 6))
    assert labels[0].tolist() == [1, 1, 2, 2, 2, 2]


def test_of_equal_scores_the_first_counts():
    left, right = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    left[:, :4], right[:, 2:] = True, True
    assert together({2: Prediction(left, 1.0, True), 1: Prediction(right, 1.0, True)}, (4, 6))[0, 2] == 2


def test_seconds_are_those_of_frames_however_many_objects(tmp_path):
    """Pair has two objects in every frame: they share its seconds."""
    records, passages = go_through(
        read_sequences("davis", root := write_davis_2017(tmp_path))[1], [ScriptedFinder("right", truth_of(root))]
    )
    pair = sum(record.seconds for record in records if record.object.startswith("pair/"))
    assert pair == pytest.approx(sum(passages[0].frames[:4]))  # the last frame does not count


class TestKept:
    @pytest.mark.parametrize(
        "line", ["{}", '{"method": "one", "sequence": "a", "start": 0, "frames": 3, "failure": null}']
    )
    def test_foreign_passages(self, tmp_path, line):
        VideoFolder(tmp_path, {})
        (tmp_path / "passages.jsonl").write_text(line + "\n")
        with pytest.raises(PersamError, match=r"passages\.jsonl was written by another version of persam; start over"):
            VideoFolder(tmp_path, {})

    def test_labels_have_the_data_set_s_values_and_the_first_frame(self, tmp_path):
        root = write_davis_2017(tmp_path / "data")
        truth = truth_of(root)
        folder = VideoFolder(tmp_path / "run", {})
        sequences = read_sequences("davis", root)[1]
        go_through(sequences, [ScriptedFinder("right", truth)], store=folder)
        home = tmp_path / "run/predictions/right"
        assert sorted(path.name for path in (home / "pair").iterdir()) == [f"0000{n}.png" for n in range(6)]
        from PIL import Image

        with Image.open(home / "pair/00000.png") as picture:
            assert picture.mode == "P"
            assert picture.getpalette()[3:9] == [128, 0, 0, 0, 128, 0]  # DAVIS' colours of 1 and 2
            assert np.array_equal(np.asarray(picture), truth(sequences[0], 0))

    def test_a_sequence_that_is_done_is_not_gone_through_again(self, tmp_path):
        root = write_davis_2017(tmp_path / "data")
        truth, asked = truth_of(root), []

        def stopped(sequence, number):
            asked.append((sequence.name, number))
            if sequence.name == "solo" and number == 2 and len(asked) < 10:
                raise KeyboardInterrupt
            return truth(sequence, number)

        sequences = read_sequences("davis", root)[1]
        with pytest.raises(KeyboardInterrupt):
            go_through(sequences, [ScriptedFinder("one", stopped)], store=VideoFolder(tmp_path / "run", {}))
        assert asked[-1] == ("solo", 2)
        asked.clear()
        again, passages = go_through(sequences, [ScriptedFinder("one", truth)], store=VideoFolder(tmp_path / "run", {}))
        assert asked == []
        assert len(again) == 8 + 4
        assert [(each.sequence, len(each.frames)) for each in passages] == [("pair", 5), ("solo", 5)]
        counted = []
        go_through(
            sequences,
            [ScriptedFinder("one", stopped)],
            lambda: counted.append(1),
            store=VideoFolder(tmp_path / "run", {}),
        )
        assert (asked, len(counted)) == ([], 12)

    def test_what_failed_is_tried_again(self, tmp_path):
        root = write_davis_2017(tmp_path / "data")

        def breaks(sequence, number):
            raise PersamError("It broke.")

        sequences = read_sequences("davis", root)[1]
        bad, _ = go_through(sequences, [ScriptedFinder("one", breaks)], store=VideoFolder(tmp_path / "run", {}))
        assert figures(bad)["jf"] == 0  # also where nothing was to be found
        good, _ = go_through(
            sequences, [ScriptedFinder("one", truth_of(root))], store=VideoFolder(tmp_path / "run", {})
        )
        assert figures(good)["jf"] == 1


class TestScore:
    @pytest.fixture
    def predicted(self, tmp_path):
        """Labels of sequences, one column off."""
        root = write_davis_2017(tmp_path / "data")
        truth = truth_of(root)
        finder = ScriptedFinder("off", lambda sequence, number: np.roll(truth(sequence, number), 1, axis=1))
        records, _ = go_through(read_sequences("davis", root)[1], [finder], store=VideoFolder(tmp_path / "run", {}))
        return root, tmp_path / "run/predictions/off", records

    def test_our_own_labels_get_our_own_numbers(self, predicted):
        root, folder, records = predicted
        report = score_video("davis", root, folder, VideoSetup())
        assert report.summaries[0].method == "off"
        assert report.figure("off") == pytest.approx(figures(records)["jf"])
        assert {record.query: record.iou for record in report.records} == {
            record.query: record.iou for record in records
        }
        assert not report.missing

    def test_labels_of_persam_video_number_the_objects(self, tmp_path):
        """The data set calls them 2 and 5, `persam video` 1 and 2."""
        labels = [labels_of({2: (4, 4 + n), 5: (28, 30)}) for n in range(5)]
        write_sequence(tmp_path / "data", "odd", labels)
        for number, each in enumerate(labels):
            numbered = np.searchsorted([0, 2, 5], each).astype(np.uint8)
            write_labels(tmp_path / f"tracked/labels/{number:05}.png", numbered)
        report = score_video("davis", tmp_path / "data", tmp_path / "tracked", VideoSetup(), year=2017)
        assert report.figure("tracked") == 1
        shutil.move(tmp_path / "tracked", tmp_path / "all/odd")
        assert score_video("davis", tmp_path / "data", tmp_path / "all", VideoSetup(), year=2017).figure("all") == 1

    def test_the_numbers_are_those_of_all_objects_shown_so_far(self, tmp_path):
        """Object 5 comes in where 2 is out of sight, and is number 2 nevertheless: 2 was given before."""
        labels = [labels_of({2: None if n == 2 else (4, 4 + n), 5: (28, 30) if n >= 2 else None}) for n in range(5)]
        write_sequence(tmp_path / "data", "late", labels, size="")
        for number, each in enumerate(labels):
            write_labels(
                tmp_path / f"tracked/labels/{number:05}.png", np.searchsorted([0, 2, 5], each).astype(np.uint8)
            )
        report = score_video("youtube-vos", tmp_path / "data", tmp_path / "tracked", VideoSetup())
        assert {record.query: record.iou for record in report.records if record.object == "late/5"} == {
            "late/5/00003": 1,
            "late/5/00004": 1,
        }
        assert report.figure("tracked") == 1

    def test_labels_of_one_clip_are_not_taken_for_several(self, tmp_path):
        root = write_davis_2017(tmp_path / "data")
        write_labels(tmp_path / "tracked/labels/00001.png", labels_of({1: (4, 4)}))
        with pytest.raises(UsageError, match="has the labels of one clip, but there are 2 sequences"):
            score_video("davis", root, tmp_path / "tracked", VideoSetup())
        report = score_video("davis", root, tmp_path / "tracked", VideoSetup(sequences=["solo"]))
        assert set(report.missing["tracked"]) == {"solo/1/00002", "solo/1/00003", "solo/1/00004"}

    def test_the_first_frames_alone(self, predicted):
        root, folder, records = predicted
        report = score_video("davis", root, folder, VideoSetup(frames=4))
        assert {record.query for record in report.records} == {
            record.query for record in records if record.query.endswith(("1", "2"))
        }

    def test_photos_by_themselves_are_scored_as_ever(self, predicted):
        root, folder, records = predicted
        episodes = read_sequences("davis", root)[0].episodes
        scored = {record.query: record.iou for record in score_predictions(episodes, folder)}
        assert scored == {record.query: record.iou for record in records}
        assert 0 < min(iou for iou in scored.values() if iou) < 1
