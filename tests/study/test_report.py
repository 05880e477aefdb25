"""The report: a page that needs nothing else, tables, numbers, masks and pictures."""

from __future__ import annotations

import csv
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.fakes import ColourModel
from tests.study.conftest import make_study
from tests.study.people import CAREFUL, ERODER

from persam import PerSAM, PersamError
from persam.masks import read_mask
from persam.study import StudyResult, gallery, read, run, summarise, write_report
from persam.study.agreement import majority
from persam.study.gallery import triples
from persam.study.report import table_one


class Page(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [
            value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "srcset", "data"}
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def out(result: StudyResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "new" / "report"
    assert write_report(result, folder) == folder / "report.html"
    return folder


def test_all_files_are_there(out: Path) -> None:
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    photos = [f"{number:02}.png" for number in range(6)]
    expected = {"report.html", "metrics.json", "table1.csv", "table1.md", "table1.tex", "gallery.png"}
    for name in ("disc", "plate"):
        expected.add(f"gallery/{name}.png")
        expected |= {f"consensus/{kind}/{name}/{photo}" for kind in ("majority", "staple") for photo in photos}
        expected |= {f"predictions/{name}/{who}/{photo}" for who in ("anna", "ben", "cleo") for photo in photos[1:]}
    assert files == expected


def test_the_page_needs_nothing_else(out: Path) -> None:
    html = (out / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.references
    assert all(reference.startswith(("data:image/webp;base64,", "#")) for reference in page.references)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not re.search(r"url\((?!#)|@import", html)
    assert re.findall(r"https?://[^\"\s]*", re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)) == []
    assert page.tags.count("svg") == 3
    assert "color-scheme: light dark" in html
    assert "currentColor" in html
    assert "#010203" not in html


def test_the_page_says_what_the_tables_say(out: Path, result: StudyResult) -> None:
    text = Page((out / "report.html").read_text(encoding="utf-8")).text
    summary = summarise(result)
    for row in (*summary.rows, summary.total):
        assert row.model is not None
        assert f"{row.model.mean:.3f}" in text
    assert summary.nearness is not None
    assert summary.nearness.verdict in text
    assert "PerSAM with colours (c010c010c010), mode persam, 1 shot; 10 photos, 3 annotators" in text
    assert "under-segments" in text
    assert "Nothing: every photo has a mask" in text


def test_consensus_and_predictions_are_the_masks(out: Path, result: StudyResult) -> None:
    home = result.study.folder / "plate"
    people = [read_mask(home / "annotators" / who / "04.png") for who in ("anna", "ben", "cleo")]
    written = Image.open(out / "consensus" / "majority" / "plate" / "04.png")
    assert written.mode == "L"
    assert (np.asarray(written) == majority(people) * 255).all()


def test_metrics_json(out: Path, result: StudyResult) -> None:
    data = json.loads((out / "metrics.json").read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    summary = summarise(result)
    assert data["run"]["fingerprint"] == "c010c010c010"
    assert data["run"]["mode"] == "persam"
    assert data["run"]["reference_photos"] == {"disc": "00", "plate": "00"}
    assert len(data["run"]["data_sha256"]) == 64
    assert summary.total.model is not None
    assert data["table1"]["all"]["model"]["mean"] == summary.total.model.mean
    assert data["table1"]["disc"]["alpha"] == summary.rows[0].alpha
    assert [entry["pair"] for entry in data["table1"]["all"]["pairs"]] == [
        ["anna", "ben"], ["anna", "cleo"], ["ben", "cleo"]
    ]  # fmt: skip
    assert data["people"]["ben"]["against_gold"]["verdict"] == "under-segments"
    assert data["left_out"] == {"count": 0, "by_kind": {}, "items": []}
    assert len(data["photos"]) == 30
    assert set(data["disputed"]) == {"disc", "plate"}


def test_tables_for_spreadsheets_and_papers(out: Path, result: StudyResult) -> None:
    rows = list(csv.DictReader((out / "table1.csv").open()))
    summary = summarise(result)
    [found] = [row for row in rows if (row["category"], row["figure"]) == ("plate", "model with ben")]
    assert summary.rows[1].annotators["ben"] is not None
    assert float(found["mean"]) == summary.rows[1].annotators["ben"].mean
    assert found["photos"] == "5"
    lines = (out / "table1.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert len(table) == 5
    tex = (out / "table1.tex").read_text()
    lines = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert [line.count("&") for line in lines] == [10] * 4
    assert r"95 \% bootstrap" in tex


def test_gallery(out: Path, result: StudyResult) -> None:
    found = triples(result)
    assert {name: [triple.place for triple in row] for name, row in found.items()} == {
        name: ["best", "middle", "worst"] for name in ("disc", "plate")
    }
    chosen = [triple for row in found.values() for triple in row]
    for triple in chosen:
        photo, prompt, predicted = (tile.picture for tile in triple.tiles)
        assert photo.shape == prompt.shape == predicted.shape
        assert (photo != prompt).any()
        assert (prompt != predicted).any()
    values = [float(triple.tiles[2].caption.split()[1]) for triple in chosen]
    assert values[0] >= values[1] >= values[2]
    with Image.open(out / "gallery.png") as sheet:
        assert sheet.width == 9 * 254 + 14


def test_a_mask_of_one_pixel_still_shows() -> None:
    photo, mask = np.full((1000, 1000, 3), 128, np.uint8), np.zeros((1000, 1000), bool)
    nothing = gallery._marked(gallery._shrunk(photo), mask, (255, 0, 0))
    mask[501, 502] = True
    assert (gallery._marked(gallery._shrunk(photo), mask, (255, 0, 0)) != nothing).any()


def test_a_run_is_written_again_over_itself(result: StudyResult, out: Path) -> None:
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    write_report(result, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_names_are_escaped_everywhere(tmp_path: Path) -> None:
    people = {"<b>anna & co": CAREFUL, "$x_1$ {{ 7*7 }}": ERODER}
    (tmp_path / "photos").mkdir()
    study = tmp_path / "study"
    make_study(tmp_path, {"one": CAREFUL, "two": ERODER}, photos=3)
    for old, name in zip(("one", "two"), people, strict=True):
        (study / "disc" / "annotators" / old).rename(study / "disc" / "annotators" / name)
    (study / "disc" / "annotators" / "<b>anna & co" / "02.png").unlink()  # so that it is named as left out, too
    (study / "disc").rename(study / "<script>alert(1)")
    result = run(read(study), PerSAM(ColourModel()))
    page = Page(write_report(result, tmp_path / "out").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "<script>alert(1)" in page.text
    assert "<b>anna & co" in page.text
    assert "$x_1$ {{ 7*7 }}" in page.text
    summary = summarise(result)
    assert "<b>" not in table_one(result, summary).markdown()
    assert r"\$x\_1\$ \{\{ 7*7 \}\}" in table_one(result, summary).latex()


def test_one_person_and_no_truth(tmp_path: Path) -> None:
    make_study(tmp_path, {"anna": CAREFUL}, photos=2, gold=False)
    result = run(read(tmp_path / "study"), PerSAM(ColourModel()))
    page = Page(write_report(result, tmp_path / "out").read_text(encoding="utf-8"))
    assert "1 person masked" in page.text
    assert "no photo was masked by two people" in page.text
    assert not (tmp_path / "out" / "consensus").exists()


def test_many_categories_break_pages_between_rows(tmp_path: Path) -> None:
    make_study(tmp_path, {"anna": CAREFUL}, categories=tuple(f"c{n}" for n in range(7)), photos=2, gold=False)
    result = run(read(tmp_path / "study"), PerSAM(ColourModel()))
    write_report(result, tmp_path / "out")
    with (
        Image.open(tmp_path / "out" / "gallery.png") as first,
        Image.open(tmp_path / "out" / "gallery-2.png") as second,
    ):
        assert first.width == second.width  # whole rows on both


def test_a_mask_that_changed_since(tmp_path: Path) -> None:
    make_study(tmp_path, {"anna": CAREFUL}, photos=2, gold=False)
    result = run(read(tmp_path / "study"), PerSAM(ColourModel()))
    (tmp_path / "study" / "disc" / "annotators" / "anna" / "01.png").unlink()
    with pytest.raises(
        PersamError, match="A mask has changed since the study was run: disc/01.png has no mask by anna"
    ):
        write_report(result, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_library_there_is_a_sentence(
    result: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PersamError, match=r"needs matplotlib, which is not installed: pip install 'persam\[study\]'"):
        write_report(result, tmp_path / "out")
    assert not (tmp_path / "out").exists()
