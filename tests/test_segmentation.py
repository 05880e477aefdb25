"""Segmentations and their forms."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from pycocotools import mask as coco_mask

from persam.drawing import PALETTE, colour_of, draw_overlay
from persam.errors import PersamError
from persam.instance import Instance, mask_box, mask_rle, rle_mask
from persam.segmentation import Segmentation

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30))


def segmentation(mask: np.ndarray, **more: object) -> Segmentation:
    return Segmentation(**({"concept": "mug", "image": "a.jpg", "mask": mask, "score": 0.5} | more))


@given(mask=masks)
def test_rle_round_trip_through_json(mask):
    code = json.loads(json.dumps(mask_rle(mask)))
    assert code["counts"] == coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    back = rle_mask(code)
    assert back.dtype == bool
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, mask)


def test_rle_of_a_large_mask_comes_back():
    """Its runs take several letters each, and are shorter as well as longer than the last ones."""
    rng = np.random.default_rng(0)
    mask = np.kron(rng.random((7, 9)) > 0.5, np.ones((113, 97), bool))
    mask[rng.random(mask.shape) > 0.999] ^= True
    np.testing.assert_array_equal(rle_mask(mask_rle(mask)), mask)


@given(mask=masks)
def test_box_is_tight_and_exclusive(mask):
    box = mask_box(mask)
    if box is None:
        assert not mask.any()
        return
    x0, y0, x1, y1 = box
    inside = mask[y0:y1, x0:x1]
    assert inside.sum() == mask.sum()
    assert inside[0].any()
    assert inside[-1].any()
    assert inside[:, 0].any()
    assert inside[:, -1].any()


@given(mask=masks)
def test_polygons_give_the_mask_back(mask):
    filled = np.zeros(mask.shape, np.uint8)
    parts = segmentation(mask).polygons()
    for outer, *holes in parts:
        part = np.zeros(mask.shape, np.uint8)
        cv2.drawContours(part, [outer], -1, 1, cv2.FILLED)
        for hole in holes:
            inside = np.zeros(mask.shape, np.uint8)
            cv2.drawContours(inside, [hole], -1, 1, cv2.FILLED)
            cv2.drawContours(inside, [hole], -1, 0, 1)  # the ring itself lies on the object
            part[inside > 0] = 0
        filled |= part
    if all(len(part) == 1 for part in parts):  # parts inside holes share pixels with no other
        np.testing.assert_array_equal(filled.astype(bool), mask)
    else:
        assert not (mask & ~filled.astype(bool)).any()


def test_polygon_with_a_hole():
    mask = np.zeros((20, 20), bool)
    mask[2:18, 2:18] = True
    mask[8:12, 8:12] = False
    parts = segmentation(mask).polygons()
    assert [len(part) for part in parts] == [2]
    assert sorted(map(tuple, parts[0][0].tolist())) == [(2, 2), (2, 17), (17, 2), (17, 17)]


def test_to_dict_is_json_without_pixels(scene):
    mask = scene[1]
    found = segmentation(
        mask,
        present=True,
        points=np.array([[60.0, 70.0]], np.float32),
        labels=np.array([1]),
        instances=(Instance(mask, 0.9),),
    )
    data = json.loads(json.dumps(found.to_dict()))
    assert data["box"] == [32, 42, 89, 99]
    assert (data["width"], data["height"]) == (160, 120)
    assert data["area"] == pytest.approx(mask.mean(), abs=1e-6)
    assert data["points"] == [[60, 70]]
    np.testing.assert_array_equal(rle_mask(data["rle"]), mask)
    np.testing.assert_array_equal(rle_mask(data["instances"][0]["rle"]), mask)
    lean = found.to_dict(rle=False)
    assert "rle" not in lean
    assert "rle" not in lean["instances"][0]


def test_what_was_rejected_stays_at_hand(scene):
    mask = scene[1]
    found = segmentation(np.zeros_like(mask), present=False, candidate=Instance(mask, 0.2, 0.4, 0.7))
    assert not found.found
    np.testing.assert_array_equal(found.assumed_mask, mask)
    data = json.loads(json.dumps(found.to_dict()))
    assert data["box"] is None
    assert data["area"] == 0
    assert data["instances"] == []
    kept = data["candidate"]
    assert (kept["score"], kept["similarity"], kept["predicted_iou"]) == (0.2, 0.4, 0.7)
    assert kept["box"] == [32, 42, 89, 99]
    assert kept["area"] == pytest.approx(mask.mean(), abs=1e-6)
    np.testing.assert_array_equal(rle_mask(kept["rle"]), mask)
    assert "rle" not in found.to_dict(rle=False)["candidate"]
    assert segmentation(mask).to_dict()["candidate"] is None


def test_empty():
    found = segmentation(np.zeros((4, 5), bool))
    assert found.box is None
    assert found.area == 0
    assert not found.found
    assert found.polygons() == []
    assert found.to_dict()["box"] is None
    with pytest.raises(PersamError, match="no 'mug' in a.jpg to cut out"):
        found.cutout(np.zeros((4, 5, 3), np.uint8))


def test_found_follows_present(scene):
    assert segmentation(scene[1]).found
    assert segmentation(scene[1], present=True).found
    assert not segmentation(scene[1], present=False).found


def test_cutout(scene):
    image, mask = scene
    cut = segmentation(mask).cutout(image)
    assert cut.shape == (57, 57, 4)
    np.testing.assert_array_equal(cut[:, :, 3] > 0, mask[42:99, 32:89])
    np.testing.assert_array_equal(cut[:, :, :3], image[42:99, 32:89])


def test_any_form_of_photo_can_be_drawn_on_and_cut_out(scene, tmp_path):
    image, mask = scene
    Image.fromarray(image).save(tmp_path / "a.png")
    for form in (Image.fromarray(image), tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(segmentation(mask).overlay(form), segmentation(mask).overlay(image))
        np.testing.assert_array_equal(segmentation(mask).cutout(form), segmentation(mask).cutout(image))


def test_it_says_in_a_line_what_it_is(scene):
    sure = replace(segmentation(scene[1]), score=0.9)
    assert repr(sure) == "<Segmentation of 'mug' in a.jpg: at (32, 42, 89, 99), score 0.90>"
    assert "score 0.50, unsure" in repr(segmentation(scene[1]))
    assert "not there" in repr(segmentation(np.zeros_like(scene[1]), present=False))


def test_another_image_is_refused(scene):
    for form in (segmentation(scene[1]).cutout, segmentation(scene[1]).overlay):
        with pytest.raises(PersamError, match="20 x 10 pixels, the mask 160 x 120"):
            form(np.zeros((10, 20, 3), np.uint8))


class TestOverlay:
    @given(
        shade=st.integers(0, 255),
        colour=st.sampled_from(PALETTE),
        size=st.sampled_from([(12, 9), (90, 120), (400, 900)]),
    )
    def test_outline_reads_on_every_background(self, shade, colour, size):
        image = np.full((*size, 3), shade, np.uint8)
        mask = np.zeros(size, bool)
        mask[size[0] // 4 : -size[0] // 4, size[1] // 4 : -size[1] // 4] = True
        out = draw_overlay(image, mask, colour).astype(int)
        column = out[:, size[1] // 2].sum(axis=1)
        assert np.abs(np.diff(column)).max() > 150  # a clear step wherever it lies

    def test_leaves_the_rest_and_the_photo_alone(self, scene):
        image, mask = scene
        before = image.copy()
        out = segmentation(mask).overlay(image)
        np.testing.assert_array_equal(image, before)
        np.testing.assert_array_equal(out[:20], image[:20])
        assert (out[mask] != image[mask]).any(axis=1).mean() > 0.99

    @given(mask=masks)
    def test_any_mask(self, mask):
        image = np.full((*mask.shape, 3), 77, np.uint8)
        out = segmentation(mask).overlay(image)
        assert out.shape == image.shape
        assert (out[mask] != 77).any(axis=1).all()

    def test_every_instance_is_outlined(self, scene):
        left = np.zeros((120, 160), bool)
        left[20:100, 20:80] = True
        right = np.zeros((120, 160), bool)
        right[20:100, 80:140] = True
        both = segmentation(left | right, instances=(Instance(left, 0.9), Instance(right, 0.8)))
        one = segmentation(left | right)
        border = both.overlay(scene[0])[30:90, 80]
        assert (border == colour_of("mug")).all()
        assert not (one.overlay(scene[0])[30:90, 80] == colour_of("mug")).all()

    def test_colour_belongs_to_the_name(self):
        assert colour_of("mug") == colour_of("mug")
        assert len({colour_of(f"thing {number}") for number in range(60)}) == len(PALETTE)


class TestSupervision:
    """Roboflow's Detections and back."""

    def test_there_and_back(self, scene):
        pytest.importorskip("supervision")
        mask = scene[1]
        other = np.roll(mask, 60, axis=1)
        found = segmentation(
            mask | other, present=True, instances=(Instance(mask, 0.9, 0.8, 0.7), Instance(other, 0.6, 0.5, 0.4))
        )
        detections = found.to_supervision()
        assert len(detections) == 2
        np.testing.assert_array_equal(detections.xyxy[0], [32, 42, 89, 99])
        np.testing.assert_allclose(detections.confidence, [0.9, 0.6])
        assert detections.data["class_name"].tolist() == ["mug", "mug"]
        np.testing.assert_allclose(detections.data["similarity"], [0.8, 0.5])
        np.testing.assert_allclose(detections.data["predicted_iou"], [0.7, 0.4])
        back = Segmentation.from_supervision(detections, mask.shape, image="a.jpg")
        assert (back.concept, back.image, back.present) == ("mug", "a.jpg", True)
        np.testing.assert_array_equal(back.mask, found.mask)
        for one, again in zip(found.instances, back.instances, strict=True):
            np.testing.assert_array_equal(again.mask, one.mask)
            assert again.score == pytest.approx(one.score)

    def test_it_is_drawn_by_its_annotators(self, scene):
        supervision = pytest.importorskip("supervision")
        image, mask = scene
        drawn = supervision.MaskAnnotator().annotate(image.copy(), segmentation(mask, present=True).to_supervision())
        assert (drawn[mask] != image[mask]).any(axis=1).mean() > 0.9
        np.testing.assert_array_equal(drawn[~mask], image[~mask])

    def test_absent(self, scene):
        pytest.importorskip("supervision")
        gone = segmentation(np.zeros_like(scene[1]), present=False, candidate=Instance(scene[1], 0.1))
        assert len(gone.to_supervision()) == 0
        back = Segmentation.from_supervision(gone.to_supervision(), scene[1].shape, concept="mug")
        assert back.present is False
        assert not back.mask.any()

    def test_only_the_concept_that_was_asked_for(self, scene):
        supervision = pytest.importorskip("supervision")
        mask = scene[1]
        both = supervision.Detections.merge(
            [segmentation(mask).to_supervision(), segmentation(~mask, concept="cup").to_supervision()]
        )
        np.testing.assert_array_equal(Segmentation.from_supervision(both, mask.shape, concept="cup").mask, ~mask)
        np.testing.assert_array_equal(Segmentation.from_supervision(both, mask.shape).mask, np.ones_like(mask))

    def test_what_does_not_fit(self, scene):
        supervision = pytest.importorskip("supervision")
        with pytest.raises(PersamError, match="boxes and no masks"):
            Segmentation.from_supervision(supervision.Detections(xyxy=np.array([[1.0, 2, 3, 4]])), (10, 10))
        with pytest.raises(PersamError, match=r"masks are \(120, 160\), the photo is \(10, 10\)"):
            Segmentation.from_supervision(segmentation(scene[1]).to_supervision(), (10, 10))

    def test_not_installed(self, scene, monkeypatch):
        monkeypatch.setitem(sys.modules, "supervision", None)
        with pytest.raises(PersamError, match=r"pip install 'persam\[supervision\]'"):
            segmentation(scene[1]).to_supervision()


@pytest.mark.parametrize(
    ("score", "present", "verdict"),
    [(0.9, True, "present"), (0.75, True, "present"), (0.74, True, "unsure"), (0.5, False, "unsure"),
     (0.25, False, "unsure"), (0.24, False, "absent"), (0.2, True, "present"), (0.8, False, "absent")],
)  # fmt: skip
def test_verdict(scene, score, present, verdict):
    """Unsure between the two cuts; beyond them what the threshold that was asked for says."""
    found = replace(segmentation(scene[1], present=present), score=score)
    assert found.verdict == found.to_dict()["verdict"] == verdict


def test_a_dictionary_comes_back_as_it_was():
    left, right = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    left[5:20, 5:20], right[10:30, 30:50] = True, True
    instances = (Instance(left, 0.9, 0.5, 0.8), Instance(right, 0.7, 0.4, 0.6))
    found = segmentation(left | right, score=0.9, threshold=0.5, instances=instances, similarity=0.5)
    absent = segmentation(np.zeros((40, 60), bool), score=0.2, present=False, candidate=Instance(left, 0.2))
    alone = segmentation(right)
    for one in (found, absent, alone):
        values = json.loads(json.dumps(one.to_dict()))
        back = Segmentation.from_dict(values)
        np.testing.assert_array_equal(back.mask, one.mask)
        assert json.loads(json.dumps(back.to_dict())) == values
        assert (back.present, back.verdict, back.box, back.area) == (one.present, one.verdict, one.box, one.area)
        assert len(back.instances) == len(one.instances)


def test_a_mask_is_not_to_be_written_into(scene):
    """Its box and area are worked out once."""
    own = scene[1].copy()
    found = segmentation(own, instances=(Instance(own, 0.9),))
    for one in (found, found.instances[0], Segmentation.from_dict(found.to_dict())):
        assert one.box is not None
        with pytest.raises(ValueError, match="read-only"):
            one.mask[:] = False
    own[0, 0] = True  # one's own array stays as it was


WITHOUT_CODES = segmentation(np.ones((3, 3), bool)).to_dict(rle=False) | {"instances": [{}]}


WHOLE = segmentation(np.ones((3, 4), bool)).to_dict()


def with_code(size: object = (3, 4), counts: object = "0<") -> dict:
    return WHOLE | {"rle": {"size": size, "counts": counts}}


@pytest.mark.parametrize(
    "values",
    [
        {},
        [],
        {"height": 3},
        WITHOUT_CODES,
        WHOLE | {"width": 5},
        WHOLE | {"width": float("inf")},
        WHOLE | {"instances": [segmentation(np.ones((5, 5), bool)).to_dict()]},
        WHOLE | {"candidate": segmentation(np.ones((5, 5), bool)).to_dict()},
        with_code(counts=[0, 12]),
        with_code(counts="zzzz"),
        with_code(counts="P"),
        with_code(counts="PPPPPPPPPPPPPPPPPPPP0"),
        with_code(counts=""),
        with_code(counts="0;"),
        with_code(counts="ü"),
        with_code(size=(3,)),
        with_code(size=(-3, -4)),
        with_code(size=(0, 0), counts="") | {"width": 0, "height": 0},
        with_code(size=(10**6, 10**6)),
    ],
)
def test_what_is_no_dictionary_of_one_gets_a_sentence(values):
    assert Segmentation.from_dict(with_code()).mask.all()  # all but one thing is right
    with pytest.raises(PersamError, match="no segmentation with run-length codes"):
        Segmentation.from_dict(values)
