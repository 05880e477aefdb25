"""Rough references: what is learned from them, and the table and the picture."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import random_sam

from persam.benchmark.methods.base import Example, SharedPhoto
from persam.benchmark.suites.robustness import RoughMethod, draw_robustness, read_sizes, roughen, roughnesses
from persam.benchmark.suites.suite import Trial, read_photos
from persam.errors import UsageError
from persam.method.settings import Settings


def test_ways_to_show_an_object():
    ways = roughnesses((2, 0.5, 1, 2))
    assert [way.name for way in ways] == ["mask", "mask x 0.5", "mask x 2", "box", "scribble", "3 points", "1 point"]
    assert [way.size for way in ways] == [1, 0.5, 2, None, None, None, None]


@pytest.mark.parametrize("mode", ["persam", "official"])
@pytest.mark.parametrize(("name", "share", "overlap"), [("mask", 1, 1), ("mask x 0.5", 0.5, 0.5), ("mask x 2", 2, 0.5)])
def test_the_concept_is_learned_from_the_resized_mask(mode, name, share, overlap):
    way = next(way for way in roughnesses((0.5, 2)) if way.name == name)
    method = RoughMethod("PerSAM", way, random_sam(), Settings.of(mode))
    image, mask = draw_scene()
    concept = method.learn([Example(SharedPhoto(image), mask)], "disc")
    assert concept.references[0].coverage == pytest.approx(share * mask.mean(), rel=0.01)
    assert method.learned_masks == [pytest.approx(overlap, abs=0.01)]
    assert method.reference_iou == pytest.approx(overlap, abs=0.01)
    assert method.describe()["reference"] == name


def test_the_same_seed_gives_the_same_reference():
    image, mask = draw_scene()
    coverage = []
    for seed in (0, 0, 1):
        way = next(way for way in roughnesses((), seed=seed) if way.name == "1 point")
        shown = way.show(mask)["points"]
        coverage.append(shown.tolist())
    assert coverage[0] == coverage[1] != coverage[2]
    assert image.shape[:2] == mask.shape


def test_findings(data):
    photos = read_photos(data / "perseg", "perseg")
    found = roughen(Trial(photos, random_sam()), sizes=(0.5, 2))
    rows = {row["method"]: row for row in found.rows}
    assert len(rows) == 2 * 7
    for form in ("PerSAM", "PerSAM-F"):
        true, half = rows[f"{form}, mask"], rows[f"{form}, mask x 0.5"]
        assert true["change"] is None
        assert true["reference_iou"] == 1
        assert half["reference_iou"] == pytest.approx(0.5, abs=0.01)
        assert half["references"] == 2
        assert half["change"]["difference"] == pytest.approx(half["iou"] - true["iou"])
        assert half["change"]["units"] == 2  # objects, not photos
    assert rows["PerSAM, box"]["published_miou"] == 88.1
    assert rows["PerSAM-F, box"]["published_miou"] == 94.9
    sizes, forms = found.tables
    assert [row[0] for row in sizes.rows][:3] == ["PerSAM, mask", "PerSAM, mask x 0.5", "PerSAM, mask x 2"]
    assert [row[0] for row in forms.rows][:3] == ["PerSAM, mask", "PerSAM, box", "PerSAM, scribble"]
    assert found.about["seed"] == 0
    json.dumps(found.to_dict())
    picture = Image.open(io.BytesIO(found.plots["robustness.png"]()))
    assert picture.format == "PNG"


def test_a_reference_that_cannot_be_learned_is_counted_and_named(data, monkeypatch):
    from persam.benchmark.suites import robustness
    from persam.errors import PersamError

    def refuse(self, shots, category):
        raise PersamError("The model finds no object at the given place.")

    shown = robustness.RoughMethod.learn
    monkeypatch.setattr(
        robustness.RoughMethod,
        "learn",
        lambda self, *given: (refuse if self.roughness.name == "box" else shown)(self, *given),
    )
    found = roughen(Trial(read_photos(data / "perseg", "perseg"), random_sam()), sizes=())
    rows = {row["method"]: row for row in found.rows}
    assert rows["PerSAM, box"]["miou"] == 0
    assert rows["PerSAM, box"]["reference_iou"] is None
    assert len(rows["PerSAM, box"]["missing"]) == 4
    assert any("PerSAM, box gave no answer on 4 of 4 photos" in note for note in found.notes)


def test_picture():
    rows = [
        {"form": form, "reference": name, "size": size, "miou": miou, "miou_interval": (miou - 0.1, miou + 0.05)}
        for form, shift in (("PerSAM", 0.0), ("PerSAM-F", 0.2))
        for name, size, miou in [
            ("mask", 1.0, 0.6 + shift), ("mask x 0.5", 0.5, 0.4 + shift), ("mask x 2", 2.0, 0.5 + shift),
            ("box", None, 0.5 + shift),
        ]
    ]  # fmt: skip
    pixels = np.asarray(Image.open(io.BytesIO(draw_robustness(rows, "tiny"))).convert("RGB"))
    assert pixels.shape == (540, 1320, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):  # both lines are there, in both halves
        drawn = (pixels == colour).all(axis=2)
        assert drawn[:, :700].sum() > 100
        assert drawn[:, 800:].sum() > 20
    assert draw_robustness([row | {"miou_interval": None} for row in rows], "one object").startswith(b"\x89PNG")


@pytest.mark.parametrize(("text", "sizes"), [("0.5", (0.5,)), ("0.25, 2,4", (0.25, 2, 4))])
def test_sizes(text, sizes):
    assert read_sizes(text) == sizes


@pytest.mark.parametrize("text", ["", "half", "0.5;2", "0,1", "-1", "nan", "inf", "0.5,"])
def test_sizes_that_are_none(text):
    with pytest.raises(UsageError, match=r"--sizes takes areas .* such as 0.5,0.75,1.5,2, not"):
        read_sizes(text)
