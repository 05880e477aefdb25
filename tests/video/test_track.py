"""Following drawn objects whose truth is known: they move, leave, return, cross, change size, and keep their names."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.fakes import ColourModel, random_sam

from persam import PerSAM, PersamError, PersamWarning, UsageError
from persam.method.settings import Settings
from persam.segmentation import Segmentation
from persam.video import memory
from persam.video.official import Faults
from persam.video.start import given_of
from persam.video.track import TrackedFrame

RED, BLUE = (210, 30, 40), (30, 60, 220)
SIZE = (96, 128)
Disc = tuple[tuple[int, int, int], float, float, float]  # colour, x, y, radius


def draw(discs: Sequence[Disc], scene: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A frame (H, W, 3) and its labels (H, W): disc k has the label k."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    ground = np.stack([50 + 25 * np.sin(x / 9 + scene), 175 + 20 * np.cos(y / 7 + scene), 140 + 15 * np.sin(y / 5)], 2)
    labels = np.zeros(SIZE, np.uint8)
    for number, (colour, cx, cy, radius) in enumerate(discs, start=1):
        inside = (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
        ground[inside], labels[inside] = colour, number
    noise = np.random.default_rng(scene).normal(0, 3, ground.shape)
    return (ground + noise).clip(0, 255).astype(np.uint8), labels


def model() -> PerSAM:
    return PerSAM(ColourModel())


def followed(frames: Sequence[tuple[np.ndarray, np.ndarray]], **options: Any) -> list[TrackedFrame]:
    return list(model().track([pixels for pixels, _ in frames], frames[0][1], **options))


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / max(1, (found | truth).sum()))


def assert_follows(tracked: Sequence[TrackedFrame], frames: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Every object is where it is, and absent where it is not."""
    for number, (found, (_, truth)) in enumerate(zip(tracked, frames, strict=True)):
        for label, one in enumerate(found.segmentations, start=1):
            there = truth == label
            assert one.present == bool(there.any()), (number, label)
            np.testing.assert_array_equal(one.mask, found.labels == label)
            if there.any():
                assert iou(one.mask, there) > 0.75, (number, label)


def test_an_object_is_followed() -> None:
    frames = [draw([(RED, 30 + 6 * k, 40 + 2 * k, 14)]) for k in range(8)]
    tracked = followed(frames)
    assert_follows(tracked, frames)
    np.testing.assert_array_equal(tracked[0].labels, frames[0][1])  # frame 0 as it was given
    assert [found.frame.number for found in tracked] == list(range(8))
    assert isinstance(tracked[3].segmentations[0], Segmentation)


def test_one_that_leaves_is_absent_and_comes_back() -> None:
    gone = [draw([])] * 20
    frames = [
        *(draw([(RED, 40 - 3 * k, 40, 14)]) for k in range(4)),
        *gone,
        *(draw([(RED, 95, 70, 14)]) for _ in range(3)),
    ]
    assert_follows(followed(frames), frames)


def test_a_cut_to_another_scene() -> None:
    frames = [draw([(RED, 30, 30, 14)])] * 3 + [draw([(RED, 95, 65, 14)], scene=4)] * 3
    assert_follows(followed(frames), frames)


def test_names_stay_when_one_vanishes() -> None:
    both = [draw([(RED, 30, 45, 13), (BLUE, 95 - 3 * k, 45, 13)]) for k in range(3)]
    behind = [
        (pixels, np.where(labels == 1, 2, 0).astype(np.uint8)) for pixels, labels in [draw([(BLUE, 86, 45, 13)])] * 3
    ]
    frames = [*both, *behind, draw([(RED, 30, 60, 13), (BLUE, 86, 45, 13)])]
    tracked = followed(frames, names=["mug", "plate"])
    assert_follows(tracked, frames)
    assert {one.concept for found in tracked for one in found.segmentations} == {"mug", "plate"}


def test_twins_that_cross_stay_themselves() -> None:
    frames = [draw([(RED, 25 + 8 * k, 27, 12), (RED, 105 - 8 * k, 70, 12)]) for k in range(10)]
    assert_follows(followed(frames), frames)


def test_twins_of_which_one_passes_before_the_other_stay_themselves() -> None:
    frames = []
    for k in range(21):
        pixels, labels = draw([(RED, 25 + 4 * k, 40, 12), (RED, 105 - 4 * k, 54, 12)])
        y, x = np.mgrid[: SIZE[0], : SIZE[1]]
        for label, cx in ((1, 25 + 4 * k), (2, 105 - 4 * k)):  # a pattern that moves with each, the same on both
            pattern = 25 * np.sin((x - cx) / 2) * np.cos(y / 2)
            pixels = np.where((labels == label)[..., None], pixels + pattern[..., None], pixels)
        frames.append((pixels.clip(0, 255).astype(np.uint8), labels))
    tracked = followed(frames)
    apart = [number for number in range(21) if not 6 <= number <= 14]  # between, one hides part of the other
    assert_follows([tracked[number] for number in apart], [frames[number] for number in apart])


def test_an_object_whose_scale_changes_four_times() -> None:
    radii = [9, 11, 14, 18, 23, 29, 36, 29, 23, 18, 14, 11, 9]  # four times as large, and small again
    frames = [draw([(RED, 60, 48, radius)]) for radius in (*radii, *radii[1:])]
    assert_follows(followed(frames), frames)


def test_a_concept_is_looked_for_from_the_first_frame_on() -> None:
    persam = model()
    photo, mask = draw([(RED, 60, 50, 20)], scene=7)
    concept = persam.learn(photo, mask, name="ball")
    frames = [*(draw([]) for _ in range(2)), *(draw([(RED, 90 - 5 * k, 40, 13)]) for k in range(4))]
    tracked = list(persam.track([pixels for pixels, _ in frames], concept))
    assert_follows(tracked, frames)
    assert tracked[0].segmentations[0].concept == "ball"


def test_the_published_way_starts_from_a_mask_alone() -> None:
    persam = PerSAM.from_pretrained(mode="official", device="cpu")
    frames = [draw([(RED, 50 + 3 * k, 45, 20)]) for k in range(3)]
    tracked = list(persam.track([pixels for pixels, _ in frames], frames[0][1]))
    assert [found.segmentations[0].present for found in tracked] == [True] * 3
    photo, mask = frames[0]
    with pytest.raises(UsageError, match="is a concept of mode official"):
        next(persam.track([photo], persam.learn(photo, mask * 255)))


# ----------------------------------------------------------------------------------------- what is remembered


def test_frames_are_read_as_they_are_asked_for_and_let_go() -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def frames() -> Iterator[np.ndarray]:
        for number in range(12):
            pixels, _ = draw([(RED, 30 + 4 * number, 40, 14)])
            alive.append(weakref.ref(pixels))
            yield pixels
            del pixels

    tracked = model().track(frames(), draw([(RED, 30, 40, 14)])[1])
    for number in range(12):
        next(tracked)
        assert len(alive) == number + 1
        assert sum(each() is not None for each in alive) <= 2


def test_memory_is_bounded_and_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "cues_of", lambda learned, _: learned)
    photo, mask = draw([(RED, 60, 50, 20)])
    learned = replace(model().learn(photo, mask), targets=("photo",), cues=("photo",))  # type: ignore[arg-type]
    remembered = memory.ClipMemory(learned)
    for number in range(5, 501, 5):
        remembered.add(number, SimpleNamespace(target=number))  # type: ignore[arg-type]
        assert len(remembered.frames) <= memory.MOST_FRAMES
        assert remembered.frames[-1] == number  # the last one is always there,
    assert remembered.concept.targets == ("photo", *remembered.frames)  # as the reference is,
    assert remembered.frames[0] < 300  # and something of long ago


# ---------------------------------------------------------------------------------------------- what is wrong


def test_what_cannot_be_started() -> None:
    photo, mask = draw([(RED, 60, 50, 20)])
    persam = model()
    with pytest.raises(PersamError, match="another aspect"):
        next(persam.track([photo], np.ones((50, 50), bool) * (np.arange(50) > 20)))
    with pytest.raises(PersamError, match="no object"):
        next(persam.track([photo], np.zeros(SIZE, np.uint8)))
    with pytest.raises(UsageError, match="Of one object there are these names"):
        next(persam.track([photo], mask, names=["a", "b"]))
    with pytest.raises(UsageError, match="not with a list"):
        next(persam.track([photo], [mask]))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="belong to mode official"):
        persam.track([photo], mask, faults=Faults.published())
    with pytest.raises(UsageError, match="threshold"):
        persam.track([photo], mask, threshold=2)
    other = PerSAM.from_pretrained(device="cpu").learn(photo, mask)
    with pytest.raises(PersamError, match="was made with the model"):
        next(persam.track([photo], other))


def test_void_pixels_of_davis_are_no_object(tmp_path: Path) -> None:
    photo, labels = draw([(RED, 30, 45, 13), (BLUE, 95, 45, 13)])
    labels[0:9, 0:9] = 255
    (found,) = model().track([photo], labels)
    assert len(found.segmentations) == 2
    assert set(np.unique(found.labels)) == {0, 1, 2}


def test_a_mask_in_black_and_white_is_one_object() -> None:
    photo, labels = draw([(RED, 30, 45, 13), (RED, 95, 45, 13)])
    (found,) = model().track([photo], (labels > 0).astype(np.uint8) * 255)
    assert [one.concept for one in found.segmentations] == ["object 1"]
    np.testing.assert_array_equal(found.labels, labels > 0)


def test_gradients_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_sam()
    network.network.requires_grad_(True)
    seen: list[torch.Tensor] = []
    for name in ("encode", "decode"):
        whole = getattr(network, name)

        def kept(*arguments: Any, whole: Any = whole, **options: Any) -> Any:
            result = whole(*arguments, **options)
            seen.extend(value for value in vars(result).values() if isinstance(value, torch.Tensor))
            return result

        monkeypatch.setattr(network, name, kept)
    frames = [draw([(RED, 50 + 3 * k, 45, 20)]) for k in range(3)]
    with torch.enable_grad():
        tracked = list(PerSAM(network).track([pixels for pixels, _ in frames], frames[0][1]))
    assert len(tracked) == 3
    assert seen
    assert not any(value.requires_grad for value in seen)


def test_options_that_would_do_nothing_are_refused() -> None:
    photo, mask = draw([(RED, 60, 50, 20)])
    persam = model()
    concept = persam.learn(photo, mask * 255)
    with pytest.raises(UsageError, match="tuned where it is learned"):
        next(persam.track([photo], concept, tune=True))
    published = replace(concept, settings=Settings.of("official"))
    with pytest.raises(UsageError, match="is a concept of mode official"):
        next(persam.track([photo], [concept, replace(published, name="other")]))
    official = PerSAM.from_pretrained(mode="official", device="cpu")
    with pytest.raises(UsageError, match="no threshold"):
        official.track([photo], mask, threshold=0.5)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_mask_from_a_pipe_is_read_once(tmp_path: Path) -> None:
    photo, mask = draw([(RED, 60, 50, 20), (BLUE, 20, 20, 9)])
    Image.fromarray(mask).save(tmp_path / "mask.png")
    os.mkfifo(tmp_path / "pipe")
    data = (tmp_path / "mask.png").read_bytes()
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    (found,) = model().track([photo], tmp_path / "pipe")
    writer.join()
    np.testing.assert_array_equal(found.labels, mask)


def test_what_is_odd_about_a_mask_is_said() -> None:
    photo, mask = draw([(RED, 60, 50, 20)])
    with pytest.warns(PersamWarning, match="as if it were inverted"):
        next(model().track([photo], (mask == 0).astype(np.uint8) * 255))
    large = np.zeros((600, 600), np.uint8)
    large[100:400, 100:400], large[2:7, 2:7] = 1, 2
    with pytest.warns(PersamWarning, match="Part 2 of the mask marks 25 pixels"):
        assert len(given_of(large, (600, 600)).objects) == 2
