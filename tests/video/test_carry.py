"""Following with a propagator: when the concept looks, when an object is lost, how it comes back, and who is who."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fakes import ColourModel
from tests.video.memories import ScriptedMemory, saved_tracker
from tests.video.test_track import BLUE, RED, SIZE, Disc, assert_follows, draw, iou

from persam import PerSAM, PersamError, UsageError
from persam.method.settings import Settings
from persam.video import carry
from persam.video.carry import EVERY, _drawn, _placed
from persam.video.track import TrackedFrame

SURE, GONE = 6.0, -6.0
Frames = Sequence[tuple[np.ndarray, np.ndarray]]
GREEN_ROOM = draw([])


def model() -> PerSAM:
    return PerSAM(ColourModel())


def concept_of(persam: PerSAM, colour: tuple[int, int, int], name: str = "ball") -> Any:
    photo, mask = draw([(colour, 60, 50, 20)], scene=7)
    return persam.learn(photo, mask * 255, name=name)


def followed(memory: ScriptedMemory, frames: Frames, start: Any = None, **options: Any) -> list[TrackedFrame]:
    persam = options.pop("persam", None) or model()
    start = frames[0][1] if start is None else start
    return list(persam.track([pixels for pixels, _ in frames], start, propagator=memory, **options))


def knowing(frames: Frames, gone: Sequence[int] = ()) -> ScriptedMemory:
    """A memory that knows where everything is, but in some frames sees nothing."""
    return ScriptedMemory(lambda frame, number, last: (frames[frame][1] == number, GONE if frame in gone else SURE))


def walk(count: int, colour: tuple[int, int, int] = RED) -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw([(colour, 30 + 5 * k, 40, 14)]) for k in range(count)]


# ------------------------------------------------------------------------------------------------- while it is carried


def test_what_the_memory_says_is_what_is_drawn() -> None:
    frames = walk(4)
    frames = [(pixels, np.roll(labels, 3 * k, axis=1)) for k, (pixels, labels) in enumerate(frames)]  # not as it looks
    memory = knowing(frames)
    tracked = followed(memory, frames)
    for found, (_, told) in zip(tracked, frames, strict=True):
        np.testing.assert_array_equal(found.labels, told)
    assert memory.prompts == [(0, 1, True)]
    assert tracked[0].segmentations[0].score == 1
    assert tracked[2].segmentations[0].score == pytest.approx(1 / (1 + np.exp(-SURE)))


def test_the_concept_looks_now_and_then() -> None:
    frames = walk(1) * (3 * EVERY + 1)
    persam = model()
    assert isinstance(persam.model, ColourModel)
    looks = []
    for number, _ in enumerate(
        persam.track([pixels for pixels, _ in frames], frames[0][1], propagator=knowing(frames))
    ):
        looks += [number] * min(1, persam.model.encoded)
        persam.model.encoded = 0
    assert looks == [0, EVERY, 2 * EVERY, 3 * EVERY]


def test_the_concept_looks_when_the_memory_is_unsure() -> None:
    frames = walk(1) * 4
    persam = model()
    assert isinstance(persam.model, ColourModel)
    memory = ScriptedMemory(lambda frame, number, last: (None, 1.0 if frame == 2 else SURE))
    looks = []
    for number, found in enumerate(persam.track([p for p, _ in frames], frames[0][1], propagator=memory)):
        looks += [number] * min(1, persam.model.encoded)
        persam.model.encoded = 0
        assert found.segmentations[0].present
    assert looks == [0, 2]


# ------------------------------------------------------------------------------------------------------ lost, and back


@pytest.mark.parametrize("empty", [False, True], ids=["out of sight", "nothing drawn"])
def test_a_lost_object_is_absent_until_the_concept_finds_it(empty: bool) -> None:
    frames = [*walk(3), *[GREEN_ROOM] * 4, *(draw([(RED, 95 - 5 * k, 65, 14)]) for k in range(3))]
    lost = range(3, len(frames))

    def answer(frame: int, number: int, last: np.ndarray | None) -> tuple[np.ndarray | None, float]:
        if frame == 8:  # it was shown again in frame 7
            return frames[8][1] > 0, SURE
        if frame in lost and frame < 8:
            return (np.zeros(SIZE, bool), SURE) if empty else (None, GONE)
        return frames[frame][1] > 0, SURE

    memory = ScriptedMemory(answer)
    tracked = followed(memory, frames)
    assert_follows(tracked, frames)
    assert memory.prompts == [(0, 1, True), (7, 1, False)]
    assert all(found.segmentations[0].score < 0.5 for found in tracked[3:7])
    assert tracked[7].segmentations[0].score >= 0.5


def test_the_memory_itself_may_bring_it_back() -> None:
    frames = [*walk(3), *[GREEN_ROOM] * 2, *(draw([(RED, 50 + 5 * k, 40, 14)]) for k in range(3))]
    memory = knowing(frames, gone=(3, 4))
    assert_follows(followed(memory, frames), frames)
    assert memory.prompts == [(0, 1, True)]


def drifting(frames: Frames) -> ScriptedMemory:
    """A memory that goes over to the second disc of a frame, and stays with it unless it is shown something else."""
    return ScriptedMemory(lambda frame, number, last: (frames[frame][1] == 2, SURE))


def test_a_memory_that_went_over_to_another_thing_is_contradicted() -> None:
    frames = [draw([(RED, 30, 40, 14), (BLUE, 90, 50, 16)])] * (EVERY + 1)
    memory = drifting(frames)
    tracked = followed(memory, frames, (frames[0][1] == 1).astype(np.uint8))
    assert iou(tracked[EVERY - 1].labels == 1, frames[0][1] == 2) == 1  # nobody looked yet
    assert iou(tracked[EVERY].labels == 1, frames[0][1] == 1) > 0.75
    assert memory.prompts == [(0, 1, True), (EVERY, 1, False)]


def test_a_memory_that_went_over_to_another_thing_is_not_believed_while_the_object_is_away() -> None:
    both, alone = draw([(RED, 30, 40, 14), (BLUE, 90, 50, 16)]), draw([(BLUE, 90, 50, 16)])
    alone = (alone[0], alone[1] * 2)
    frames = [both, *[alone] * (EVERY + 2), both]
    memory = drifting(frames)
    tracked = followed(memory, frames, (both[1] == 1).astype(np.uint8))
    assert [found.segmentations[0].present for found in tracked[EVERY:]] == [False] * 3 + [True]
    assert iou(tracked[-1].labels == 1, both[1] == 1) > 0.75


@pytest.mark.parametrize(("threshold", "present"), [(0.5, True), (0.7, True), (0.9, False)])
def test_a_higher_threshold_loses_what_is_less_sure(threshold: float, present: bool) -> None:
    frames = [*walk(1), GREEN_ROOM]  # where the concept does not find it again
    memory = ScriptedMemory(lambda frame, number, last: (frames[0][1] > 0, 1.0))  # a probability of 0.73
    memory_alone = followed(memory, [frames[0], frames[0]], threshold=threshold)
    assert memory_alone[1].segmentations[0].present
    assert len(memory.prompts) == 1 + (not present)  # the concept had to find it


# ---------------------------------------------------------------------------------------------------------- concepts


def test_nothing_is_carried_before_the_concept_finds_it() -> None:
    persam = model()
    frames = [*[GREEN_ROOM] * 3, *walk(3)]
    memory = knowing(frames)
    tracked = followed(memory, frames, concept_of(persam, RED), persam=persam)
    assert_follows(tracked, frames)
    assert memory.prompts == [(3, 1, False)]
    assert memory.asked == [(4, 1), (5, 1)]
    assert tracked[3].segmentations[0].concept == "ball"


def test_each_concept_comes_in_when_it_is_seen() -> None:
    persam = model()
    frames = [
        *[GREEN_ROOM] * 2,
        *(draw([(RED, 30, 40 + k, 14)]) for k in range(2)),
        *(draw([(RED, 30, 42 + k, 14), (BLUE, 95, 45, 15)]) for k in range(3)),
    ]
    memory = knowing(frames)
    concepts = [concept_of(persam, RED, "red"), concept_of(persam, BLUE, "blue")]
    assert_follows(followed(memory, frames, concepts, persam=persam), frames)
    assert memory.prompts == [(2, 1, False), (4, 2, False)]


# ---------------------------------------------------------------------------------------------------------- identity

TWINS: list[Disc] = [(RED, 28, 40, 13), (RED, 98, 55, 13)]


@pytest.mark.parametrize("jumps", [False, True], ids=["found by the concept", "seen by the memory"])
def test_a_lost_object_does_not_take_its_twins_place(jumps: bool) -> None:
    both, one = draw(TWINS), draw(TWINS[:1])
    frames = [both, both, one, one, one, both, both]

    def answer(frame: int, number: int, last: np.ndarray | None) -> tuple[np.ndarray, float]:
        lost = number == 2 and frame in (2, 3, 4, 5)
        return both[1] == (1 if lost and jumps else number), GONE if lost and (frame == 2 or not jumps) else SURE + 1

    memory = ScriptedMemory(answer)
    tracked = followed(memory, frames)
    assert_follows(tracked, frames)  # the second one is absent, and then back as the second
    assert memory.prompts == [(0, 1, True), (0, 2, True), (5, 2, False)]
    assert tracked[3].segmentations[1].score < 0.5


@pytest.mark.parametrize("swapped", [False, True])
def test_the_order_of_objects_makes_no_difference(swapped: bool) -> None:
    discs: list[Disc] = [(RED, 28, 40, 13), (BLUE, 98, 55, 13)]
    away = draw([])
    frames = [draw(discs), draw(discs), away, draw(discs)]
    if swapped:
        frames = [(pixels, np.choose(labels, [0, 2, 1]).astype(np.uint8)) for pixels, labels in frames]
    memory = ScriptedMemory(lambda frame, number, last: (frames[frame][1] == number, SURE if frame < 2 else GONE))
    assert_follows(followed(memory, frames), frames)
    assert sorted(memory.prompts[2:]) == [(3, 1, False), (3, 2, False)]


def test_one_of_which_nothing_is_left_is_lost() -> None:
    frames = [draw([(RED, 28, 40, 13), (BLUE, 98, 55, 13)]), draw([(RED, 28, 40, 13)])]
    memory = ScriptedMemory(lambda frame, number, last: (frames[0][1] == 1, SURE))  # both are the first
    tracked = followed(memory, frames)
    assert [one.present for one in tracked[1].segmentations] == [True, False]
    assert tracked[1].segmentations[1].score < 0.5


def test_a_pixel_belongs_to_whoever_is_surest() -> None:
    one, other = np.full((2, 6), -4.0, np.float32), np.full((2, 6), -4.0, np.float32)
    one[:, :4], other[:, 2:] = 3.0, 5.0
    assert _drawn({3: one, 7: other}, (2, 6)).tolist() == [[3, 3, 7, 7, 7, 7]] * 2
    assert _drawn({}, (2, 3)).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize(("taken", "drawn"), [(0, True), (4, True), (5, False), (10, False)])
def test_what_is_back_may_not_be_another_object(taken: int, drawn: bool) -> None:
    labels = np.zeros((1, 12), np.uint8)
    labels[0, :taken] = 1
    before = labels.copy()
    mask = np.arange(12)[None] < 10
    assert _placed(labels, 2, mask) is drawn
    assert labels[0].tolist() == ([1] * taken + [2] * (10 - taken) + [0, 0] if drawn else before[0].tolist())


def test_what_is_found_takes_no_pixels_of_what_is_carried() -> None:
    frames = [draw([(BLUE, 50, 50, 20), (RED, 70, 50, 20)])] * 2  # the red one lies on the blue one
    half = frames[0][1] == 1
    half[:, 60:75] |= frames[0][1][:, 60:75] == 2  # which the memory thinks to be larger
    memory = ScriptedMemory(lambda frame, number, last: (half if number == 1 else None, SURE if number == 1 else GONE))
    first, second = followed(memory, frames)[1].segmentations
    np.testing.assert_array_equal(first.mask, half)
    assert second.present
    assert not (first.mask & second.mask).any()


# ------------------------------------------------------------------------------------------- real networks, and calls


@pytest.mark.parametrize("kind", ["sam2_video", "edgetam_video", "sam3_tracker_video"])
def test_a_network_of_transformers_by_its_folder(kind: str, tmp_path: Path) -> None:
    """Its weights are random, and so what it draws: all of the way is gone, and the forms are right."""
    folder = saved_tracker(kind, tmp_path)
    frames = [draw([(RED, 30 + 5 * k, 40, 14), (BLUE, 95, 50, 14)]) for k in range(EVERY + 2)]
    tracked = list(model().track([pixels for pixels, _ in frames], frames[0][1], propagator=folder))
    assert [found.labels.shape for found in tracked] == [SIZE] * len(frames)
    for found in tracked:
        assert set(np.unique(found.labels)) <= {0, 1, 2}
        assert [one.present for one in found.segmentations] == [bool((found.labels == k).any()) for k in (1, 2)]
        assert all(0 <= one.score <= 1 for one in found.segmentations)


@pytest.mark.parametrize("mode", ["official", "paper"])
def test_other_modes_have_no_propagator(mode: str) -> None:
    persam = PerSAM(ColourModel(), settings=Settings.of(mode))
    photo, mask = draw([(RED, 60, 50, 20)])
    with pytest.raises(UsageError, match=f"A propagator works in mode persam, and this is mode {mode}; leave the"):
        persam.track([photo], mask, propagator=ScriptedMemory())


def test_a_concept_of_another_mode_is_not_carried() -> None:
    paper = PerSAM(ColourModel(), settings=Settings.of("paper"))
    concept = concept_of(paper, RED)
    with pytest.raises(UsageError, match="and ball was learned in mode paper; leave the propagator out"):
        next(model().track([GREEN_ROOM[0]], concept, propagator=ScriptedMemory()))


def test_what_is_no_propagator_is_said_at_once(tmp_path: Path) -> None:
    photo, mask = draw([(RED, 60, 50, 20)])
    with pytest.raises(UsageError, match="A propagator is a name, a folder or what load_propagator"):
        model().track([photo], mask, propagator=42)
    with pytest.raises(PersamError, match="is there, but holds no model"):
        model().track([photo], mask, propagator=tmp_path)


def test_the_model_is_of_the_models_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(carry, "load_propagator", lambda name, **options: asked.append((name, options)))
    persam = model()
    carry.propagator_for(persam, "facebook/sam2.1-hiera-tiny", "bfloat16")
    assert asked == [("facebook/sam2.1-hiera-tiny", {"device": persam.model.device, "dtype": "bfloat16"})]
