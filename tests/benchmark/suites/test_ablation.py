"""The ablation: every row does what it says, seen in what the decoder is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import blob, random_sam

from persam.benchmark.methods.base import Example, SharedPhoto
from persam.benchmark.suites.ablation import PUBLISHED, Variant, ablate, build_up, one_changed
from persam.benchmark.suites.suite import Trial, read_photos
from persam.errors import UsageError
from persam.method.settings import PRESETS, Settings
from persam.models.base import Decoded, Guidance


@dataclass
class Call:
    """What one decoder pass was asked."""

    labels: list[float]
    mask: bool
    box: bool
    multimask: bool
    guidance: Guidance | None

    @property
    def guided_by(self) -> set[str]:
        parts = {} if self.guidance is None else vars(self.guidance)
        return {name for name in ("attention", "semantic") if parts.get(name) is not None}


class Spy:
    """A random SAM that writes down what it is asked, and finds a square: a random mask may be empty."""

    def __init__(self) -> None:
        self.model, self.calls = random_sam(), []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def decode(self, encoding: Any, prompts: Any, *, multimask: bool, guidance: Guidance | None = None) -> Any:
        call = Call(
            prompts.labels[0].tolist(), prompts.logits is not None, prompts.boxes is not None, multimask, guidance
        )
        self.calls.append(call)
        square = blob(self.model.low_resolution, (6, 16), (8, 18))
        count = 3 if multimask else 1
        return Decoded(square.repeat(1, count, 1, 1), torch.linspace(0.9, 0.7, count)[None])


def asked(variant: Variant) -> list[Call]:
    """What a variant asks its decoder for one photo."""
    spy = Spy()
    method = variant.method(model=spy)
    image, mask = draw_scene()
    concept = method.learn([Example(SharedPhoto(image), mask)], "disc")
    spy.calls.clear()
    method.find(SharedPhoto(draw_scene(seed=1)[0]), concept)
    return spy.calls


class TestBuildUp:
    ROWS: ClassVar = {variant.name: variant for variant in build_up()}

    def calls(self, start: str) -> list[Call]:
        return asked(next(variant for name, variant in self.ROWS.items() if name.startswith(start)))

    def test_positive_point(self):
        (call,) = self.calls("positive point")
        assert call.labels == [1]
        assert (call.mask, call.box, call.multimask) == (False, False, False)
        assert call.guidance is None

    def test_negative_point(self):
        (call,) = self.calls("+ negative")
        assert call.labels == [1, 0]
        assert call.guidance is None

    def test_cascade(self):
        calls = self.calls("+ cascade")
        assert [(call.mask, call.box, call.multimask) for call in calls] == [
            (False, False, False), (True, False, True), (True, True, True),
        ]  # fmt: skip
        assert all(call.labels == [1, 0] and call.guidance is None for call in calls)

    def test_attention(self):
        calls = self.calls("+ attention")
        assert [call.guided_by for call in calls] == [{"attention"}, set(), set()]
        assert calls[0].guidance is not None
        assert calls[0].guidance.where == "after"

    def test_semantic_prompt(self):
        assert [call.guided_by for call in self.calls("+ semantic")] == [{"attention", "semantic"}, set(), set()]

    def test_scale_tuning(self):
        calls = self.calls("+ scale")
        assert [(call.mask, call.box, call.multimask) for call in calls] == [
            (False, False, True), (True, True, True), (True, True, True),
        ]  # fmt: skip
        assert all(call.labels == [1] and call.guidance is None for call in calls)  # as published

    def test_it_ends_with_mode_official_and_stands_beside_the_paper(self):
        rows = build_up()
        assert rows[-1].settings == rows[-2].settings == PRESETS["official"]
        assert [row.tuned for row in rows] == [False] * 5 + [True]
        assert tuple(row.published for row in rows) == PUBLISHED == (69.1, 72.5, 83.9, 85.8, 89.3, 95.3)
        assert [row.against for row in rows] == [None, *(row.name for row in rows[:-1])]


class TestOneChanged:
    @pytest.mark.parametrize("mode", list(PRESETS))
    def test_every_row_changes_one_switch_and_no_two_are_the_same(self, mode):
        first, *others = one_changed(mode)
        preset = Settings.of(mode)
        assert first.settings == preset
        assert first.against is None
        seen = []
        for row in others:
            changed = {key for key, value in row.settings.to_dict().items() if preset.to_dict()[key] != value}
            of_one_technique = all(key.endswith("_cue") for key in changed)  # the cues: one idea, a switch each
            assert len(changed) == (0 if row.tuned else 1) or of_one_technique, row.name
            assert row.against == first.name
            seen.append((row.settings, row.tuned))
        assert len(set(seen)) == len(seen)
        assert len({row.name for row in others}) == len(others)

    def test_every_technique_of_mode_persam_has_a_row(self):
        names = {row.name for row in one_changed("persam")}
        assert names >= {
            "no dense prior", "no attention", "no semantic prompt", "first pass with one mask", "no cascade",
            "no final agreement", "no fallback", "with scale tuning (PerSAM-F)", "with negative point",
        }  # fmt: skip

    def test_no_mode(self):
        with pytest.raises(UsageError, match="no mode"):
            one_changed("best")

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("mode persam", {}),
            ("no dense prior", {"mask": False}),
            ("no attention", {"guided_by": {"semantic"}}),
            ("no semantic prompt", {"guided_by": {"attention"}}),
            ("first pass with one mask", {"multimask": False}),
            ("with negative point", {"labels": [1, 0]}),
            ("attention as published", {"where": "after"}),
        ],
    )
    def test_first_pass(self, name, expected):
        variant = next(row for row in one_changed("persam") if row.name == name)
        call, *_ = asked(variant)
        guidance = call.guidance
        found = {
            "labels": call.labels,
            "mask": call.mask,
            "multimask": call.multimask,
            "guided_by": call.guided_by,
            "where": guidance and guidance.where,
        }
        usual = {
            "labels": [1], "mask": True, "multimask": True, "guided_by": {"attention", "semantic"}, "where": "before",
        }  # fmt: skip
        if name == "no attention":
            found["where"] = "before"  # says nothing without attention
        assert found == usual | expected

    def test_cascade(self):
        rows = {row.name: row for row in one_changed("persam")}
        assert len(asked(rows["mode persam"])) == 3
        assert len(asked(rows["no cascade"])) == 1
        assert asked(rows["with guided cascade"])[1].guided_by == {"semantic"}


def test_findings(data):
    photos = read_photos(data / "perseg", "perseg")
    steps: list[int] = []
    found = ablate(Trial(photos, random_sam(), progress=lambda: steps.append(1)))
    assert len(steps) == photos.count == 4
    variants = [*build_up(), *one_changed("persam")]
    assert [row["method"] for row in found.rows] == [variant.name for variant in variants]
    assert all(row["photos"] == 4 and 0 <= row["miou"] <= 1 for row in found.rows)
    by_name = {row["method"]: row for row in found.rows}
    last, before = by_name["+ semantic prompt"], by_name["+ attention"]
    assert last["change"]["difference"] == pytest.approx(last["iou"] - before["iou"])
    assert by_name["positive point"]["change"] is None
    build, changed = found.tables
    assert "mode official" in build.title
    assert "mode persam" in changed.title
    assert [row[-2:] for row in build.rows][:3] == [("69.1", ""), ("72.5", "+3.4"), ("83.9", "+11.4")]
    assert len(changed.rows) == len(one_changed("persam"))
