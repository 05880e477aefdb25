"""Reports in a browser: a table that is too wide scrolls in its own box, with its names in sight."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect
from tests.fakes import ColourModel
from tests.studio.browsing import SIZES
from tests.study.conftest import make_study
from tests.study.people import CAREFUL

from persam import PerSAM
from persam.study import read, run, write_report


def test_a_study_of_many_people_fits_a_phone(browser: Browser, tmp_path: Path) -> None:
    people = ["anna", "ben", "cleo", "Maximiliane von Hohenstein"]
    make_study(tmp_path, dict.fromkeys(people, CAREFUL), photos=3)
    report = write_report(run(read(tmp_path / "study"), PerSAM(ColourModel())), tmp_path / "report")
    page = browser.new_page(viewport=SIZES["narrow"])
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES["narrow"]["width"]
    table = page.get_by_role("region", name="PerSAM with colours")
    name, last = table.get_by_role("rowheader", name="disc"), table.get_by_role("columnheader", name="band")
    expect(last).not_to_be_in_viewport()
    table.focus()
    table.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    expect(last).to_be_in_viewport()
    expect(name).to_be_in_viewport(ratio=1)
    page.set_viewport_size({"width": 1100, "height": 800})
    assert table.evaluate("box => box.scrollWidth - box.clientWidth") == 0
    page.close()
