"""Reports as a notebook sees them; the worst-cases sheet and the plots."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.methods_for_tests import ByColour, Failing, drawn_episodes
from tests.benchmark.records_for_tests import record
from tests.fakes import ColourModel

import persam.benchmark
from persam.benchmark import Setup, bench, bench_absent
from persam.benchmark.conduct import load_data, title_of
from persam.benchmark.records import queries_of
from persam.benchmark.reporting.plots import plot_ious
from persam.benchmark.reporting.protocols import PERSEG
from persam.benchmark.reporting.report import Report, run_page, works_with
from persam.benchmark.reporting.worst import TRUTH, read_prediction, worst_queries, worst_sheet
from persam.benchmark.running.run import run
from persam.benchmark.running.run_folder import RunFolder
from persam.errors import PersamError, UsageError
from persam.reports.pictures import encoded
from persam.reports.tables import Table


@pytest.fixture
def report(tmp_path):
    episodes = drawn_episodes(tmp_path / "data")
    store = RunFolder(tmp_path / "out", {})
    records = run(episodes, [ByColour("good"), ByColour("shifted", 20), Failing(on=[0])], store=store)
    queries = queries_of(episodes)

    def prediction(method, query):
        return read_prediction(store.prediction_path(method, query))

    return Report("drawn", "perseg", PERSEG, records, queries, {"works with": "colours"}, (), prediction)


def test_everything_is_computed_from_the_records(report):
    by_hand = np.mean([each.iou for each in report.records if each.method == "shifted"])
    assert report.figure("shifted", "iou") == pytest.approx(by_hand)
    assert report.figure("good") > report.figure("shifted")
    assert report.missing == {"failing": {"mug/01": "The photo is too odd; give another."}}
    values = report.metrics()
    json.dumps(values)
    times = values.pop("times")
    assert set(times["methods"]) == {"good", "shifted", "failing"}
    assert "seconds" not in json.dumps(values)


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"model": "tiny", "encoder": None}, "tiny"),
        ({"model": "tiny", "encoder": "dino"}, "dino for matching, tiny"),
        ({"model": "tiny", "checkpoint": "dino"}, "dino, tiny"),
        ({"checkpoint": "seggpt"}, "its own"),
    ],
)
def test_what_a_method_works_with(described, words):
    assert works_with(described) == words


def test_a_methods_encoder_is_in_its_row(report):
    report.settings["methods"] = {"good": {"model": "other"}, "shifted": {"method": "U-Net"}}
    shown = {row[0]: row[1] for row in report.table().rows}
    assert shown == {"good": "other", "shifted": "its own", "failing": "colours"}


def test_title(tmp_path):
    assert title_of("perseg", "tiny", tmp_path) == "PerSeg, tiny"
    assert title_of("perseg", "its own", tmp_path) == "PerSeg"
    assert title_of("folder", "tiny", tmp_path / "my_mugs") == "my_mugs (a folder of your own), tiny"


class TestWorst:
    def test_the_worst_come_first_and_no_object_fills_the_sheet(self):
        records = [record("bad", n, n, 100, 100) for n in range(9)] + [record("good", n, 99, 99, 99) for n in range(4)]
        assert worst_queries(records) == ["bad/0", "bad/1", "bad/2", "good/0", "good/1", "good/2"]
        assert len(worst_queries(records, 2)) == 2

    def test_the_mean_over_methods_decides(self):
        records = [
            record("a", 1, 0, 100, 100, method="x"),
            record("a", 1, 99, 99, 99, method="y"),
            record("b", 1, 40, 99, 99, method="x"),
            record("b", 1, 40, 99, 99, method="y"),
        ]
        assert worst_queries(records)[0] == "b/1"

    def test_sheet(self, report, tmp_path):
        sheet = worst_sheet(report.records, report.queries, report.prediction, "title")
        assert len(sheet) == 4 * (1 + 3)  # each case: its reference and three methods
        assert sheet.columns == 4
        (path,) = sheet.write_png(tmp_path / "worst.png")
        picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
        greenish = (np.abs(picture - np.array(TRUTH)).max(axis=2) < 60).sum()
        assert greenish > 500

    def test_photos_that_are_gone(self, report, tmp_path):
        for query in report.queries:
            query.sample.photo.unlink()
            query.episode.references[0].photo.unlink(missing_ok=True)
        assert worst_sheet(report.records, report.queries, report.prediction, "t").write_png(tmp_path / "w.png")


class TestPage:
    def test_it_holds_table_plot_and_worst_cases_and_needs_nothing_else(self, report):
        sheet = worst_sheet(report.records, report.queries, report.prediction, "title")
        plot = encoded(np.zeros((4, 6, 3), np.uint8), "PNG")
        table = Table("<b>mugs", ("method", "mIoU"), (("my <method>", "61.2 [55.0, 67.3]"),), notes=("A note.",))
        html = run_page(table, {"a plot": plot}, sheet)
        assert "&lt;b&gt;mugs" in html
        assert "<td><b>61.2</b> <small>[55.0, 67.3]</small></td>" in html
        assert "my &lt;method&gt;" in html
        assert html.count("data:image/jpeg;base64,") == len(sheet)
        assert html.count("data:image/png;base64,") == 1
        assert not re.search(r'(src|href)="(?!data:)', html)
        assert "Worst cases" not in run_page(table, {})


class TestPlots:
    @pytest.mark.parametrize("objects", [1, 5, 80])
    def test_ious(self, tmp_path, objects):
        records = [record(f"o{n % objects}", n, n % 50, 50, 50, method=m) for n in range(90) for m in "ab"]
        plot_ious(records, "a_$title$", tmp_path / "iou.png")
        assert Image.open(tmp_path / "iou.png").width == 960

    def test_without_matplotlib(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(PersamError, match=r"pip install 'persam\[bench\]'"):
            plot_ious([record("a", 1, 1, 2, 2)], "t", tmp_path / "iou.png")


class TestApi:
    @pytest.fixture(autouse=True)
    def colours(self, monkeypatch):
        monkeypatch.setattr("persam.models.loading.load_model", lambda *names, **options: ColourModel())

    def test_a_notebook(self, data):
        done = []
        report = bench(
            "perseg",
            data / "perseg",
            Setup(methods=["persam"], modes=["persam", "paper"]),
            progress=lambda now, total: done.append((now, total)),
            shots=2,
        )
        assert [summary.method for summary in report.summaries] == ["persam", "paper-persam"]
        assert done == [(1, 2), (2, 2)]
        assert report.folder is None
        assert 0 <= report.figure("persam") <= 1
        assert report.table().markdown().startswith("# PerSeg, colours")

    @pytest.mark.parametrize("measure", [bench, bench_absent])
    def test_missing_matplotlib_is_told_before_the_work(self, data, tmp_path, monkeypatch, measure):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(PersamError, match=r"pip install 'persam\[bench\]'"):
            measure("perseg", data / "perseg", out=tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_limit_takes_from_every_object_in_turns(self, data):
        loaded = load_data("perseg", data / "perseg", Setup(limit=3))
        assert [[sample.name for sample in each.tests] for each in loaded.episodes] == [
            ["dog toy/01", "dog toy/02"],
            ["mug/01"],
        ]

    def test_davis_loses_its_last_frame_only(self, data):
        (episode,) = load_data("davis", data / "davis", Setup()).episodes
        assert [sample.photo.stem for sample in episode.tests] == [f"{n:05}" for n in range(1, 9)]
        (episode,) = load_data("davis", data / "davis", Setup(), step=8).episodes
        assert [sample.photo.stem for sample in episode.tests] == ["00008"]
        with pytest.raises(UsageError, match="no photos to find the objects in"):
            load_data("davis", data / "davis", Setup(), step=9)

    def test_strange_names(self, data):
        with pytest.raises(UsageError, match="no data set nonsense"):
            bench("nonsense", data)
        with pytest.raises(UsageError, match="takes no colour"):
            bench("perseg", data / "perseg", colour="red")
        with pytest.raises(UsageError, match="nothing to measure"):
            bench("perseg", data / "perseg", Setup(methods=[]))
        with pytest.raises(AttributeError):
            persam.benchmark.nonsense  # noqa: B018

    def test_public_names(self):
        for name in persam.benchmark.__all__:
            assert getattr(persam.benchmark, name).__doc__
