"""What is drawn on a canvas, and the mask that it means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam import PerSAM
from persam.errors import PersamError, UsageError

pytest.importorskip("gradio")
from persam.metrics import iou
from persam.models.base import EncodedImage
from persam.server.engine import Engine
from persam.studio.canvas.prompts import CanvasPrompts, Stroke, check_mask, mask_of

SIZE = (120, 160)
CENTRE = (60.0, 84.0, 1)  # on the disc, below its stripe
GROUND = (140.0, 20.0, 0)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(PerSAM(ColourModel(cells=32))) as engine:
        yield engine


@pytest.fixture(scope="module")
def encoded(engine: Engine) -> EncodedImage:
    return engine.model.encode(plain_disc()[0])


def plain_disc() -> tuple[np.ndarray, np.ndarray]:
    """The drawn disc in one colour, and a small patch of that colour beside it."""
    image, mask = draw_scene()
    image[mask] = (200, 30, 40)
    image[100:112, 130:142] = (200, 30, 40)
    return image, mask


def test_a_drawing_is_read_and_given_back() -> None:
    value = {
        "points": [[10, 20.5, 1], [30, 40, 0]],
        "box": [50, 10, 20, 90],
        "strokes": [{"label": 0, "width": 7, "points": [[1, 2], [3, 4]]}],
        "number": 3,
        "photo": "/pictures/a.jpg",
    }
    prompts = CanvasPrompts.of(value, SIZE)
    assert prompts.points == ((10.0, 20.5, 1), (30.0, 40.0, 0))
    assert prompts.box == (20.0, 10.0, 50.0, 90.0)  # however it was dragged
    assert prompts.strokes == (Stroke(0, 7.0, ((1.0, 2.0), (3.0, 4.0))),)
    assert CanvasPrompts.of(prompts.to_value(), SIZE) == prompts
    assert CanvasPrompts.of(None, SIZE).is_empty


@given(x=st.floats(-1e9, 1e9), y=st.floats(-1e9, 1e9), width=st.floats(-10, 1e9))
def test_whatever_lies_outside_is_moved_to_the_edge(x: float, y: float, width: float) -> None:
    drawn = {"points": [[x, y, 1]], "box": [x, y, x, y], "strokes": [{"label": 1, "width": width, "points": [[x, y]]}]}
    prompts = CanvasPrompts.of(drawn, SIZE)
    ((px, py, _),) = prompts.points
    assert 0 <= px <= 159
    assert 0 <= py <= 119
    x0, y0, x1, y1 = prompts.box or (0, 0, 0, 0)
    assert 0 <= x0 < x1 <= 160
    assert 0 <= y0 < y1 <= 120
    assert prompts.painted(None).any()


@pytest.mark.parametrize(
    "value",
    [
        [],
        "points",
        {"points": 3},
        {"points": [[1, 2]]},
        {"points": [[1, 2, 2]]},
        {"points": [[1, "2", 1]]},
        {"points": [[float("nan"), 2, 1]]},
        {"points": [[1, 2, 1]] * 501},
        {"points": ["123"]},
        {"box": [1, 2, 3]},
        {"box": {"x": 1}},
        {"strokes": [3]},
        {"strokes": [{"label": 1, "width": 1, "points": []}]},
        {"strokes": [{"label": None, "width": 1, "points": [[1, 1]]}]},
        {"strokes": [{"label": 1, "width": "wide", "points": [[1, 1]]}]},
        {"number": "first"},
    ],
)
def test_what_is_no_drawing_is_refused_in_a_sentence(value: Any) -> None:
    with pytest.raises(UsageError, match=r"^The drawing cannot be read: .*; clear it and draw again\.$"):
        CanvasPrompts.of(value, SIZE)


def test_brush_and_eraser_paint_what_they_cover() -> None:
    stroke = {"label": 1, "width": 9, "points": [[20, 30], [60, 30]]}
    painted = CanvasPrompts.of({"strokes": [stroke]}, SIZE).painted(None)
    rows, columns = np.nonzero(painted)
    assert rows.max() - rows.min() + 1 == pytest.approx(9, abs=2)  # OpenCV rounds up
    assert (columns.min(), columns.max()) == (pytest.approx(16, abs=1), pytest.approx(64, abs=1))
    dot = CanvasPrompts.of({"strokes": [{"label": 1, "width": 20, "points": [[80, 60]]}]}, SIZE).painted(None)
    assert dot.sum() == pytest.approx(np.pi * 100, rel=0.1)
    erased = CanvasPrompts.of({"strokes": [stroke, stroke | {"label": 0, "width": 15}]}, SIZE).painted(dot)
    assert np.array_equal(erased, dot)
    one = CanvasPrompts.of({"strokes": [{"label": 1, "width": 1, "points": [[5, 7]]}]}, SIZE).painted(None)
    assert one.sum() == 1
    assert one[7, 5]


def test_nothing_drawn_is_no_mask_and_leaves_a_given_one(engine: Engine, encoded: EncodedImage) -> None:
    nothing = CanvasPrompts(SIZE)
    _, mask = plain_disc()
    assert mask_of(engine, encoded, nothing) is None
    assert np.array_equal(mask_of(engine, encoded, nothing, mask), mask)


def test_a_click_is_asked_of_the_model_and_strokes_lie_over_its_answer(engine: Engine, encoded: EncodedImage) -> None:
    _, disc = plain_disc()
    found = mask_of(engine, encoded, CanvasPrompts(SIZE, (CENTRE,)))
    assert iou(found, disc) > 0.9
    hole = Stroke(0, 10.0, ((60.0, 70.0),))
    erased = mask_of(engine, encoded, CanvasPrompts(SIZE, (CENTRE,), strokes=(hole,)))
    assert not erased[70, 60]
    assert erased.sum() < found.sum()
    painted = mask_of(engine, encoded, CanvasPrompts(SIZE, strokes=(Stroke(1, 6.0, ((5.0, 5.0), (20.0, 5.0))),)))
    assert painted[5, 10]
    assert not painted[70, 60]


def test_points_beside_the_object_alone_say_nothing(engine: Engine, encoded: EncodedImage) -> None:
    with pytest.raises(UsageError, match="click on the object too"):
        mask_of(engine, encoded, CanvasPrompts(SIZE, (GROUND,)))


def test_clicks_mend_a_given_mask_where_they_lie_and_leave_the_rest(engine: Engine, encoded: EncodedImage) -> None:
    _, disc = plain_disc()
    half = disc.copy()
    half[70:] = False
    half[10:20, 10:20] = True  # something that was there, right or wrong
    mended = mask_of(engine, encoded, CanvasPrompts(SIZE, (CENTRE,)), half)
    assert iou(mended[25:], disc[25:]) > 0.9
    assert mended[12, 12]
    # A click beside the object takes its piece away, and no other.
    denied = mask_of(engine, encoded, CanvasPrompts(SIZE, (CENTRE, (15.0, 15.0, 0))), half)
    assert not denied[:22, :22].any()
    assert denied[60, 60]


def test_a_piece_that_is_clicked_away_goes_and_specks_go_by_themselves() -> None:
    class Spotted(ColourModel):
        """Finds all of the colour, as a weak model does."""

        @staticmethod
        def _patch(colours: np.ndarray, x: float, y: float) -> np.ndarray:
            column, row = int((x + 0.5) / 2), int((y + 0.5) / 2)
            return np.abs(colours - colours[row, column]).max(-1) < 0.35

    image, _ = plain_disc()
    image[4:6, 150:152] = (200, 30, 40)
    with Engine(PerSAM(Spotted(cells=64))) as engine:
        encoded = engine.model.encode(image)
        both = mask_of(engine, encoded, CanvasPrompts(SIZE, (CENTRE,)))
        assert cv2.connectedComponents(both.astype(np.uint8))[0] - 1 == 2  # disc and patch; the speck is gone
        one = mask_of(engine, encoded, CanvasPrompts(SIZE, (CENTRE, (136.0, 106.0, 0))))
    assert cv2.connectedComponents(one.astype(np.uint8))[0] - 1 == 1
    assert one[84, 60]


def test_a_mask_to_learn_from_holds_something_and_not_everything() -> None:
    for mask, words in ((None, "Nothing"), (np.zeros(SIZE, bool), "Nothing"), (np.ones(SIZE, bool), "Everything")):
        with pytest.raises(PersamError, match=f"^{words} is marked"):
            check_mask(mask)
