"""From a map to an answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from persam.benchmark.methods.base import answer, to_size


@given(arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(0, 1)))
def test_answers(probability):
    found = answer(probability)
    assert found.mask.tolist() == [[value > 0.5 for value in row] for row in probability.tolist()]
    chosen = [value for value in probability.flat if value > 0.5]
    assert found.score == pytest.approx(sum(chosen) / len(chosen) if chosen else max(probability.flat))
    assert found.present == bool(chosen) == (found.score > 0.5)
    x, y = found.peak
    assert probability[int(y), int(x)] == probability.max()


def test_what_was_clipped_is_ranked_by_what_it_was():
    raw = np.array([[1.2, 3.0], [2.0, -1.0]])
    assert answer(raw.clip(0, 1)).peak == (0.0, 0.0)
    assert answer(raw.clip(0, 1), raw).peak == (1.0, 0.0)


def test_resizing():
    values = torch.tensor([[0.0, 1.0]])
    assert to_size(values, (2, 4), mode="nearest").tolist() == [[0, 0, 1, 1]] * 2
    assert to_size(values, (1, 4)).tolist() == [[0, 0.25, 0.75, 1]]
