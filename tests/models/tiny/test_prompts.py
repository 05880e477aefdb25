from __future__ import annotations

from random import Random

import numpy as np
import torch

from persam.models.tiny.prompts import boxes_of, corrective_points, interior_point, random_point, sample_prompt
from persam.models.tiny.views import OWN


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


def test_corrective_points_lie_where_the_mask_is_wrong() -> None:
    target = torch.zeros(3, 16, 16)
    target[:, :8] = 1
    logits = torch.where(target > 0, 5.0, -5.0)
    logits[0, 2, 3] = -5.0  # missing
    logits[1, 12, 6] = 5.0  # too much
    valid = torch.ones(3, 16, 16, dtype=torch.bool)
    points, labels = corrective_points(logits, target, valid, 32)
    assert labels.flatten().tolist() == [1, 0, -1]
    assert points[0].flatten().tolist() == [7, 5]
    assert points[1].flatten().tolist() == [13, 25]
    valid[0, 2, 3] = False
    assert corrective_points(logits, target, valid, 32)[1].flatten().tolist() == [-1, 0, -1]


def test_boxes_are_tight_and_of_the_whole_frame_for_nothing() -> None:
    masks = torch.zeros(2, 10, 12, dtype=torch.bool)
    masks[0, 2:5, 7:9] = True
    assert boxes_of(masks, 2.0)[:, 0].tolist() == [[14, 4, 18, 10], [0, 0, 24, 20]]
