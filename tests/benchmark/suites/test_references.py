"""Are checks of references right? What the damages do, what is counted, and the tables."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.conftest import draw_scene
from tests.doctor.conftest import SOUND
from tests.fakes import ColourModel, random_sam

from persam import PerSAM
from persam.benchmark.suites.damage import AS_IT_IS, DAMAGES, spread
from persam.benchmark.suites.odd_one import ALIKE, STRANGER, OddOne, look_for_odd_ones, odd_one_table
from persam.benchmark.suites.references import Tried, check_checks, damage_table, finding_table, verdict_table
from persam.benchmark.suites.suite import Trial, read_photos
from persam.doctor import Finding
from persam.instance import mask_box


def tried(name: str, iou: float, *codes: str, damage: str = AS_IT_IS) -> Tried:
    severe = "mask" in codes
    verdict = "do not use" if severe else "will work, but" if codes else "good reference"
    findings = tuple(Finding(code, "severe" if code == "mask" else "mild", ".") for code in codes)
    return Tried(name, f"perseg/{name}", damage, verdict, findings, SOUND, 3, iou)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_leaves_photo_and_mask_of_one_size_and_the_originals_alone(name):
    image, mask = draw_scene()
    before = image.copy(), mask.copy()
    photo, drawn = DAMAGES[name](image, mask)
    assert photo.dtype == np.uint8
    assert photo.shape[:2] == drawn.shape
    assert drawn.dtype == bool
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(mask, before[1])
    if name != AS_IT_IS:
        assert not (np.array_equal(photo, image) and np.array_equal(drawn, mask))


def test_what_some_damages_do():
    image, mask = draw_scene(center=(40, 50), radius=20)
    assert mask_box(DAMAGES["mask shifted"](image, mask)[1])[:2] == pytest.approx((20 + 20, 30 + 20), abs=1)
    assert DAMAGES["mask x 2"](image, mask)[1].sum() == 2 * mask.sum()
    assert DAMAGES["object cut off"](image, mask)[1][:, 0].any()
    far = DAMAGES["object far away"](image, mask)[1]
    assert far.sum() == mask.sum()
    assert far.size > 20 * mask.size


def test_spread_takes_the_first_and_the_last():
    assert spread(list("abcdefg"), 3) == ["a", "d", "g"]  # type: ignore[arg-type]
    assert spread(list("ab"), 3) == ["a", "b"]  # type: ignore[arg-type]


class TestTables:
    ALL = (tried("a", 0.9), tried("b", 0.7, "parts"), tried("c", 0.3, "parts", "mask"), tried("d", 0.8))

    def test_verdicts(self):
        assert verdict_table(self.ALL, "here").rows == (
            ("good reference", "2", "85.0", "2 of 2"),
            ("will work, but", "1", "70.0", "1 of 1"),
            ("do not use", "1", "30.0", "0 of 1"),
        )

    def test_findings(self):
        first, second = finding_table(self.ALL, "here").rows
        assert first[:5] == ("mask", "severe", "1", "30.0", "80.0")
        assert second[:5] == ("parts", "mild", "2", "50.0", "85.0")
        assert second[5].startswith("-35.0 [")
        assert second[6] == "1"

    def test_damages(self):
        both = (*self.ALL, tried("a", 0.2, "mask", damage="mask inverted"))
        whole, inverted = damage_table(both, "here").rows
        assert whole[:4] == ("as it is", "1", "90.0", "+0.0")  # of those that were damaged
        assert inverted == ("mask inverted", "1", "20.0", "-70.0", "0", "0", "1", "mask 1")


def test_findings_of_the_suite(data):
    turns = []
    photos = read_photos(data / "fss", "fss")
    found = check_checks(Trial(photos, random_sam(), progress=lambda: turns.append(1)), references=2, tests=1)
    assert len(turns) == photos.count
    assert len([row for row in found.rows if row["damage"] == AS_IT_IS]) == 2
    assert {row["damage"] for row in found.rows} == set(DAMAGES)
    assert {row["object"] for row in found.rows} == {"fss/abacus"}
    inverted = [row for row in found.rows if row["damage"] == "mask inverted"]
    assert [(row["verdict"], row["findings"]["mask"]) for row in inverted] == [("do not use", "severe")]
    assert len(found.tables) == 3
    assert "2 references as they are" in found.to_markdown()
    json.dumps(found.to_dict())


def test_without_damage(data):
    photos = read_photos(data / "fss", "fss")
    found = check_checks(Trial(photos, random_sam()), references=1, tests=1, damaged=0)
    assert len(found.tables) == 2
    assert [row["damage"] for row in found.rows] == [AS_IT_IS]
    assert "mIoU" not in "".join(found.below()[2:])  # after data and protocol: what intervals are of


class TestOddOnes:
    def test_sets_of_three(self, data):
        photos = read_photos(data / "perseg", "perseg")
        turns = []
        found = look_for_odd_ones(PerSAM(ColourModel()), photos.episodes[:2], lambda: turns.append(1))
        assert [each.odd for each in found[:4]] == [ALIKE, STRANGER, "mask shifted", "mask inverted"]
        assert len(found) == len(turns) == 8
        assert all(2 in each.severe for each in found if each.odd == "mask inverted")

    def test_table(self):
        nobody = frozenset()
        found = [
            OddOne(ALIKE, nobody, nobody, frozenset({0})),
            OddOne(STRANGER, nobody, frozenset({2}), nobody),
            OddOne(STRANGER, frozenset({2}), nobody, frozenset({2, 1})),
        ]
        assert odd_one_table(found, "here").rows == (
            (ALIKE, "1", "0", "0", "0", "0", "1"),
            (STRANGER, "2", "1", "1", "1", "2", "1"),
        )
