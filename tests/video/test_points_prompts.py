"""What points that are carried along do for what is found, in both modes, and who may carry them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.fakes import ColourModel
from tests.video.test_points import SQUARES, square_mask, squares
from tests.video.test_track import BLUE, RED, SIZE, assert_follows, draw, iou

from persam import PerSAM, UsageError
from persam.geometry import Frame
from persam.method.prior import Prior
from persam.video import follow, official
from persam.video.points import COUNT, LucasKanade, with_points
from persam.video.windows import Window


class Watched(LucasKanade):
    """A user's own tracker; it counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: list[int] = []
        self.frames = 0

    def start(self, frame: np.ndarray, points: np.ndarray) -> None:
        self.starts.append(len(points))
        super().start(frame, points)

    def follow(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.frames += 1
        return super().follow(frame)


def prior_at(*points: tuple[float, float], labels: tuple[int, ...]) -> Prior:
    flat = torch.zeros(8, 8)
    return Prior(FRAME, flat, flat, flat, None, 0.0, np.array(points, float), np.array(labels))


FRAME = Frame((100, 200), (32, 64), (64, 64), (8, 8))


def test_carried_points_take_the_place_of_others() -> None:
    prior = prior_at((1, 1), (2, 2), (3, 3), labels=(1, 0, 1))
    found = with_points(prior, FRAME, np.array([[50.0, 25.0]]), dropped=prior.labels == 1)
    assert found.points.tolist() == [[2, 2], [16, 8]]
    assert found.labels.tolist() == [0, 1]
    assert with_points(prior, FRAME, np.zeros((0, 2)), dropped=prior.labels == 1) is prior


def test_a_box_is_widened_to_hold_carried_points() -> None:
    prior = replace(prior_at((1, 1), labels=(1,)), box=np.array([10.0, 5, 15, 20]))
    found = with_points(prior, FRAME, np.array([[50.0, 25.0], [40, 10]]), dropped=prior.labels == 1)
    assert found.points.tolist() == [[16, 8], [12.8, 3.2]]
    assert found.box is not None
    assert found.box.tolist() == [10, 3.2, 16, 20]
    assert prior.box is not None
    assert prior.box.tolist() == [10, 5, 15, 20]


def test_a_window_shows_the_points_within_it() -> None:
    window = Window(0.25, 0.5, 0.75, 1.0)  # columns 50 to 149, rows 50 to 99
    points = np.array([[50, 50], [149.4, 99.4], [49.4, 60], [60, 49], [149.6, 60], [100, 75]])
    assert window.points_in(points, (100, 200)).round(6).tolist() == [[0, 0], [99.4, 49.4], [50, 25]]


def square_at(x: int, y: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + 40, x : x + 40] = True
    return mask


def test_two_textured_squares_are_found_no_worse() -> None:
    places = [((15 + 4 * k, 6 + k), (80 - 3 * k, 52 - k)) for k in range(4)]
    frames, start = [], np.zeros(SIZE, np.uint8)
    for corners in places:
        frame, _ = draw([])
        for colour, square, (x, y) in zip((RED, BLUE), SQUARES, corners, strict=True):
            frame[y : y + 40, x : x + 40] = 0.3 * square + 0.7 * np.array(colour)
        frames.append(frame)
    for number, corner in enumerate(places[0], start=1):
        start[square_at(*corner)] = number
    model = PerSAM.from_pretrained(mode="official", device="cpu")
    overlaps = []
    for points in (None, "lk"):
        tracked = list(model.track(frames, start, points=points))
        overlaps.append(
            np.mean(
                [
                    iou(found.labels == number, square_at(*corner))
                    for found, corners in zip(tracked[1:], places[1:], strict=True)
                    for number, corner in enumerate(corners, start=1)
                ]
            )
        )
    without, with_them = overlaps
    assert without > 0.9
    assert with_them > without - 0.02


def test_a_users_own_tracker_is_asked_of_every_frame() -> None:
    frames = [draw([(RED, 30 + 4 * k, 40, 14), (BLUE, 90, 50 + 2 * k, 14)]) for k in range(5)]
    tracker = Watched()
    tracked = list(PerSAM(ColourModel()).track([pixels for pixels, _ in frames], frames[0][1], points=tracker))
    assert_follows(tracked, frames)
    assert tracker.starts[0] == 2 * COUNT
    assert tracker.frames == 4


def test_a_concept_gets_points_when_it_is_found() -> None:
    persam = PerSAM(ColourModel())
    photo, mask = draw([(RED, 60, 50, 20)], scene=7)
    frames = [*(draw([]) for _ in range(2)), *(draw([(RED, 90 - 5 * k, 40, 13)]) for k in range(4))]
    tracker = Watched()
    assert_follows(list(persam.track([p for p, _ in frames], persam.learn(photo, mask), points=tracker)), frames)
    assert tracker.starts[0] == COUNT
    assert tracker.frames == 3


def test_a_cut_and_an_object_that_returns() -> None:
    frames = [
        *[draw([(RED, 30, 30, 14)])] * 2,
        *[draw([(RED, 95, 65, 14)], scene=4)] * 2,
        draw([], scene=4),
        draw([(RED, 40, 65, 14)], scene=4),
    ]
    assert_follows(list(PerSAM(ColourModel()).track([p for p, _ in frames], frames[0][1], points="lk")), frames)


@pytest.mark.parametrize("size", [(8, 8), (10, 300)])
def test_small_and_narrow_clips(size: tuple[int, int]) -> None:
    photo = np.full((*size, 3), (40, 180, 120), np.uint8)
    photo[2:7, 2:7] = RED
    mask = (photo[..., 0] > 100).astype(np.uint8) * 255
    tracked = list(PerSAM(ColourModel()).track([photo] * 3, mask, points="lk"))
    assert [found.labels.shape for found in tracked] == [size] * 3


@pytest.mark.parametrize("module", [official, follow])
def test_without_points_no_prompt_is_touched(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    real = module.with_points

    def watched(prior: Prior, frame: Frame, carried: np.ndarray, dropped: np.ndarray) -> Prior:
        given.append(len(carried))
        return real(prior, frame, carried, dropped)

    monkeypatch.setattr(module, "with_points", watched)
    mode = "official" if module is official else "persam"
    frames = [squares((20 + 4 * k, 8)) for k in range(3)]
    model = PerSAM.from_pretrained(mode=mode, device="cpu")
    list(model.track(frames, square_mask(20, 8)))
    assert set(given) == {0}
    list(model.track(frames, square_mask(20, 8), points="lk"))
    assert max(given) == COUNT


def test_another_name_is_told_the_choices_before_a_frame_is_read() -> None:
    def frames() -> Any:
        raise AssertionError("a frame was asked for")
        yield

    with pytest.raises(UsageError, match="no point tracker 'pips'; choose lk, cotracker"):
        PerSAM(ColourModel()).track(frames(), square_mask(20, 8), points="pips")
