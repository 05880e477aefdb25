"""IoU, intervals, and the table of the modes."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.benchmark.conftest import REAL
from tests.fakes import ColourModel, random_sam
from typer.testing import CliRunner

from persam.benchmark.accuracy import Outcome, intersection_over_union, interval, measure
from persam.benchmark.episodes import read_all, read_perseg
from persam.benchmark.modes import MODES, compare_modes, summarise
from persam.cli.main import app
from persam.method.settings import Settings
from persam.models.loading import load_model

masks = arrays(bool, (4, 5))


class TestIntersectionOverUnion:
    @given(mask=masks, truth=masks)
    def test_brute_force(self, mask, truth):
        pairs = [(bool(a), bool(b)) for a, b in zip(mask.flat, truth.flat, strict=True)]
        both, either = sum(a and b for a, b in pairs), sum(a or b for a, b in pairs)
        expected = both / either if either else 1.0
        assert intersection_over_union(mask, truth) == expected
        assert intersection_over_union(truth, mask) == expected

    def test_ends(self):
        full, empty = np.ones((2, 2), bool), np.zeros((2, 2), bool)
        assert intersection_over_union(full, full) == intersection_over_union(empty, empty) == 1
        assert intersection_over_union(full, empty) == 0


class TestInterval:
    @given(values=st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=30))
    def test_lies_around_the_mean_within_the_range(self, values):
        low, high = interval(np.array(values))
        assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
        if len(values) >= 5:
            assert low - 1e-9 <= np.mean(values) <= high + 1e-9

    def test_known(self):
        values = np.random.default_rng(1).normal(0.5, 0.1, 400)
        low, high = interval(values)
        assert low == pytest.approx(values.mean() - 1.96 * values.std() / 20, abs=2e-3)
        assert high == pytest.approx(values.mean() + 1.96 * values.std() / 20, abs=2e-3)
        assert interval(values) == (low, high)  # repeatable

    def test_of_one_photo(self):
        assert interval(np.array([0.7])) == pytest.approx((0.7, 0.7))


class TestMeasure:
    def test_every_photo_is_encoded_once_for_all_forms(self, data):
        model = ColourModel()
        forms = {
            name: (Settings.of(mode).but(dense_prior=False), tuned)
            for name, mode, tuned in [("a", "persam", False), ("b", "paper", False), ("c", "persam", True)]
        }
        outcomes = list(measure(model, read_perseg(data / "perseg"), forms))
        assert len(outcomes) == 4 * 3
        assert model.encoded == 4 + 2 * 3  # the tests once, the references once for each form
        assert {outcome.form for outcome in outcomes} == {"a", "b", "c"}
        assert [outcome.photo for outcome in outcomes[:3]] == ["01.jpg"] * 3

    def test_a_model_that_is_right_scores_high(self, data):
        settings = Settings.of("persam").but(dense_prior=False, background_subspace=0.0, negative_point=False)
        outcomes = list(measure(ColourModel(), read_all(data), {"x": (settings, False)}))
        assert len(outcomes) == 2 * 2 + 2 + 1
        assert all(outcome.on_object for outcome in outcomes)
        assert np.mean([outcome.iou for outcome in outcomes]) > 0.2  # half of the disc is its stripe
        assert all(0 <= outcome.iou <= 1 for outcome in outcomes)


def outcome(form: str, thing: str, iou: float, on_object: bool = True, data_set: str = "s") -> Outcome:
    return Outcome(form, data_set, thing, "p.jpg", iou, on_object, 0.5)


class TestSummary:
    def test_by_hand(self):
        rows = summarise(
            [
                outcome("a", "mug", 1.0),
                outcome("a", "mug", 0.5),
                outcome("a", "dog", 0.0, on_object=False, data_set="t"),
                outcome("b", "mug", 0.25),
            ]
        )
        assert [row["form"] for row in rows] == ["a", "b"]
        first = rows[0]
        assert first["photos"] == 3
        assert first["miou"] == pytest.approx(0.5)
        assert first["miou_over_objects"] == pytest.approx((0.75 + 0) / 2)
        assert first["by_object"] == {"mug": 0.75, "dog": 0.0}
        assert first["by_data_set"] == {"s": 0.75, "t": 0.0}
        assert first["located"] == pytest.approx(2 / 3)
        low, high = first["miou_interval"]
        assert low <= 0.5 <= high
        json.dumps(rows)

    def test_modes(self, data):
        done: list[int] = []
        outcomes = compare_modes(random_sam(), read_perseg(data / "perseg"), progress=lambda: done.append(1))
        rows = summarise(outcomes)
        assert [row["form"] for row in rows] == [f"{m} {f}" for m in MODES for f in ("PerSAM", "PerSAM-F")]
        assert {row["photos"] for row in rows} == {4}
        assert len(done) == 4  # one step a photo


class TestCommand:
    def run(self, *arguments: object, code: int = 0):
        result = CliRunner().invoke(app, ["bench", *map(str, arguments)], env={"COLUMNS": "160"})
        assert result.exit_code == code, result.output
        return result

    def test_modes_table(self, data):
        for other in ("perseg", "davis"):
            shutil.rmtree(data / other)
        result = self.run("modes", "--data", data, "--device", "cpu")
        assert "official PerSAM-F" in result.stdout
        assert "fss" in result.stdout
        assert "perseg" not in result.stdout
        assert "2 photos" in result.stdout
        assert "95 % bootstrap over photos" in result.stdout.replace("\n", " ")
        assert result.stderr == ""

    def test_modes_json(self, data):
        values = json.loads(self.run("modes", "--data", data, "--device", "cpu", "--json").stdout)
        assert values["model"] == "tiny"
        assert values["encoder"] is None
        assert values["solver"] == "direct"
        assert "one reference per object" in values["protocol"]
        assert len(values["rows"]) == 6
        for row in values["rows"]:
            assert row["miou_interval"][0] <= row["miou"] <= row["miou_interval"][1]
            assert set(row["by_data_set"]) == {"perseg", "fss", "davis"}

    def test_modes_without_data(self, tmp_path):
        result = self.run("modes", "--data", tmp_path, code=2)
        assert "holds none of the folders" in result.stderr

    def test_modes_with_nothing_to_test(self, data):
        shutil.rmtree(data / "davis")
        for episode in read_all(data):
            for photo, _ in episode.tests:
                photo.unlink()
        result = self.run("modes", "--data", data, "--device", "cpu", code=2)
        assert "Traceback" not in result.output
        assert "no photos" in result.stderr

    def test_tuning_json(self):
        values = json.loads(self.run("tuning", "--epochs", 5, "--device", "cpu", "--json").stdout)
        assert values["epochs"] == 5
        assert values["model"] == "tiny"
        assert values["ratio"] == pytest.approx(values["passes"] / values["direct"])
        assert values["direct_loss"] <= values["published_loss"] + 1e-3

    def test_tuning_table(self):
        stdout = self.run("tuning", "--epochs", 3, "--device", "cpu").stdout
        assert "3 decoder passes, as published" in stdout
        assert "faster than the decoder passes alone" in stdout

    @pytest.mark.parametrize("arguments", [("tuning", "--epochs", 0), ("overhead", "--repeats", 0)])
    def test_counts_start_at_one(self, arguments):
        assert "Traceback" not in self.run(*arguments, code=2).output

    def test_overhead_json(self):
        values = json.loads(self.run("overhead", "--model", "tiny", "--device", "cpu", "--repeats", 1, "--json").stdout)
        assert values["plain"] >= 0
        assert values["added"] == pytest.approx(values["persam"] / values["plain"] - 1)


@pytest.fixture(scope="module")
def table() -> dict[str, dict[str, Any]]:
    """All modes on the real photos, with the bundled model."""
    if not REAL.is_dir():
        pytest.skip("the data sets are not here (shared/data beside the repository)")
    rows = summarise(compare_modes(load_model("tiny", device="cpu", dtype="float32"), read_all(REAL)))
    return {row["form"]: row for row in rows}


@pytest.mark.slow
def test_the_peak_lies_on_the_object(table):
    assert table["persam PerSAM"]["located"] >= 0.88


@pytest.mark.slow
@pytest.mark.xfail(strict=False, reason="the aim for the bundled model; its training goes on")
def test_mean_iou_on_real_photos(table):
    assert table["persam PerSAM"]["miou"] >= 0.60


@pytest.mark.slow
@pytest.mark.xfail(strict=False, reason="the modes differ by less than the interval on so few photos")
@pytest.mark.parametrize("mode", ["official", "paper"])
@pytest.mark.parametrize("method", ["PerSAM", "PerSAM-F"])
def test_persam_is_the_best_of_the_three_modes(table, mode, method):
    assert table[f"persam {method}"]["miou"] > table[f"{mode} {method}"]["miou"]


@pytest.mark.slow
def test_direct_tuning_reaches_the_published_loss():
    values = json.loads(CliRunner().invoke(app, ["bench", "tuning", "--device", "cpu", "--json"]).stdout)
    assert values["direct_loss"] <= values["published_loss"]
