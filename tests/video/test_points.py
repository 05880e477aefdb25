"""Points carried from frame to frame: by Lucas-Kanade, by a stand-in for CoTracker, and by what a user gives."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from persam import PersamError, UsageError
from persam.video import cotracker, points
from persam.video.cotracker import CoTracker
from persam.video.points import CarriedPoints, LucasKanade, PointTracker, point_tracker, similar_places

CPU = torch.device("cpu")
NONE = np.zeros((0, 2))


def texture(size: tuple[int, int], seed: int) -> np.ndarray:
    """Smooth noise, (H, W, 3)."""
    noise = np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]


GROUND, SQUARES = texture((120, 160), 0), [texture((40, 40), seed) for seed in (1, 2)]
INNER = np.array([[13.0, 13.0], [26.0, 13.0], [20.0, 20.0], [13.0, 26.0], [26.0, 26.0]])  # of a square


def at(x: int, y: int) -> np.ndarray:
    """Points (5, 2) within a square at a corner."""
    return INNER + np.array([x, y])


def squares(*corners: tuple[int, int]) -> np.ndarray:
    """A frame with textured squares of 40 pixels, the k-th at the k-th corner (x, y)."""
    frame = GROUND.copy()
    for square, (x, y) in zip(SQUARES, corners, strict=False):
        frame[y : y + 40, x : x + 40] = square
    return frame


def square_mask(x: int, y: int) -> np.ndarray:
    mask = np.zeros(GROUND.shape[:2], bool)
    mask[y : y + 40, x : x + 40] = True
    return mask


def followed(frames: list[np.ndarray], start: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    tracker = LucasKanade()
    tracker.start(frames[0], start)
    return [tracker.follow(frame) for frame in frames[1:]]


# ------------------------------------------------------------------------------------ Lucas-Kanade


def test_points_stay_on_squares_that_move() -> None:
    """Two at once, in two directions, to within a pixel after twelve frames."""
    places = [[(20 + 4 * k, 5 + k), (110 - 3 * k, 75 - k)] for k in range(13)]
    frames = [squares(*corners) for corners in places]
    start = np.concatenate([at(*corner) for corner in places[0]])
    for corners, (found, seen) in zip(places[1:], followed(frames, start), strict=True):
        truth = np.concatenate([at(*corner) for corner in corners])
        assert seen.all()
        assert np.abs(found - truth).max() < 1


def test_large_frames_are_followed_in_their_own_pixels() -> None:
    frames = [cv2.resize(squares((40 + 2 * k, 50)), None, fx=10, fy=10, interpolation=cv2.INTER_LINEAR) for k in (0, 1)]
    start = (at(40, 50) + 0.5) * 10 - 0.5
    found, seen = followed(frames, start)[0]
    assert frames[0].shape[1] > points.SIDE
    assert seen.all()
    assert np.abs(found - start - (20, 0)).max() < 3


def test_points_on_texture_that_vanished_are_not_seen() -> None:
    """The other square's are: each goes its own way; and once lost is lost."""
    start = np.concatenate([at(20, 30), at(100, 60)])
    flat = squares((20, 30), (100, 60))
    flat[50:110, 90:150] = 128
    both = squares((20, 30), (100, 60))
    for _, seen in followed([both, flat, both], start):
        assert seen.tolist() == [True] * 5 + [False] * 5


def test_a_point_that_does_not_come_back_to_its_start_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    start, frames = at(40, 50), [squares((40, 50)), squares((42, 50))]
    real = points._flow

    def astray(before: np.ndarray, now: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        end, found = real(before, now, start)
        is_back = before is not grey_of_first
        return end + (np.array([[0, 0], [0.5, 0], [1.5, 0], [0, -3], [0, 0]]) if is_back else 0), found

    grey_of_first = None
    tracker = LucasKanade()
    tracker.start(frames[0], start)
    grey_of_first = tracker._grey
    monkeypatch.setattr(points, "_flow", astray)
    assert tracker.follow(frames[1])[1].tolist() == [True, True, False, False, True]


def test_a_cut_loses_most_of_them() -> None:
    grid = np.stack(np.meshgrid(np.arange(10, 150, 15.0), np.arange(10, 110, 15.0)), 2).reshape(-1, 2)
    _, seen = followed([squares((40, 50)), texture((120, 160), 9)], grid)[0]
    assert seen.mean() < 0.2
    _, seen = followed([squares((40, 50)), texture((60, 60), 9)], grid)[0]  # even to another size
    assert not seen.any()


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (8, 8), (5, 200), (200, 5), (20, 20)])
def test_frames_smaller_than_the_window(size: tuple[int, int]) -> None:
    frame = texture((200, 200), 3)[: size[0], : size[1]]
    found, seen = followed([frame, frame], np.array([[size[1] // 2, size[0] // 2]], float))[0]
    assert found.shape == (1, 2)
    assert not seen.any() or np.abs(found - (size[1] // 2, size[0] // 2)).max() < 0.1


@pytest.mark.parametrize("count", [0, 1])
def test_no_point_or_one(count: int) -> None:
    found, seen = followed([squares((40, 50)), squares((43, 50))], at(40, 50)[:count])[0]
    assert found.shape == (count, 2)
    assert seen.shape == (count,)
    np.testing.assert_allclose(found, at(43, 50)[:count], atol=0.5)


def test_the_order_of_points_does_not_matter() -> None:
    frames = [squares((20 + 4 * k, 30), (110, 60 + 5 * k)) for k in range(4)]
    start = np.concatenate([at(20, 30), at(110, 60), [[5.0, 5.0]]])
    order = np.random.default_rng(0).permutation(len(start))
    for (found, seen), (other, other_seen) in zip(followed(frames, start), followed(frames, start[order]), strict=True):
        np.testing.assert_allclose(found[order], other, atol=1e-4)
        np.testing.assert_array_equal(seen[order], other_seen)


def test_another_goes_on_where_it_was() -> None:
    frames = [squares((20 + 4 * k, 30)) for k in range(5)]
    one, other = LucasKanade(), LucasKanade()
    one.start(frames[0], np.concatenate([at(20, 30), [[150.0, 5.0]]]))
    one.follow(frames[1])
    other.restore(one.state())
    for frame in frames[2:]:
        for mine, yours in zip(one.follow(frame), other.follow(frame), strict=True):
            np.testing.assert_array_equal(mine, yours)


# ------------------------------------------------------------------------------------ which points are carried


def test_places_are_similar_far_apart_and_off_the_outline() -> None:
    mask = square_mask(40, 50)
    similarity = np.where(np.arange(160) < 65, 1.0, 0.2)[None].repeat(120, 0)
    similarity[70, 45] = 2.0
    found = similar_places(similarity, mask, 5)
    assert found[0].tolist() == [45, 70]
    assert len(np.unique(found, axis=0)) == 5
    assert found.min(0).tolist() == [40 + points.MARGIN, 50 + points.MARGIN]
    assert (found[:, 0] < 65).all()
    gaps = np.linalg.norm(found[:, None] - found[None], axis=2) + 100 * np.eye(5)
    assert gaps.min() > 6


@pytest.mark.parametrize(
    ("pixels", "places"), [([(0, 0)], 1), ([(3, 4), (90, 100)], 2), ([(7, x) for x in range(9)], 5)]
)
def test_places_of_masks_without_room(pixels: list[tuple[int, int]], places: int) -> None:
    mask = np.zeros((120, 1600), bool)
    mask[tuple(np.transpose(pixels))] = True
    found = similar_places(np.zeros((10, 10)), mask, 5)
    assert len(found) == places
    assert points._is_on(mask, found).all()


class Told:
    """A tracker that is told what happens."""

    def __init__(self) -> None:
        self.started: list[np.ndarray] = []
        self.answer: Callable[[np.ndarray], Any] = lambda at: (at, np.ones(len(at), bool))

    def start(self, frame: np.ndarray, points: np.ndarray) -> None:
        self.started.append(points.copy())

    def follow(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.answer(self.started[-1])


FRAME = GROUND
NOWHERE = np.zeros(GROUND.shape[:2], bool)


def flat_similarity(which: int) -> np.ndarray:
    return np.zeros((4, 4))


def carried(*masks: np.ndarray) -> tuple[CarriedPoints, Told]:
    tracker = Told()
    carrier = CarriedPoints(tracker, len(masks))
    carrier.renew(FRAME, masks, flat_similarity)
    return carrier, tracker


def test_points_keep_their_owners() -> None:
    masks = square_mask(10, 10), square_mask(90, 60)
    carrier, tracker = carried(*masks)
    for mask, found in zip(masks, carrier.follow(FRAME), strict=True):
        assert len(found) == points.COUNT
        assert points._is_on(mask, found).all()
    assert len(tracker.started) == 1


def test_a_point_off_its_object_is_dropped_for_good() -> None:
    mask = square_mask(10, 10)
    carrier, tracker = carried(mask)
    tracker.answer = lambda at: (at + (np.arange(len(at)) == 1)[:, None] * 60, np.ones(len(at), bool))
    assert len(carrier.follow(FRAME)[0]) == points.COUNT  # known only when the frame was looked at
    carrier.renew(FRAME, [mask], flat_similarity)
    tracker.answer = lambda at: (at, np.ones(len(at), bool))
    left = np.delete(tracker.started[0], 1, axis=0)
    np.testing.assert_array_equal(carrier.follow(FRAME)[0], left)
    assert len(tracker.started) == 1


def test_when_fewer_than_half_are_left_others_are_taken_and_other_objects_keep_theirs() -> None:
    masks = square_mask(10, 10), square_mask(90, 60)
    carrier, tracker = carried(*masks)
    half = (points.COUNT + 1) // 2
    for unseen, starts in ((points.COUNT - half, 1), (points.COUNT - half + 1, 2)):
        tracker.answer = lambda at, n=unseen: (at + 1, np.arange(len(at)) >= n)
        found = carrier.follow(FRAME)
        assert len(found[0]) == points.COUNT - unseen
        carrier.renew(FRAME, masks, flat_similarity)
        assert len(tracker.started) == starts
    first, second = np.split(tracker.started[-1], [points.COUNT])
    assert points._is_on(masks[0], first).all()
    np.testing.assert_array_equal(second, tracker.started[0][points.COUNT :] + 1)


def test_one_that_comes_in_later_gets_points_then_and_one_out_of_sight_keeps_its_own() -> None:
    late = square_mask(90, 60)
    carrier, tracker = carried(NOWHERE, NOWHERE)
    assert [len(found) for found in carrier.follow(FRAME)] == [0, 0]
    assert tracker.started == []
    carrier.renew(FRAME, [NOWHERE, late], flat_similarity)
    assert [len(found) for found in carrier.follow(FRAME)] == [0, points.COUNT]
    carrier.renew(FRAME, [NOWHERE, NOWHERE], flat_similarity)
    assert [len(found) for found in carrier.follow(FRAME)] == [0, points.COUNT]
    assert len(tracker.started) == 1


def test_of_one_out_of_sight_what_is_not_seen_is_dropped_when_another_takes_others() -> None:
    first, hidden = square_mask(10, 10), square_mask(90, 60)
    carrier, tracker = carried(first, hidden)
    for unseen, left in (([5, 6], 3), ([], 5), ([0, 1, 2, 5, 6], 3)):  # of 10 points, the last 5 of what is hidden
        tracker.answer = lambda at, n=tuple(unseen): (at, ~np.isin(np.arange(len(at)), n))
        assert len(carrier.follow(FRAME)[1]) == left
        carrier.renew(FRAME, [first, NOWHERE], flat_similarity)
    tracker.answer = lambda at: (at, np.ones(len(at), bool))
    assert [len(tracker.started), *(len(found) for found in carrier.follow(FRAME))] == [2, 5, 3]


def test_what_lies_outside_or_nowhere_is_not_seen() -> None:
    carrier, tracker = carried(square_mask(10, 10))
    wrong = np.array([[np.nan, 3], [-1, 5], [159.6, 5], [np.inf, 5], [20, 20]])
    tracker.answer = lambda at: (wrong, np.ones(len(at), bool))
    assert carrier.follow(FRAME)[0].tolist() == [[20, 20]]


@pytest.mark.parametrize(
    "answer", [None, (NONE, np.zeros(0, bool)), (np.zeros((5, 2)), np.ones((5, 1))), np.zeros((5, 2)), ("a", "b")]
)
def test_a_tracker_that_answers_something_else(answer: Any) -> None:
    carrier, tracker = carried(square_mask(10, 10))
    tracker.answer = lambda at: answer
    with pytest.raises(PersamError, match=r"Told was given 5 points, and must give points \(5, 2\) and what is seen"):
        carrier.follow(FRAME)


def test_carried_points_go_on_where_they_were() -> None:
    frames = [squares((20 + 4 * k, 30), (110 - 3 * k, 60)) for k in range(5)]
    masks = [[square_mask(20 + 4 * k, 30), square_mask(110 - 3 * k, 60)] for k in range(5)]
    one, other = CarriedPoints(LucasKanade(), 2), CarriedPoints(LucasKanade(), 2)
    for k in (0, 1):
        one.follow(frames[k])
        one.renew(frames[k], masks[k], flat_similarity)
    other.restore(one.state())
    for frame, truth in zip(frames[2:], masks[2:], strict=True):
        for mine, yours in zip(one.follow(frame), other.follow(frame), strict=True):
            np.testing.assert_array_equal(mine, yours)
            assert len(mine)
        one.renew(frame, truth, flat_similarity)
        other.renew(frame, truth, flat_similarity)


# ------------------------------------------------------------------------------------ names


def test_trackers_have_names_or_are_given() -> None:
    assert isinstance(point_tracker("lk", CPU), LucasKanade)
    own = Told()
    assert point_tracker(own, CPU) is own
    assert isinstance(own, PointTracker)


@pytest.mark.parametrize("wrong", ["pips", "", 3, Told, object(), None])
def test_other_names_are_told_the_choices(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"There is no point tracker .*; choose lk, cotracker, or in Python one"):
        point_tracker(wrong, CPU)


# ------------------------------------------------------------------------------------ CoTracker, by a stand-in


class Network(torch.nn.Module):
    """Keeps from window to window what the real one keeps, and knows by it which frames are new."""

    def __init__(self, window_len: int) -> None:
        super().__init__()
        self.window_len = window_len
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def init_video_online_processing(self) -> None:
        self.online_ind = 0
        self.online_coords_predicted: torch.Tensor | None = None


class OnlinePredictor(torch.nn.Module):
    """`cotracker.predictor.CoTrackerOnlinePredictor` (version 3): its calls, its windows, its results.

    Every point moves by the grey of the frame's first pixel; a point is seen where x < 100.
    """

    def __init__(
        self, checkpoint: str | None = "scaled_online.pth", offline: bool = False, window_len: int = 16
    ) -> None:
        super().__init__()
        assert checkpoint is None
        self.model = Network(window_len)
        self.step = window_len // 2
        self.calls: list[tuple[bool, int]] = []
        self.devices: set[str] = set()

    @torch.no_grad()
    def forward(
        self,
        video_chunk: torch.Tensor,
        is_first_step: bool = False,
        queries: torch.Tensor | None = None,
        grid_size: int = 5,
        grid_query_frame: int = 0,
        add_support_grid: bool = False,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        batch, frames, channels, *_ = video_chunk.shape
        assert (batch, channels) == (1, 3)
        assert video_chunk.dtype == torch.float32
        assert frames <= 2 * self.step
        self.calls.append((is_first_step, frames))
        self.devices.add(video_chunk.device.type)
        if is_first_step:
            assert queries is not None
            assert queries.shape[2] == 3
            self.model.init_video_online_processing()
            grid = torch.zeros(1, 36, 3, device=queries.device)
            self.count, self.queries = queries.shape[1], torch.cat([queries, grid], 1) if add_support_grid else queries
            return None, None
        model, before = self.model, self.model.online_coords_predicted
        ind = model.online_ind
        coords = self.queries[:, None, :, 1:] if before is None else before
        assert before is None or before.shape[1] == ind + self.step  # the window begins in the middle of the last
        for k in range(1 if before is None else self.step, frames):
            coords = torch.cat([coords, coords[:, -1:] + video_chunk[:, k, 0, 0, 0]], dim=1)
        model.online_coords_predicted = coords
        model.online_ind += self.step
        found = coords[:, :, : self.count]
        return found.clone(), found[..., 0] < 100


def fake_frames(moves: list[int]) -> list[np.ndarray]:
    return [np.full((20, 30, 3), move, np.uint8) for move in moves]


def test_cotracker_gets_the_windows_that_it_wants() -> None:
    """16 frames at most, each window from the middle of the last, and every frame's points as soon as it is there."""
    predictor = OnlinePredictor(checkpoint=None)
    tracker = CoTracker(predictor, CPU)
    moves = [7, *(k % 4 for k in range(1, 40))]
    frames = fake_frames(moves)
    start = np.array([[3.0, 4.0], [60.0, 2.0]])
    tracker.start(frames[0], start)
    with torch.inference_mode():
        for k, frame in enumerate(frames[1:], start=1):
            found, seen = tracker.follow(frame)
            np.testing.assert_array_equal(found, start + sum(moves[1 : k + 1]))
            assert seen.tolist() == (found[:, 0] < 100).tolist()
            assert found.dtype == np.float64
            assert seen.dtype == bool
    windows = [frames for first, frames in predictor.calls if not first]
    assert windows == [*range(2, 17), *range(9, 17), *range(9, 17), *range(9, 17)]
    assert [frames for first, frames in predictor.calls if first] == list(range(2, 17))
    assert predictor.devices == {"cpu"}


def test_cotracker_begins_anew_with_other_points() -> None:
    tracker = CoTracker(OnlinePredictor(checkpoint=None), CPU)
    frames = fake_frames([1] * 25)
    tracker.start(frames[0], np.array([[0.0, 0.0]]))
    for frame in frames[1:20]:
        tracker.follow(frame)
    tracker.start(frames[20], np.array([[5.0, 5.0], [9.0, 9.0]]))
    found, _ = tracker.follow(frames[21])
    assert found.tolist() == [[6, 6], [10, 10]]


@pytest.mark.parametrize("hidden", [False, True])
def test_cotracker_does_not_keep_all_of_a_long_clip(monkeypatch: pytest.MonkeyPatch, hidden: bool) -> None:
    """It begins anew from its last points, where all are seen; a hidden one (x over 100) only delays that."""
    monkeypatch.setattr(cotracker, "ANEW", 3)
    predictor = OnlinePredictor(checkpoint=None)
    tracker = CoTracker(predictor, CPU)
    frames = fake_frames([0, *(0, 0, 0, 0, 1) * 40])
    start = np.array([[3.0, 4.0], [200.0 if hidden else 50.0, 2.0]])
    tracker.start(frames[0], start)
    kept = []
    for k, frame in enumerate(frames[1:], start=1):
        found, seen = tracker.follow(frame)
        np.testing.assert_array_equal(found, start + k // 5)
        assert seen.tolist() == [True, not hidden]
        assert predictor.model.online_coords_predicted is not None
        kept.append(predictor.model.online_coords_predicted.shape[1])
    assert max(kept) <= (2 if hidden else 1) * 3 * 8 + 16


def test_cotracker_never_takes_what_hides_a_point_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A point that was hidden when it began anew is not seen again, though the network sees something there."""
    monkeypatch.setattr(cotracker, "ANEW", 1)
    tracker = CoTracker(OnlinePredictor(checkpoint=None), CPU)
    tracker.start(fake_frames([0])[0], np.array([[3.0, 4.0], [104.0, 2.0]]))
    monkeypatch.setattr(tracker, "_tensor", lambda frame, plain=tracker._tensor: plain(frame) - 100)
    seen = [tracker.follow(frame)[1].tolist() for frame in fake_frames([100] * 30 + [90] * 20)]
    assert seen == [[True, False]] * 50


def test_cotracker_without_points_asks_nothing() -> None:
    predictor = OnlinePredictor(checkpoint=None)
    tracker = CoTracker(predictor, CPU)
    frames = fake_frames([1] * 30)
    tracker.start(frames[0], NONE)
    for frame in frames[1:]:
        assert [len(each) for each in tracker.follow(frame)] == [0, 0]
    assert predictor.calls == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cotracker_is_where_the_model_is(monkeypatch: pytest.MonkeyPatch, installed: None) -> None:
    tracker = point_tracker("cotracker", torch.device("cuda"))
    tracker.start(GROUND, INNER)
    tracker.follow(GROUND)
    assert tracker._predictor.devices == {"cuda"}  # type: ignore[attr-defined]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The stand-in as the package, and a file of weights for it."""
    package, module = ModuleType("cotracker"), ModuleType("cotracker.predictor")
    module.CoTrackerOnlinePredictor = OnlinePredictor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cotracker", package)
    monkeypatch.setitem(sys.modules, "cotracker.predictor", module)
    torch.save({"weight": torch.full((1,), 5.0)}, tmp_path / "scaled_online.pth")
    monkeypatch.setattr(cotracker, "_weights", lambda: tmp_path / "scaled_online.pth")


def test_cotracker_by_name_has_its_weights_and_is_put_on_the_device(
    monkeypatch: pytest.MonkeyPatch, installed: None
) -> None:
    put: list[torch.device] = []
    real = OnlinePredictor.to
    monkeypatch.setattr(OnlinePredictor, "to", lambda self, device: (put.append(device), real(self, device))[1])
    tracker: Any = point_tracker("cotracker", CPU)
    assert put == [CPU]
    assert tracker._predictor.model.weight.item() == 5
    assert tracker._predictor.step == 8
    assert not tracker._predictor.training
    tracker.start(GROUND, INNER)
    assert tracker.follow(GROUND)[0].shape == INNER.shape


def test_without_its_package_cotracker_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cotracker", None)
    monkeypatch.setitem(sys.modules, "cotracker.predictor", None)
    with pytest.raises(
        PersamError, match=r"CoTracker needs its package .*pip install git\+https://github.com/facebook"
    ):
        point_tracker("cotracker", CPU)


def test_weights_that_cannot_be_had_are_one_sentence(monkeypatch: pytest.MonkeyPatch, installed: None) -> None:
    def no_network() -> None:
        raise OSError("the hub cannot be reached")

    monkeypatch.setattr(cotracker, "_weights", no_network)
    with pytest.raises(PersamError, match=r"CoTracker's weights .*cannot be loaded: the hub cannot be reached; check"):
        point_tracker("cotracker", CPU)


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_weights_of_something_else_are_one_sentence(installed: None, content: bytes | None) -> None:
    if content is None:
        torch.save({"other": torch.zeros(1)}, cotracker._weights())
    else:
        cotracker._weights().write_bytes(content)
    with pytest.raises(PersamError, match=r"CoTracker's weights .*cannot be loaded: .*; check the network"):
        point_tracker("cotracker", CPU)
