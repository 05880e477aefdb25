"""Clock, spread, overhead and tuning: that the arithmetic is right and that all is measured; never how long it took."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import draw_scene
from tests.fakes import random_sam

from persam import PerSAM
from persam.benchmark.suites import timing
from persam.benchmark.suites.efficiency import AddedTime, Round, added_time, measure_overhead, percent, published_share
from persam.benchmark.suites.timing import Spread, drawn_scene, machine, open_persam, plain_mask, timed
from persam.benchmark.suites.tuning_speed import measure_tuning
from persam.errors import UsageError


class Clock:
    """A model that notes what is asked of it."""

    def __init__(self) -> None:
        self.model, self.asked = random_sam(), []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def encode(self, image: np.ndarray) -> Any:
        self.asked.append("encode")
        return self.model.encode(image)

    def decode(self, *arguments: Any, **options: Any) -> Any:
        self.asked.append("decode")
        return self.model.decode(*arguments, **options)


class TestSpread:
    @given(values=st.lists(st.floats(-1, 1), min_size=1, max_size=20))
    def test_lies_in_order(self, values):
        spread = Spread.of(values)
        assert min(values) <= spread.low <= spread.median <= spread.high <= max(values)

    def test_known(self):
        assert Spread.of([5, 1, 2, 3, 4]) == Spread(3, 2, 4)
        assert Spread(0.5, 0.25, 1).text(2) == "0.50 [0.25, 1.00]"
        assert percent(Spread(0.031, -0.002, 0.05)) == "+3.1 % [-0.2, +5.0]"


class TestAddedTime:
    def test_by_hand(self):
        """An encoder ten times slower in one round moves what is added with it, but hardly what is added after it."""
        rounds = (Round(10, 1, 10, 2, 3), Round(10, 1, 100, 2, 3), Round(9, 1, 9, 2, 5))
        added = AddedTime(rounds)
        whole = [12 / 11 - 1, 102 / 11 - 1, 11 / 10 - 1]
        after = [1 / 11, 1 / 11, 1 / 10]
        assert added.whole == Spread.of(whole)
        assert added.after_encoding == Spread.of(after)
        assert added.after_encoding.high - added.after_encoding.low < 0.01 < 1 < added.whole.high
        assert added.tuned_after_encoding == Spread.of([2 / 11, 2 / 11, 4 / 10])
        assert added.seconds("plain_encode") == 10
        assert added.seconds("tuned_rest") == 3

    def test_rounds_are_in_turns_and_the_first_does_not_count(self):
        model = Clock()
        persam = PerSAM(model)  # type: ignore[arg-type]
        image, mask = draw_scene()
        concept = persam.learn(image, mask)
        steps: list[int] = []
        model.asked.clear()
        added = added_time(persam, concept, image, rounds=2, progress=lambda: steps.append(1))
        assert len(added.rounds) == 2
        assert len(steps) == 3
        assert model.asked.count("encode") == 2 * 3
        assert all(value > 0 for each in added.rounds for value in vars(each).values())

    def test_published(self):
        assert published_share("SAM") == 0
        assert published_share("PerSAM") == pytest.approx(0.0385, abs=1e-3)
        assert published_share("PerSAM-F") == pytest.approx(0.0909, abs=1e-3)


def test_overhead_findings():
    found = measure_overhead(PerSAM(random_sam()), side=64, rounds=2)
    assert len(found.about["every_round"]) == 2
    seconds, shares = found.tables
    assert len(seconds.rows) == 5
    assert [row[-1] for row in shares.rows] == ["+3.8%", "+3.8%", "+9.1%"]
    assert found.about["model"] == "random"
    assert found.about["mode"] == "persam"
    after = found.rows[5]["share"]
    assert after["low"] <= after["median"] <= after["high"]
    assert found.about["added"] == after["median"]
    json.dumps(found.to_dict())


def test_tuning_findings():
    found = measure_tuning(PerSAM(random_sam()), epochs=5)
    values = found.to_dict()
    assert values["epochs"] == 5
    assert values["ratio"] == pytest.approx(values["passes"] / values["direct"])
    assert values["direct_loss"] <= values["published_loss"] + 1e-3  # five epochs go nowhere
    assert "5 decoder passes, as published" in found.tables[0].rows[0]
    json.dumps(values)


def test_a_job_is_timed_until_the_device_has_finished(monkeypatch):
    waited: list[str] = []
    monkeypatch.setattr(timing, "wait", lambda model: waited.append("wait"))
    result, seconds = timed(lambda: waited.append("job") or 7, random_sam())  # type: ignore[func-returns-value]
    assert result == 7
    assert seconds >= 0
    assert waited == ["wait", "job", "wait"]


def test_plain_sam():
    model = random_sam()
    image, _ = draw_scene(40, 64)
    encoding = model.encode(image)
    mask = plain_mask(model, encoding)
    assert mask.shape == (40, 64)
    assert mask.dtype == bool


def test_drawn_scene():
    image, mask = drawn_scene(64)
    assert image.shape == (64, 64, 3)
    assert 0.1 < mask.mean() < 0.3
    assert np.array_equal(image, drawn_scene(64)[0])


def test_models_to_be_timed(monkeypatch):
    made: list[tuple[str, int]] = []

    def random_one(size, device, dtype, canvas):
        made.append((size, canvas))
        return random_sam()

    monkeypatch.setattr(timing, "random_sam", random_one)
    persam = open_persam("vit-h", device="cpu", mode="official")
    assert made == [("vit-h", 1024)]
    assert persam.settings.mode == "official"
    assert open_persam("tiny", device="cpu").model.name == "tiny"
    with pytest.raises(UsageError, match="no mode"):
        open_persam("vit-h", device="cpu", mode="best")


def test_machine():
    assert "thread" in machine(torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "parameters"), [("vit-b", 94), ("vit-l", 312), ("vit-h", 641)])
def test_random_sams_are_as_large_as_the_real_ones(size, parameters):
    network = timing.random_sam(size, torch.device("cpu")).network
    assert sum(each.numel() for each in network.parameters()) / 1e6 == pytest.approx(parameters, rel=0.01)


@pytest.mark.slow
def test_direct_tuning_reaches_the_published_loss():
    found = measure_tuning(open_persam("tiny", device="cpu"), epochs=1000)
    assert found.about["direct_loss"] <= found.about["published_loss"]
