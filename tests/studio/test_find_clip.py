"""A clip in the studio: the same as a clip followed at once, a frame a turn, stopped, and broken off."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam import Concept, PerSAM
from persam.errors import PersamError
from persam.server.engine import Engine
from persam.server.store import ConceptStore
from persam.studio.find.actions import FindActions
from persam.studio.find.clip_search import CLIP_PARCELS, ClipSearch
from persam.studio.find.clip_view import clip_routes, clip_summary, links_of, player_of
from persam.studio.find.session import FindSessions
from persam.studio.find.show import FindParts
from persam.studio.workshop import Workshop
from persam.video import open_clip

FRAMES = 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disc moves to the right, before the frame's number as a name can have it."""
    path = tmp_path_factory.mktemp("clips") / "my clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(FRAMES):
            frame = draw_scene(center=(50 + 8 * number, 60), seed=number)[0]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(PerSAM(ColourModel())) as engine:
        yield engine


@pytest.fixture(scope="module")
def concept(engine: Engine) -> Concept:
    return engine.model.learn(*draw_scene(), name="disc")


def test_a_clip_is_followed_as_at_once_while_others_use_the_model(
    engine: Engine, concept: Concept, clip: Path, tmp_path: Path
) -> None:
    search = ClipSearch(engine, clip, [concept], tmp_path / "clip")
    seen = []
    for so_far in search.run():
        (found,) = engine.segment(draw_scene()[0], [concept]).result(timeout=20)  # between two frames
        assert found.present
        seen.append(so_far)
    assert [each.done for each in seen] == list(range(1, FRAMES + 1))
    assert seen[0].preview is not None
    assert seen[-1].share == 1
    assert str(seen[2]).startswith(f"Frame 3 of about {FRAMES}, ")
    for frame in engine.model.track(clip, concept):
        label = np.asarray(Image.open(search.folder / "labels" / f"{frame.frame.number:05d}.png"))
        assert np.array_equal(label, frame.labels)
    assert clip_summary(search).startswith(f"{FRAMES} frames: disc in {FRAMES}, least sure in frame ")
    assert len(list(open_clip(search.folder / "overlay.mp4"))) == FRAMES
    files = {key: search.file(key) for key in CLIP_PARCELS}
    assert None not in files.values()
    with zipfile.ZipFile(files["labels"] or "") as parcel:
        assert len(parcel.namelist()) == FRAMES


def test_its_files_come_from_their_own_search_alone(
    engine: Engine, concept: Concept, clip: Path, tmp_path: Path
) -> None:
    search = ClipSearch(engine, clip, [concept], tmp_path / "one" / "clip")
    list(search.run())
    assert 'controls playsinline src="/search/abc/clip/overlay?run=one"' in player_of("abc", search)
    assert links_of("abc", search).count("<li>") == len(CLIP_PARCELS)
    app = FastAPI()
    app.include_router(clip_routes(lambda name: search if name == "abc" else None))
    browser = TestClient(app)
    part = browser.get("/search/abc/clip/overlay", headers={"Range": "bytes=0-9"})
    assert (part.status_code, len(part.content)) == (206, 10)
    saved = browser.get("/search/abc/clip/coco?save=1")
    assert "attachment" in saved.headers["content-disposition"]
    assert "my%20clip-coco.json" in saved.headers["content-disposition"]
    for wrong in ("/search/abd/clip/overlay", "/search/abc/clip/results.jsonl", "/search/abc/clip/.."):
        assert browser.get(wrong).status_code == 404


def test_a_stopped_clip_keeps_what_was_found(engine: Engine, concept: Concept, clip: Path, tmp_path: Path) -> None:
    search = ClipSearch(engine, clip, [concept], tmp_path / "clip")
    for so_far in search.run():
        if so_far.done == 3:
            search.stop()
    assert search.was_stopped
    assert clip_summary(search) == "Stopped after 3 frames; what was found until then is kept."
    assert len(list(open_clip(search.folder / "overlay.mp4"))) == 3
    assert search.file("timeline") is not None
    assert engine.call(lambda model: model.settings.mode).result(timeout=20) == "persam"


@pytest.mark.parametrize(
    ("error", "told", "kept"),
    [
        (PersamError("Frame 3 is damaged."), "Frame 3 is damaged.", "overlay"),
        (ValueError("no"), "ValueError", "labels"),
    ],
)
def test_a_clip_that_breaks_off_is_told_beside_what_was_found(
    engine: Engine,
    concept: Concept,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    told: str,
    kept: str,
) -> None:
    as_ever = ClipSearch._after_frame

    def breaks(search: ClipSearch, found: Any) -> None:
        as_ever(search, found)
        if search.frames == 3:
            raise error

    monkeypatch.setattr(ClipSearch, "_after_frame", breaks)
    store = ConceptStore(tmp_path / "concepts")
    store.save(concept)
    with Workshop(engine, store, folder=tmp_path / "workshop") as workshop:
        sessions = FindSessions(workshop.folder / "searches")
        actions = FindActions(workshop, sessions, FindParts(**{name: name for name in FindParts.__annotations__}))
        name = sessions.new()
        updates = list(actions.find(name, ["disc"], [str(clip)], "", 1, "overlay"))
        assert told in updates[-1]["status"]
        assert [each["stop"]["interactive"] for each in updates if "stop" in each] == [True, False]
        (links,) = [each["clip_links"] for each in updates if each.get("clip_links")]
        assert f"/clip/{kept}?" in links
        search = sessions.clip_of(name)
        assert search is not None
        assert not search.was_stopped
        assert len(list((search.folder / "labels").glob("*.png"))) == 3


def test_what_is_warned_of_on_the_way_is_said_with_what_came_of_it(
    engine: Engine, concept: Concept, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(6):
        Image.fromarray(draw_scene(seed=number)[0]).save(frames / f"{number}.png")
    (frames / "raw.cr2").write_text("RAW")
    (frames / "2.png").write_text("no photo")
    search = ClipSearch(engine, frames, [concept], tmp_path / "clip")
    list(search.run())
    opened, left_out = search.doubts
    assert opened.startswith("Left out of frames: 1 RAW photo (raw.cr2;")
    assert left_out.startswith("Frame 2 is left out: ")
    assert clip_summary(search).endswith(f". {opened} {left_out}")
    assert str(tmp_path) not in clip_summary(search)
    assert not recwarn.list
    (frames / "3.png").write_text("no photo")
    broken = ClipSearch(engine, frames, [concept], tmp_path / "stopped")
    for so_far in broken.run():
        if so_far.done == 4:
            broken.stop()
    assert clip_summary(broken).endswith(f"is kept. {opened} There are 2 more warnings.")
    assert all(f"<li>{escape(each)}</li>" in links_of("name", broken) for each in broken.doubts)


def test_who_looks_away_leaves_nothing_running(engine: Engine, concept: Concept, clip: Path, tmp_path: Path) -> None:
    import threading

    running = ClipSearch(engine, clip, [concept], tmp_path / "clip").run()
    next(running)
    running.close()
    assert not [each for each in threading.enumerate() if each.name == "persam-clip"]


def test_what_is_no_clip_is_told_and_the_engine_goes_on(engine: Engine, concept: Concept, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no clip")
    with pytest.raises(PersamError, match="is damaged, or no video"):
        ClipSearch(engine, text, [concept], tmp_path / "clip")
    stranger = PerSAM(ColourModel(8)).learn(*draw_scene(), name="disc")
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, size in enumerate([(120, 160), (120, 160), (60, 80)]):
        Image.fromarray(draw_scene(*size)[0]).save(frames / f"{number}.png")
    search = ClipSearch(engine, frames, [stranger], tmp_path / "broken")
    with pytest.raises(PersamError, match="a clip has frames of one size"):
        list(search.run())
    assert search.doubts == []  # the command line would be told in which folder on this machine the results are
    assert engine.call(lambda _: 1).result(timeout=20) == 1
