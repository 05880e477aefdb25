"""Tables of sequences and times, and pictures, from what scripted methods found."""

from __future__ import annotations

import numpy as np
import pytest
from tests.benchmark.video_for_tests import ScriptedFinder, truth_of, write_davis_2017

from persam.benchmark.score import Answers
from persam.benchmark.video.following import go_through
from persam.benchmark.video.passages import Passage
from persam.benchmark.video.sequences import read_sequences
from persam.benchmark.video.video_folder import VideoFolder
from persam.benchmark.video.video_pictures import j_over_time, strip
from persam.benchmark.video.video_tables import sequence_csv, sequence_tables, speed_table, speeds


@pytest.fixture
def gone(tmp_path):
    """Sequences, records of a method that is right and of one that loses all from frame 3 on, and their labels."""
    root = write_davis_2017(tmp_path / "data")
    truth = truth_of(root)

    def loses(sequence, number):
        return truth(sequence, number) * np.uint8(number < 3)

    sequences = read_sequences("davis", root)[1]
    finders = [ScriptedFinder("right", truth), ScriptedFinder("loses", loses)]
    records, _ = go_through(sequences, finders, store=VideoFolder(tmp_path / "run", {}))
    return sequences, records, tmp_path / "run/predictions"


def test_every_sequence(gone):
    _, records, _ = gone
    both, decay = sequence_tables(records)
    assert both.columns == ("sequence", "objects", "frames", "right", "loses")
    # Object 2 of pair is out of sight in frames 2 and 3, so that nothing is right there.
    assert both.rows == (("pair", "2", "4", "100.0", "62.5"), ("solo", "1", "4", "100.0", "50.0"))
    assert both.below[0] == ("mean over sequences", "3", "8", "100.0", "56.2")
    assert both.below[1][:5] == ("less right", "–", "–", "–", "-43.8 [-50.0, -37.5]")
    assert decay.rows[1] == ("solo", "1", "4", "0.0", "100.0")
    assert sequence_csv(records).splitlines()[0].startswith("method,sequence,objects,j_and_f,j_mean,j_recall,j_decay")


def test_one_sequence_has_no_difference_over_sequences(gone):
    _, records, _ = gone
    both, _ = sequence_tables([record for record in records if record.object == "solo/1"])
    assert len(both.below) == 1


def test_speed_is_of_frames_after_the_first_and_ratios_are_paired():
    passages = [
        Passage("bad", "a", 0.0, [], "It broke."),
        Passage("stopped", "a", 1.0, [0.1], "It broke."),
        Passage("one", "a", 3.0, [0.5, 1.0]),
        Passage("two", "a", 1.0, [1.0, 2.0]),
        Passage("one", "b", 5.0, [0.25]),
        Passage("two", "b", 1.0, [0.5]),
    ]
    found = speeds(passages)
    assert list(found) == ["one", "two"]
    assert (found["one"].frames_a_second.median, found["one"].start.median) == (2.0, 4.0)
    assert found["two"].ratio.text(1) == "2.0 [2.0, 2.0]"
    assert "time of a frame over one" in speed_table(found, "a machine").columns


def test_a_strip_marks_what_is_absent(gone):
    sequences, records, folder = gone
    solo = sequences[1]
    queries = {query.name: query for query in solo.queries}

    def found(method, query):
        return Answers(folder / method, solo.queries).mask(queries[query])

    picture = strip(solo, records, found)
    assert picture.ndim == 3
    assert picture.shape[1] == 4 * 310 + 10  # as many frames as count, where there are fewer than five
    assert not np.array_equal(picture, strip(solo, records, lambda method, query: None))
    assert j_over_time(solo, records).startswith(b"\x89PNG")
