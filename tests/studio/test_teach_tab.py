"""The tab Teach, handler by handler. The work itself: `test_teaching.py`."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam import PerSAM

pytest.importorskip("gradio")
import gradio as gr
from gradio.state_holder import StateHolder

from persam.errors import UsageError
from persam.instance import Instance
from persam.segmentation import Segmentation
from persam.server.engine import Engine
from persam.server.store import ConceptStore
from persam.studio.cards import spoken
from persam.studio.teach import lesson as teaching
from persam.studio.teach import tab as teach
from persam.studio.teach.lesson import Teaching
from persam.studio.teach.tab import TeachTab
from persam.studio.workshop import Workshop


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(PerSAM(ColourModel(cells=32))) as engine:
        yield engine


@pytest.fixture
def tab(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TeachTab]:
    monkeypatch.setattr(teach, "_PAUSE", 0.0)
    store = ConceptStore(tmp_path / "concepts")
    with Workshop(engine, store, folder=tmp_path / "run") as workshop, gr.Blocks():
        yield TeachTab(workshop)


@pytest.fixture
def opened(tab: TeachTab, photo_file: Path) -> Teaching:
    lesson = Teaching()
    *_, shown = tab.open_photo(lesson, str(photo_file))
    assert shown[tab.canvas]["visible"]
    assert shown[tab.photo]["value"] is None  # ready for the next one
    return lesson


def last(updates: Iterator[dict[Any, Any]]) -> dict[Any, Any]:
    *_, found = updates
    return found


def words(html: str) -> str:
    return re.sub("<[^>]+>", " ", html)


def drawn(lesson: Teaching, **value: Any) -> dict[str, Any]:
    assert lesson.shown is not None
    return {"points": [], "number": 1, "photo": lesson.shown.url, **value}


def test_a_click_is_answered_and_the_doctor_speaks(tab: TeachTab, opened: Teaching) -> None:
    answer = last(tab.draw(opened, drawn(opened, points=[[60, 84, 1]], number=5)))[tab.canvas]["reply"]
    assert answer["number"] == 5
    assert answer["mask"].startswith("data:image/png")
    assert re.fullmatch(r"\d+\.\d% of the photo is marked\.", answer["note"])
    assert "findings" in last(tab.examine(opened))[tab.doctor]


def test_what_the_model_cannot_do_is_said_below_the_photo(tab: TeachTab, opened: Teaching) -> None:
    answer = refused(tab, opened, drawn(opened, points=[[5, 5, 0]], number=2))
    assert (answer["number"], answer["mask"]) == (2, "")
    assert "click on the object too" in answer["note"]


def refused(tab: TeachTab, lesson: Teaching, value: Any) -> dict[str, Any]:
    reply: dict[str, Any] = last(spoken(tab.status, tab.canvas)(tab.draw)(lesson, value))[tab.canvas]["reply"]
    return reply


def test_every_gesture_is_answered_whatever_goes_wrong(
    tab: TeachTab, opened: Teaching, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "cannot be read" in refused(tab, opened, drawn(opened, points=[[1, 1, 9]], number=3))["note"]

    def fail(*_: Any) -> None:
        raise ValueError("a mistake of ours")

    monkeypatch.setattr(teaching, "mask_of", fail)
    answer = refused(tab, opened, drawn(opened, points=[[60, 84, 1]], number=4))
    assert (answer["number"], answer["photo"], answer["mask"]) == (4, opened.shown.url, "")  # else the page waits on
    assert "Something went wrong here" in answer["note"]


def test_a_lesson_goes_when_its_page_is_closed(engine: Engine, tmp_path: Path) -> None:
    with Workshop(engine, ConceptStore(tmp_path / "concepts"), folder=tmp_path / "run") as workshop:
        with gr.Blocks() as page:
            tab = TeachTab(workshop)
        holder = StateHolder()
        holder.set_blocks(page)
        name = holder["a page"][tab.lesson._id] = tab.lessons.new()
        lesson = weakref.ref(tab.lessons.get(name))
        list(tab.of_lesson(tab.open_photo)(name, None))
        assert lesson() is not None
        holder.delete_state("a page")
        gc.collect()
        assert lesson() is None
    outputs = [each for fn in page.fns.values() for each in fn.outputs]
    assert tab.lesson in outputs  # what is never set, Gradio does not expire
    with pytest.raises(UsageError, match="reload the page"):
        list(tab.of_lesson(tab.open_photo)(name, None))


def test_the_doctor_does_not_speak_of_a_mask_that_changed(
    tab: TeachTab, opened: Teaching, monkeypatch: pytest.MonkeyPatch
) -> None:
    last(tab.draw(opened, drawn(opened, points=[[60, 84, 1]])))

    def draw_on(seconds: float) -> None:
        opened.draw(tab.workshop, drawn(opened, points=[[62, 86, 1]]))

    monkeypatch.setattr(teach.time, "sleep", draw_on)
    assert tab.doctor not in last(tab.examine(opened))


def test_learn_add_replace_and_tune_show_the_concept_as_it_is(tab: TeachTab, opened: Teaching) -> None:
    value = drawn(opened, points=[[60, 84, 1]])
    learned = last(tab.learn_it(opened, value, "disc", True))
    assert "1 photo, mode persam, not tuned" in words(learned[tab.card])
    assert Path(learned[tab.download]["value"]).name == "disc.safetensors"
    taken = last(tab.learn_it(opened, value, "disc", True))
    assert "another shot of it, replace it" in taken[tab.status]
    assert taken[tab.taken]["visible"]
    assert "2 photos" in words(last(tab.add_it(opened, value, "disc", True))[tab.card])
    tuned = last(tab.tune_it(opened))
    assert "two learned numbers" in tuned[tab.card]
    assert not tuned[tab.tune]["interactive"]
    replaced = last(tab.replace_it(opened, value, "disc", True))
    assert "1 photo, mode persam, not tuned" in words(replaced[tab.card])
    assert not replaced[tab.taken]["visible"]


def test_it_is_tried_on_another_photo(tab: TeachTab, opened: Teaching, tmp_path: Path) -> None:
    last(tab.learn_it(opened, drawn(opened, points=[[60, 84, 1]]), "disc", True))
    Image.fromarray(draw_scene(radius=0, seed=4)[0]).save(tmp_path / "empty.png")
    tried = last(tab.try_it(opened, str(tmp_path / "empty.png")))
    assert "with a score of" in words(tried[tab.status])
    name = re.search(r'src="/pictures/([^"]+)"', tried[tab.try_result])
    assert name is not None
    assert tab.workshop.pictures.get(name.group(1))


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (0.83, "Found, with a score of 83%."),
        (0.6, "Unsure, rather there, with a score of 60%."),
        (0.38, "Unsure, rather not there, with a score of 38%; the nearest candidate is outlined."),
        (0.08, "Not found, with a score of 8%; the nearest candidate is outlined."),
    ],
)
def test_what_was_tried_is_told_in_the_words_of_find(
    tab: TeachTab, opened: Teaching, monkeypatch: pytest.MonkeyPatch, score: float, told: str
) -> None:
    pixels, mask = draw_scene()
    nowhere = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
    found = Segmentation.of("disc", None, (Instance(mask, score),), 0.5, *nowhere)
    monkeypatch.setattr(Teaching, "try_on", lambda *_: (pixels, found))
    tried = last(tab.try_it(opened, "x.png"))
    assert words(tried[tab.status]).strip() == told
    assert f"<figcaption>{told}</figcaption>" in tried[tab.try_result]


def test_a_field_that_was_emptied_changes_nothing(tab: TeachTab, opened: Teaching) -> None:
    for updates in (
        tab.open_photo(opened, None),
        tab.take_mask(opened, None, "mask"),
        tab.try_it(opened, None),
    ):
        assert list(updates) == [{tab.status: gr.skip()}]
    assert opened.shown is not None
