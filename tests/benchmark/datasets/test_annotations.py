"""COCO segmentations, decoded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.benchmark.datasets.lookalikes import box_mask, compressed_code, plain_code, polygon

from persam.benchmark.datasets.annotations import AnnotationTruth, decode
from persam.benchmark.episodes import Crop
from persam.errors import PersamError

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(MASKS)
def test_run_length_codes(mask):
    assert np.array_equal(decode(plain_code(mask), mask.shape, "x"), mask)
    assert np.array_equal(decode(compressed_code(mask), mask.shape, "x"), mask)


def test_long_runs():
    mask = np.zeros((700, 900), bool)
    mask[100:650, 3:890] = True
    mask[300, 200] = False
    assert np.array_equal(decode(compressed_code(mask), mask.shape, "x"), mask)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 10), st.integers(1, 10))
def test_polygons_of_whole_pixels(x, y, width, height):
    box = (x, y, min(x + width, 12), min(y + height, 11))
    assert np.array_equal(decode(polygon(box), (11, 12), "x"), box_mask(box, (11, 12)))


def test_several_polygons_are_one_object():
    one, other = (1, 1, 4, 5), (6, 2, 9, 9)
    mask = decode([polygon(one)[0], polygon(other)[0]], (10, 10), "x")
    assert np.array_equal(mask, box_mask(one, (10, 10)) | box_mask(other, (10, 10)))


def test_no_polygon_is_no_pixel():
    assert not decode([], (4, 5), "x").any()


@pytest.mark.parametrize("segmentation", [None, 3, "abc", {"size": [4, 5]}, {"counts": None, "size": [4, 5]}, [[1, 2]]])
def test_what_is_no_segmentation(segmentation):
    with pytest.raises(PersamError, match=r"An annotation of photo 7 is "):
        decode(segmentation, (4, 5), "photo 7")


def test_another_size():
    with pytest.raises(PersamError, match="An annotation of photo 7 is of 5 x 4 pixels, its photo of 6 x 4"):
        decode(plain_code(np.eye(4, 5, dtype=bool)), (4, 6), "photo 7")


@given(MASKS, MASKS.map(np.array))
def test_crowds_and_objects_never_overlap(objects, crowd):
    height, width = (min(a, b) for a, b in zip(objects.shape, crowd.shape, strict=True))
    objects, crowd = objects[:height, :width], crowd[:height, :width]
    truth = AnnotationTruth("x", objects.shape, [plain_code(objects)], [plain_code(crowd)])
    assert np.array_equal(truth.read(objects.shape), objects)
    assert np.array_equal(truth.read_ignore(objects.shape), crowd & ~objects)


def test_crop():
    mask = np.random.default_rng(0).random((9, 11)) < 0.5
    truth = AnnotationTruth("x", mask.shape, [plain_code(mask)], (), Crop((2, 3, 8, 7), mask.shape))
    assert np.array_equal(truth.read((4, 6)), mask[3:7, 2:8])
    with pytest.raises(PersamError, match="annotated at 6 x 4 pixels"):
        truth.read((9, 11))
