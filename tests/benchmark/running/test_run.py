"""Running methods on episodes: what is asked, what is recorded, what happens when a method fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.benchmark.methods_for_tests import ByColour, Failing, drawn_episodes
from tests.fakes import ColourModel, random_sam

from persam.benchmark.datasets.catalog import read
from persam.benchmark.methods.base import Prediction
from persam.benchmark.methods.ours import PersamMethod
from persam.benchmark.records import Record, queries_of
from persam.benchmark.running.run import example_of, run
from persam.method.settings import Settings
from persam.persam import PerSAM


def test_records_in_the_order_of_photos_then_methods(tmp_path):
    steps: list[int] = []
    records = run(drawn_episodes(tmp_path), [ByColour("a"), ByColour("b", shift=30)], lambda: steps.append(1))
    assert [(record.method, record.query) for record in records] == [
        (name, query) for query in ("mug/01", "mug/02", "cat/01", "cat/02") for name in "ab"
    ]
    assert len(steps) == 4
    first, shifted = records[:2]
    assert first.references == ("mug/00",)
    assert first.iou > 0.9
    assert first.on_object
    assert first.boundary_iou is not None
    assert first.boundary_iou > 0.5
    assert first.contour == pytest.approx(1.0)
    assert shifted.iou < 0.2
    assert not shifted.on_object
    assert first.digest == shifted.digest != records[2].digest


def test_measured_against_the_truth_pixel_by_pixel(tmp_path):
    (episode, *_) = drawn_episodes(tmp_path)
    record = run([episode], [ByColour()])[0]
    pixels, truth = episode.tests[0].read()
    mask = ByColour().find(type("P", (), {"pixels": pixels})(), "").mask  # type: ignore[arg-type]
    assert record.counts.intersection == sum(bool(m and t) for m, t in zip(mask.flat, truth.flat, strict=True))
    assert record.counts.union == sum(bool(m or t) for m, t in zip(mask.flat, truth.flat, strict=True))
    assert record.counts.total == truth.size


def test_ignored_pixels_do_not_count(tmp_path):
    (episode, *_) = drawn_episodes(tmp_path)
    sample = episode.tests[0]
    labels = np.zeros((60, 80), np.uint8)
    labels[:, :40] = 255
    Image.fromarray(labels).save(tmp_path / "labels.png")
    truth = replace(sample.truth, path=tmp_path / "labels.png", value=1, ignored=255)  # type: ignore[type-var]
    record = run([replace(episode, tests=(replace(sample, truth=truth),))], [ByColour()])[0]
    assert record.counts.total == 60 * 40
    assert record.counts.target == 0
    assert record.on_object is None


def test_every_photo_is_encoded_once_for_all_forms(tmp_path):
    model = ColourModel()
    settings = Settings.of("persam")
    methods = [PersamMethod(name, model, settings, tuned=name == "b") for name in "ab"]
    run(drawn_episodes(tmp_path), methods)
    assert model.encoded == 4 + 2 * 2  # the tests once, the references once for each form


def test_a_photo_that_is_asked_again_gets_a_number(tmp_path):
    episode, other = drawn_episodes(tmp_path)
    again = replace(episode, references=(episode.tests[0],), tests=(episode.tests[1],))
    names = [query.name for query in queries_of([episode, other, again, again])]
    assert names == ["mug/01", "mug/02", "cat/01", "cat/02", "mug/02~2", "mug/02~3"]
    assert len(run([episode, again], [ByColour()])) == 3


class TestFailures:
    def test_one_photo_of_one_method(self, tmp_path):
        records = run(drawn_episodes(tmp_path), [ByColour("good"), Failing(on=[1])])
        failed = [record for record in records if record.failure]
        assert [(record.method, record.query) for record in failed] == [("failing", "mug/02")]
        (record,) = failed
        assert record.failure == "The photo is too odd; give another."
        assert record.iou == 0 == record.boundary_iou == record.contour
        assert record.counts.predicted == 0 < record.counts.target
        assert record.score is None is record.present
        assert len(records) == 8

    @pytest.mark.parametrize("error", [RuntimeError("out of memory\nlong story"), ValueError("odd"), MemoryError()])
    def test_libraries_may_fail_too(self, tmp_path, error):
        records = run(drawn_episodes(tmp_path), [Failing(on=[0], error=error)])
        assert records[0].failure is not None
        assert type(error).__name__ in records[0].failure
        assert "long story" not in records[0].failure
        assert records[1].failure is None

    def test_mistakes_in_code_are_not_hidden(self, tmp_path):
        with pytest.raises(AttributeError):
            run(drawn_episodes(tmp_path), [Failing(on=[0], error=AttributeError("typo"))])

    def test_references_that_cannot_be_learned(self, tmp_path):
        records = run(drawn_episodes(tmp_path), [Failing(on=[-1]), ByColour()])
        assert [record.failure is None for record in records] == [False, True] * 4
        assert "references could not be learned" in str(records[0].failure)

    def test_an_unreadable_photo(self, tmp_path):
        episodes = drawn_episodes(tmp_path)
        episodes[0].tests[0].photo.write_bytes(b"")
        records = run(episodes, [ByColour()])
        assert "is empty" in str(records[0].failure)
        assert records[0].iou == 0
        assert all(record.failure is None for record in records[1:])

    def test_an_unreadable_reference(self, tmp_path):
        episodes = drawn_episodes(tmp_path)
        episodes[0].references[0].photo.unlink()
        assert [record.failure is None for record in run(episodes, [ByColour()])] == [False, False, True, True]

    def test_a_mask_of_another_size(self, tmp_path):
        class Small(ByColour):
            def find(self, photo, learned):
                return Prediction(np.ones((2, 2), bool), 1.0)

        assert "the mask is (2, 2)" in str(run(drawn_episodes(tmp_path), [Small()])[0].failure)

    def test_scores_that_are_no_numbers(self, tmp_path):
        class Unsure(ByColour):
            def find(self, photo, learned):
                return replace(super().find(photo, learned), score=float("nan"), present=np.True_, peak=(1e6, -5.0))

        record = run(drawn_episodes(tmp_path), [Unsure()])[0]
        assert record.score is None
        assert record.present is True
        assert record.on_object is False
        assert Record.from_dict(record.to_dict()) == record


def test_methods_get_the_file_of_a_mask_because_the_published_code_reads_its_values(data):
    """PerSeg's masks are red 128; the published code selects other cells for 128 than for 255."""
    model = random_sam()
    episode = read("perseg", data / "perseg").episodes[0]
    official = PersamMethod("official", model, Settings.of("official"))
    concept = official.learn([example_of(episode.references[0])], "mug")
    pixels, mask = episode.references[0].read()
    file = episode.references[0].mask_file
    by_hand = PerSAM(model, settings=Settings.of("official"))
    assert torch.equal(concept.targets[0].direction, by_hand.learn(pixels, file).targets[0].direction)
    assert concept.references[0].cells != by_hand.learn(pixels, mask).references[0].cells
