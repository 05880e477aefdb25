"""The actions of the tab Find: searching, correcting, taking away, and what happens meanwhile or too late."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient
from tests.conftest import draw_scene

from persam import Concept
from persam.server.engine import Engine
from persam.server.store import ConceptStore
from persam.studio.find import downloads
from persam.studio.find.actions import FindActions
from persam.studio.find.pictures import address_of, picture_of, picture_routes
from persam.studio.find.results import Choice
from persam.studio.find.searching import SoFar, explain_result, learn_correction
from persam.studio.find.session import FindSessions
from persam.studio.find.show import FindParts
from persam.studio.workshop import Workshop


@pytest.fixture
def actions(engine: Engine, concept: Concept, tmp_path: Path) -> Iterator[FindActions]:
    store = ConceptStore(tmp_path / "concepts")
    store.save(concept)
    names = FindParts.__annotations__
    with Workshop(engine, store, folder=tmp_path / "workshop") as workshop:
        sessions = FindSessions(workshop.folder / "searches")
        yield FindActions(workshop, sessions, FindParts(**{name: name for name in names}))


def told_last(updates: list[dict[Any, Any]]) -> str:
    return [each["status"] for each in updates if "status" in each][-1]


def found(actions: FindActions, album: Path) -> str:
    name = actions.sessions.new()
    updates = list(actions.find(name, ["disc"], None, str(album), 1, "overlay"))
    assert "found in 3" in told_last(updates)
    assert updates[0]["stop"]["interactive"] is True
    assert updates[-1]["stop"]["interactive"] is False
    return name


def test_two_tabs_do_not_mix(actions: FindActions, album: Path, tmp_path: Path) -> None:
    one, other = found(actions, album), actions.sessions.new()
    assert not actions.sessions.get(other).search.results
    list(actions.find(other, ["disc"], [str(album / "empty.png")], "", 1, "overlay"))
    assert len(actions.sessions.get(one).search.results) == 5
    assert len(actions.sessions.get(other).search.results) == 1
    folder = actions.sessions.folder
    actions.sessions.close(one)
    assert not (folder / one).exists()
    assert (folder / other).exists()
    assert "reload the page" in told_last(list(actions.turn_page(1, one, "overlay")))


def test_mistakes_are_told_in_a_sentence(actions: FindActions, album: Path) -> None:
    name = actions.sessions.new()
    assert "No concept is chosen" in told_last(list(actions.find(name, [], None, str(album), 1, "map")))
    assert "drop photos" in told_last(list(actions.find(name, ["disc"], None, "", 1, "map")))
    assert "no concept &quot;cup&quot;" in told_last(list(actions.find(name, ["cup"], None, str(album), 1, "map")))
    assert "No result is chosen" in told_last(list(actions.say_absent(name, "map")))
    assert "nothing left to correct" in told_last(list(actions.choose_worth(name, "map")))
    assert "No mask is being corrected" in told_last(list(actions.learn(name, {}, "new", "map")))
    assert not actions.sessions.get(name).running.locked()


def drawing(actions: FindActions, name: str, start: tuple[int, int] = (0, 0)) -> dict[str, Any]:
    """A stroke from there to the far corner, on the photo that is open."""
    correction = actions.sessions.get(name).correction
    assert correction is not None
    end = [correction.shown.width - 1, correction.shown.height - 1]
    strokes = [{"label": 1, "width": 9, "points": [list(start), end]}]
    return {"points": [], "box": None, "number": 1, "photo": correction.shown.url, "strokes": strokes}


def opened(actions: FindActions, album: Path, card: str = "0/disc") -> str:
    """A search of which a result is open for correction."""
    name = found(actions, album)
    list(actions.choose(name, "overlay", SimpleNamespace(card=card)))
    list(actions.open_detail("correct", name))
    return name


def test_a_correction_is_learned_saved_and_what_was_unsure_is_done_again(actions: FindActions, album: Path) -> None:
    name = found(actions, album)
    session = actions.sessions.get(name)
    doubtful = session.search.results[1]
    session.search.put([replace(doubtful, found=dict(doubtful.found) | {"score": 0.5})])
    list(actions.choose(name, "overlay", SimpleNamespace(card="0/disc")))
    list(actions.open_detail("correct", name))
    assert session.correction is not None
    drawn = drawing(actions, name)
    list(actions.draw(name, drawn))
    assert session.correction.answer is not None
    mask = session.correction.answer[1]
    assert mask is not None
    assert mask[0, 0]
    updates = list(actions.learn(name, drawn, "new", "overlay"))
    assert "disc 2&quot; has 2 references now and is saved beside the old one" in told_last(updates)
    assert "1 unsure photo was looked at again" in updates[-1]["changes"]
    assert actions.workshop.concepts.names() == ["disc", "disc 2"]
    assert len(actions.workshop.concepts.load("disc").references) == 1
    corrected = session.search.get((0, "disc"))
    assert corrected is not None
    assert np.array_equal(corrected.at(0.5).mask, mask)
    again = session.search.get((1, "disc"))
    assert again is not None
    assert again.before == ("unsure", 0.5)


def test_what_is_not_there_is_said_and_nothing_is_learned(actions: FindActions, album: Path) -> None:
    name = found(actions, album)
    list(actions.choose(name, "overlay", SimpleNamespace(card="0/disc")))
    assert "does not learn from that" in told_last(list(actions.say_absent(name, "overlay")))
    one = actions.sessions.get(name).search.get((0, "disc"))
    assert one is not None
    assert (one.state(0.5), one.is_there(0.5)) == ("corrected", False)
    list(actions.choose(name, "overlay", SimpleNamespace(card="4/")))
    assert "could not be read" in told_last(list(actions.say_absent(name, "overlay")))


def test_a_download_is_prepared_and_offered(actions: FindActions, album: Path) -> None:
    name = found(actions, album)
    last = list(actions.prepare(name, "masks"))[-1]
    assert Path(last["download"]["value"]).name == "masks.zip"
    assert last["download"]["label"].startswith("Download masks.zip (")


def test_filters_show_the_first_page_of_what_they_take(actions: FindActions, album: Path) -> None:
    name = found(actions, album)
    (shown,) = actions.choose_shown(name, ["absent"], [], 0, "name", 50, "map")
    assert [card["name"] for card in shown["gallery"]["cards"]] == ["empty.png"]
    (shown,) = actions.choose_shown(name, [], [], 0, "name", 100, "map")
    assert {card["state"] for card in shown["gallery"]["cards"]} == {"absent", "failed"}


# ------------------------------------------------------------------------------- what happens meanwhile, or too late


def test_at_the_ends_of_the_gallery_one_is_told(actions: FindActions, album: Path) -> None:
    """The buttons stay: one that cannot be pressed any more would lose the keyboard's focus."""
    name = found(actions, album)
    for by, told in ((1, "This is the last page."), (-1, "This is the first page.")):
        updates = list(actions.turn_page(by, name, "map"))
        assert told in told_last(updates)
        assert updates[-1]["gallery"]["cards"]
        assert not any("interactive" in each.get(button, {}) for each in updates for button in ("back", "on"))


def test_a_score_is_called_a_probability_where_it_is_one(
    actions: FindActions, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = found(actions, album)
    session = actions.sessions.get(name)
    session.search.shown = (0, "disc")
    assert "how likely" not in actions.chosen(session, "map")["facts"]
    session.learned["disc"] = replace(session.learned["disc"], fitted=SimpleNamespace())  # type: ignore[arg-type]
    assert "%, how likely it is there" in actions.chosen(session, "map")["facts"]


def test_the_next_search_has_its_own_pictures(actions: FindActions, album: Path) -> None:
    """Neither an address that a browser keeps nor a picture that is still being drawn is of the photos before."""
    app = FastAPI()
    app.include_router(picture_routes(actions.sessions.search_of))
    browser = TestClient(app)
    name = actions.sessions.new()
    addresses, searches = [], []
    for photo in ("disc 0.png", "empty.png"):
        list(actions.find(name, ["disc"], [str(album / photo)], "", 1, "photo"))
        searches.append(actions.sessions.get(name).search)
        addresses.append(address_of(searches[-1], searches[-1].results[0], "photo", "card"))
    assert addresses[0] != addresses[1]
    assert [browser.get(each).status_code for each in addresses] == [404, 200]
    shown = browser.get(addresses[1]).content
    picture_of(searches[0], searches[0].results[0], "photo", "card", 1)  # it ends only now
    assert browser.get(addresses[1]).content == shown
    assert np.asarray(Image.open(BytesIO(shown)).convert("RGB")).std() < 40  # without the disc


def test_the_mask_that_is_kept_is_the_one_that_is_drawn(actions: FindActions, album: Path) -> None:
    """Though the page sent the last gesture with the button alone."""
    name = opened(actions, album)
    list(actions.draw(name, drawing(actions, name, (80, 60))))
    last = drawing(actions, name, (0, 0))
    list(actions.keep_mask(name, last, "overlay"))
    one = actions.sessions.get(name).search.get((0, "disc"))
    assert one is not None
    assert one.at(0.5).mask[0, 0]


def test_what_was_drawn_on_another_photo_is_refused(actions: FindActions, album: Path) -> None:
    name = opened(actions, album)
    old = drawing(actions, name)
    list(actions.choose(name, "overlay", SimpleNamespace(card="1/disc")))
    session = actions.sessions.get(name)
    assert session.correction is not None
    assert not any("canvas" in each for each in actions.draw(name, old))
    assert session.correction.answer is None
    for action in (actions.keep_mask(name, old, "map"), actions.learn(name, old, "replace", "map")):
        assert "of another photo" in told_last(list(action))
    assert session.search.counts()["corrected"] == 0
    assert len(actions.workshop.concepts.load("disc").references) == 1


def test_shots_that_were_added_elsewhere_stay(actions: FindActions, album: Path, concept: Concept) -> None:
    name = opened(actions, album)
    store, drawn = actions.workshop.concepts, drawing(actions, name)
    elsewhere = learn_correction(
        actions.workshop.engine, store.load("disc"), album / "disc 1.png", draw_scene(center=(100, 50), seed=1)[1]
    )
    store.save(elsewhere, overwrite=True)
    assert "3 references" in told_last(list(actions.learn(name, drawn, "replace", "map")))
    assert len(store.load("disc").references) == 3


def test_a_concept_that_is_gone_is_told(actions: FindActions, album: Path) -> None:
    name = opened(actions, album)
    actions.workshop.concepts.delete("disc")
    updates = list(actions.learn(name, drawing(actions, name), "replace", "map"))
    assert "renamed or deleted meanwhile" in told_last(updates)
    assert actions.workshop.concepts.names() == []
    assert "is saved beside the old one" in told_last(list(actions.learn(name, drawing(actions, name), "new", "map")))


def test_a_download_of_another_set_is_no_longer_offered(actions: FindActions, album: Path) -> None:
    name = found(actions, album)
    list(actions.prepare(name, "masks"))
    same = list(actions.choose(name, "map", SimpleNamespace(card="0/disc"))) + list(actions.turn_page(1, name, "map"))
    assert not any(each.get("download", {}).get("visible") is False for each in same)
    for changing in (
        lambda: actions.choose_shown(name, ["absent"], [], 0, "name", 50, "map"),
        lambda: actions.choose_shown(name, [], [], 0, "name", 90, "map"),
        lambda: actions.say_absent(name, "map"),
        lambda: actions.find(name, ["disc"], None, str(album), 1, "map"),
    ):
        list(actions.prepare(name, "masks"))
        assert any(each.get("download", {}).get("visible") is False for each in changing())


def test_a_download_is_of_one_choice(actions: FindActions, album: Path) -> None:
    name = found(actions, album)
    packing = actions.prepare(name, "json")
    next(packing)
    next(packing)
    session = actions.sessions.get(name)
    session.search.choice = replace(session.search.choice, threshold=1.0)
    target = actions.workshop.downloads / "x.jsonl"
    making = downloads.prepare(session.search, "json", target)
    next(making)
    session.search.choice = Choice(states=frozenset(["failed"]), threshold=0.0)
    list(making)
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line["present"] for line in lines] == [False] * 4


@pytest.mark.parametrize("kind", ["masks", "json"])
def test_what_is_packed_is_given_up_for_another_choice(
    actions: FindActions, album: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """So that the end of it offers no other file than the one that is chosen by then."""
    monkeypatch.setattr("persam.studio.find.show._EVERY", 0)
    name = found(actions, album)
    packing = actions.prepare(name, kind)
    begun = [next(packing), next(packing)]
    assert "Packing" in told_last(begun)
    (hidden,) = actions.choose_parcel(name, "csv")
    assert hidden["download"]["visible"] is False
    (last,) = packing
    assert "Another download was chosen" in told_last([last])
    assert "download" not in last
    left = [each for each in actions.workshop.downloads.rglob("*") if each.is_file()]
    assert left == []
    offered = list(actions.prepare(name, "csv"))[-1]["download"]
    assert Path(offered["value"]).name == "results.csv"
    (late,) = actions.choose_parcel(name, "csv")  # the choice comes after what was made of it
    assert late["download"] == gr.skip()


def test_an_error_of_our_own_is_told_and_find_can_be_pressed_again(
    actions: FindActions, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Iterator[SoFar]:
        yield SoFar(1, 5)
        raise ValueError("no such thing")

    monkeypatch.setattr("persam.studio.find.show.look", broken)
    name = actions.sessions.new()
    updates = list(actions.find(name, ["disc"], None, str(album), 1, "overlay"))
    assert "ValueError: no such thing" in told_last(updates)
    assert [each["stop"]["interactive"] for each in updates if "stop" in each] == [True, False]
    assert not actions.sessions.get(name).running.locked()


def test_a_clip_that_is_none_leaves_the_search_before_as_it_was(
    actions: FindActions, album: Path, concept: Concept, tmp_path: Path
) -> None:
    name = found(actions, album)
    actions.workshop.concepts.save(replace(concept, name="cup"))
    (tmp_path / "x.mp4").write_text("no clip")
    updates = list(actions.find(name, ["cup"], [str(tmp_path / "x.mp4")], "", 1, "overlay"))
    assert "x.mp4 is damaged" in told_last(updates)
    assert updates[-2]["stop"]["interactive"] is False
    list(actions.choose(name, "overlay", SimpleNamespace(card="0/disc")))
    steps = [each["steps"] for each in actions.open_detail("explain", name) if "steps" in each]
    assert len(steps[-1]["steps"]) > 2


@pytest.mark.parametrize(
    ("detail", "meanwhile"),
    [("correct", "another card"), ("correct", "another search"), ("explain", "another search")],
)
def test_an_opening_that_is_overtaken_shows_nothing(
    actions: FindActions, album: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str, detail: Any
) -> None:
    name = found(actions, album)
    session = actions.sessions.get(name)
    session.search.shown, session.detail = (0, "disc"), detail
    works: dict[str, tuple[str, Any]] = {
        "correct": ("persam.studio.workshop.Workshop.encode", Workshop.encode),
        "explain": ("persam.studio.find.actions.explain_result", explain_result),
    }
    work, as_ever = works[detail]

    def overtaken(*given: Any) -> Any:
        monkeypatch.undo()
        if meanwhile == "another card":
            session.search.shown = (1, "disc")
        else:
            list(actions.find(name, ["disc"], [str(album / "empty.png")], "", 1, "overlay"))
        return as_ever(*given)

    monkeypatch.setattr(work, overtaken)
    updates = list(actions.open_detail(detail, name))
    assert session.correction is None
    assert not any("canvas" in each or each.get("steps", {}).get("steps") for each in updates)


def test_what_is_said_of_an_earlier_search_is_refused(actions: FindActions, album: Path) -> None:
    name = opened(actions, album)
    correction = actions.sessions.get(name).correction
    drawn = drawing(actions, name)
    list(actions.find(name, ["disc"], [str(album / "empty.png")], "", 1, "overlay"))
    actions.sessions.get(name).correction = correction  # an opening that came late
    assert "of an earlier search" in told_last(list(actions.keep_mask(name, drawn, "overlay")))
    assert actions.sessions.get(name).search.counts()["corrected"] == 0


def test_what_was_left_out_of_a_folder_is_said(actions: FindActions, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(draw_scene()[0]).save(folder / "a.png")
    (folder / "b.cr2").write_text("RAW")
    name = actions.sessions.new()
    assert "1 RAW photo (b.cr2; export as JPEG" in told_last(
        list(actions.find(name, ["disc"], None, str(folder), 1, "map"))
    )


def test_what_is_warned_of_a_photo_is_said_and_stands_beside_it(actions: FindActions, tmp_path: Path) -> None:
    pages = [Image.fromarray(draw_scene(seed=number)[0]) for number in range(2)]
    for number in range(3):
        pages[0].save(tmp_path / f"scan {number}.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "whole.png")
    name = actions.sessions.new()
    warning = "The photo scan 0.tif has 2 pages; only the first is taken."
    for files, told in (
        (["scan 0.tif", "whole.png"], f"2 photos: found in 2. {warning}"),
        (["scan 0.tif", "scan 1.tif", "scan 2.tif"], f"{warning} There are 2 more warnings."),
    ):
        updates = list(actions.find(name, ["disc"], [str(tmp_path / each) for each in files], "", 1, "map"))
        assert told in told_last(updates)
    list(actions.choose(name, "map", SimpleNamespace(card="0/disc")))
    facts = actions.chosen(actions.sessions.get(name), "map")["facts"]
    assert f"<dt>warning</dt><dd>{warning}</dd>" in facts


def test_sentences_of_the_command_line_are_said_in_words_of_the_page(
    actions: FindActions, album: Path, concept: Concept
) -> None:
    actions.workshop.concepts.save(replace(concept, scale_weights=(0.2, 0.3, 0.5)), overwrite=True)
    name = opened(actions, album)
    said = told_last(list(actions.learn(name, drawing(actions, name), "new", "map")))
    assert "Keep the photo" in said
    assert "--" not in said


def test_a_search_is_read_aloud_ten_times_at_most(actions: FindActions, album: Path, monkeypatch: Any) -> None:
    def long(*_: Any, **__: Any) -> Iterator[SoFar]:
        yield from (SoFar(number + 1, 300) for number in range(300))

    monkeypatch.setattr("persam.studio.find.show.look", long)
    monkeypatch.setattr("persam.studio.find.show._EVERY", 0)
    name = actions.sessions.new()
    updates = list(actions.find(name, ["disc"], None, str(album), 1, "map"))
    spoken = [each["spoken"] for each in updates if "spoken" in each]
    assert spoken[0] == "Looking at 5 photos."
    assert spoken[1].startswith("30 of 300")
    assert len(spoken) == 12
    assert sum("status" in each for each in updates) > 300
