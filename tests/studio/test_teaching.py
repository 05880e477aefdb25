"""What Teach does, without a page: photos as people have them, masks, learning, further shots, tuning, trying."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam import Concept, PerSAM
from persam.errors import PersamError, UsageError

pytest.importorskip("gradio")
from persam.metrics import iou
from persam.server.engine import Engine
from persam.server.store import ConceptStore, NameTakenError, NoConceptError
from persam.studio.canvas import CanvasPrompts
from persam.studio.teaching import Teaching, checked_name
from persam.studio.workshop import SHOWN_SIDE, Workshop


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
    prompts = lesson.draw(workshop, click(lesson, 60, 84))
    assert isinstance(prompts, CanvasPrompts)
    assert lesson.mask is not None
    assert lesson.mask.any()
    concept = lesson.learn(workshop, "  my   disc ", keep=True)
    assert concept.name == "my disc"
    assert workshop.concepts.names() == ["my disc"]
    assert concept.references[0].source == "photo.png"  # as the user knows it, not where it lies here
    tuned = lesson.tune(workshop)
    assert tuned.tuned
    assert Concept.load(workshop.concepts.path("my disc")).keeps_references
    other = tmp_path / "other.png"
    Image.fromarray(draw_scene(center=(100, 60), seed=3)[0]).save(other)
    pixels, found = lesson.try_on(workshop, other)
    assert pixels.shape == (120, 160, 3)
    assert found.concept == "my disc"
    lesson.open(workshop, other)
    lesson.draw(workshop, click(lesson, 100, 84))
    both = lesson.add(workshop, "my disc", keep=True)
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
    lesson.draw(workshop, click(lesson, 0, 0))
    with pytest.raises(PersamError, match="marked"):
        lesson.learn(workshop, "dot", keep=False)


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
        lesson.learn(workshop, "disc", keep=True)
    with pytest.raises(UsageError, match="Nothing was learned yet"):
        lesson.tune(workshop)
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(PersamError, match=r"^The photo text\.jpg is not a picture"):
        lesson.open(workshop, tmp_path / "text.jpg")
    lesson.open(workshop, photo_file)
    with pytest.raises(PersamError, match="Nothing is marked"):
        lesson.learn(workshop, "disc", keep=True)
    lesson.draw(workshop, click(lesson, 60, 84))
    with pytest.raises(UsageError, match="no name"):
        lesson.learn(workshop, "  ", keep=True)
    with pytest.raises(NoConceptError, match='no concept "disc"'):
        lesson.add(workshop, "disc", keep=True)
    lesson.learn(workshop, "disc", keep=False)
    with pytest.raises(NameTakenError):
        lesson.learn(workshop, "disc", keep=False)
    lesson.learn(workshop, "disc", keep=False, overwrite=True)
    assert lesson.tune(workshop).tuned  # from memory, though its file keeps no photo
    with pytest.raises(PersamError, match="does not keep its photos"):
        Teaching.add(_later(photo_file, workshop), workshop, "disc", keep=False)


def _later(photo: Path, workshop: Workshop) -> Teaching:
    """A lesson in another tab, which knows nothing of the first."""
    lesson = Teaching()
    lesson.open(workshop, photo)
    lesson.draw(workshop, click(lesson, 60, 84))
    return lesson


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
