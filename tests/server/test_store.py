"""The store of concepts: files of one folder and no other, whatever the names."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam.concept import Concept
from persam.errors import PersamError
from persam.persam import PerSAM
from persam.server.asking import locked
from persam.server.refusals import NoRoomError, TooLateError
from persam.server.settings import ServerSettings
from persam.server.store import ConceptStore, NameTakenError, NoConceptError


@pytest.fixture(scope="module")
def concept() -> Concept:
    return PerSAM(ColourModel()).learn(*draw_scene(), name="my mug", keep_references=True)


@pytest.fixture
def store(tmp_path: Path) -> ConceptStore:
    return ConceptStore(tmp_path / "concepts")


def test_keeps_and_gives_back(store: ConceptStore, concept: Concept) -> None:
    assert store.names() == []
    assert store.save(concept) == "my mug"
    loaded = store.load("my mug")
    assert loaded.content_hash == concept.content_hash
    assert loaded.keeps_references
    assert store.thumbnail("my mug") == concept.thumbnail
    assert store.names() == ["my mug"]
    store.delete("my mug")
    assert store.names() == []
    for ask in (store.load, store.delete, store.thumbnail):
        with pytest.raises(NoConceptError, match='no concept "my mug"'):
            ask("my mug")


def test_a_name_is_taken_until_one_says_otherwise(store: ConceptStore, concept: Concept) -> None:
    store.save(concept)
    with pytest.raises(NameTakenError, match='There is a concept "my mug" already'):
        store.save(concept)
    store.save(replace(concept, threshold=0.25), overwrite=True)
    assert store.load("my mug").threshold == 0.25  # not the one in memory


def test_is_read_again_when_its_file_changes(store: ConceptStore, concept: Concept) -> None:
    store.save(concept)
    first = store.load("my mug")
    assert store.load("my mug") is first
    file = store.path("my mug")
    replace(concept, threshold=0.125).save(file)
    os.utime(file, ns=(1, 1))
    assert store.load("my mug").threshold == 0.125
    file.unlink()
    with pytest.raises(NoConceptError):
        store.load("my mug")


@given(st.text(max_size=300) | st.sampled_from(["..", "../../etc/passwd", "a/b", "C:\\x", "\0", ".", "con", "x" * 999]))
def test_every_name_is_a_file_in_the_folder(name: str) -> None:
    store = ConceptStore("/somewhere")
    path = store.path(name)
    assert path.parent == store.folder
    assert path.name not in (".", "..")
    assert store.path(path.stem) == path  # a name that was cleaned stays


def test_a_file_that_somebody_renamed_is_called_as_it_is(store: ConceptStore, concept: Concept) -> None:
    store.save(concept)
    store.path("my mug").rename(store.path("cat"))
    assert store.names() == ["cat"]
    assert store.load("cat").name == "cat"


def test_what_is_no_concept_is_said_without_a_path(store: ConceptStore, tmp_path: Path) -> None:
    store.folder.mkdir()
    store.path("junk").write_bytes(b"no safetensors")
    save_file({"x": torch.zeros(1)}, store.path("other"))
    for name in ("junk", "other"):
        with pytest.raises(PersamError) as told:
            store.load(name)
        assert f'The concept "{name}"' in str(told.value)
        assert str(tmp_path) not in str(told.value)


def test_holds_no_more_than_it_may(tmp_path: Path, concept: Concept) -> None:
    store = ConceptStore(tmp_path, most=2)
    for name in ("one", "two"):
        store.save(replace(concept, name=name))
    store.save(replace(concept, name="two"), overwrite=True)
    with pytest.raises(NoRoomError, match="2 concepts"):
        store.save(replace(concept, name="three"))
    assert store.names() == ["one", "two"]


def test_of_several_who_take_one_name_one_gets_it(store: ConceptStore, concept: Concept) -> None:
    got: list[str] = []

    def take() -> None:
        try:
            got.append(store.save(concept))
        except NameTakenError:
            got.append("taken")

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == ["my mug", *["taken"] * 7]


def test_a_folder_that_cannot_be_written_is_said_without_a_path(tmp_path: Path, concept: Concept) -> None:
    (tmp_path / "concepts").write_text("a file is in the way")
    store = ConceptStore(tmp_path / "concepts")
    with pytest.raises(PersamError) as told:
        store.save(concept)
    assert str(tmp_path) not in str(told.value)
    assert 'the concept "my mug"' in str(told.value)


def test_threads_and_the_event_loop_share_the_lock_of_a_concept(tmp_path: Path) -> None:
    store = ConceptStore(tmp_path)
    assert store.changing("mug") is not store.changing("cup")
    request: Any = SimpleNamespace(
        app=SimpleNamespace(state=SimpleNamespace(service=SimpleNamespace(settings=ServerSettings(tmp_path)))),
        state=SimpleNamespace(deadline=time.monotonic() + 20),
        receive=lambda: asyncio.sleep(60),
    )
    order: list[str] = []

    async def waits() -> None:
        with store.changing("mug"):
            asking = asyncio.ensure_future(changes())
            await asyncio.sleep(0.05)
            order.append("thread")
        await asking
        request.state.deadline = time.monotonic() + 0.05
        with store.changing("mug"):
            with pytest.raises(TooLateError):
                await changes()
        assert store.changing("mug").acquire(blocking=False)  # whoever gave up holds nothing

    async def changes() -> None:
        async with locked(request, store.changing("mug.safetensors")):
            order.append("loop")

    asyncio.run(waits())
    assert order == ["thread", "loop"]
