"""Recorded times: a line a mask, kept whole, and what a report makes of it."""

from __future__ import annotations

import csv
import json
import re
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib import rc_context
from scipy.stats import spearmanr
from tests.fakes import ColourModel
from tests.study.test_report import Page

from persam import PerSAM, PersamError
from persam.study import MaskTime, Study, StudyResult, check, read, run, summarise, write_report
from persam.study.plots import _STYLE, _legend, _time_plots
from persam.study.report import metrics
from persam.study.time_summary import TimedMask, _spearman, summarise_times
from persam.study.times import (
    BOTH,
    BY_HAND,
    COLUMNS,
    CORRECTED,
    HAND,
    MIXED,
    NOTHING,
    PROMPTS,
    WITH_MODEL,
    read_times,
    record_time,
)

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def a_time(photo: str = "00", annotator: str = "anna", category: str = "disc", **changes: object) -> MaskTime:
    time = MaskTime(
        annotator, category, photo, 1, WITH_MODEL, PROMPTS, 12.5, 12.5, 20.0, 2, 1, 0, 0, 1,
        NOON, NOON + timedelta(seconds=20), 1, 30.0, "0.1.0",
    )  # fmt: skip
    return replace(time, **changes)


def record_all(study: Study, seconds: dict[str, float], *, by_hand: set[str] = frozenset()) -> None:
    """Each annotator's masks take so many seconds, a few more for every photo."""
    for category in study.categories:
        for who, base in seconds.items():
            for place, photo in enumerate(category.photos, start=1):
                how = {"assistance": BY_HAND, "made": HAND} if who in by_hand else {}
                active = base + 2.0 * place
                time = a_time(photo.stem, who, category.name, place=place, active_seconds=active, **how)
                record_time(category.times_file(who), replace(time, wall_seconds=2 * active))


# ----------------------------------------------------------------------------------------------------- the file


def test_a_line_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "new" / "times.csv"
    assert record_time(file, a_time()) == a_time()
    assert record_time(file, a_time("Tür, 2")) == a_time("Tür, 2")
    assert read_times(file, "disc", "anna").times == (a_time(), a_time("Tür, 2"))
    head, first, _ = file.read_text(encoding="utf-8").splitlines()
    assert tuple(head.split(",")) == COLUMNS
    assert "2026-05-04T12:00:00Z" in first


def test_a_mask_that_is_made_again_keeps_its_line(tmp_path: Path) -> None:
    file = tmp_path / "times.csv"
    record_time(file, a_time())
    record_time(file, a_time("01"))
    later = a_time(
        made=HAND, active_seconds=4.0, wall_seconds=5.0, positive_points=0, negative_points=0, strokes=3, undos=0,
        started_utc=NOON + timedelta(days=1), ended_utc=NOON + timedelta(days=1, seconds=5),
    )  # fmt: skip
    merged = record_time(file, later)
    assert {time.photo: time for time in read_times(file, "disc", "anna").times}["00"] == merged
    assert len(read_times(file, "disc", "anna").times) == 2
    assert (merged.active_seconds, merged.first_active_seconds, merged.wall_seconds) == (16.5, 12.5, 25.0)
    assert (merged.saves, merged.made_again, merged.made, merged.strokes, merged.prompts) == (2, True, BOTH, 3, 6)
    assert (merged.started_utc, merged.ended_utc) == (NOON, NOON + timedelta(days=1, seconds=5))


@pytest.mark.parametrize(
    ("first", "then", "made"),
    [
        (CORRECTED, HAND, CORRECTED),  # it leans towards the model, however little of that is left
        (CORRECTED, PROMPTS, CORRECTED),
        (PROMPTS, HAND, BOTH),
        (HAND, PROMPTS, BOTH),
        (BOTH, HAND, BOTH),
        (HAND, HAND, HAND),
        (NOTHING, HAND, HAND),
        (CORRECTED, NOTHING, NOTHING),
    ],
)
def test_how_a_mask_began_is_not_forgotten(first: str, then: str, made: str) -> None:
    assert a_time(made=then).after(a_time(made=first)).made == made
    assert a_time(made=then).after(a_time(made=first), anew=True).made == then


def test_a_mask_of_two_ways_is_timed_as_neither(tmp_path: Path) -> None:
    """A minute with the model and five seconds by hand are not 65 seconds by hand."""
    file = tmp_path / "times.csv"
    record_time(file, a_time(active_seconds=60.0))
    for assistance in (BY_HAND, BY_HAND, WITH_MODEL):
        mixed = record_time(file, a_time(assistance=assistance, made=HAND, active_seconds=5.0), anew=True)
        assert mixed.assistance == MIXED
    assert read_times(file, "disc", "anna").times == (mixed,)
    ben = a_time(annotator="ben", active_seconds=10.0)
    found = summarise_times([TimedMask(time, None, None) for time in (mixed, ben)], ["anna", "ben"])
    assert found is not None
    assert found.assistance is None
    assert [(figure.name, figure.assistance) for figure in found.people] == [("anna", MIXED), ("ben", WITH_MODEL)]


def test_two_windows_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "times.csv"
    halves = [[f"{window}{number}" for number in range(12)] for window in "ab"]
    threads = [
        threading.Thread(target=lambda half=half: [record_time(file, a_time(photo)) for photo in half])
        for half in halves
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {time.photo for time in read_times(file, "disc", "anna").times} == {*halves[0], *halves[1]}


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("active_seconds", "-1", "active_seconds is '-1'"),
        ("active_seconds", "nan", "active_seconds is 'nan'"),
        ("undos", "two", "undos is 'two'"),
        ("photo", "", "photo is ''"),
        ("started_utc", "yesterday", "started_utc is 'yesterday'"),
        ("made", "by magic", "made is 'by magic', not one of hand, prompts"),
        ("assistance", "mum", "assistance is 'mum', not one of model, none"),
        ("saves", "0", "saves and place count from 1"),
        ("ended_utc", "2020-01-01T00:00:00Z", "it ended before it started"),
        ("annotator", "ben", "it is of disc by ben, but lies in disc by anna"),
    ],
)
def test_a_damaged_line_is_named_kept_and_does_not_count(tmp_path: Path, column: str, value: str, words: str) -> None:
    file = tmp_path / "times.csv"
    record_time(file, a_time())
    record_time(file, a_time("01"))
    rows = list(csv.DictReader(file.open()))
    rows[0][column] = value
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    found = read_times(file, "disc", "anna")
    assert [time.photo for time in found.times] == ["01"]
    assert len(found.damaged) == 1
    assert f"{file}, line 2, does not count: {words}" in found.damaged[0]
    record_time(file, a_time("02"))
    assert next(csv.DictReader(file.open())) == rows[0]  # as it was


def test_a_second_line_of_a_photo_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "times.csv"
    record_time(file, a_time())
    file.write_text(file.read_text() + file.read_text().splitlines()[1] + "\n")
    found = read_times(file, "disc", "anna")
    assert len(found.times) == 1
    assert "line 3, does not count: 00 has a line already" in found.damaged[0]


@pytest.mark.parametrize("content", [b"", b"name,age\nanna,7\n", b"\xff\xfe\x00\x01", b"\x89PNG\r\n\x1a\n\x00"])
def test_a_foreign_file_is_named_and_never_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "times.csv"
    file.write_bytes(content)
    [sentence] = read_times(file, "disc", "anna").damaged
    assert str(file) in sentence
    assert "move it away or mend it" in sentence
    with pytest.raises(PersamError, match="move it away or mend it"):
        record_time(file, a_time())
    assert file.read_bytes() == content


def test_a_column_of_notes_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "times.csv"
    record_time(file, a_time())
    lines = file.read_text().splitlines()
    file.write_text(f"{lines[0]},note\n{lines[1]},was tired\n")
    record_time(file, a_time("01"))
    assert next(csv.DictReader(file.open()))["note"] == "was tired"


# ------------------------------------------------------------------------------------------------ check and run


def test_times_are_no_strays(folder: Path) -> None:
    record_all(read(folder), {"anna": 10, "ben": 20})
    assert check(read(folder)).complete
    (folder / "disc" / "gold" / "times.csv").write_text("")
    assert [problem.kind for problem in check(read(folder)).problems] == ["stray"]


def test_a_check_names_damaged_times_and_photos_without_the_thing(folder: Path) -> None:
    study = read(folder)
    disc = study.categories[0]
    disc.times_file("ben").write_text("name\n")
    disc.mask_file("anna", disc.photos[1]).unlink()
    record_time(disc.times_file("anna"), a_time("01", made=NOTHING))
    found = {problem.kind: problem for problem in check(study).problems}
    assert set(found) == {"times", "missing"}
    assert "is no table of times by persam: it has no column 'annotator'" in found["times"].sentence
    assert "has no mask by anna, who says that the object is not in it" in found["missing"].sentence


def test_without_times_nothing_changes(result: StudyResult) -> None:
    summary = summarise(result)
    assert summary.times is None
    assert "times" not in metrics(result, summary)


def test_the_report_goes_on_without_damaged_times(folder: Path, persam: PerSAM) -> None:
    study = read(folder)
    record_all(study, {"anna": 10})
    study.categories[0].times_file("ben").write_bytes(b"\xff\xfe")
    record_time(study.categories[0].times_file("anna"), a_time("gone"))  # of no mask
    result = run(study, persam)
    assert [problem.kind for problem in result.left_out] == ["times"]
    assert len(result.times) == 12
    assert summarise(result).times is not None


def test_a_photo_without_the_thing_that_has_a_mask_is_not_timed(folder: Path, persam: PerSAM, tmp_path: Path) -> None:
    study = read(folder)
    record_all(study, {"anna": 10, "ben": 20})
    disc = study.categories[0]
    record_time(disc.times_file("anna"), a_time("01", made=NOTHING))
    [problem] = check(study).problems
    assert (problem.kind, problem.category, problem.who, problem.photo) == ("times", "disc", "anna", "01")
    assert f"remove {disc.mask_file('anna', disc.photos[1])} or that line" in problem.sentence
    result = run(study, persam)
    assert result.left_out == (problem,)
    assert len(result.times) == 23
    write_report(result, tmp_path / "report")  # to the end


def test_the_digest_knows_the_times(folder: Path) -> None:
    before = read(folder).digest()
    record_all(read(folder), {"anna": 10})
    assert read(folder).digest() != before


# -------------------------------------------------------------------------------------------------- the figures


@pytest.fixture(scope="module")
def timed(result: StudyResult) -> StudyResult:
    """The study with times: ben drew by hand and slowly, cleo has none."""
    record_all(result.study, {"anna": 10, "ben": 40}, by_hand={"ben"})
    again = replace(a_time("03"), active_seconds=6.0, wall_seconds=6.0)
    record_time(result.study.categories[0].times_file("anna"), again)
    try:
        return run(result.study, PerSAM(ColourModel()))
    finally:
        for file in result.study.folder.rglob("times.csv"):
            file.unlink()


def test_figures_are_those_of_the_seconds(timed: StudyResult) -> None:
    times = summarise(timed).times
    assert times is not None
    assert [(figure.name, figure.assistance, figure.masks) for figure in times.people] == [
        ("anna", WITH_MODEL, 12),
        ("ben", BY_HAND, 12),
    ]
    anna = [time.active_seconds for time in timed.times if time.annotator == "anna"]
    low, high = np.percentile(anna, (25, 75))
    assert times.people[0].median == median(anna)
    assert (times.people[0].low, times.people[0].high) == (low, high)
    assert times.people[0].active == sum(anna)
    assert times.people[0].again == 1
    assert times.people[1].made == {HAND: 12}
    assert [figure.name for figure in times.total] == ["all", "all"]


def test_time_against_agreement_is_spearmans(timed: StudyResult) -> None:
    times = summarise(timed).times
    assert times is not None
    ious = {(each.category, each.photo, each.annotator): each.iou["own"] for each in timed.answers}
    known = [(t.active_seconds, ious[key]) for t in timed.times if (key := (t.category, t.photo, t.annotator)) in ious]
    assert times.with_model is not None
    assert times.with_model.rho == pytest.approx(spearmanr(*zip(*known, strict=True)).statistic)
    assert times.with_model.low <= times.with_model.rho <= times.with_model.high
    assert (times.with_model.masks, times.with_model.photos) == (20, 10)
    assert times.with_others is not None
    assert (times.with_others.masks, times.with_others.photos) == (24, 12)


@pytest.mark.parametrize("seed", range(5))
def test_ranks_with_many_ties(seed: int) -> None:
    """As a bootstrap draws them: equal ones share a rank, and a side of one value has none."""
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 9, 30), rng.integers(0, 4, 30)
    assert _spearman(one, other) == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    with pytest.raises(ValueError, match="nothing to rank"):
        _spearman(one, np.full(30, seed))


def test_help_is_compared_on_photos_that_have_both() -> None:
    """By hand it takes four times as long, whatever the photo."""
    photos = {"00": 5.0, "01": 9.0, "02": 30.0, "03": 4.0, "04": 11.0, "05": 2.0}
    masks = [TimedMask(a_time(photo, active_seconds=seconds), 0.5, None) for photo, seconds in photos.items()]
    masks += [
        TimedMask(a_time(photo, "ben", active_seconds=4 * seconds, assistance=BY_HAND, made=HAND), 0.5, None)
        for photo, seconds in photos.items()
    ]
    masks.append(TimedMask(a_time("alone", active_seconds=1000.0), None, None))
    masks.append(TimedMask(a_time("00", "cleo", active_seconds=1000.0, assistance=MIXED, made=BOTH), None, None))
    found = summarise_times(masks, ["anna", "ben"])
    assert found is not None
    assert found.assistance is not None
    assert (found.assistance.ratio, found.assistance.photos) == (pytest.approx(0.25), 6)
    assert found.assistance.p_value == pytest.approx(2 / 2**6)
    assert found.with_others is None  # all agree alike
    assert found.with_model is None


@pytest.mark.parametrize("seconds", [(12.0, 18.0), (7.0, 7.0), (0.0, 0.1), (4000.0, 4100.0), (30000.0, 30001.0)])
def test_an_axis_of_seconds_says_seconds(seconds: tuple[float, float]) -> None:
    """However near to each other all masks are: without marks of ours matplotlib writes formulas."""
    masks = [TimedMask(a_time(f"{number:02}", active_seconds=each), 0.5, None) for number, each in enumerate(seconds)]
    with rc_context(_STYLE):
        drawn = _time_plots(summarise_times(masks, ["anna"]), {"anna": "#ff0000"})
    for svg in drawn.values():
        assert "mathdefault" not in svg
        assert re.search(r">\d[\d.]* (s|min)</text>", svg)


def test_names_that_begin_alike_are_two_in_a_legend() -> None:
    """Shortened they look the same, but a mark without a name would belong to nobody."""
    figure, axis = plt.subplots()
    for end in "ab":
        axis.plot([0], [0], label="x" * 60 + end)
        axis.plot([1], [0], label="x" * 60 + end)
    _legend(axis)
    assert len(axis.get_legend().get_texts()) == 2
    plt.close(figure)


def test_report_with_times(timed: StudyResult, tmp_path: Path) -> None:
    html = write_report(timed, tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert page.tags.count("svg") == 5
    assert "#010203" not in html
    assert "mathdefault" not in html  # a formula, which is not set
    for part in ("Recorded for 24 masks", "30 s without a movement", "Spearman's rank correlation", "24 masks of 12"):
        assert part in page.text
    assert "On the 12 photos that were masked both with the model's help and by hand alone" in page.text
    data = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=lambda word: pytest.fail(word))["times"]
    assert data["people"][0]["name"] == "anna"
    assert data["with_model_to_by_hand"]["photos"] == 12
    assert len(data["masks"]) == 24
    assert {"active_seconds", "iou_with_others", "iou_with_model", "started_utc"} <= set(data["masks"][0])
