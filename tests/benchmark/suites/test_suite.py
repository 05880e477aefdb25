"""What suites share: photos, paired differences, JSON and Markdown."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.fakes import random_sam

from persam.benchmark.records import Record
from persam.benchmark.suites.suite import (
    Findings,
    PhotoSet,
    Results,
    Trial,
    change,
    check_out,
    headline,
    read_photos,
)
from persam.errors import PersamError, UsageError
from persam.metrics import Counts
from persam.reports.tables import Table


def record(method: str, thing: str, photo: str, iou: float, failure: str | None = None) -> Record:
    counts = Counts(round(100 * iou), 100, round(100 * iou), 1000)
    name = f"{thing}/{photo}"
    return Record(method, "set", thing, name, ("00",), None, counts, True, 0.5, True, 0.1, query=name, failure=failure)


RECORDS = [
    record("a", "mug", "1", 0.8), record("a", "mug", "2", 0.4), record("a", "dog", "1", 0.1),
    record("b", "mug", "1", 0.9), record("b", "mug", "2", 0.6), record("b", "dog", "1", 0.5),
]  # fmt: skip


def about(photos: PhotoSet, **more) -> dict:
    """What is said of a trial on these photos."""
    return Trial(photos, random_sam()).run([], **more).about


class TestPhotos:
    def test_together(self, data):
        photos = read_photos(data)
        assert photos.count == 2 * 2 + 2 + 1
        assert photos.source == "perseg, fss, davis (every 8th frame); the first photo of an object is its reference"
        assert len(photos.about()["data_fingerprint"]) == 64

    def test_one_data_set(self, data):
        photos = read_photos(data / "perseg", "perseg")
        assert photos.count == 4
        assert photos.source.startswith("perseg: ")
        before = photos.about()
        next((data / "perseg").rglob("01.jpg")).write_bytes(b"other")
        after = read_photos(data / "perseg", "perseg").about()
        assert after["data_fingerprint"] != before["data_fingerprint"]

    def test_a_quick_look_sees_every_object(self, data):
        photos = read_photos(data, limit=4)
        assert photos.count == 4
        assert [each.data_set for each in photos.episodes] == ["perseg", "perseg", "fss", "davis"]
        assert read_photos(data, limit=2).count == 2
        assert read_photos(data, limit=2).source.startswith("perseg; ")  # the others are not in it
        assert read_photos(data, limit=1000).count == read_photos(data).count
        said = about(photos)
        assert (said["limit"], said["photos"]) == (4, 4)
        assert "No more than 4 photos" in Findings("trial", said, [], []).below()[1]
        assert not any("No more" in each for each in Findings("trial", said | {"limit": None}, [], []).below())

    def test_wrong(self, data, tmp_path):
        with pytest.raises(UsageError, match="is no folder, so it holds none of the folders"):
            read_photos(tmp_path / "gone")
        with pytest.raises(UsageError, match="no data set imagenet"):
            read_photos(data, "imagenet")


class TestFigures:
    def test_by_hand(self):
        row = Results(RECORDS, {}).numbers("a")
        assert (row["method"], row["photos"], row["objects"]) == ("a", 3, 2)
        assert row["iou"] == pytest.approx((0.8 + 0.4 + 0.1) / 3)
        assert row["miou"] == pytest.approx((120 / 200 + 0.1) / 2)
        assert row["by_object"] == {"mug": pytest.approx(0.6), "dog": pytest.approx(0.1)}
        assert row["miou_interval"][0] <= row["miou"] <= row["miou_interval"][1]

    def test_two_data_sets_may_both_have_a_dog(self):
        records = [record("a", "dog", "1", 0.2), replace(record("a", "dog", "1~2", 0.8), data_set="other")]
        row = Results(records, {}).numbers("a")
        assert row["objects"] == 2
        assert row["by_object"] == {"set/dog": pytest.approx(0.2), "other/dog": pytest.approx(0.8)}
        assert row["miou_interval"] == pytest.approx((0.2, 0.8))

    def test_a_difference_is_paired_and_draws_objects(self):
        found = Results(RECORDS, {})
        test = found.difference("b", "a")
        assert test is not None
        assert test.difference == pytest.approx((0.1 + 0.2 + 0.4) / 3)
        assert test.units == 2
        assert test.low == pytest.approx(0.15)  # the mug alone
        assert test.high == pytest.approx(0.4)  # the dog alone
        assert change(test) == "+23.3 [+15.0, +40.0]"
        assert change(None) == "–"
        assert found.difference("a", "b").difference == -test.difference
        assert found.difference("a", "a").difference == 0
        assert found.difference("a", None) is None

    def test_of_one_object_photos_are_drawn(self):
        assert Results([each for each in RECORDS if each.object == "mug"], {}).difference("b", "a").units == 2

    def test_what_is_missing(self):
        records = [*RECORDS, record("b", "dog", "2", 1.0, failure="too dark.")]
        assert Results(records, {}).missing() == [
            "b gave no answer on 1 of 4 photos, such as dog/2: too dark.",
        ]
        assert Results(RECORDS, {}).missing() == []


class TestOut:
    def test_only_an_earlier_run_of_the_suite_is_replaced(self, tmp_path):
        check_out(tmp_path / "new" / "folder", "modes")
        assert not any(tmp_path.iterdir())
        Findings("modes", {}, [], []).write(tmp_path)
        check_out(tmp_path, "modes")
        with pytest.raises(UsageError, match=r"metrics.json is not of persam bench ablation"):
            check_out(tmp_path, "ablation")
        for text in ("{}", "[]", "no JSON"):
            (tmp_path / "metrics.json").write_text(text)
            with pytest.raises(UsageError, match="would be lost"):
                check_out(tmp_path, "modes")

    def test_a_file_of_others_is_named_before_the_run(self, tmp_path):
        for name in ("table.md", "robustness.png"):
            (tmp_path / name).write_text("theirs")
            with pytest.raises(UsageError, match=f"{name} was not written by persam"):
                check_out(tmp_path, "robustness")
            (tmp_path / name).unlink()

    def test_what_cannot_be_written_is_known_before_the_run(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match="is a file; give a folder"):
            check_out(tmp_path / "file", "modes")
        with pytest.raises(PersamError, match="a part of that path is a file"):
            check_out(tmp_path / "file" / "below", "modes")


class TestFindings:
    def found(self, **more) -> Findings:
        tables = [Table("T | t", ("name", "mIoU"), (("a|b", "1.0 [0.5, 2.0]"),))]
        return Findings("trial", {"model": "tiny"}, [{"iou": 0.5}], tables, ["A note."], **more)

    def test_written(self, tmp_path):
        found = self.found(plots={"plot.png": lambda: b"PNG"})
        written = found.write(tmp_path / "new" / "folder")
        assert [path.name for path in written] == ["metrics.json", "table.md", "plot.png"]
        assert json.loads(written[0].read_text()) == {
            "suite": "trial", "model": "tiny", "rows": [{"iou": 0.5}], "notes": ["A note."],
        }  # fmt: skip
        text = written[1].read_text()
        assert "| name | mIoU |" in text
        assert "a\\|b" in text
        assert "A note." in text
        assert written[2].read_bytes() == b"PNG"

    def test_nothing_is_written_when_a_picture_fails(self, tmp_path):
        def fail() -> bytes:
            raise PersamError("Plots need matplotlib.")

        with pytest.raises(PersamError):
            self.found(plots={"plot.png": fail}).write(tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_about(self, data):
        photos = read_photos(data / "perseg", "perseg")
        said = about(photos, mode="persam")
        assert (
            headline(said)
            == f"random ({random_sam().fingerprint}), encoder its own, mode persam, 4 photos of 2 objects"
        )
        for key in ("versions", "protocol", "data", "data_fingerprint", "weights_sha256"):
            assert said[key]
        below = Findings("x", said, [], []).below()
        assert below[0].startswith("Data: perseg: ")
        assert below[1].startswith("Protocol: ")
        assert "95 % bootstrap" in below[2]
