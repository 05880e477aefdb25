from __future__ import annotations

from itertools import groupby
from random import Random

import numpy as np
import pytest

from training import batches
from training.batches import IN_A_ROW, interior_point, random_point, sample_pairs, sample_prompt
from training.photos import Photos
from training.views import OWN


def test_a_prompt_points_at_its_target() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 20:50], mask[40:60, 5:25], mask[:4] = 3, OWN, 255
    random, seen = Random(0), set()
    for _ in range(50):
        prompt = sample_prompt(mask, random, jitter=0)
        seen.add(prompt.target)
        x, y = prompt.point
        assert mask[int(y), int(x)] == prompt.target
        assert prompt.box == {3: (20, 10, 50, 30), OWN: (5, 40, 25, 60)}[prompt.target]
    assert seen == {3, OWN}


def test_without_things_the_background_is_the_target() -> None:
    mask = np.full((32, 32), 255, np.uint8)
    mask[:16] = 0
    prompt = sample_prompt(mask, Random(0))
    assert prompt.target == 0
    assert mask[int(prompt.point[1]), int(prompt.point[0])] == 0


def test_points_in_a_mask() -> None:
    inside = np.zeros((20, 20), bool)
    inside[:9, :9] = True
    assert interior_point(inside) == (4.5, 4.5)
    x, y = random_point(inside, Random(1))
    assert inside[int(y), int(x)]


def test_some_pairs_in_a_row_are_of_one_set_of_single_things(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SINGLE_THINGS", ("street", "pets"))
    monkeypatch.setattr(batches, "FROM_ONE_SET", 0.1)
    monkeypatch.setattr(batches, "sample_pair", lambda *args: args[4] if len(args) > 4 else None)  # the set asked for
    drawn: list[object] = list(sample_pairs(photos, 64, 400, Random(1)))
    rows = [(source, len(list(group))) for source, group in groupby(drawn)]
    assert len(drawn) == 400
    assert {source for source, _ in rows} == {"street", "pets", None}
    assert all(length % IN_A_ROW == 0 for source, length in rows[:-1] if source is not None)
    share = sum(length for source, length in rows if source is not None) / len(drawn)
    assert 0.2 < share < 0.45  # a tenth of the draws, four pairs each


def test_without_such_a_set_all_pairs_are_drawn_one_by_one(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "sample_pair", lambda *args: len(args))
    drawn: list[object] = list(sample_pairs(photos, 64, 50, Random(1)))
    assert drawn == [4] * 50  # no set was asked for
