"""Windows: the part of a frame that is looked at closer, whatever the copy's size."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from persam.instance import mask_box
from persam.video.windows import CLOSER, WHOLE, WIDER, Window, window_around

FRAME = np.zeros((240, 320, 3), np.uint8)


@given(
    st.integers(0, 119), st.integers(0, 159), st.integers(1, 60), st.integers(1, 60), st.sampled_from([WIDER, CLOSER])
)
def test_a_window_holds_the_object_and_more(top: int, left: int, height: int, width: int, wider: float) -> None:
    mask = np.zeros((120, 160), bool)  # of a copy half as large
    mask[top : top + height, left : left + width] = True
    window = window_around(mask, FRAME, wider)
    assert 0 <= window.x0 < window.x1 <= 1
    assert 0 <= window.y0 < window.y1 <= 1
    assert window.of(mask).sum() == mask.sum()
    assert window.of(FRAME).shape[1] >= 0.24 * FRAME.shape[1]
    back = window.into(window.of(mask).astype(np.float32), (120, 160), 0.0)
    np.testing.assert_array_equal(back > 0.5, mask)


def test_a_large_object_is_looked_at_as_a_whole() -> None:
    mask = np.zeros((120, 160), bool)
    mask[10:110, 20:150] = True
    assert window_around(mask, FRAME) == WHOLE


def test_a_part_of_another_size_lands_in_its_place() -> None:
    values = np.full((40, 40), 3.0, np.float32)
    whole = Window(0.25, 0.5, 0.75, 1.0).into(values, (60, 80), -4.0)
    assert mask_box(whole > 0) == (20, 30, 60, 60)
    assert whole.min() == -4.0
