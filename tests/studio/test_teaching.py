"""What Teach does, without a page: photos as people have them, masks, learning, further shots, tuning, trying."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam import Concept, PerSAM
from persam.errors import PersamError, PersamWarning, UsageError
from persam.reference import Reference

pytest.importorskip("gradio")
from persam.metrics import iou
from persam.server.engine import Engine
from persam.server.store import ConceptStore, NameTakenError, NoConceptError
from persam.studio.canvas import CanvasPrompts
from persam.studio.canvas.prompts import mask_of
from persam.studio.teach import lesson as teaching
from persam.studio.teach.lesson import Teaching, checked_name
from persam.studio.workshop import SHOWN_SIDE, Shown, Workshop


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(PerSAM(ColourModel(cells=32))) as engine:
        yield engine


@pytest.fixture
def workshop(engine: Engine, tmp_path: Path) -> Iterator[Workshop]:
    with Workshop(engine, ConceptStore(tmp_path / "concepts"), folder=tmp_path / "run") as workshop:
        yield workshop


@pytest.fixture
def lesson() -> Teaching:
    return Teaching()


def click(lesson: Teaching, x: float, y: float, label: int = 1, number: int = 1) -> dict[str, object]:
    assert lesson.shown is not None
    return {"points": [[x, y, label]], "number": number, "photo": lesson.shown.url}


def test_a_photo_is_clicked_learned_tuned_and_found_in_another(
    workshop: Workshop, lesson: Teaching, photo_file: Path, tmp_path: Path
) -> None:
    lesson.open(workshop, photo_file)
    drawn = click(lesson, 60, 84)
    prompts, mask = lesson.draw(workshop, drawn)
    assert isinstance(prompts, CanvasPrompts)
    assert mask is lesson.mask
    assert mask.any()
    concept = lesson.learn(workshop, drawn, "  my   disc ", keep=True)
    assert concept.name == "my disc"
    assert workshop.concepts.names() == ["my disc"]
    assert concept.references[0].source == "photo.png"  # as the user knows it, not where it lies here
    doubts: list[str] = []
    assert len(lesson.add(workshop, drawn, "my disc", keep=True, doubts=doubts).references) == 2
    assert doubts == ["Learned from more than once, and so it counts more: photo.png; to put a mask right, learn anew."]
    lesson.learn(workshop, drawn, "my disc", keep=True, overwrite=True)
    tuned = lesson.tune(workshop)
    assert tuned.tuned
    assert Concept.load(workshop.concepts.path("my disc")).keeps_references
    other = tmp_path / "other.png"
    Image.fromarray(draw_scene(center=(100, 60), seed=3)[0]).save(other)
    pixels, found = lesson.try_on(workshop, other)
    assert pixels.shape == (120, 160, 3)
    assert found.concept == "my disc"
    lesson.open(workshop, other)
    both = lesson.add(workshop, click(lesson, 100, 84), "my disc", keep=True)
    assert len(both.references) == 2
    assert both.tuned  # as it was


def test_a_photo_stands_upright_and_large_ones_are_shown_small(
    workshop: Workshop, lesson: Teaching, tmp_path: Path
) -> None:
    turned = Image.fromarray(draw_scene()[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    lesson.open(workshop, tmp_path / "turned.jpg")
    assert (lesson.shown.width, lesson.shown.height) == (120, 160)
    Image.new("L", (3 * SHOWN_SIDE, 30), 90).save(tmp_path / "wide grey.png")
    lesson.open(workshop, tmp_path / "wide grey.png")
    assert (lesson.shown.width, lesson.shown.height) == (3 * SHOWN_SIDE, 30)
    file = workshop.pictures.get(lesson.shown.url.rpartition("/")[2])
    (workshop.folder / "shown.jpg").write_bytes(file)
    assert Image.open(workshop.folder / "shown.jpg").size == (SHOWN_SIDE, 10)
    Image.new("RGB", (1, 1)).save(tmp_path / "tiny.png")
    lesson.open(workshop, tmp_path / "tiny.png")
    with pytest.raises(PersamError, match="marked"):
        lesson.learn(workshop, click(lesson, 0, 0), "dot", keep=False)


def test_a_cut_out_a_mask_and_a_scribble_mark_the_object(
    workshop: Workshop, lesson: Teaching, photo_file: Path, mask_file: Path, tmp_path: Path
) -> None:
    image, disc = draw_scene()
    Image.fromarray(np.dstack([image, disc * np.uint8(255)])).save(tmp_path / "cut.png")
    lesson.open(workshop, tmp_path / "cut.png")
    assert np.array_equal(lesson.mask, disc)
    lesson.open(workshop, photo_file)
    assert lesson.mask is None
    lesson.take_mask(workshop, mask_file, "mask")
    assert np.array_equal(lesson.mask, disc)
    strokes = np.zeros(disc.shape, np.uint8)
    strokes[82:88, 50:70] = 255
    Image.fromarray(strokes).save(tmp_path / "scribble.png")
    lesson.take_mask(workshop, tmp_path / "scribble.png", "scribble")
    assert iou(lesson.mask, disc) > 0.3  # the disc below its stripe
    assert not lesson.mask[5, 5]


def test_a_mask_of_another_photo_is_refused_and_the_old_one_stays(
    workshop: Workshop, lesson: Teaching, photo_file: Path, mask_file: Path, tmp_path: Path
) -> None:
    lesson.open(workshop, photo_file)
    lesson.take_mask(workshop, mask_file, "mask")
    before = lesson.mask
    Image.fromarray(np.eye(90, 40) > 0).save(tmp_path / "other_mask.png")
    with pytest.raises(PersamError, match="another aspect") as refused:
        lesson.take_mask(workshop, tmp_path / "other_mask.png", "mask")
    assert str(tmp_path) not in str(refused.value)
    assert lesson.mask is before


def test_the_doctor_speaks_of_what_is_marked_once_for_each_mask(
    workshop: Workshop, lesson: Teaching, photo_file: Path, mask_file: Path
) -> None:
    assert lesson.examine(workshop) is None
    lesson.open(workshop, photo_file)
    lesson.take_mask(workshop, mask_file, "mask")
    diagnosis = lesson.examine(workshop)
    assert diagnosis is not None
    assert lesson.examine(workshop) is diagnosis
    lesson.draw(workshop, {"strokes": [{"label": 0, "width": 400, "points": [[0, 0]]}], "photo": lesson.shown.url})
    assert lesson.examine(workshop) is None  # all of it was erased


def test_a_drawing_of_a_photo_that_is_gone_is_overlooked(
    workshop: Workshop, lesson: Teaching, photo_file: Path
) -> None:
    assert lesson.draw(workshop, {"points": [[1, 1, 1]], "photo": "/pictures/x.jpg"}) is None
    lesson.open(workshop, photo_file)
    late = click(lesson, 60, 84)
    lesson.open(workshop, photo_file)
    assert lesson.draw(workshop, late) is None
    assert lesson.mask is None


def test_mistakes_are_told_in_one_sentence(
    workshop: Workshop, lesson: Teaching, photo_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no photo yet"):
        lesson.learn(workshop, None, "disc", keep=True)
    with pytest.raises(UsageError, match="Nothing was learned yet"):
        lesson.tune(workshop)
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(PersamError, match=r"^The photo text\.jpg is not a picture"):
        lesson.open(workshop, tmp_path / "text.jpg")
    lesson.open(workshop, photo_file)
    with pytest.raises(PersamError, match="Nothing is marked"):
        lesson.learn(workshop, {"photo": lesson.shown.url}, "disc", keep=True)
    drawn = click(lesson, 60, 84)
    lesson.draw(workshop, drawn)
    with pytest.raises(UsageError, match="no name"):
        lesson.learn(workshop, drawn, "  ", keep=True)
    with pytest.raises(NoConceptError, match='no concept "disc"'):
        lesson.add(workshop, drawn, "disc", keep=True)
    lesson.learn(workshop, drawn, "disc", keep=False)
    with pytest.raises(NameTakenError):
        lesson.learn(workshop, drawn, "disc", keep=False)
    lesson.learn(workshop, drawn, "disc", keep=False, overwrite=True)
    assert lesson.tune(workshop).tuned  # from memory, though its file keeps no photo
    with pytest.raises(PersamError, match="does not keep its photos"):
        later = Teaching()  # in another tab, which knows nothing of the first
        later.open(workshop, photo_file)
        later.add(workshop, click(later, 60, 84), "disc", keep=False)


# ------------------------------------------------------------------ events of a page come at once


def test_a_late_answer_about_one_photo_is_no_mask_of_the_next(
    workshop: Workshop, lesson: Teaching, photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson.open(workshop, photo_file)
    asked, opened = threading.Event(), threading.Event()

    def slow(*given: Any) -> np.ndarray | None:
        found = mask_of(*given)
        asked.set()
        opened.wait(0.3)  # while the model is busy the user opens another photo
        return found

    monkeypatch.setattr(teaching, "mask_of", slow)
    with ThreadPoolExecutor() as events:
        drawing = events.submit(lesson.draw, workshop, click(lesson, 60, 84))
        assert asked.wait(10)
        lesson.open(workshop, photo_file)
        opened.set()
        drawing.result(10)
    assert lesson.mask is None
    with pytest.raises(PersamError, match="Nothing is marked"):
        lesson.learn(workshop, {"photo": lesson.shown.url}, "disc", keep=True)


def test_a_drawing_meets_the_photo_and_its_encoding_or_neither(
    workshop: Workshop, lesson: Teaching, photo_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson.open(workshop, photo_file)
    drawn, show = click(lesson, 60, 84), workshop.show
    asked: list[object] = []
    monkeypatch.setattr(teaching, "mask_of", lambda *given: asked.append(given))
    with ThreadPoolExecutor() as events:

        def draw_meanwhile(pixels: np.ndarray) -> Shown:
            drawing.append(events.submit(lesson.draw, workshop, drawn))
            wait(drawing, 0.2)
            return show(pixels)

        drawing: list[Any] = []
        monkeypatch.setattr(workshop, "show", draw_meanwhile)
        Image.fromarray(draw_scene(seed=5)[0]).save(tmp_path / "other.png")
        lesson.open(workshop, tmp_path / "other.png")
        assert drawing[0].result(10) is None
    assert asked == []


def test_what_is_learned_is_what_the_page_shows(
    workshop: Workshop, lesson: Teaching, photo_file: Path, mask_file: Path
) -> None:
    lesson.open(workshop, photo_file)
    old = click(lesson, 60, 84)
    lesson.draw(workshop, old)
    clicked = lesson.mask
    # The event of the last stroke is still on its way.
    stroke = {"label": 1, "width": 20, "points": [[120, 20], [150, 20]]}
    drawn = {**old, "strokes": [stroke], "number": 2}
    concept = lesson.learn(workshop, drawn, "disc", keep=True)
    assert concept.references[0].coverage > clicked.mean() + 0.02
    assert lesson.mask[20, 130]
    # Strokes on a photo to which a mask came meanwhile are of what was there before.
    lesson.take_mask(workshop, mask_file, "mask")
    assert lesson.draw(workshop, drawn) is None
    for learn in (lesson.learn, lesson.add):
        with pytest.raises(PersamError, match="Another photo has come meanwhile"):
            learn(workshop, drawn, "disc", keep=True)
    shown = workshop.pictures.get(lesson.shown.url.rpartition("/")[2].partition("?")[0])
    assert shown is not None


def test_learning_waits_for_a_drawing_that_is_being_answered(
    workshop: Workshop, lesson: Teaching, photo_file: Path, engine: Engine
) -> None:
    lesson.open(workshop, photo_file)
    busy, asked = threading.Event(), engine.call(lambda _: busy.wait(10))
    with ThreadPoolExecutor() as events:
        drawn = click(lesson, 60, 84)
        drawing = events.submit(lesson.draw, workshop, drawn)
        while not engine.depth:
            time.sleep(0.005)
        learning = events.submit(lesson.learn, workshop, drawn, "disc", keep=True)
        time.sleep(0.05)
        busy.set()
        assert learning.result(10).name == "disc"
        assert drawing.result(10) is not None
    assert asked.result()


def test_doubts_of_other_people_are_not_heard(
    workshop: Workshop, lesson: Teaching, photo_file: Path, mask_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson.open(workshop, photo_file)
    read = Reference.read

    def read_while_another_warns(*given: Any, **more: Any) -> Reference:
        other = threading.Thread(target=warnings.warn, args=("Of another's photo.", PersamWarning))
        other.start()
        other.join()
        warnings.warn("Of this photo.", PersamWarning, stacklevel=1)
        return read(*given, **more)

    monkeypatch.setattr(Reference, "read", read_while_another_warns)
    with warnings.catch_warnings():
        warnings.showwarning = lambda *_, **__: None
        lesson.take_mask(workshop, mask_file, "mask")
        assert any("Of this photo" in each.sentence for each in lesson.examine(workshop).findings)
    assert not any("another" in each.sentence for each in lesson.examine(workshop).findings)


def test_a_model_that_does_not_answer_is_told_of(
    workshop: Workshop, lesson: Teaching, photo_file: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson.open(workshop, photo_file)
    drawn = click(lesson, 60, 84)
    lesson.learn(workshop, drawn, "disc", keep=True)
    monkeypatch.setattr("persam.studio.workshop._PATIENCE", 0.05)
    busy = threading.Event()
    engine.call(lambda _: busy.wait(10))
    try:
        for ask in (lambda: lesson.draw(workshop, drawn), lambda: lesson.try_on(workshop, photo_file)):
            with pytest.raises(PersamError, match="did not answer within two minutes"):
                ask()
    finally:
        busy.set()


def test_a_copy_to_download_is_made_once_for_each_state_of_a_concept(
    workshop: Workshop, lesson: Teaching, photo_file: Path
) -> None:
    lesson.open(workshop, photo_file)
    lesson.learn(workshop, click(lesson, 60, 84), "disc", keep=True)
    first = workshop.concept_file("disc")
    assert first.name == "disc.safetensors"
    assert workshop.concept_file("disc") == first
    lesson.tune(workshop)
    other = workshop.concept_file("disc")
    assert other != first
    assert other.read_bytes() == workshop.concepts.path("disc").read_bytes()
    assert len(list(workshop.downloads.iterdir())) == 2


def test_names_are_such_as_files_can_have() -> None:
    assert checked_name(" a  b ") == "a b"
    assert "/" not in checked_name("../../etc/passwd")


def test_a_workshop_leaves_nothing_behind(engine: Engine, tmp_path: Path) -> None:
    with Workshop(engine, ConceptStore(tmp_path / "concepts")) as workshop:
        one, other = workshop.download("a/b.safetensors"), workshop.download("a/b.safetensors")
        assert one.name == other.name == "a_b.safetensors"
        one.write_bytes(b"x")
        assert one != other
    assert not workshop.folder.exists()
