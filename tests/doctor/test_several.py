"""References against each other: the matrix, which is best, which hurts, and the whole report."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import draw_scene
from tests.doctor.conftest import reference_of

from persam import Reference, UsageError
from persam.doctor import check
from persam.doctor.measures import examine
from persam.doctor.picture import draw_check
from persam.doctor.several import CrossCheck, compare, passes
from persam.metrics import iou


def red_disc(number: int) -> Reference:
    return reference_of(number, center=(60, 50 + 20 * number))


def ground() -> Reference:
    """The same scene, its mask on the ground beside the disc."""
    image, mask = draw_scene(center=(60, 60))
    return Reference.read(image, np.roll(mask, 70, axis=1))


class TestCompare:
    def test_the_matrix_is_what_each_finds_in_the_others(self, colours):
        examined = [examine(colours, red_disc(number)) for number in range(2)]
        several = compare(colours, examined)
        assert several.ious.shape == several.scores.shape == (2, 2)
        found = colours.segment(examined[1].image, examined[0].concept)
        assert several.ious[0, 1] == pytest.approx(iou(found.assumed_mask, examined[1].mask))
        assert several.scores[0, 1] == pytest.approx(found.score)
        assert several.ious[1, 1] == pytest.approx(examined[1].measures.own_iou)
        assert several.without_it == ()  # of two none can be left out

    @pytest.mark.parametrize("count", [2, 3])
    def test_progress_tells_every_pass(self, colours, count):
        examined = [examine(colours, red_disc(number)) for number in range(count)]
        calls = []
        compare(colours, examined, lambda: calls.append(1))
        assert len(calls) == passes(count)

    def test_leaving_one_out_is_learning_from_the_others(self, colours):
        references = [red_disc(0), red_disc(1), ground()]
        several = compare(colours, [examine(colours, each) for each in references])
        without = colours.learn([references[0]])
        whole = colours.learn([references[0], references[2]])
        found = [colours.segment(references[1].image, each).assumed_mask for each in (whole, without)]
        by_hand = [iou(mask, references[1].mask) for mask in found]
        other = colours.learn([references[1]])
        with_ground = colours.learn([references[1], references[2]])
        found = [colours.segment(references[0].image, each).assumed_mask for each in (with_ground, other)]
        by_hand = np.mean([by_hand, [iou(mask, references[0].mask) for mask in found]], axis=0)
        assert (several.with_it[2], several.without_it[2]) == pytest.approx(tuple(by_hand))


def test_two_comparisons_are_the_same_only_if_they_are_one():
    """Arrays have no single answer."""
    one, other = (CrossCheck(np.eye(2), np.eye(2)) for _ in range(2))
    assert one == one
    assert one != other
    assert len({one, other}) == 2


def test_best_and_hurting_are_read_from_the_numbers():
    ious = np.array([[1, 0.5, 0.6], [0.9, 1, 0.8], [0.1, 0.2, 1]])
    several = CrossCheck(ious, ious, (0.5, 0.5, 0.5), (0.52, 0.3, 0.7))
    assert several.predicts == pytest.approx([0.55, 0.85, 0.15])
    assert several.best == 1
    assert several.hurting == [2]


class TestCheck:
    def test_one(self, colours):
        report = check(colours, red_disc(0))
        assert report.comparison is None
        assert report.to_dict()["comparison"] is None
        assert draw_check(report).ndim == 3

    def test_several_and_the_worst_verdict_counts(self, colours):
        steps = []
        report = check(
            colours, [red_disc(0), red_disc(1), ground()], progress=lambda done, total: steps.append((done, total))
        )
        assert steps == [(done, 3 + passes(3)) for done in range(1, 3 + passes(3) + 1)]
        assert report.references[2].verdict == report.verdict == "do not use"
        assert report.comparison is not None
        assert report.comparison.best in (0, 1)
        severities = [finding.severity for finding in report.references[2].findings]
        assert severities == sorted(severities, reverse=True)  # severe before mild
        json.dumps(report.to_dict())

    def test_doubts_of_reading_are_findings(self, colours):
        report = check(colours, [red_disc(0)], doubts=[["It may be turned; add --mask-as-stored."]])
        assert "doubt" in [finding.code for finding in report.findings]

    @pytest.mark.parametrize("wrong", ["mug.jpg", Path("mug.jpg"), ["mug.jpg"], [Path("mug.jpg")]])
    def test_photos_are_no_references(self, colours, wrong):
        with pytest.raises(UsageError, match=r"takes references, not .*'mug.jpg'\)?; read one with Reference.read"):
            check(colours, wrong)

    def test_an_array_is_no_reference(self, colours, scene):
        with pytest.raises(UsageError, match="takes references, not ndarray"):
            check(colours, scene[0])

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_doubts_are_for_each_reference(self, colours, count):
        with pytest.raises(UsageError, match=f"doubts of {count} references and 2 references"):
            check(colours, [red_disc(0), red_disc(1)], doubts=[[]] * count)

    def test_a_mask_of_the_whole_photo(self, colours, scene):
        """It has no outline within the photo under which there could be edges."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            report = check(colours, Reference(scene[0], mask=np.ones_like(scene[1])))
        assert report.references[0].measures.edges == 1.0
        json.dumps(report.to_dict(), allow_nan=False)

    def test_nothing_to_check(self, colours):
        with pytest.raises(UsageError, match="nothing to check"):
            check(colours, [])
