"""Methods with the bundled model on drawn clips: small things of one colour each."""

from __future__ import annotations

import numpy as np
import pytest
from tests.benchmark.video_for_tests import SIZE, write_davis_2017, write_youtube_vos

from persam.benchmark.video.finders import FoundInFrame, VideoFinder
from persam.benchmark.video.sequences import read_sequences
from persam.benchmark.video.video_methods import USUAL, VIDEO_METHODS, VideoMethod, find_video_method
from persam.errors import UsageError
from persam.images import read_image
from persam.models.loading import load_model


@pytest.fixture(scope="module")
def model():
    return load_model("tiny", device="cpu")


def found_by(finder, sequence):
    return list(finder.find(sequence, lambda number: read_image(sequence.frames[number])))


@pytest.mark.parametrize("name", ["persam", "official", "persam-photo", "frames-persam", "frames-official"])
def test_every_way_answers_every_frame_with_the_data_set_s_values(model, tmp_path, name):
    _, (pair, _) = read_sequences("davis", write_davis_2017(tmp_path), frames=3)
    found = found_by(VideoFinder(find_video_method(name), model), pair)
    assert len(found) == 3
    assert all(set(np.unique(each.labels)) <= {0, 1, 2} and each.labels.shape == SIZE for each in found)
    assert all(each.scores.keys() == {1, 2} for each in found)
    if VIDEO_METHODS[name].shown == "mask":
        assert np.array_equal(found[0].labels, pair.labels_at(0, SIZE))


def test_an_object_that_comes_in_later_is_followed_from_its_frame(model, tmp_path):
    _, (video,) = read_sequences("youtube-vos", write_youtube_vos(tmp_path) / "valid", frames=7)
    found = found_by(VideoFinder(find_video_method("persam"), model), video)
    assert [sorted(each.scores) for each in found] == [[1]] * 4 + [[1, 2]] * 3
    assert not any((each.labels == 2).any() for each in found[:4])
    late = video.labels_at(4, SIZE) == 2
    assert np.array_equal(found[4].labels == 2, late)
    assert (found[6].labels == 2)[late].mean() > 0.6  # it stays where it is


def test_a_concept_of_what_comes_in_later_is_looked_for_from_there_on(model, tmp_path):
    _, (video,) = read_sequences("youtube-vos", write_youtube_vos(tmp_path) / "valid", frames=7)
    found = found_by(VideoFinder(find_video_method("persam-photo"), model), video)
    assert [sorted(each.scores) for each in found] == [[1]] * 4 + [[1, 2]] * 3


def test_of_equal_scores_who_began_earlier_keeps_the_pixels_but_for_what_was_just_shown(model, tmp_path, monkeypatch):
    """Published: a score is 1.0 wherever something is found."""
    _, (video,) = read_sequences("youtube-vos", write_youtube_vos(tmp_path) / "valid", frames=7)

    def claims_all(self, persam, clip, start, values):
        for _ in clip:
            yield FoundInFrame(np.full(SIZE, values[0], np.uint8), {values[0]: 1.0})

    monkeypatch.setattr(VideoFinder, "_tracked", claims_all)
    found = found_by(VideoFinder(find_video_method("official"), model), video)
    assert [int(each.labels[0, 0]) for each in found] == [1, 1, 1, 1, 2, 1, 1]


def test_options_go_to_track(model, tmp_path):
    _, (_, solo) = read_sequences("davis", write_davis_2017(tmp_path), frames=3)
    strict = VideoMethod("strict", "as sure as can be", options={"threshold": 1.0})
    assert not found_by(VideoFinder(strict, model), solo)[2].labels.any()
    assert VideoFinder(strict, model).describe()["options"] == {"threshold": "1.0"}


def test_names():
    assert all(name == method.name for name, method in VIDEO_METHODS.items())
    assert {name for names in USUAL.values() for name in names} <= VIDEO_METHODS.keys()
    # Each is read by itself, in a table or among few.
    assert not any("the same" in method.about or "as persam" in method.about for method in VIDEO_METHODS.values())
    with pytest.raises(UsageError, match='There is no method "pips" that follows objects; use persam, persam-f, off'):
        find_video_method("pips")
