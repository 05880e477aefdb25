"""Small things: the scenes, what is measured in them, and what is said where there is nothing to measure."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import random_sam

from persam.benchmark.suites import small
from persam.benchmark.suites.small import FORMS, SCENE, cut_out, framed, look_for_small
from persam.benchmark.suites.suite import Trial, read_photos
from persam.errors import PersamError, UsageError
from persam.persam import PerSAM


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A PerSeg of two objects with one photo each to find them in."""
    root = tmp_path_factory.mktemp("data") / "perseg"
    for name, turn in (("disc", False), ("other", True)):
        for number in range(2):
            image, mask = draw_scene(300, 400, center=(150 + 30 * number, 150), radius=60, seed=number)
            image = image[..., ::-1] if turn else image
            for kind, suffix, pixels in (("Images", "jpg", image), ("Annotations", "png", mask.astype(np.uint8) * 255)):
                path = root / kind / name / f"{number:02}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return read_photos(root, "perseg")


GROUND = np.full((900, 1200, 3), 7, np.uint8)


def test_a_photo_lies_whole_in_its_scene():
    photo, truth = draw_scene(300, 400)
    scene = framed(photo, truth, GROUND, 0.25, seed=3)
    assert scene.pixels.shape == (1200, 1600, 3)
    y, x = (int(side.min()) for side in np.nonzero((scene.pixels != 7).any(-1)))
    np.testing.assert_array_equal(scene.pixels[y : y + 300, x : x + 400], photo)  # it need not be shrunk
    np.testing.assert_array_equal(scene.truth[y : y + 300, x : x + 400], truth)
    assert scene.truth.sum() == truth.sum()
    assert not np.array_equal(scene.pixels, framed(photo, truth, GROUND, 0.25, seed=4).pixels)


def test_a_large_photo_is_shrunk():
    photo, truth = draw_scene(1500, 2000, center=(800, 900), radius=300)
    scene = framed(photo, truth, photo, 0.5, seed=0)
    assert max(scene.pixels.shape) == SCENE
    assert scene.truth.mean() == pytest.approx(truth.mean() / 4, rel=0.02)


def test_an_object_is_cut_out():
    photo, truth = draw_scene(300, 400, radius=60)
    scene = cut_out(photo, truth, GROUND, 0.002, seed=1)
    assert scene.truth.mean() == pytest.approx(0.002, rel=0.05)
    assert (scene.pixels[~cv2.dilate(scene.truth.astype(np.uint8), np.ones((5, 5))).astype(bool)] == 7).all()
    assert np.abs(scene.pixels[scene.truth].mean(0) - photo[truth].mean(0)).max() < 8
    assert cut_out(photo, truth, GROUND, 0.5, seed=1).truth.sum() == truth.sum()  # nothing is enlarged


def test_every_size_and_form_has_a_row_with_its_costs(photos, monkeypatch):
    monkeypatch.setattr(small, "CUT_OUT", (0.0035,))
    monkeypatch.setattr(small, "FRAMED", ())
    found = look_for_small(Trial(photos, PerSAM.from_pretrained().model))
    rows = {(row["size"], row["closer_look"]): row for row in found.rows}
    assert list(rows) == [(size, form) for size in ("0.2 to 0.5 %", "over 5 %", "all") for form in FORMS]
    assert [rows[size, "off"]["scenes"] for size in ("0.2 to 0.5 %", "over 5 %", "all")] == [2, 2, 4]
    assert rows["all", "off"]["looked_closer"] == 0
    assert rows["all", "off"]["iou_change"] is None
    assert 0 < rows["all", "small"]["looked_closer"] < rows["all", "always"]["looked_closer"] <= 1
    large = [rows["over 5 %", form] for form in ("off", "small")]
    assert [(row["iou"], row["contour"]) for row in large] == [(large[0]["iou"], large[0]["contour"])] * 2
    assert rows["0.2 to 0.5 %", "small"]["iou"] > rows["0.2 to 0.5 %", "off"]["iou"]
    assert len(found.tables) == 2
    assert "mIoU" not in "".join(found.below())  # what is told of intervals is of these figures
    json.dumps(found.to_dict())


def test_a_model_without_a_closer_look_is_refused(photos):
    for trial, mode in (
        (Trial(photos, random_sam()), "persam"),
        (Trial(photos, PerSAM.from_pretrained().model), "paper"),
    ):
        with pytest.raises(UsageError, match="needs mode persam and a model with fitted numbers"):
            look_for_small(trial, mode)


def test_one_object_alone_is_refused(photos):
    one = type(photos)(photos.episodes[:1], photos.source)
    with pytest.raises(UsageError, match="give photos of two objects"):
        look_for_small(Trial(one, PerSAM.from_pretrained().model))


COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


@pytest.fixture
def colours(tmp_path):
    """A PerSeg of three discs, known by their colours; what is below looks for these."""
    for name, colour in COLOURS.items():
        for number in range(2):
            _, mask = draw_scene(300, 400, center=(150 + 30 * number, 150), radius=60)
            image = np.full((300, 400, 3), 128, np.uint8)
            image[mask] = colour
            for kind, pixels in (("Images", image), ("Annotations", mask.astype(np.uint8) * 255)):
                path = tmp_path / kind / name / f"{number:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return read_photos(tmp_path, "perseg")


@pytest.fixture
def looked_for(monkeypatch):
    """What was looked for, and in what; a thing is said to be there where anything has its colour."""
    asked = []

    def segment(self, pixels, colour, **options):
        mask = (np.abs(pixels.astype(int) - COLOURS[colour]) < 60).all(-1)
        asked.append((colour, pixels))
        return SimpleNamespace(trace=None, assumed_mask=mask, present=bool(mask.any()))

    monkeypatch.setattr(small, "CUT_OUT", (0.0035,))
    monkeypatch.setattr(small, "FRAMED", (0.35,))
    monkeypatch.setattr(small, "SCENE", 400)
    monkeypatch.setattr(small, "_learn", lambda persam, episode: dict.fromkeys(FORMS, episode.object))
    monkeypatch.setattr(small._Counting, "encode", lambda self, pixels: pixels)
    monkeypatch.setattr(small._Counting, "segment", segment)
    return asked


@pytest.mark.parametrize("seed", range(3))
def test_what_is_in_a_scene_is_no_false_alarm(colours, looked_for, seed):
    found = look_for_small(Trial(colours, PerSAM.from_pretrained().model), seed=seed)
    whole = found.rows[-1]
    assert (whole["scenes"], whole["without"]) == (9, 9)
    assert (whole["said"], whole["false_alarms"]) == (1, 0)
    assert found.about["scenes"] == 9


def test_a_scene_with_every_object_has_no_false_alarms(colours, looked_for):
    two = replace(colours, episodes=colours.episodes[:2])
    found = look_for_small(Trial(two, PerSAM.from_pretrained().model))
    assert found.rows[-1]["without"] == 2  # the photos by themselves
    small_ones = next(row for row in found.rows if row["size"] == "0.2 to 0.5 %")
    assert (small_ones["without"], small_ones["false_alarms"]) == (0, None)
    assert "| – |" in found.tables[1].markdown()


def test_an_object_is_not_pasted_or_asked_where_it_may_be(colours, looked_for):
    blue, green, red = colours.episodes
    of_green = frozenset(each.photo for each in (*green.references, *green.tests))
    unsure = replace(colours, episodes=(blue, green, replace(red, not_asked=of_green)))
    look_for_small(Trial(unsure, PerSAM.from_pretrained().model))
    for colour, pixels in looked_for:
        shown = {name for name, own in COLOURS.items() if (np.abs(pixels.astype(int) - own) < 60).all(-1).any()}
        assert not (colour == "red" and "green" in shown)


def test_an_odd_photo_or_object_is_left_out_and_told(colours, looked_for, monkeypatch):
    def learn(persam, episode):
        if episode.object == "red":
            raise ValueError("the reference is odd.\nVery odd")
        return dict.fromkeys(FORMS, episode.object)

    monkeypatch.setattr(small, "_learn", learn)
    blue = next(each for each in colours.episodes if each.object == "blue")
    blue.tests[0].photo.write_bytes(b"")
    steps = []
    found = look_for_small(Trial(colours, PerSAM.from_pretrained().model, progress=lambda: steps.append(1)))
    assert len(steps) == 3
    assert 1 <= found.rows[-1]["scenes"] <= 3  # of green; a ground may be the odd photo
    left_out = 1 + 3 + 3 - found.rows[-1]["scenes"]
    first = "perseg/red: the reference is odd"
    assert f"{left_out} objects or scenes could not be measured and are left out, such as {first}." in found.notes


def test_where_nothing_can_be_measured_it_is_said_why(colours, looked_for):
    for episode in colours.episodes:
        episode.tests[0].photo.write_bytes(b"")
    with pytest.raises(PersamError, match=r"Nothing could be looked for; perseg/blue .*01"):
        look_for_small(Trial(colours, PerSAM.from_pretrained().model))
