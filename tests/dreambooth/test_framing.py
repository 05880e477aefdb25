"""A photo is cut around its subject, whatever its place, size and shape; what is odd is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persam.dreambooth.framing import Framed, Framing, doubts_of, framed
from persam.errors import UsageError
from persam.instance import mask_box


def rectangle(size: tuple[int, int], x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def marked(mask: np.ndarray) -> np.ndarray:
    """A photo that is red where the mask is."""
    return np.where(mask[:, :, None], (255, 0, 0), (20, 40, 60)).astype(np.uint8)


@given(st.data())
def test_photo_and_mask_are_cut_alike(data: st.DataObject) -> None:
    height, width = (data.draw(st.integers(8, 90)) for _ in range(2))
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    mask = rectangle(
        (height, width), x0, y0, data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    )
    crop = data.draw(st.sampled_from(["subject", "whole"]))
    made = framed(marked(mask), mask, Framing(crop, 64, data.draw(st.floats(0, 2))))
    assert made.image.shape[:2] == made.mask.shape
    assert made.mask.any()
    assert 0 < made.left <= 1
    if crop == "subject":
        assert made.mask.shape == (64, 64)
    else:
        assert made.left == 1
    red = made.image[:, :, 0] > (20 + 255) / 2
    for wrong in (red & ~made.mask, made.mask & ~red):
        assert wrong.sum() <= 4 * sum(made.mask.shape)  # edges are soft


def test_the_square_holds_the_subject_with_its_margin() -> None:
    mask = rectangle((300, 400), 50, 100, 130, 140)
    made = framed(marked(mask), mask, Framing(resolution=64, margin=0.25))
    assert mask_box(made.mask) == (pytest.approx(64 * 20 / 120, abs=1), 21, pytest.approx(64 * 100 / 120, abs=1), 43)
    assert made.left == 1


def test_at_the_photos_corner_the_square_stays_inside() -> None:
    mask = rectangle((200, 200), 0, 0, 40, 40)
    made = framed(marked(mask), mask, Framing(resolution=64, margin=0.5))
    assert mask_box(made.mask)[:2] == (0, 0)
    assert made.left == 1


def test_a_small_subject_is_not_enlarged() -> None:
    mask = rectangle((300, 400), 200, 150, 210, 160)
    made = framed(marked(mask), mask, Framing(resolution=128, margin=0.1))
    assert made.mask.sum() == 100


def test_a_small_photo_is_enlarged_which_is_said() -> None:
    mask = rectangle((100, 150), 20, 20, 80, 80)
    (sentence,) = doubts_of(framed(marked(mask), mask, Framing(resolution=256)))
    assert "enlarged 2.6 times" in sentence
    assert doubts_of(framed(marked(mask), mask, Framing(resolution=104))) == ()


def test_a_subject_longer_than_any_square_is_said_to_be_cut() -> None:
    mask = rectangle((100, 400), 0, 30, 400, 60)
    made = framed(marked(mask), mask, Framing(resolution=96))
    assert made.left == pytest.approx(0.25)
    (sentence,) = doubts_of(made)
    assert "leaves out 75% of the subject" in sentence
    assert doubts_of(framed(marked(mask), mask, Framing("whole", 96))) == ()


def test_a_whole_photo_keeps_its_proportions_and_is_never_enlarged() -> None:
    mask = rectangle((300, 400), 100, 100, 200, 200)
    assert framed(marked(mask), mask, Framing("whole", 96)).image.shape == (96, 128, 3)
    assert framed(marked(mask), mask, Framing("whole", 512)).image.shape == (300, 400, 3)


@pytest.mark.parametrize(
    ("mask", "score", "said"),
    [
        (rectangle((128, 128), 20, 20, 116, 116), 0.9, None),
        (rectangle((512, 512), 100, 100, 140, 140), None, "25 of the 4096 places"),
        (rectangle((128, 128), 0, 20, 120, 120), 0.9, "border cuts the subject off along"),
        (rectangle((128, 128), 8, 8, 124, 64) | rectangle((128, 128), 8, 80, 124, 120), 0.9, "2 separate parts"),
        (~rectangle((128, 128), 40, 40, 80, 80), 0.9, "is not inverted"),
        (rectangle((128, 128), 20, 20, 124, 124), 0.6, "unsure that this is the subject (score 0.60)"),
    ],
)
def test_what_looks_doubtful_is_said(mask: np.ndarray, score: float | None, said: str | None) -> None:
    found = doubts_of(Framed(marked(mask), mask), score)
    assert [sentence.endswith(".") for sentence in found] == [True] * len(found)
    assert (found == ()) if said is None else any(said in sentence for sentence in found)


@pytest.mark.parametrize("options", [{"crop": "face"}, {"resolution": 500}, {"resolution": 32}, {"margin": -1}])
def test_wrong_values_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Framing(**options)
