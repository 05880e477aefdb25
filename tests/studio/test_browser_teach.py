"""Teach in a browser: a photo, a drawing, a name, and it is a concept that persam knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from playwright.sync_api import expect
from tests.studio.browsing import StudioProcess, Visit

from persam import Concept
from persam.masks import read_mask
from persam.metrics import iou

ON, BESIDE = (140, 100), (290, 30)
_NOTE_MARKS = """button => { button.marks = []; new MutationObserver(() => button.marks.push(button.ariaDisabled))
  .observe(button, {attributeFilter: ["aria-disabled"]}); }"""


def truth_of(photos: Path) -> np.ndarray:
    return read_mask(photos / "disc_mask.png")


def test_a_drawing_can_be_taken_back_and_is_of_one_browser_tab_alone(visit: Callable[..., Visit], photos: Path) -> None:
    seen, other, truth = visit(), visit(), truth_of(photos)
    for each in (seen, other):
        each.upload("teach-photo", photos / "disc.png")
        each.canvas("teach-canvas").answered()
    board = seen.canvas("teach-canvas")
    board.tool("box")
    board.drag([(80, 60), (200, 180)])
    board.tool("add")
    board.click(ON)
    board.click(BESIDE, "right")  # as the tool beside the object
    assert board.drawn() == (2, 1, 0)
    pointed = board.mask(truth.shape)
    assert iou(pointed, truth) > 0.85

    board.tool("brush")
    board.drag([(270, 200), (300, 200), (300, 210)])
    assert board.drawn() == (2, 1, 1)
    painted = board.mask(truth.shape)
    assert painted[204, 300]
    assert not pointed[204, 300]
    for undone in range(2):
        board.press("Undo")
        assert board.drawn() == (2 - undone, 1, 0)
    for _ in range(2):
        board.press("Redo")
    assert iou(board.mask(truth.shape), painted) > 0.98

    elsewhere = other.canvas("teach-canvas")
    elsewhere.click(BESIDE)
    assert not elsewhere.mask(truth.shape)[204, 300]
    assert board.drawn() == (2, 1, 1)
    board.press("Clear all that is drawn")
    assert board.drawn() == (0, 0, 0)


def test_what_was_learned_is_a_file_that_persam_reads(
    visit: Callable[..., Visit], studio: StudioProcess, photos: Path, tmp_path: Path
) -> None:
    seen, truth = visit(), truth_of(photos)
    seen.upload("teach-photo", photos / "disc.png")
    seen.canvas("teach-canvas").answered()
    seen.page.get_by_role("button", name="I have a mask already").click()
    seen.upload("teach-mask-file", photos / "disc_mask.png")
    expect(seen.status("teach")).to_contain_text("mask is on the photo")
    board = seen.canvas("teach-canvas")
    board.answered()
    assert iou(board.mask(truth.shape), truth) > 0.95
    expect(seen.page.locator("#teach-doctor")).to_contain_text("reference")

    seen.page.locator("#teach-learn").click()
    expect(seen.status("teach")).to_contain_text("no name yet")
    seen.page.locator("#teach-name").get_by_role("textbox").fill("my disc")
    seen.page.locator("#teach-learn").click()
    expect(seen.status("teach")).to_contain_text("Learned my disc")
    (record,) = Concept.load(studio.concepts / "my disc.safetensors").references
    assert record.size == truth.shape
    assert record.coverage == round(float(truth.mean()), 6)

    tune = seen.page.locator("#teach-tune")
    tune.evaluate(_NOTE_MARKS)
    tune.click()
    expect(seen.status("teach")).to_contain_text("Tuned my disc")
    expect(tune).to_have_attribute("aria-disabled", "false")
    assert tune.evaluate("button => button.marks") == ["true", "false"]  # it was busy, and is not
    got = seen.download(seen.page.locator("#teach-download").click)
    got.save_as(tmp_path / "got.safetensors")
    assert got.suggested_filename == "my disc.safetensors"
    assert Concept.load(tmp_path / "got.safetensors").tuned
