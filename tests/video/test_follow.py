"""The parts of following: what the flow carries, who owns a pixel, and whether edges are to be trusted."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import ColourModel
from tests.video.test_track import RED, draw, iou

from persam import Concept, EncodedImage, PerSAM, Settings
from persam.method.redraw import frame_redrawn
from persam.video import evidence, follow
from persam.video.follow import FollowedObjects
from persam.video.motion import Motion
from persam.video.shots import learned_from
from persam.video.start import StartObject


def test_the_flow_carries_a_mask_along() -> None:
    (before, mask), (now, truth) = (draw([(RED, x, 45, 15)]) for x in (50, 56))
    carried = Motion(before, now).carry(np.where(mask > 0, 4, -4).astype(np.float32), -4.0)
    assert iou(carried > 0, truth > 0) > 0.85 > iou(mask > 0, truth > 0)


def test_nothing_comes_in_from_outside() -> None:
    before, _ = draw([(RED, 60, 45, 15)])
    carried = Motion(before, np.roll(before, 12, axis=1)).carry(np.full(before.shape[:2], 4.0, np.float32), -4.0)
    assert (carried[:, :4] < 0).mean() > 0.5


@pytest.mark.parametrize("size", [(8, 8), (10, 512), (512, 10), (20, 100), (1, 40), (31, 300), (32, 512)])
def test_small_and_narrow_frames_have_a_motion(size: tuple[int, int]) -> None:
    """For some of these sizes OpenCV's flow is an error, for some the end of the process."""
    noise = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    carried = Motion(noise, noise).carry(np.full(size, 4.0, np.float32), -4.0)
    assert carried.shape == size
    assert (carried > 0).mean() > 0.8


@pytest.mark.parametrize("size", [(8, 8), (10, 300)])
def test_small_and_narrow_clips_are_followed(size: tuple[int, int]) -> None:
    photo = np.full((*size, 3), (40, 180, 120), np.uint8)
    photo[2:7, 2:7] = RED
    mask = (photo[..., 0] > 100).astype(np.uint8) * 255
    tracked = list(PerSAM(ColourModel()).track([photo] * 3, mask))
    assert [found.labels.shape for found in tracked] == [size] * 3


def test_a_pixel_belongs_to_whoever_is_surest() -> None:
    one, other = np.full((2, 6), -4.0), np.full((2, 6), -4.0)
    one[:, :4], other[:, 2:] = 3.0, 5.0
    sights: list[Any] = [SimpleNamespace(odds=odds, mask=odds > 0) for odds in (one, other)]
    left, right = follow._apart(sights)
    assert left[0].tolist() == [True, True, False, False, False, False]
    assert right[0].tolist() == [False, False, True, True, True, True]


@pytest.mark.parametrize(("harmful", "trusted"), [(False, True), (True, False)])
def test_edges_that_harm_the_first_frame_are_not_trusted(
    monkeypatch: pytest.MonkeyPatch, harmful: bool, trusted: bool
) -> None:
    frame, mask = draw([(RED, 60, 45, 15)])
    monkeypatch.setattr(evidence, "cut_out", lambda pixels, mask, band: np.roll(mask, 12, axis=1) if harmful else mask)
    persam, disc = PerSAM(ColourModel()), StartObject("disc", mask > 0)
    (known,) = learned_from(persam, [(frame, [disc])], tune=False)
    objects = FollowedObjects(persam, frame, [replace(known, mask=disc.mask)], threshold=0.5)
    assert objects.objects[0].edges is trusted


class TestDrawnAgain:
    """With the bundled model, in frames that have pixels to spare."""

    @pytest.fixture
    def clip(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [draw_scene(480, 640, center=(200 + 25 * number, 240), radius=55, seed=1) for number in range(4)]

    def test_masks_get_better_and_what_goes_on_stays(self, clip: list[tuple[np.ndarray, np.ndarray]]) -> None:
        frames, first = [pixels for pixels, _ in clip], clip[0][1]
        once = PerSAM.from_pretrained(settings=Settings.of("persam").but(redraw=False))
        before, found = (list(persam.track(frames, first)) for persam in (once, PerSAM.from_pretrained()))
        scores = [[each.segmentations[0].score for each in way] for way in (before, found)]
        assert scores[1] == scores[0]
        ious = [[iou(each.labels > 0, clip[n][1]) for n, each in enumerate(way)][1:] for way in (before, found)]
        assert np.mean(ious[1]) > np.mean(ious[0])

    def test_what_others_have_stays_theirs(self, clip: list[tuple[np.ndarray, np.ndarray]]) -> None:
        pixels, mask = clip[0]
        persam = PerSAM.from_pretrained()
        left = mask & (np.arange(mask.shape[1]) < 200)
        halves = [StartObject("left", left), StartObject("right", mask & ~left)]
        known = learned_from(persam, [(pixels, halves)], tune=False)
        masks = [replace(one, mask=half.mask) for one, half in zip(known, halves, strict=True)]
        objects = FollowedObjects(persam, pixels, masks, threshold=0.0)
        labels = (left + 2 * (mask & ~left)).astype(np.uint8)
        objects.objects[0].drawn_again = lambda frame, own: mask  # type: ignore[method-assign]
        objects.objects[1].drawn_again = lambda frame, own: np.zeros_like(own)  # type: ignore[method-assign]
        with torch.inference_mode():
            np.testing.assert_array_equal(objects._drawn_again(follow._Frame(persam, pixels), labels), labels)

    def test_nothing_is_drawn_again_where_it_is_not_wanted_or_would_show_all(
        self, clip: list[tuple[np.ndarray, np.ndarray]]
    ) -> None:
        pixels, mask = clip[0]
        persam = PerSAM.from_pretrained()
        concept = persam.learn(pixels, mask)
        asked: list[tuple[int, ...]] = []

        def encode(part: np.ndarray) -> EncodedImage:
            asked.append(part.shape)
            return persam.encode(part)

        def again(shown: np.ndarray, concept: Concept) -> np.ndarray:
            return frame_redrawn(shown, pixels, persam.model, encode, 224, concept, tuned=False)

        unwanted, unfitted = (
            replace(concept, settings=concept.settings.but(redraw=False)),
            replace(concept, fitted=None),
        )
        for shown, one in ((mask, unwanted), (mask, unfitted), (~mask, concept), (mask & False, concept)):
            np.testing.assert_array_equal(again(shown, one), shown)
        assert not asked
        with torch.inference_mode():
            assert iou(again(mask, concept), mask) > 0.9
        assert len(asked) == 1
