"""The tab Concepts, handler by handler."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam import PerSAM
from persam.errors import PersamError, UsageError

pytest.importorskip("gradio")
import gradio as gr

from persam.server.engine import Engine
from persam.server.store import ConceptStore, NameTakenError
from persam.studio.concepts import ConceptsTab
from persam.studio.workshop import Workshop


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(PerSAM(ColourModel())) as engine:
        yield engine


@pytest.fixture
def tab(engine: Engine, tmp_path: Path) -> Iterator[ConceptsTab]:
    """The tab, with the concept "disc", which keeps its photo, and "cup", which does not."""
    store = ConceptStore(tmp_path / "concepts")
    for name, keep in (("disc", True), ("cup", False)):
        store.save(engine.model.learn(*draw_scene(), name=name, keep_references=keep))
    with Workshop(engine, store, folder=tmp_path / "run") as workshop, gr.Blocks(), gr.Tab("Concepts"):
        yield ConceptsTab(workshop)


def last(updates: Iterator[dict[Any, Any]]) -> dict[Any, Any]:
    *_, found = updates
    return found


def said(tab: ConceptsTab, updates: dict[Any, Any]) -> str:
    return re.sub("<[^>]+>", "", updates[tab.status])


def choose(tab: ConceptsTab, name: str) -> dict[Any, Any]:
    return last(tab.choose(SimpleNamespace(name=name)))  # type: ignore[arg-type]


def test_every_concept_is_a_tile_and_the_chosen_one_is_described(tab: ConceptsTab) -> None:
    shown = last(tab.look_again(""))
    assert re.findall(r'data-name="(\w+)"', shown[tab.gallery]) == ["cup", "disc"]
    assert "persam, 1 photo" in shown[tab.gallery]
    assert shown[tab.actions] == gr.update(visible=False)
    chosen = choose(tab, "disc")
    assert chosen[tab.chosen] == "disc"
    assert "160 x 120" in chosen[tab.details]
    assert chosen[tab.tune]["interactive"]
    assert not choose(tab, "cup")[tab.tune]["interactive"]  # its file keeps no photo
    assert choose(tab, "gone")[tab.chosen] == ""


def test_a_download_is_the_file_and_can_be_loaded_under_its_name(tab: ConceptsTab, tmp_path: Path) -> None:
    file = Path(choose(tab, "disc")[tab.download]["value"])
    assert file.name == "disc.safetensors"
    assert Path(choose(tab, "disc")[tab.download]["value"]) == file  # no other copy for every look
    assert file.read_bytes() == tab.workshop.concepts.path("disc").read_bytes()
    copy = tmp_path / "my disc.safetensors"
    copy.write_bytes(file.read_bytes())
    assert said(tab, last(tab.load_file(str(copy)))) == "Loaded my disc."
    with pytest.raises(NameTakenError):
        last(tab.load_file(str(copy)))
    copy.write_bytes(b"no concept")
    with pytest.raises(PersamError, match=r"^my disc\.safetensors") as refused:
        last(tab.load_file(str(copy)))
    assert str(tmp_path) not in str(refused.value)


def test_tuning_renaming_and_deleting_ask_and_say(tab: ConceptsTab) -> None:
    store = tab.workshop.concepts
    assert said(tab, last(tab.tune_it("disc"))).startswith("Tuned disc")
    assert store.load("disc").tuned
    assert said(tab, last(tab.rename_it("disc", " red  disc "))) == "disc is called red disc now."
    assert store.names() == ["cup", "red disc"]
    assert store.load("red disc").keeps_references
    with pytest.raises(UsageError, match="called cup already"):
        last(tab.rename_it("cup", "cup"))
    with pytest.raises(NameTakenError):
        last(tab.rename_it("cup", "red disc"))
    asked = last(tab.ask("cup"))
    assert "Delete cup for good?" in asked[tab.question]
    assert said(tab, last(tab.keep("cup"))) == "cup stays."
    assert store.names() == ["cup", "red disc"]
    assert said(tab, last(tab.delete_it("cup"))) == "Deleted cup."
    assert store.names() == ["red disc"]
    with pytest.raises(UsageError, match="choose one first"):
        last(tab.delete_it(""))


def test_concepts_of_another_model_and_damaged_ones_are_shown_as_such(tab: ConceptsTab) -> None:
    store = tab.workshop.concepts
    store.save(replace(store.load("cup"), name="foreign", model="f00df00df00d", model_name="facebook/sam-vit-huge"))
    store.path("broken").write_bytes(b"\0" * 40)
    tiles = last(tab.look_again(""))[tab.gallery]
    assert "of another model" in tiles
    assert "damaged" in tiles
    foreign = choose(tab, "foreign")
    assert "cannot be used here" in foreign[tab.details]
    assert "facebook/sam-vit-huge" in foreign[tab.details]
    assert not foreign[tab.tune]["interactive"]
    assert "damaged" in choose(tab, "broken")[tab.details]
    assert said(tab, last(tab.delete_it("broken"))) == "Deleted broken."
