"""The students' study by program: who comes back goes on, and it ends in the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tests.studio import student_study

DATA = Path(__file__).parents[3] / "shared" / "data" / "study"


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="no photos of the annotation study in ../shared/data/study")
def test_the_students_study_ends_in_its_report(browser: Browser, tmp_path: Path) -> None:
    """Two photos of two categories; `student_study.py` does all of them."""
    student_study.run(browser, DATA, tmp_path / "out", photos=2, categories=["horse", "skin"])
    report = json.loads((tmp_path / "out" / "report" / "metrics.json").read_text())
    assert report["times"]
