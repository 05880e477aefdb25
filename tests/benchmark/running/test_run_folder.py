"""The folder of a run: what survives, what is refused, what is left alone."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.methods_for_tests import ByColour, Failing, drawn_episodes

from persam.benchmark.running.run import run
from persam.benchmark.running.run_folder import RunFolder, mask_name, read_records
from persam.errors import PersamError, UsageError

SETTINGS = {"mode": ["persam"], "shots": 1, "methods": {"colour": {"fingerprint": "abc"}}}


def test_damaged_records_are_told(tmp_path):
    RunFolder(tmp_path, SETTINGS)
    (tmp_path / "records.jsonl").write_bytes(b"{}\nnonsense\n{}\n")
    with pytest.raises(PersamError, match=r"damaged in line 2; start over with --fresh, or choose another --output"):
        RunFolder(tmp_path, SETTINGS)


class TestGoingOn:
    def test_what_is_done_is_not_asked_again(self, tmp_path):
        episodes, out = drawn_episodes(tmp_path / "data"), tmp_path / "out"
        whole = run(episodes, [ByColour()], store=RunFolder(out, SETTINGS))
        assert (out / "predictions/colour/mug/01.png").is_file()
        lines = (out / "records.jsonl").read_text().splitlines(keepends=True)
        (out / "records.jsonl").write_text("".join(lines[:3]) + lines[3][:40])  # killed while it wrote the fourth
        method, store = ByColour(), RunFolder(out, SETTINGS)
        assert len(store) == 3
        again = run(episodes, [method], store=store)
        assert method.learned == ["cat"]  # of mug nothing is left
        assert method.asked == 1
        assert [replace_seconds(record) for record in again] == [replace_seconds(record) for record in whole]
        assert again[:3] == whole[:3]
        assert read_records(out) == again

    def test_a_method_that_is_half_done(self, tmp_path):
        episodes, out = drawn_episodes(tmp_path / "data"), tmp_path / "out"
        run(episodes, [ByColour("a"), ByColour("b")], store=RunFolder(out, SETTINGS))
        lines = (out / "records.jsonl").read_text().splitlines(keepends=True)
        (out / "records.jsonl").write_text("".join(line for line in lines if '"b"' not in line))
        first, second = ByColour("a"), ByColour("b")
        records = run(episodes, [first, second], store=RunFolder(out, SETTINGS))
        assert (first.asked, first.learned, second.asked) == (0, [], 4)
        assert [record.method for record in records] == ["a", "b"] * 4

    def test_what_failed_is_tried_again(self, tmp_path):
        episodes, out = drawn_episodes(tmp_path / "data"), tmp_path / "out"
        run(episodes, [Failing("m", on=[2])], store=RunFolder(out, SETTINGS))
        assert not (out / "predictions/m/cat/01.png").exists()
        method = ByColour("m")
        records = run(episodes, [method], store=RunFolder(out, SETTINGS))
        assert method.asked == 1
        assert all(record.failure is None for record in records)
        assert read_records(out) == records  # the later line counts

    def test_predictions_are_the_masks(self, tmp_path):
        episodes, out = drawn_episodes(tmp_path / "data"), tmp_path / "out"
        records = run(episodes, [ByColour()], store=RunFolder(out, SETTINGS))
        mask = np.asarray(Image.open(out / "predictions/colour/cat/02.png"))
        assert mask.shape == (60, 80)
        assert set(np.unique(mask)) == {0, 255}
        assert (mask > 0).sum() == records[-1].counts.predicted

    def test_half_written_predictions_are_swept(self, tmp_path):
        RunFolder(tmp_path, SETTINGS)
        (tmp_path / "predictions/colour").mkdir(parents=True)
        (tmp_path / "predictions/colour/.12-34.tmp.png").write_bytes(b"\x89PNG")
        RunFolder(tmp_path, SETTINGS)
        assert list((tmp_path / "predictions/colour").iterdir()) == []


def replace_seconds(record):
    return record.to_dict() | {"seconds": 0}


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"shots": 3}, "a run with shots = 1, now it is 3"),
            ({"mode": ["persam", "paper"]}, "a run with mode = persam, now it is persam, paper"),
            ({"methods": {"colour": {"fingerprint": "xyz"}}}, "methods.colour.fingerprint = abc, now it is xyz"),
            ({"fold": 2}, "a run with fold = none, now it is 2"),
        ],
    )
    def test_other_settings(self, tmp_path, change, words):
        RunFolder(tmp_path, SETTINGS)
        with pytest.raises(UsageError) as caught:
            RunFolder(tmp_path, SETTINGS | change)
        assert words in str(caught.value)
        assert "another --output, or start over with --fresh" in str(caught.value)
        RunFolder(tmp_path, SETTINGS)  # the first is as it was

    def test_a_setting_that_is_gone(self, tmp_path):
        RunFolder(tmp_path, SETTINGS)
        with pytest.raises(UsageError, match="shots = 1, now it is none"):
            RunFolder(tmp_path, {key: value for key, value in SETTINGS.items() if key != "shots"})

    def test_fresh_drops_the_run_and_nothing_else(self, tmp_path):
        episodes = drawn_episodes(tmp_path / "data")
        run(episodes, [ByColour()], store=RunFolder(tmp_path / "out", SETTINGS))
        (tmp_path / "out" / "mine.txt").write_text("keep")
        store = RunFolder(tmp_path / "out", SETTINGS | {"shots": 3}, fresh=True)
        assert len(store) == 0
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mine.txt", "settings.json"]

    def test_fresh_in_a_folder_of_others(self, tmp_path):
        """Without settings there is no run of ours: nothing may be removed."""
        (tmp_path / "predictions").mkdir()
        (tmp_path / "predictions" / "theirs.png").write_text("keep")
        RunFolder(tmp_path, SETTINGS, fresh=True)
        assert (tmp_path / "predictions" / "theirs.png").read_text() == "keep"

    def test_records_without_settings(self, tmp_path):
        (tmp_path / "records.jsonl").write_text("{}\n")
        with pytest.raises(UsageError, match=r"holds a records.jsonl, but no settings.json"):
            RunFolder(tmp_path, SETTINGS)

    @pytest.mark.parametrize("text", ["{", "[]"])
    def test_damaged_settings(self, tmp_path, text):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(PersamError, match=r"settings.json is"):
            RunFolder(tmp_path, SETTINGS)

    def test_records_of_another_version(self, tmp_path):
        RunFolder(tmp_path, SETTINGS)
        (tmp_path / "records.jsonl").write_text(json.dumps({"method": "a"}) + "\n")
        with pytest.raises(PersamError, match="another version of persam; start over with --fresh"):
            RunFolder(tmp_path, SETTINGS)

    def test_a_file_in_the_way(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(PersamError, match="Cannot write"):
            RunFolder(tmp_path / "file", SETTINGS)

    @pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
    def test_an_unwritable_folder(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(PersamError, match="not allowed"):
            RunFolder(tmp_path / "out", SETTINGS)

    def test_no_run(self, tmp_path):
        with pytest.raises(UsageError, match=r"holds no run: there is no records.jsonl"):
            read_records(tmp_path)


def test_names_of_masks_stay_below_the_folder():
    assert mask_name("bear/1/00005").as_posix() == "bear/1/00005.png"
    assert ".." not in mask_name("../../etc/passwd").parts
    assert mask_name("a:b/c?").as_posix() == "a_b/c_.png"
