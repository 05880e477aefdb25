"""What the tab Study answers when somebody is faster than it, goes away, or comes to a page that forgot them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from tests.fakes import ColourModel
from tests.study.people import write_photos

from persam import PerSAM
from persam.server.engine import Engine
from persam.server.store import ConceptStore
from persam.studio.study.sitting import Sitting
from persam.studio.study.tab import _StudyTab
from persam.studio.workshop import Workshop
from persam.study import annotating, new
from persam.study.times import BY_HAND, WITH_MODEL

COUNT = 4


@dataclass
class Page:
    """A browser tab at the desk: what answers have put on its screen and into its state."""

    tab: _StudyTab
    folder: str
    sittings: dict[Any, Sitting] = field(default_factory=dict)
    screen: dict[Any, Any] = field(default_factory=dict)

    def begin(self, assistance: str = BY_HAND, who: str = "anna", category: str = "disc") -> None:
        begin = self.tab.answering(self.tab._begin)
        self.gets(begin(self.sittings, self.folder, who, category, assistance, self.sittings))

    def gets(self, answer: dict[Any, Any]) -> None:
        self.screen |= answer
        self.sittings = self.screen.get(self.tab.sittings, self.sittings)

    @property
    def sitting(self) -> Sitting:
        return self.screen[self.tab.sitting]

    @property
    def photo(self) -> str:
        return self.screen[self.tab.canvas].get("photo", {}).get("url", "")

    @property
    def status(self) -> str:
        return self.screen[self.tab.status]

    @property
    def unsaved(self) -> bool:
        """Whether the browser asks before the page is left, whatever the open photo shows."""
        return self.screen[self.tab.watch]["unsaved"]

    def shows(self, part: str) -> bool:
        return self.screen[getattr(self.tab, part)]["visible"]

    def value(self, x: float | None = None) -> dict[str, Any]:
        """Of the canvas as it is, with a stroke through x."""
        strokes = [] if x is None else [{"label": 1, "width": 4, "points": [[x, 20], [x + 6, 20]]}]
        return {"points": [], "box": None, "strokes": strokes, "number": 1, "photo": self.photo}

    def does(self, act: Callable[..., dict[Any, Any]], x: float | None = None) -> None:
        self.gets(self.tab.answering(act)(self.sittings, self.sitting, self.value(x), None))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    write_photos(tmp_path / "photos", COUNT)
    study = new(tmp_path / "study", {"disc": tmp_path / "photos"}, ["anna"])
    with (
        Engine(PerSAM(ColourModel())) as engine,
        Workshop(engine, ConceptStore(tmp_path / "concepts"), study=study.folder) as workshop,
        gr.Blocks(),
    ):
        yield Page(_StudyTab(workshop), str(study.folder))


def test_a_key_that_is_pressed_while_a_mask_is_written_loses_nothing(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Save, and page down before the next photo is there: the drawing that waits on that photo stays."""
    page.begin()
    page.does(page.tab._go_on)
    page.does(page.tab._go_back, 40)  # something is drawn on the second
    writes, write = threading.Event(), annotating.write_mask

    def slowly(file: Path, mask: np.ndarray) -> None:
        writes.set()
        time.sleep(0.1)
        write(file, mask)

    monkeypatch.setattr(annotating, "write_mask", slowly)
    asked = page.sitting, page.value(20), None
    answers: list[dict[Any, Any]] = []
    threads = [
        threading.Thread(target=lambda act=act: answers.append(act(*asked)))
        for act in (page.tab._save, page.tab._go_on)
    ]
    threads[0].start()
    assert writes.wait(10)
    threads[1].start()
    for thread in threads:
        thread.join(10)
    assert len(answers) == 2
    visit = page.sitting.visit
    assert visit is not None
    assert visit.photo.name == "01.png"
    assert len(visit.prompts.strokes) == 1
    for answer in answers:  # whichever comes last
        assert answer[page.tab.canvas]["photo"]["url"] == visit.shown.url
        assert answer[page.tab.canvas]["value"]["strokes"]


@pytest.mark.parametrize("second", ["_go_back", "_save", "_nothing", "_stand_up"])
def test_of_two_actions_on_one_photo_the_first_counts_and_both_answers_agree(page: Page, second: str) -> None:
    page.begin()
    page.does(page.tab._go_on)
    asked = page.sitting, page.value(20), None
    first, late = page.tab._go_on(*asked), getattr(page.tab, second)(*asked)
    visit = page.sitting.visit
    assert visit is not None
    assert visit.photo.name == "02.png"
    for answer in (late, first):  # in the other order, too
        page.gets(answer)
        assert page.photo == visit.shown.url
        assert page.shows("desk")
        assert not page.shows("setup")
    page.does(page.tab._save, 30)
    assert "02.png is saved." in page.status


def test_start_over_is_of_the_photo_that_is_seen(page: Page) -> None:
    page.begin()
    page.does(page.tab._go_on)
    page.does(page.tab._go_back, 40)
    sitting, old = page.sitting, page.value(20)
    page.does(page.tab._save, 20)
    page.gets(page.tab._start_over(sitting, old))
    assert page.screen[page.tab.canvas]["value"]["strokes"]  # of the second photo, which was not meant
    page.gets(page.tab._start_over(sitting, page.value(40)))
    assert not page.screen[page.tab.canvas]["value"]["strokes"]


def test_a_second_key_at_the_end_leaves_one_there(page: Page) -> None:
    page.begin()
    for _ in range(COUNT - 1):
        page.does(page.tab._save, 20)
    sitting, old = page.sitting, page.value(20)
    page.does(page.tab._save, 20)
    assert page.shows("end")
    page.gets(page.tab._go_back(sitting, old, None))
    assert page.shows("end")
    assert not page.shows("desk")


def test_what_was_said_of_the_last_photo_stays_until_something_is_drawn_on_this_one(page: Page) -> None:
    """A gesture that waits its turn in the page is sent with what is on the canvas by then, of the next photo."""
    page.begin()
    page.does(page.tab._save, 20)
    assert "00.png is saved." in page.status
    draw = page.tab.answering(page.tab._draw)
    page.gets(draw(page.sittings, page.sitting, page.value()))
    assert "00.png is saved." in page.status
    page.screen[page.tab.canvas] = {"photo": {"url": page.sitting.visit.shown.url}}
    page.gets(draw(page.sittings, page.sitting, page.value(30)))
    assert "saved" not in page.status


def test_who_goes_away_and_comes_back_finds_what_was_drawn(page: Page) -> None:
    page.begin()
    page.does(page.tab._go_on, 20)
    page.does(page.tab._stand_up, 30)
    assert page.shows("setup")
    assert "What is drawn on 00.png, 01.png is not saved yet; it is kept" in page.status
    page.begin(WITH_MODEL)  # another way of masking is another sitting
    assert page.screen[page.tab.canvas]["value"]["strokes"] == []
    page.does(page.tab._stand_up)
    assert page.status.count(".png") == 0
    page.begin(BY_HAND)
    assert page.screen[page.tab.canvas]["value"]["strokes"][0]["points"][0] == [20, 20]
    page.does(page.tab._go_on, 20)
    assert page.screen[page.tab.canvas]["value"]["strokes"][0]["points"][0] == [30, 20]


def test_the_browser_asks_for_what_is_drawn_in_any_sitting_of_the_page(page: Page) -> None:
    page.begin()
    assert not page.unsaved
    page.does(page.tab._stand_up, 20)
    assert page.unsaved
    page.begin(WITH_MODEL)  # nothing is drawn here, and what was drawn there is kept
    assert page.unsaved
    page.screen[page.tab.sitting] = None
    page.does(page.tab._save)  # a late one
    assert "This page has lost its place" in page.status
    assert page.unsaved
    page.begin()  # the drawing is on the open photo, which the page sees for itself
    assert not page.unsaved
    page.gets(page.tab._start_over(page.sitting, page.value(20)))
    page.does(page.tab._go_on)
    assert not page.unsaved


def test_what_goes_wrong_with_us_is_a_sentence(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.begin()
    monkeypatch.setattr(Sitting, "save", lambda *_: [].pop())
    page.does(page.tab._save, 20)
    assert "Something went wrong here (IndexError: pop from empty list)" in page.status


def test_words_of_the_command_line_are_not_on_the_page(page: Page, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    for said in (page.tab._names(str(gone)), page.tab._begin(str(gone), "anna", "disc", BY_HAND, {})):
        assert "make one under &quot;Make a new study&quot;" in said[page.tab.status]


@pytest.mark.parametrize(
    "act", ["_save", "_nothing", "_go_on", "_go_back", "_stand_up", "_draw", "_start_over", "_more"]
)
def test_a_page_that_lost_its_place_says_so(page: Page, act: str) -> None:
    given = {"_draw": 2, "_start_over": 2, "_more": 1}.get(act, 3)
    page.gets(getattr(page.tab, act)(*(None, {}, None)[:given]))
    assert "This page has lost its place; press Begin." in page.status
    assert page.shows("setup")
    assert not page.shows("desk")


def test_a_photo_that_cannot_be_read_ends_the_category_where_it_is_the_last_one_left(page: Page) -> None:
    """It is named as in the study, and skipping it is enough."""
    last = Path(page.folder) / "disc" / "images" / f"{COUNT - 1:02}.png"
    page.begin()
    last.write_bytes(b"no photo")
    for _ in range(COUNT - 1):
        page.does(page.tab._save, 20)
    assert page.photo == ""
    assert "You may skip this photo." in page.status
    assert page.folder not in page.status
    page.does(page.tab._go_on)
    assert page.shows("end")
    assert "but for 03.png, which cannot be read" in page.status


def test_others_masks_are_shown_to_this_machine_alone(tmp_path: Path) -> None:
    def ids(*, is_local: bool) -> set[str | None]:
        with (
            Engine(PerSAM(ColourModel())) as engine,
            Workshop(engine, ConceptStore(tmp_path / "concepts"), is_local=is_local) as workshop,
            gr.Blocks() as blocks,
        ):
            _StudyTab(workshop)
            assert bool(workshop.routers) is is_local
            return {block.elem_id for block in blocks.blocks.values()}

    organiser = {"study-organiser", "study-run", "study-check"}
    assert organiser <= ids(is_local=True)
    assert not organiser & ids(is_local=False)
