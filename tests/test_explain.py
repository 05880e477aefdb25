"""The explain view: every step of the way as a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from persam.errors import PersamError, UsageError
from persam.explain import explain
from persam.explain.explain import PANEL
from persam.explain.paint import NEGATIVE, POSITIVE, colour_bar, colours, draw_box, heat, mark_points
from persam.geometry import Frame
from persam.instance import Instance
from persam.method.prior import Prior
from persam.method.segment import Step
from persam.models.base import Guidance
from persam.segmentation import Segmentation

Scene = tuple[np.ndarray, np.ndarray]


def make_found(mask: np.ndarray, *, tuned: bool = False, guidance: bool = True, steps: int = 3) -> Segmentation:
    """A segmentation with a made-up way: logits that say the mask, larger and smaller by the candidate."""
    frame = Frame.padded((mask.shape[0], mask.shape[1]), 128, (8, 8))
    coverage = frame.cover(torch.as_tensor(mask), (32, 32))
    logits = torch.stack([coverage - share for share in (0.2, 0.5, 0.8)])
    scores = torch.tensor([0.3, 0.9, 0.6])
    made = [
        Step(f"pass {number}", logits, scores, -1 if tuned and number == 0 else 1, logits[1], 0.9,
             np.array([10.0, 10.0, 60.0, 50.0]) if number else None, dropped=number == 2)
        for number in range(steps)
    ]  # fmt: skip
    points = np.array([[50.0, 55.0], [2.0, 2.0]])
    steering = Guidance(torch.linspace(-1, 1, 64)[None, None, None], "before") if guidance else None
    prior = Prior(
        frame,
        torch.zeros(8, 8),
        coverage,
        coverage,
        None,
        float(coverage.max()),
        points,
        np.array([1, 0]),
        guidance=steering,
    )
    instance = Instance(mask, 0.7, prior=prior, steps=tuple(made))
    return Segmentation("my disc", "photo.png", mask, 0.7, True, instances=(instance,))


def test_every_step_has_a_panel(scene: Scene) -> None:
    made = explain(scene[0], make_found(scene[1]), reference=scene)
    assert [panel.caption for panel in made.panels] == [
        "Reference", "Confidence map and points", "Guidance", "What was looked for",
        "Step 1 · pass 0", "Step 2 · pass 1", "Step 3 · pass 2", "Result",
    ]  # fmt: skip
    assert "predicted IoU 0.90" in made.panels[5].note
    assert "dropped" in made.panels[6].note
    assert "present" in made.panels[7].note
    heights = [panel.picture.shape[0] for panel in made.panels]
    assert heights[4] > heights[0] + 50  # the three masks on offer


def test_what_there_is_not_has_no_panel(scene: Scene) -> None:
    made = explain(scene[0], make_found(scene[1], guidance=False, steps=1))
    assert [panel.caption for panel in made.panels] == [
        "Confidence map and points", "What was looked for", "Step 1 · pass 0", "Result",
    ]  # fmt: skip


def test_that_the_likeliest_place_was_not_taken_is_a_line_more(scene: Scene) -> None:
    usual = make_found(scene[1])
    (one,) = usual.instances
    assert one.prior is not None
    elsewhere = replace(usual, instances=(replace(one, prior=replace(one.prior, whole=torch.ones(8, 8))),))
    rows = [explain(scene[0], found, reference=scene).panels[3].picture.shape[0] for found in (usual, elsewhere)]
    assert rows[1] - rows[0] == 24


def test_a_weighted_first_pass_says_so(scene: Scene) -> None:
    assert "weighted sum" in explain(scene[0], make_found(scene[1], tuned=True)).panels[3].note


def test_the_page_and_its_pieces_are_written(scene: Scene, tmp_path: Path) -> None:
    made = explain(scene[0], make_found(scene[1]), reference=scene)
    made.write(tmp_path / "way.png")
    with Image.open(tmp_path / "way.png") as page:
        assert page.width > 4 * PANEL
        assert page.height > 500
    made.write(tmp_path / "way.html")
    html = (tmp_path / "way.html").read_text(encoding="utf-8")
    assert html.count('src="data:image/webp;base64,') == 8
    assert "Step 3 · pass 2" in html
    pieces = made.write_pieces(tmp_path / "pieces")
    assert len(pieces) == 8
    assert pieces[0].name == "01-reference.png"
    for piece in pieces:
        with Image.open(piece) as picture:
            assert picture.width <= PANEL


@pytest.mark.parametrize("size", [(1, 1), (2, 400), (900, 3), (24, 16), (1500, 2000)])
def test_any_size_of_photo_is_shown_legibly(size: tuple[int, int]) -> None:
    photo = np.full((*size, 3), 90, np.uint8)
    mask = np.zeros(size, bool)
    mask[: max(1, size[0] // 2), : max(1, size[1] // 2)] = True
    made = explain(photo, make_found(mask), reference=(photo, mask))
    assert all(panel.picture.shape[1] <= PANEL for panel in made.panels)
    assert all(panel.picture.shape[0] <= PANEL + 140 for panel in made.panels)  # with the masks on offer below
    assert max(made.panels[0].picture.shape[:2]) == max(made.panels[-1].picture.shape[:2]) == PANEL


def test_an_empty_mask_and_several_instances_are_shown(scene: Scene) -> None:
    photo, mask = scene
    found = make_found(mask)
    (first,) = found.instances
    nothing = replace(found, mask=np.zeros_like(mask), present=False, instances=(), candidate=first)
    assert "not present" in explain(photo, nothing).panels[-1].note
    two = replace(found, instances=(first, Instance(~mask, 0.2)))
    assert explain(photo, two).panels[-1].picture.any()


def test_the_name_of_the_object_may_be_in_any_script(scene: Scene) -> None:
    made = explain(scene[0], replace(make_found(scene[1]), concept="Café 茶碗 " * 20))
    assert made.page().shape[2] == 3


def test_without_a_trace_there_is_a_sentence(scene: Scene) -> None:
    with pytest.raises(UsageError, match="has no trace.*explain=True"):
        explain(scene[0], replace(make_found(scene[1]), instances=()))


def test_another_photo_is_refused(scene: Scene) -> None:
    with pytest.raises(PersamError, match="160 x 60 pixels, the segmented one was 160 x 120"):
        explain(scene[0][:60], make_found(scene[1]))


def test_a_reference_mask_of_another_size_is_refused(scene: Scene) -> None:
    with pytest.raises(PersamError, match="its mask 160 x 60"):
        explain(scene[0], make_found(scene[1]), reference=(scene[0], scene[1][:60]))


def test_the_colours_rise_in_brightness() -> None:
    grey = cv2.cvtColor(colours(np.linspace(0, 1, 64)[None]), cv2.COLOR_RGB2GRAY)[0].astype(int)
    assert (np.diff(grey) >= -1).all()
    assert grey[-1] - grey[0] > 200
    assert colour_bar(340, -0.5, 0.5).shape == (26, 340, 3)


def test_a_flat_map_is_painted_too() -> None:
    assert heat(np.zeros((4, 5, 3), np.uint8), np.full((4, 5), np.nan), 0.3, 0.3).shape == (4, 5, 3)


def test_points_are_marked_where_they_are_in_their_colours() -> None:
    grey = np.full((100, 120, 3), 128, np.uint8)
    marked = mark_points(grey, np.array([[30.0, 40.0], [90.0, 20.0], [119.0, 99.0]]), np.array([1, 1, 0]))
    assert tuple(marked[40, 30]) == POSITIVE
    assert tuple(marked[20, 90]) == POSITIVE
    assert tuple(marked[91, 111]) == NEGATIVE  # moved inwards, so that it is whole
    assert (grey == 128).all()
    np.testing.assert_array_equal(mark_points(grey, np.zeros((0, 2)), np.zeros(0)), grey)


def test_a_box_beyond_the_photo_is_drawn_at_its_edge() -> None:
    drawn = draw_box(np.full((50, 60, 3), 128, np.uint8), (-5, 10, 90, 20))
    assert drawn.shape == (50, 60, 3)
    assert tuple(drawn[10, 30]) == (0, 0, 0)
