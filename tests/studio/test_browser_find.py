"""Find in a browser: results come, are looked at, corrected, explained and taken away."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import expect
from pycocotools import mask as rle
from tests.conftest import draw_scene
from tests.studio.accessibility import nameless, out_of_reach, poor_contrast
from tests.studio.browsing import SIZES, StudioProcess, Visit
from tests.video.drawn import write_clip

from persam import Concept, PerSAM
from persam.metrics import iou


@pytest.fixture
def disc(studio: StudioProcess, photos: Path) -> str:
    """The name of a concept in the studio's folder; every test has its own."""
    name = f"disc {len(list(studio.concepts.glob('*')))}"
    studio.concepts.mkdir(exist_ok=True)
    concept = PerSAM.from_pretrained().learn(photos / "disc.png", photos / "disc_mask.png", name=name)
    concept.save(studio.concepts / f"{name}.safetensors")
    return name


def look_for(seen: Visit, concept: str, *files: Path) -> None:
    seen.page.get_by_label(concept, exact=True).check()
    seen.upload("find-files", *files)
    expect(seen.page.locator("#find-files")).to_contain_text(files[-1].suffix)
    seen.page.locator("#find-run").click()


def test_photos_are_searched_filtered_explained_corrected_and_taken_away(
    visit: Callable[..., Visit], studio: StudioProcess, photos: Path, disc: str, tmp_path: Path
) -> None:
    files = sorted((photos / "album").iterdir())
    seen = visit("Find")
    spoken = seen.page.locator("#find-spoken [role=status]")
    spoken.evaluate("region => { region.dataset.stays = 'yes'; }")
    look_for(seen, disc, *files)
    cards = seen.page.locator("#find-gallery button.card")
    expect(seen.status("find")).to_contain_text(f"{len(files)} photos: ")
    expect(cards).to_have_count(len(files))
    expect(spoken).to_contain_text(f"{len(files)} photos: ")
    expect(spoken).to_have_attribute("data-stays", "yes")
    states = {
        card.get_attribute("aria-label") or card.inner_text(): card.get_attribute("data-state") for card in cards.all()
    }
    assert [state for name, state in states.items() if "no disc" in name] == ["absent"]
    assert sum(state in ("present", "unsure") for state in states.values()) == len(files) - 1

    seen.page.locator("#find-states").get_by_label("not there").check()
    expect(cards).to_have_count(1)
    seen.page.locator("#find-states").get_by_label("not there").uncheck()
    expect(cards).to_have_count(len(files))

    # The keyboard stays where it was, also on a button that is busy; a list that Tab leaves is closed.
    seen.page.locator("#find-run").focus()
    seen.page.keyboard.press("Enter")
    expect(seen.page.locator("#find-run")).to_have_attribute("aria-disabled", "true")
    expect(seen.page.locator("#find-run")).to_have_attribute("aria-disabled", "false")
    expect(seen.page.locator("#find-run")).to_be_focused()
    expect(cards).to_have_count(len(files))
    seen.page.locator("#find-order input").focus()
    expect(seen.page.get_by_role("listbox")).to_be_visible()
    seen.page.keyboard.press("Tab")
    expect(seen.page.get_by_role("listbox")).to_have_count(0)

    cards.filter(has_text="disc 0").click()
    details = seen.page.locator("#find-detail").get_by_role("tab")
    details.nth(1).click()
    expect(seen.page.locator("#find-steps")).to_contain_text("Step 1 of")
    seen.page.locator("#find-steps .on").click()
    expect(seen.page.locator("#find-steps")).to_contain_text("Step 2 of")

    for number in (1, 0):  # the second while the first is explained
        cards.filter(has_text=f"disc {number}").click()
    expect(seen.page.locator("#find-facts")).to_contain_text("disc 0")
    shown = cards.filter(has_text="disc 0").get_attribute("data-card") or ""
    steps = seen.page.locator("#find-steps img").first
    expect(steps).to_have_attribute("src", re.compile(f"/step-{shown.partition('/')[0]}-"))

    details.nth(2).click()
    board = seen.canvas("find-canvas")
    board.answered()
    truth = draw_scene(240, 320, center=(70, 80), radius=44, seed=1)[1]
    board.tool("box")
    board.drag([(24, 34), (116, 126)])
    assert iou(board.mask(truth.shape), truth) > 0.85
    seen.page.locator("#find-learn").click()
    expect(cards.and_(seen.page.locator("[data-state=corrected]"))).to_have_count(1)
    assert len(Concept.load(studio.concepts / f"{disc}.safetensors").references) == 2

    for scheme, size in (("light", "wide"), ("dark", "narrow")):
        seen.page.emulate_media(color_scheme=scheme)
        # Gradio hears of it a moment later; colours of both would be mixed.
        is_dark = "dark => document.body.classList.contains('dark') === dark"
        seen.page.wait_for_function(is_dark, arg=scheme == "dark")
        seen.page.set_viewport_size(SIZES[size])
        assert seen.sideways() <= 0
        assert out_of_reach(seen.page) == []
        assert poor_contrast(seen.page) == []
        assert nameless(seen.page) == []
    seen.page.get_by_role("button", name="Download what is shown").click()
    masks, coco = (seen.parcel(name, tmp_path) for name in ("Masks", "COCO"))
    with zipfile.ZipFile(masks) as parcel:
        (name,) = [name for name in parcel.namelist() if name.endswith("disc 0.png")]
        mask = cv2.imdecode(np.frombuffer(parcel.read(name), np.uint8), cv2.IMREAD_UNCHANGED) > 0
    assert iou(mask, truth) > 0.85
    found = json.loads(coco.read_text())
    (image,) = [each["id"] for each in found["images"] if each["file_name"].endswith("disc 0.png")]
    (note,) = [each for each in found["annotations"] if each["image_id"] == image]
    assert iou(rle.decode(note["segmentation"]).astype(bool), mask) == 1


@pytest.mark.slow
def test_a_clip_is_searched_and_taken_away_with_what_was_found(
    visit: Callable[..., Visit], disc: str, tmp_path: Path
) -> None:
    frames = [draw_scene(240, 320, center=(90 + 6 * each, 120), radius=50, seed=each)[0] for each in range(8)]
    write_clip(tmp_path / "clip.mp4", frames)
    seen = visit("Find")
    look_for(seen, disc, tmp_path / "clip.mp4")
    links = seen.page.locator("#find-clip-links a")
    expect(links.first).to_be_visible()
    got = seen.download(links.filter(has_text="marked").first.click)
    got.save_as(tmp_path / "overlay.mp4")
    reader = cv2.VideoCapture(str(tmp_path / "overlay.mp4"))
    assert int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) == len(frames)
