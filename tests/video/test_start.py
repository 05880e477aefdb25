"""A start on any frame: forwards, backwards, and between frames that were given or corrected."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.fakes import random_network
from tests.video.test_track import BLUE, RED, SIZE, assert_follows, draw, iou, model

from persam import PerSAM, PersamError, PersamWarning, UsageError
from persam.method.settings import Settings
from persam.models.base import Decoded, EncodedImage, Prompts
from persam.models.sam import Sam
from persam.video.clips import Clip, ClipFrame, open_clip
from persam.video.folder import Outputs, track_into
from persam.video.plan import Span, spans_of
from persam.video.start import given_of
from persam.video.track import TrackedFrame, track
from persam.video.waiting import SmallLabels

Drawn = tuple[np.ndarray, np.ndarray]


def pixels_of(frames: Sequence[Drawn]) -> list[np.ndarray]:
    return [pixels for pixels, _ in frames]


def followed(frames: Sequence[Drawn], *given: int, persam: PerSAM | None = None, **options: Any) -> list[TrackedFrame]:
    """The clip, from the truth of some frames."""
    start = {number: frames[number][1] for number in given}
    return list((persam or model()).track(pixels_of(frames), start, **options))


class Near(Sam):
    """A random SAM whose masks are discs, of a ragged outline, around the middle of what it is asked by.

    A random network's own masks may be empty, or hide one another, by how a CPU rounds.
    """

    def decode(self, encoding: EncodedImage, prompts: Prompts, **how: Any) -> Decoded:
        decoded = super().decode(encoding, prompts, **how)
        side, asked = decoded.logits.shape[-1], prompts.points if prompts.boxes is None else prompts.boxes
        assert asked is not None
        middle = asked.reshape(len(asked), -1, 2).mean(1) * side / self.image_size
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        x, y = (each[:, None, None, None] for each in middle.T)
        distance = torch.hypot(columns - x, rows - y)
        return replace(decoded, logits=1 - distance / (side / 8) + 0.1 * decoded.logits.tanh())


def published() -> PerSAM:
    """The published procedure with a model whose masks are any, of both objects in every frame."""
    model = Near(random_network(seed=7), name="random", image_size=64, device=torch.device("cpu"))
    return PerSAM(model, settings=Settings.of("official"))


def moving(count: int = 9) -> list[Drawn]:
    return [draw([(RED, 25 + 8 * k, 35 + 3 * k, 13)]) for k in range(count)]


# -------------------------------------------------------------------------------------------- one frame, anywhere


@pytest.mark.parametrize("given", [0, 4, 8])
def test_both_ways_from_any_frame(given: int) -> None:
    frames = moving()
    tracked = followed(frames, given)
    assert [found.frame.number for found in tracked] == list(range(9))
    assert_follows(tracked, frames)
    np.testing.assert_array_equal(tracked[given].labels, frames[given][1])
    assert tracked[given].segmentations[0].score == 1
    from_first = [
        iou(found.labels == 1, truth == 1) for found, (_, truth) in zip(followed(frames, 0), frames, strict=True)
    ]
    for found, (_, truth), best in zip(tracked, frames, from_first, strict=True):
        assert iou(found.labels == 1, truth == 1) > best - 0.08


def test_a_mask_of_frame_0_by_its_number_is_the_mask_of_the_first_frame() -> None:
    frames = moving(4)
    for one, other in zip(followed(frames, 0), model().track(pixels_of(frames), frames[0][1]), strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.segmentations[0].score == other.segmentations[0].score


@pytest.mark.parametrize("mode", ["persam", "official"])
def test_a_clip_from_its_last_frame_is_the_reversed_one_from_its_first(mode: str) -> None:
    persam = model() if mode == "persam" else published()
    frames = [draw([(RED, 40 + 5 * k, 45, 18), (BLUE, 100 - 3 * k, 30 + 4 * k, 11)]) for k in range(6)]
    back = followed(frames, len(frames) - 1, persam=persam)
    turned = followed(frames[::-1], 0, persam=persam)
    for one, other in zip(back, turned[::-1], strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        assert [each.score for each in one.segmentations] == [each.score for each in other.segmentations]
        assert set(np.unique(one.labels)) == {0, 1, 2}


def test_an_object_that_comes_in_is_followed_back_until_it_is_not_there() -> None:
    frames = [*(draw([]) for _ in range(3)), *(draw([(RED, 20 + 9 * k, 45, 13)]) for k in range(6))]
    assert_follows(followed(frames, 6), frames)


# ------------------------------------------------------------------------------------------------- several frames


def test_every_frame_is_followed_from_the_nearest() -> None:
    assert spans_of([0], 0) == [Span(0, 0)]
    assert spans_of([7], 0) == [Span(0, 7)]
    assert spans_of([9, 0, 4, 5], 0) == [Span(0, 0), Span(3, 4), Span(5, 5), Span(8, 9)]
    rng = np.random.default_rng(0)
    for _ in range(50):
        given = rng.choice(40, rng.integers(1, 9), replace=False).tolist()
        spans = spans_of(given, 0)
        for number in range(40):
            span = [each for each in spans if each.first <= number][-1]
            assert abs(span.given - number) == min(abs(each - number) for each in given)


def test_the_order_is_the_clips_whatever_that_of_the_work() -> None:
    looked: list[int] = []
    frames = moving(8)
    start = {2: frames[2][1], 6: frames[6][1]}
    tracked = list(track(model(), pixels_of(frames), start, on_look=looked.append))
    assert [found.frame.number for found in tracked] == list(range(8))
    assert looked == [1, 0, 2, 3, 4, 5, 6, 7]
    assert_follows(tracked, frames)


def hidden_twins() -> list[Drawn]:
    """Twins that nobody can tell apart after they were out of sight."""
    left, right = [(RED, 30 + 2 * k, 45, 12) for k in range(10)], [(RED, 98 - 2 * k, 50, 12) for k in range(10)]
    return [draw([] if k in (4, 5) else [left[k], right[k]]) for k in range(10)]


def test_a_corrected_frame_mends_a_mix_up() -> None:
    frames = hidden_twins()
    mixed = followed(frames, 0)
    assert all(iou(mixed[number].labels == 1, frames[number][1] == 2) > 0.9 for number in range(6, 10))
    assert_follows(followed(frames, 0, 7), frames)
    assert_follows(followed(frames, 2, 9), frames)  # backwards, too


def test_an_object_may_first_be_shown_in_a_later_frame() -> None:
    """And keeps its label and name; what is not shown on a given frame is out of sight there."""
    frames = [draw([(RED, 30 + 4 * k, 30, 12), *[(BLUE, 100 - 3 * k, 70, 12)] * (k > 2)]) for k in range(8)]
    tracked = followed(frames, 1, 6, names=["mug", "plate"])
    assert_follows(tracked, frames)
    assert tracked[1].segmentations[1].score == 0
    assert {found.segmentations[1].concept for found in tracked} == {"plate"}
    only_second = [draw([(BLUE, 100, 70, 12)])[0]] * 2
    start = {0: np.where(frames[6][1] == 2, 2, 0).astype(np.uint8), 1: frames[6][1]}
    (first, _) = model().track(only_second, start)
    assert [one.present for one in first.segmentations] == [False, True]


def test_a_frame_may_be_given_on_which_nothing_is_in_sight() -> None:
    frames = [*moving(4), draw([]), draw([])]
    tracked = followed(frames, 0, 4)
    assert_follows(tracked, frames)


def test_all_given_frames_teach_the_concept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before the frame in which the object looks so: it is red, then blue."""
    frames = [draw([(BLUE if k > 3 else RED, 30 + 6 * k, 45, 13)]) for k in range(8)]
    assert not followed(frames, 0)[6].segmentations[0].present
    assert_follows(followed(frames, 0, 7), frames)
    learned = []
    whole = PerSAM.tune
    monkeypatch.setattr(PerSAM, "tune", lambda self, concept: learned.append(concept) or whole(self, concept))
    followed(frames[:3], 0, 2, tune=True)
    (concept,) = learned
    assert len(concept.targets) == len(concept.material) == 4  # all of each frame, and a closer look


def test_given_frames_without_void() -> None:
    frames = moving(4)
    labels = frames[3][1].copy()
    labels[:5, :5] = 255
    tracked = list(model().track(pixels_of(frames), {0: frames[0][1], 3: labels}))
    np.testing.assert_array_equal(tracked[3].labels, frames[3][1])
    assert len(tracked[0].segmentations) == 1


def test_the_published_way_takes_the_nearest_frame_alone() -> None:
    frames = [draw([(RED, 40 + 3 * k, 45, 18), (BLUE, 105, 30, 18)]) for k in range(4)]
    labels = np.where(frames[3][1] == 2, 2, 0).astype(np.uint8)  # the red one is said to be out of sight
    tracked = list(published().track(pixels_of(frames), {0: frames[0][1], 3: labels}))
    forwards = list(published().track(pixels_of(frames[:2]), frames[0][1]))
    backwards = list(published().track(pixels_of(frames[:1:-1]), labels))
    np.testing.assert_array_equal(tracked[1].labels, forwards[1].labels)
    np.testing.assert_array_equal(tracked[2].labels, backwards[1].labels * 2)
    assert tracked[1].labels.any()
    assert tracked[2].labels.any()
    assert [one.score for one in tracked[3].segmentations] == [0, 1]
    assert {one.threshold for found in tracked for one in found.segmentations} == {None}  # it has no score
    assert [one.score for one in tracked[2].segmentations] == [0, 1]
    nothing = {0: frames[0][1], 3: np.zeros(SIZE, np.uint8)}
    assert not any(found.labels.any() for found in list(published().track(pixels_of(frames), nothing))[2:])


# ----------------------------------------------------------------------------------------------- what is in memory


def test_frames_that_are_followed_backwards_are_let_go_of() -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    class Frames(Sequence[np.ndarray]):
        def __len__(self) -> int:
            return 12

        def __getitem__(self, number: Any) -> Any:
            pixels, _ = draw([(RED, 30 + 4 * range(12)[number], 40, 14)])
            alive.append(weakref.ref(pixels))
            return pixels

    most = 0

    def looked(_: int) -> None:
        nonlocal most
        most = max(most, sum(each() is not None for each in alive))

    start = {number: draw([(RED, 30 + 4 * number, 40, 14)])[1] for number in (7, 11)}
    for _ in track(model(), Frames(), start, on_look=looked):
        looked(0)
    assert len(alive) > 20
    assert most <= 4  # the first one, the one whose turn it is, the one that was given, and the one that is looked at


def test_what_waits_is_small() -> None:
    y, x = np.mgrid[:720, :1280]
    labels = np.where((x - 500) ** 2 + (y - 300) ** 2 < 200**2, 1, 0).astype(np.uint8)
    labels[100:300, 900:1100], labels[500:510, 3] = 7, 255
    small = SmallLabels(labels)
    np.testing.assert_array_equal(small.read(), labels)
    np.testing.assert_array_equal(small.mask(7), labels == 7)
    assert not small.mask(3).any()
    assert 7 in small
    assert 3 not in small
    assert sum(len(code["counts"]) for code in small._codes.values()) < labels.size / 500


def test_stopped_before_the_first_frame_nothing_is_left(tmp_path: Path) -> None:
    """For it comes out after all that is looked at before it."""

    def stop(number: int) -> None:
        if number == 1:
            raise KeyboardInterrupt

    frames = moving(4)
    clip = open_clip(pixels_of(frames))
    with pytest.raises(KeyboardInterrupt):
        track_into(model(), clip, {3: frames[3][1]}, Outputs(tmp_path / "out"), on_look=stop)
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------------------------- what masks say


def marked(*discs: tuple[int, int], size: int = 60) -> np.ndarray:
    """A mask whose square at place k of three has the value given for it."""
    mask = np.zeros((size, 3 * size), np.uint8)
    for value, place in discs:
        mask[10:50, size * place + 10 : size * place + 50] = value
    return mask


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([marked((1, 0), (2, 1)), marked((2, 1))], [{1: 0, 2: 1}, {2: 1}]),  # a label alone is still that label
        ([marked((3, 0), (7, 1)), marked((7, 2), (9, 0))], [{1: 0, 2: 1}, {2: 2, 3: 0}]),
        ([marked((1, 0)), marked((2, 1))], [{1: 0}, {2: 1}]),
        ([marked((255, 0)), marked((255, 1))], [{1: 0}, {1: 1}]),
        ([marked((1, 0)), marked((255, 1))], [{1: 0}, {1: 1}]),  # of one object black and white is enough
        ([marked((2, 0)), marked((255, 1)) > 0], [{1: 0}, {1: 1}]),
        ([marked((1, 0), (2, 1)), marked((1, 0), (255, 2))], [{1: 0, 2: 1}, {1: 0}]),  # 255 is void
        ([marked((40, 0), (90, 1)), marked((90, 2))], [{1: 0, 2: 1}, {2: 2}]),
        ([marked((1, 0)), marked()], [{1: 0}, {}]),
    ],
)
def test_labels_are_the_same_objects_everywhere(masks: list[np.ndarray], expected: list[dict[int, int]]) -> None:
    given = given_of(dict(enumerate(masks)), (60, 180))
    for number, places in enumerate(expected):
        np.testing.assert_array_equal(given.labels[number].read(), marked(*places.items()))
    assert len(given.objects) == max(label for places in expected for label in places)


def test_colours_are_labels_too() -> None:
    red, green = (200, 0, 0), (0, 200, 0)
    both, one = (np.zeros((60, 180, 3), np.uint8) for _ in range(2))
    both[10:50, 10:50], both[10:50, 70:110], one[10:50, 130:170] = red, green, green
    given = given_of({0: Image.fromarray(one), 5: Image.fromarray(both)}, (60, 180))
    np.testing.assert_array_equal(given.labels[0].read(), marked((1, 2)))  # green comes before red: #00c800, #c80000
    np.testing.assert_array_equal(given.labels[5].read(), marked((2, 0), (1, 1)))


def test_a_label_too_small_to_be_seen_alone_is_one_where_another_mask_has_it() -> None:
    small = marked((1, 0))
    small[30:33, 130:133] = 2
    with pytest.warns(PersamWarning, match="Part 2 of the mask of frame 3 marks 9 pixels"):
        given = given_of({0: marked((1, 0), (2, 1)), 3: small}, (60, 180))
    assert given.labels[3].mask(2).sum() == 9


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({0: marked((1, 0), (2, 1)), 4: marked((255, 0))}, "The mask of frame 4 does not tell things apart, .*1, 2"),
        ({0: marked((1, 0), (2, 1)), 4: np.repeat(marked((200, 0))[..., None] * [1, 0, 0], 3, 1)}, "of frame 4"),
        ({3: marked(), 4: marked()}, "None of the masks has an object"),
        ({3: marked()}, "The mask has no object"),
        ({3: marked((1, 1)), 4: np.ones((60, 180), np.uint8)}, "The mask of frame 4 covers everything"),
        ({3: marked((1, 1)), 4: np.eye(70)}, "The mask of frame 4 is 70 x 70 pixels"),
        ({3: marked((1, 1)), 4: "gone.png"}, "There is no mask at gone.png"),
        ({3: marked((1, 1)), 4: [marked((1, 1))]}, "not with a list"),
        ({3: marked((1, 1)), 4: None}, "not with NoneType"),
    ],
)
def test_masks_that_do_not_fit_together(masks: dict[int, Any], words: str) -> None:
    with pytest.raises(PersamError, match=words) as told:
        given_of(masks, (60, 180))
    assert "\n" not in str(told.value)
    assert told.value.exit_code == (2 if "not with" in words else 1)  # 2: no mask at all; 1: one that is no good


def test_a_mask_of_another_size_is_scaled_and_that_is_said() -> None:
    with pytest.warns(PersamWarning) as told:
        given = given_of({0: marked((1, 0), (2, 1)), 5: marked((1, 0), (2, 1), size=120)[::2, ::2]}, (120, 360))
    assert [str(each.message) for each in told] == [
        f"The mask of frame {number} is 180 x 60 pixels, the frame 360 x 120, so it is scaled to fit; if its outline "
        "matters, give one of the frame's size."
        for number in (0, 5)
    ]
    assert given.labels[0].read().shape == (120, 360)
    with pytest.raises(PersamError, match="is 180 x 60 pixels, the frame 60 x 180: it lies on its side; turn it"):
        given_of(marked((1, 0)), (180, 60))


def test_masks_are_said_to_be_of_frames_not_of_photos() -> None:
    with pytest.warns(PersamWarning, match="marks 9 pixels of the frame, hardly"):
        given_of(np.pad(np.ones((3, 3), np.uint8), 40), (83, 83))
    with pytest.raises(PersamError, match="70 x 70 pixels, the frame 180 x 60: another .* drawn on this frame"):
        given_of(np.eye(70), (60, 180))
    with pytest.raises(PersamError, match="The frame is an array of float64"):
        next(model().track([np.zeros((60, 180, 3))], marked((1, 0))))


# ------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize("number", [-1, "40", True, 1.5, None])
def test_what_is_no_number_of_a_frame(number: Any) -> None:
    frames = moving(3)
    with pytest.raises(UsageError, match="their numbers, which count from 0, not for"):
        model().track(pixels_of(frames), {number: frames[0][1]})


def test_starts_that_cannot_be() -> None:
    frames = moving(3)
    with pytest.raises(UsageError, match="There is no frame 3 in the clip: its frames are 0 to 2"):
        next(model().track(pixels_of(frames), {0: frames[0][1], np.int64(3): frames[2][1]}))
    with pytest.raises(UsageError, match="given for no frame"):
        model().track(pixels_of(frames), {})
    for start in ({2: frames[2][1]}, {0: frames[0][1], 2: frames[2][1]}):
        for once in (iter(pixels_of(frames)), (pixels for pixels, _ in frames), "http://a.b/c.ts"):
            with pytest.raises(UsageError, match="gives its frames only once"):
                model().track(once, start)
    assert len(list(model().track(iter(pixels_of(frames)), {0: frames[0][1]}))) == 3
    with pytest.raises(UsageError, match="Of one object there are these names"):
        next(model().track(pixels_of(frames), {1: frames[1][1]}, names=["a", "b"]))
    concept = model().learn(frames[0][0], frames[0][1] == 1)
    with pytest.raises(
        UsageError, match="with masks by the numbers of their frames, or with concepts, not with Concept"
    ):
        next(model().track(pixels_of(frames), {1: concept}))


def test_a_given_frame_that_cannot_be_read(tmp_path: Path) -> None:
    frames = moving(4)
    for number, (pixels, _) in enumerate(frames):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    with pytest.raises(PersamError, match=r"Frame 2 of .* cannot be read"):
        next(model().track(tmp_path, {2: frames[2][1]}))
    with pytest.warns(PersamWarning, match="Frame 2 is left out"):
        tracked = list(model().track(tmp_path, {3: frames[3][1]}))
    assert [found.frame.number for found in tracked] == [0, 1, 3]
    assert_follows(tracked, [frames[number] for number in (0, 1, 3)])


def test_a_clip_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    frames = moving(4)
    for number, (pixels, _) in enumerate(frames):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    file = tmp_path / "1.png"
    whole = file.read_bytes()
    file.write_bytes(b"no picture")
    tracked = model().track(tmp_path, {3: frames[3][1]})
    next(tracked)
    file.write_bytes(whole)
    with pytest.raises(PersamError, match="has changed while it was followed"):
        next(tracked)


def test_a_clip_of_ones_own_goes_forwards() -> None:
    class Own(Clip):
        source = "my clip"

        def _frames(self) -> Any:
            yield from (ClipFrame(number, pixels) for number, (pixels, _) in enumerate(moving(2)))

    assert len(list(model().track(Own(), moving(2)[0][1]))) == 2
    with pytest.raises(UsageError, match="My clip gives its frames only once"):
        model().track(Own(), {1: moving(2)[1][1]})
