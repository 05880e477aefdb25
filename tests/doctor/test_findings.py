"""Which measures give which finding, what it says, and the verdict that follows."""

from __future__ import annotations

import numpy as np
import pytest

from persam.doctor.findings import VERDICTS, Finding, findings_among, findings_of, verdict_of
from persam.doctor.several import CrossCheck


def test_a_sound_reference_has_none(made):
    assert findings_of(made()) == ()
    assert verdict_of(()) == "good reference"


@pytest.mark.parametrize(
    ("code", "measures", "says"),
    [
        ("few-cells", {"cells": 0.4}, "less than one cell of the encoder's 16 x 16"),
        ("few-cells", {"cells": 3.2}, "about 3 cells"),
        ("cut-off", {"cut": 0.3}, "along 30% of its outline"),
        ("parts", {"parts": 3, "main_part": 0.5}, "3 separate parts, the largest 50% of it"),
        ("blurred", {"sharpness": 0.02}, "blurred around the object"),
        ("dark-or-bright", {"lost": 0.9}, "90% of the object's pixels are black or white"),
        ("background", {"separation": 0.8}, "hardly tells the object from what is around it"),
        ("different", {"own_iou": 0.1, "mirrored_iou": 0.2, "own_size": 4.0}, "(IoU 0.10, 4.0 times its area)"),
        ("no-edges", {"edges": 1.0}, "hardly follows edges"),
        ("unsure", {"score": 0.62}, "not sure to see the object (score 0.62"),
        ("colours", {"colours": 0.9}, "share 90% of their colours"),
    ],
)
def test_each_measure_gives_its_finding_alone(made, code, measures, says):
    (finding,) = findings_of(made(**measures))
    assert finding.code == code
    assert says in finding.sentence
    assert finding.sentence.endswith(".")
    assert "; " in finding.sentence  # what it is; what to do


def test_the_worse_the_more_severe(made):
    severities = [findings_of(made(separation=value)) for value in (0.9999, 0.985, 0.5)]
    assert [[finding.severity for finding in found] for found in severities] == [[], ["mild"], ["severe"]]


def test_a_mask_beside_the_object_is_severe_and_a_rough_one_is_not(made):
    rough, beside = (findings_of(made(edges=1.0, separation=value)) for value in (0.997, 0.97))
    assert [(finding.code, finding.severity) for finding in rough] == [("no-edges", "mild")]
    assert ("no-edges", "severe") in [(finding.code, finding.severity) for finding in beside]


def test_found_in_the_mirror_image_is_found(made):
    assert findings_of(made(own_iou=0.1, mirrored_iou=0.8)) == ()


def test_a_score_that_is_no_probability_says_nothing(made):
    assert findings_of(made(score=0.2, fitted=False)) == ()
    assert [finding.severity for finding in findings_of(made(score=0.2))] == ["mild"]


def test_verdicts():
    mild, severe = Finding("parts", "mild", "."), Finding("mask", "severe", ".")
    assert [verdict_of(found) for found in ((), (mild,), (mild, severe))] == list(VERDICTS)


class TestDoubtsOfReading:
    INVERTED = ~np.pad(np.ones((20, 20), bool), ((50, 50), (70, 70)))

    def test_an_inverted_mask_is_severe_and_the_rest_is_not_asked(self, made):
        (finding,) = findings_of(made(self.INVERTED, "a/mug.jpg", own_iou=0.0, separation=0.1))
        assert (finding.code, finding.severity) == ("mask", "severe")
        assert finding.sentence.startswith("The mask of mug.jpg covers 98% of the photo")

    def test_what_was_said_when_it_was_read_is_not_said_twice(self, made):
        (own,) = findings_of(made(self.INVERTED))
        said = own.sentence.replace("The mask", "The mask mug_mask.png")
        other = "mug_mask.png has the labels 1, 2, and all of them are taken as one object."
        found = findings_of(made(self.INVERTED), [said, other])
        assert [finding.code for finding in found] == ["mask", "doubt"]
        assert found[1] == Finding("doubt", "mild", other)


class TestAmongOthers:
    @staticmethod
    def compared(scores, with_it=(), without_it=()):
        return CrossCheck(np.full((3, 3), 0.9), np.array(scores), with_it, without_it)

    def test_alike(self):
        several = self.compared(np.full((3, 3), 0.9), (0.8, 0.8, 0.8), (0.82, 0.8, 0.7))
        assert [findings_among(several, number) for number in range(3)] == [(), (), ()]

    def test_another_object(self):
        several = self.compared([[0.9, 0.8, 0.1], [0.8, 0.9, 0.2], [0.1, 0.1, 0.9]])
        found = [findings_among(several, number) for number in range(3)]
        assert found[:2] == [(), ()]
        assert found[2][0].code == "another-object"
        assert "score 0.15 with the nearest of them" in found[2][0].sentence

    def test_one_that_hurts(self):
        several = self.compared(np.full((3, 3), 0.9), (0.8, 0.6, 0.8), (0.8, 0.8, 0.8))
        (finding,) = findings_among(several, 1)
        assert finding.code == "hurts"
        assert finding.value == pytest.approx(0.2)
        assert "0.60 when this one is learned from too, and of 0.80 without it" in finding.sentence
