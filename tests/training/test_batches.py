from __future__ import annotations

from random import Random

import numpy as np

from training.batches import interior_point, random_point, sample_prompt
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
