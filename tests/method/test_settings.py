"""Settings: the three modes, every switch, and the way through a file. Which defaults are best is not tested here."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import get_type_hints

import pytest

from persam.errors import UsageError
from persam.method.settings import RANGES, Settings


@pytest.mark.parametrize("mode", ["official", "paper", "persam"])
class TestEveryMode:
    def test_round_trip(self, mode):
        settings = Settings.of(mode).but(alpha=2.5)
        assert settings.mode == mode
        assert Settings.from_dict(settings.to_dict()) == settings
        assert Settings.of(mode) != settings

    def test_unknown_switches_of_a_newer_persam_are_ignored(self, mode):
        assert Settings.from_dict({"mode": mode, "telepathy": "strong"}) == Settings.of(mode)

    def test_missing_switches_take_the_preset(self, mode):
        values = Settings.of(mode).but(negative_point=False).to_dict()
        del values["attention"], values["map"]
        assert Settings.from_dict(values) == Settings.of(mode).but(negative_point=False)


def test_unknown_mode():
    with pytest.raises(UsageError, match=r'There is no mode "offical"; use official, paper, persam\.'):
        Settings.of("offical")


def test_no_mode_is_persam():
    assert Settings.from_dict({}) == Settings.of("persam")


def test_but_changes_nothing_else():
    settings = Settings.of("paper")
    changed = settings.but(cascade=not settings.cascade)
    assert replace(changed, cascade=settings.cascade) == settings
    assert settings == Settings.of("paper")


def test_every_field_is_described():
    for field in fields(Settings):
        assert f"{field.name}:" in Settings.__doc__


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"telepathy": True}, 'There is no setting "telepathy"; use mode, reference_cells, target'),
        ({"cascade": 1}, '"cascade" cannot be 1; use True or False'),
        ({"cascade": None}, '"cascade" cannot be None; use True or False'),
        ({"map": "globe"}, "\"map\" cannot be 'globe'; use photo, cells"),
        ({"map": ["photo"]}, "use photo, cells"),
        ({"mode": "fast"}, "use official, paper, persam"),
        ({"alpha": float("nan")}, '"alpha" cannot be nan; use a number, 0 to 1000000'),
        ({"alpha": float("inf")}, "use a number, 0 to 1000000"),
        ({"alpha": -1}, "use a number, 0 to 1000000"),
        ({"alpha": True}, "use a number, 0 to 1000000"),
        ({"alpha": "1"}, "use a number, 0 to 1000000"),
        ({"background_subspace": 1.5}, "use a number, 0 to 1"),
        ({"positive_points": 0}, "use a whole number, 1 to 1000"),
        ({"positive_points": 2.0}, "use a whole number, 1 to 1000"),
        ({"positive_points": 10**400}, "use a whole number, 1 to 1000"),
        ({"final_agreement": -0.1}, "use a number, 0 to 1000000"),
    ],
)
def test_a_value_that_a_switch_cannot_have(change, words):
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        Settings.of("persam").but(**change)
    assert "\n" not in str(caught.value)
    if "telepathy" not in change:
        with pytest.raises(UsageError, match=re.escape(words)):
            Settings(**change)


def test_every_number_has_a_range():
    numbers = {name for name, kind in get_type_hints(Settings).items() if kind in (int, float)}
    assert numbers == set(RANGES)


def test_official_is_the_published_code():
    """What the golden values need; see reference/published-behaviour.md."""
    official = Settings.of("official")
    assert (official.reference_cells, official.target, official.tuned_target) == ("published", "mean", "max-mean")
    assert (official.attention, official.semantic, official.first_pass) == ("sigmoid", "mean", "single")
    assert (official.map, official.positive_points, official.negative_point) == ("photo", 1, True)
    assert (official.background_subspace, official.agreement) == (0, 0)
    switched_on = (official.dense_prior, official.fallback, official.tuned_prior, official.guided_cascade)
    assert not any(switched_on)


def test_paper_is_the_equations():
    paper = Settings.of("paper")
    assert (paper.target, paper.attention, paper.semantic) == ("cosines", "softmax", "unit")
    assert not paper.dense_prior
    assert paper.background_subspace == 0
