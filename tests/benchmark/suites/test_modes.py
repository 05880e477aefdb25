"""The modes side by side, and their masks step by step."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tests.benchmark.conftest import REAL
from tests.conftest import draw_scene
from tests.fakes import blob, random_sam

from persam.benchmark.methods.base import Example, SharedPhoto
from persam.benchmark.suites.modes import FORMS, MODES, ModeMethod, StepAgreement, compare_modes, masks_after_steps
from persam.benchmark.suites.suite import Findings, Trial, read_photos
from persam.geometry import Frame
from persam.instance import Instance
from persam.method.prior import Prior
from persam.method.segment import LOOK_BACK, Step
from persam.models.encode_once import encode_once
from persam.models.loading import load_model

SIZE = (16, 16)


def step(name: str, rows: int, *, dropped: bool = False) -> Step:
    """A pass whose mask covers the upper `rows` rows."""
    logits = blob(SIZE, (0, rows), (0, 16))
    return Step(name, logits[None], torch.ones(1), 0, logits, 1.0, dropped=dropped)


def heights(*steps: Step) -> list[int]:
    """How many rows the mask after each step has."""
    frame = Frame.padded(SIZE, 16, (4, 4))
    prior = Prior(
        frame, torch.zeros(4, 4), torch.zeros(SIZE), torch.zeros(SIZE), None, 0.5, np.zeros((1, 2)), np.ones(1)
    )
    trace = Instance(np.zeros(SIZE, bool), 1.0, prior=prior, steps=steps)
    return [int(mask.any(axis=1).sum()) for mask in masks_after_steps(trace)]


class TestMasksAfterSteps:
    def test_one_a_pass(self):
        assert heights(step("first pass", 2), step("refined", 5), step("refined with box", 9)) == [2, 5, 9]

    def test_a_dropped_pass_leaves_the_one_before(self):
        assert heights(step("first pass", 2), step("refined", 5, dropped=True), step("box", 9)) == [2, 2, 9]
        assert heights(step("first pass", 2), step("refined", 5), step("box", 9, dropped=True)) == [2, 5, 5]

    def test_a_cascade_that_ended_early_keeps_its_last_mask(self):
        assert heights(step("first pass", 2)) == [2, 2, 2]

    def test_the_look_back_is_no_pass(self):
        assert heights(step("first pass", 2), step("refined", 5), step("box", 9), step(LOOK_BACK, 3)) == [2, 5, 9]
        assert heights(step("first pass", 2), step(LOOK_BACK, 7)) == [2, 2, 2]


def agreement_of(*modes: tuple[str, str]) -> dict[str, list[tuple[float, ...]]]:
    """Run (settings, as) pairs on one photo and compare their masks."""
    agreement, model = StepAgreement(), encode_once(random_sam())
    image, mask = draw_scene()
    photo = SharedPhoto(draw_scene(seed=1)[0])
    for mode, called in modes:
        for form in FORMS:
            method = ModeMethod(mode, form, model, agreement)
            method.mode, method.name = called, f"{called} {form}"
            method.find(photo, method.learn([Example(SharedPhoto(image), mask)], "disc"))
    return agreement.ious


def test_a_mode_agrees_with_itself():
    found = agreement_of(("official", "official"), ("official", "again"))
    assert found == {f"again {form}": [(1.0, 1.0, 1.0, 1.0)] for form in FORMS}


def test_other_modes_differ_and_official_has_to_come_first():
    found = agreement_of(("official", "official"), ("paper", "paper"), ("persam", "persam"))
    assert set(found) == {f"{mode} {form}" for mode in ("paper", "persam") for form in FORMS}
    assert all(0 <= value <= 1 for ious in found.values() for photo in ious for value in photo)
    assert any(value < 1 for ious in found.values() for photo in ious for value in photo)
    assert agreement_of(("persam", "persam")) == {}


def test_comparison(data):
    photos = read_photos(data / "perseg", "perseg")
    done: list[int] = []
    found = compare_modes(Trial(photos, random_sam(), progress=lambda: done.append(1)))
    assert len(done) == 4  # one step a photo
    assert [row["method"] for row in found.rows] == [f"{mode} {form}" for mode in MODES for form in FORMS]
    assert {row["photos"] for row in found.rows} == {4}
    for row in found.rows:
        if row["mode"] == "official":
            assert row["iou_with_official"] is None
        else:
            assert list(row["iou_with_official"]) == ["step 1", "step 2", "step 3", "final"]
            assert all(step["photos"] == 4 for step in row["iou_with_official"].values())
    accuracy, steps = found.tables
    assert len(accuracy.rows) == 6
    assert len(steps.rows) == 4
    assert found.about["photos"] == 4
    assert found.about["objects"] == 2
    json.dumps(found.to_dict())


def test_several_data_sets_have_a_column_each(data):
    found = compare_modes(Trial(read_photos(data), random_sam()))
    assert found.tables[0].columns[3:6] == ("on perseg", "on fss", "on davis")
    assert set(found.rows[0]["by_data_set"]) == {"perseg", "fss", "davis"}
    assert found.about["photos"] == 2 * 2 + 2 + 1


@pytest.fixture(scope="module")
def real() -> Findings:
    """All modes on the real photos, with the bundled model."""
    if not REAL.is_dir():
        pytest.skip("the data sets are not here (shared/data beside the repository)")
    return compare_modes(Trial(read_photos(REAL), load_model("tiny", device="cpu", dtype="float32")))


@pytest.mark.slow
def test_the_peak_lies_on_the_object(real):
    located = {row["method"]: row["located"] for row in real.rows}
    assert located["persam PerSAM"] >= 0.88


@pytest.mark.slow
def test_mean_iou_on_real_photos(real):
    iou = {row["method"]: row["iou"] for row in real.rows}
    assert iou["persam PerSAM"] >= 0.60


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["official", "paper"])
@pytest.mark.parametrize("form", FORMS)
def test_persam_is_the_best_of_the_three_modes(real, mode, form):
    iou = {row["method"]: row["iou"] for row in real.rows}
    assert iou[f"persam {form}"] > iou[f"{mode} {form}"]
