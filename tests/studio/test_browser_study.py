"""Study in a browser: masks, their times, a stop and a return; and all of a study by program."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect
from tests.conftest import draw_scene
from tests.studio import student_study
from tests.studio.annotators import Annotator
from tests.studio.browsing import StudioProcess, Visit

from persam import study as studies
from persam.masks import read_mask
from persam.metrics import iou

DATA = Path(__file__).parents[3] / "shared" / "data" / "study"


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioProcess]:
    """A studio for a study of two photos of a disc, whose truth lies beside them."""
    folder = tmp_path_factory.mktemp("studied")
    for number, (x, y) in enumerate([(100, 100), (190, 130)]):
        drawn = draw_scene(200, 280, center=(x, y), radius=50, seed=number)
        for kind, pixels in zip(("images", "masks"), drawn, strict=True):
            (folder / "data" / "disc" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / "data" / "disc" / kind / f"{number}.png")
    made = student_study.make_study(folder / "data", folder, photos=2)
    running = StudioProcess(folder / "studio")
    running.start("--study", made.folder)
    yield running
    running.stop()


def study_of(running: StudioProcess) -> studies.Study:
    return studies.read(running.folder.parent / "study")


def test_masks_go_into_the_study_with_their_times(
    visit: Callable[..., Visit], studied: StudioProcess, tmp_path: Path
) -> None:
    anna = Annotator("anna", tremor=0.03, content=0.1, patience=2)
    made = study_of(studied)
    seen = visit("Study", of=studied)
    done = student_study.mask_category(seen, made, "disc", anna)
    assert [each.photo for each in done] == ["0", "1"]
    (category,) = made.categories
    for photo, one in zip(category.photos, done, strict=True):
        truth = read_mask(category.folder / "gold" / photo.name)
        mask = read_mask(category.mask_file("anna", photo))
        assert iou(mask, truth) > 0.8
        assert iou(mask, truth) == pytest.approx(one.iou, abs=0.03), "what was seen is what was saved"
    with category.times_file("anna").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["photo"] for row in rows] == ["0", "1"]
    assert all(0 < float(row["seconds"]) < 600 for row in rows)


def test_who_comes_back_goes_on_where_it_was_left(visit: Callable[..., Visit], studied: StudioProcess) -> None:
    """By keyboard alone, from the name on."""
    seen = visit("Study", of=studied)
    page = seen.page
    expect(seen.status("study")).not_to_be_empty()
    seen.choose("study-annotator", "ben")
    page.locator("#study-start").press("Enter")
    seen.canvas("study-canvas").answered()
    page.locator("#study-canvas .pc-stage").focus()
    page.keyboard.press("ArrowLeft")
    for _ in range(2):
        page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Enter")
    seen.canvas("study-canvas").answered()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#study-progress")).to_contain_text("photo 2 of 2")
    page.reload()
    expect(seen.status("study")).not_to_be_empty()
    seen.choose("study-annotator", "ben")
    page.locator("#study-start").click()
    expect(page.locator("#study-progress")).to_contain_text("photo 2 of 2")


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="no photos of the annotation study in ../shared/data/study")
def test_the_students_study_ends_in_its_report(browser: Browser, tmp_path: Path) -> None:
    """Three annotators by program, two photos of two categories; `student_study.py` does all of them."""
    student_study.run(browser, DATA, tmp_path / "out", photos=2, categories=["horse", "skin"])
    report = json.loads((tmp_path / "out" / "report" / "metrics.json").read_text())
    assert report
