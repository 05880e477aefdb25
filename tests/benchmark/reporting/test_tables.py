"""Tables: ours with intervals, theirs with protocol and encoder, names escaped."""

from __future__ import annotations

import re

import pytest
from tests.benchmark.records_for_tests import record

from persam.benchmark.datasets.catalog import DATASETS
from persam.benchmark.reporting.protocols import LABELS, PERSEG, Figure
from persam.benchmark.reporting.published import PUBLISHED, published_for
from persam.benchmark.reporting.summary import summarise
from persam.benchmark.reporting.tables import percent, results_table
from persam.reports.tables import latex_text


def table(**options):
    summaries = summarise([record("mug", 1, 1, 2, 2), record("cat", 1, 2, 2, 2)], PERSEG)
    return results_table("PerSeg, tiny", summaries, PERSEG, published_for("perseg"), encoder="tiny", **options)


def test_ours():
    shown = table()
    row = dict(zip(shown.columns, shown.rows[0], strict=True))
    assert row["mIoU"] == "66.7 [33.3, 100.0]"
    assert row["encoder"] == "tiny"
    assert row["photos"] == "2"
    assert row["source"] == "this run"


def test_theirs_with_protocol_encoder_and_source():
    shown = table()
    rows = [dict(zip(shown.columns, row, strict=True)) for row in shown.below]
    paper = [row for row in rows if row["method"] == "PerSAM-F" and row["mIoU"].startswith("95.33")]
    (row,) = paper
    assert (row["encoder"], row["shots"], row["source"]) == ("SAM ViT-H", "1", "PerSAM paper")
    number = re.search(r"\[(\d+)\]", row["mIoU"])
    assert number is not None
    (note,) = [note for note in shown.notes if note.startswith(f"[{number[1]}]")]
    assert "40 objects, reference 00, IoU pooled per object" in note
    assert row["bIoU"].startswith("77.92 [")
    assert any("arXiv 2305.03048" in note for note in shown.notes)
    assert any("ours are over 2 photos of 2 objects" in note for note in shown.notes)


def test_secondary_sources_are_marked_and_explained():
    shown = table()
    assert [row for row in shown.below if row[-1].endswith("†")]
    assert any(note.startswith("†") for note in shown.notes)


@pytest.mark.parametrize(("data_set", "values"), [("fss", {81.6, 71.2}), ("coco20i", {47.9, 23.0})])
def test_both_circulating_values_are_there(data_set, values):
    known = {each.value for each in published_for(data_set, 1) if each.method == "PerSAM" and each.metric == "miou"}
    assert values <= known


def test_a_terminal_gets_the_paper_alone():
    shown = table(brief=True, shots=3)
    assert "source" not in shown.columns
    assert [row[0] for row in shown.below] == ["PerSAM (paper)", "PerSAM-F (paper)", "SegGPT (paper)"]
    assert {row[2] for row in shown.below} == {"3"}
    assert {len(row) for row in (*shown.rows, *shown.below)} == {len(shown.columns)}


@pytest.mark.parametrize(
    "each", PUBLISHED, ids=lambda each: f"{each.data_set}-{each.method}-{each.metric}-{each.value}"
)
def test_published_numbers_are_complete(each):
    assert each.data_set in DATASETS
    assert each.metric in LABELS
    assert 0 < each.value < 100
    assert each.protocol
    assert each.source
    assert each.shots >= 1


def test_missing_answers_are_named():
    records = [record("mug", n, 0, 0, 4, failure="odd") for n in range(7)]
    notes = " ".join(results_table("t", summarise(records, PERSEG), PERSEG).notes)
    assert "m has no answer for 7 of 7 photos (mug/0, mug/1, mug/2, mug/3, mug/4, ...)" in notes


def test_latex_is_balanced():
    text = table().latex()
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = len(table().columns)
    assert all(len(re.findall(r"(?<!\\)&", line)) == columns - 1 for line in body)
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)[::-1]
    assert text.count(r"\midrule") == 2
    assert text.isascii()


def test_latex_is_as_wide_as_the_text_and_has_the_notes_below():
    shown = table()
    text = shown.latex()
    assert r"\caption{PerSeg, tiny}" in text
    assert r"\resizebox{\linewidth}{!}{%" in text
    below = text[text.index(r"\end{tabular}") :]
    assert all(latex_text(note) in below for note in shown.notes)


def test_every_method_has_its_own_encoder():
    records = [record("mug", 1, 1, 2, 2, method=name) for name in ("persam", "seggpt")]
    shown = results_table("t", summarise(records, PERSEG), PERSEG, encoder="tiny", encoders={"seggpt": "its own"})
    assert [row[:2] for row in shown.rows] == [("persam", "tiny"), ("seggpt", "its own")]


@pytest.mark.parametrize(("objects", "said"), [(1, False), (2, True), (9, True), (10, False)])
def test_an_interval_over_few_objects_is_said_to_be_rough(objects, said):
    records = [record(str(number), 1, 1, 2, 2) for number in range(objects)]
    notes = " ".join(results_table("t", summarise(records, PERSEG), PERSEG).notes)
    assert (f"An interval over {objects} objects is a rough guess" in notes) == said


def test_percent():
    assert percent(Figure(0.5)) == "50.0"
    assert percent(Figure(0.5, (0.25, 0.75), (0, 1))) == "50.0 [25.0, 75.0]"
    assert percent(Figure(0.5, None, (0.0, 1.0))) == "50.0 [0.0, 100.0]"
    assert percent(None) == "–"
