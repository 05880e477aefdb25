"""A study from its first click to its report, by program: annotators who mask all photos in the browser.

    python -m tests.studio.student_study DATA OUT [--photos 12] [--categories horse,polyp]

DATA holds CATEGORY/images and CATEGORY/masks of equal names. OUT gets the study, with the true masks as gold, and the
report of `persam study run`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, ViewportSize, expect, sync_playwright
from tests.studio.annotators import Annotator, Gesture
from tests.studio.browsing import DrawingBoard, StudioProcess, Visit, chromium

from persam.images import read_image
from persam.masks import read_mask
from persam.study import Annotation, Study, read

ANNOTATORS = (
    Annotator("anna", begins="click", tremor=0.06, content=0.06, patience=2),
    Annotator("ben", begins="box", tremor=0.12, taste=0.015, content=0.12, patience=1),
    Annotator("cleo", begins="box", paints=True, tremor=0.1, taste=-0.01, content=0.08, patience=2),
)
WINDOW: ViewportSize = {"width": 900, "height": 700}


@dataclass(frozen=True)
class Masked:
    """How one mask went.

    Attributes:
        gestures: how many it took.
        iou: of the mask that was saved with the truth.
        seconds: of the program's work on it.
    """

    annotator: str
    category: str
    photo: str
    gestures: int
    iou: float
    seconds: float


def mask_category(visit: Visit, study: Study, category: str, who: Annotator, *, seed: int = 0) -> list[Masked]:
    """Do what one annotator does in one category, from the name to the last photo that is not done."""
    page = visit.page
    rng = np.random.default_rng([seed, *map(ord, f"{who.name}/{category}")])
    work = Annotation.of(study, category, who.name)
    finished = work.done()
    visit.type_in("study-annotator", who.name)
    visit.choose("study-category", category)
    page.locator("#study-start").click()
    board, done = visit.canvas("study-canvas"), []
    for number, photo in enumerate(work.photos, start=1):
        if photo in finished:
            continue
        expect(page.locator("#study-progress")).to_contain_text(f"photo {number} of {len(work.photos)}")
        begun = time.perf_counter()
        truth = read_mask(work.category.folder / "gold" / f"{photo.stem}.png", read_image(photo).shape[:2])
        gestures, mask = mask_photo(board, truth, who, rng)
        page.locator("#study-save").click()
        overlap = (mask & truth).sum() / max(1, (mask | truth).sum())
        done.append(Masked(who.name, category, photo.stem, gestures, float(overlap), time.perf_counter() - begun))
    expect(page.locator("#study-done")).to_be_visible()
    return done


def mask_photo(
    board: DrawingBoard, truth: np.ndarray, who: Annotator, rng: np.random.Generator
) -> tuple[int, np.ndarray]:
    """Draw until content, or out of patience; how many gestures it took, and the mask (H, W) bool as it was seen."""
    seen = who.sees(truth)
    board.answered()
    _do(board, who.first(seen, rng))
    done, mask = 0, board.mask(truth.shape)
    while gesture := who.correction(seen, mask, done, board.brush(), rng):
        _do(board, gesture)
        done, mask = done + 1, board.mask(truth.shape)
    return done + 1, mask


def _do(board: DrawingBoard, gesture: Gesture) -> None:
    board.tool(gesture.tool)
    if len(gesture.places) == 1:
        board.click(gesture.places[0])
    else:
        board.drag(gesture.places)


def make_study(data: Path, out: Path, *, photos: int, categories: Iterable[str] | None = None) -> Study:
    """Make a study of the first photos of each category, and put the truth beside them as gold."""
    chosen = sorted(categories or (each.name for each in data.iterdir() if (each / "masks").is_dir()))
    for category in chosen:
        (out / "photos" / category).mkdir(parents=True)
        for photo in sorted((data / category / "images").iterdir())[:photos]:
            shutil.copy(photo, out / "photos" / category)
    names = ",".join(each.name for each in ANNOTATORS)
    _persam("study", "new", out / "study", "--photos", out / "photos", "--annotators", names)
    for category in chosen:
        gold = out / "study" / category / "gold"
        gold.mkdir()
        for photo in (out / "photos" / category).iterdir():
            shutil.copy(data / category / "masks" / f"{photo.stem}.png", gold)
    return read(out / "study")


def _persam(*words: object) -> str:
    command = [sys.executable, "-m", "persam", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def run(browser: Browser, data: Path, out: Path, *, photos: int, categories: Iterable[str] | None = None) -> None:
    """Make a study, have everybody mask all of it in the studio, and compare; says how each category went.

    Where it was broken off it goes on.
    """
    made = (out / "study").is_dir()
    study = read(out / "study") if made else make_study(data, out, photos=photos, categories=categories)
    running = StudioProcess(out / "studio")
    running.start("--study", study.folder.resolve())
    try:
        for who in ANNOTATORS:
            visit = Visit(browser.new_page(viewport=WINDOW), running.url).open("Study")
            expect(visit.status("study")).to_contain_text("The study has")  # and the names have come
            for category in study.categories:
                if len(Annotation.of(study, category.name, who.name).done()) == len(category.photos):
                    continue
                done = mask_category(visit, study, category.name, who)
                mean = sum(each.iou for each in done) / len(done)
                gestures = sum(each.gestures for each in done) / len(done)
                print(
                    f"{who.name}, {category.name}: {len(done)} masks, {gestures:.1f} gestures, IoU {mean:.3f}",
                    flush=True,
                )
                visit.page.locator("#study-more").click()
            assert visit.wrong == []
            visit.page.close()
    finally:
        running.stop()
    print(_persam("study", "check", study.folder))
    print(_persam("study", "run", study.folder, "-o", out / "report"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=int, default=12, help="of each category")
    parser.add_argument("--categories", type=lambda text: text.split(","), help="such as horse,polyp; all by default")
    asked = parser.parse_args()
    with sync_playwright() as playwright, chromium(playwright) as browser:
        run(browser, asked.data, asked.out, photos=asked.photos, categories=asked.categories)


if __name__ == "__main__":
    main()
