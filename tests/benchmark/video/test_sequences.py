"""Which objects are shown where, and which frames count."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from tests.benchmark.conftest import write_pair
from tests.benchmark.video_for_tests import SIZE, labels_of, write_davis_2017, write_sequence, write_youtube_vos

from persam.benchmark.datasets.catalog import read
from persam.benchmark.video.sequences import read_sequences
from persam.errors import UsageError


class TestDavis:
    def test_neither_the_first_nor_the_last_frame_counts(self, tmp_path):
        loaded, (pair, solo) = read_sequences("davis", write_davis_2017(tmp_path))
        assert [one.name for one in pair.objects] == ["pair/1", "pair/2"]
        assert pair.counted == solo.counted == [1, 2, 3, 4]
        assert len(pair.frames) == 6  # the last one is followed, too
        assert [query.name for query in solo.queries] == [f"solo/1/0000{n}" for n in (1, 2, 3, 4)]
        assert np.array_equal(pair.labels_at(0, SIZE), labels_of({1: (4, 2), 2: (28, 40)}))
        assert "2 sequences, 3 objects, 8 frames that count" in loaded.protocol

    def test_the_first_frames_of_a_sequence_alone(self, tmp_path):
        _, (pair, _) = read_sequences("davis", write_davis_2017(tmp_path), frames=4)
        assert (len(pair.frames), pair.counted) == (4, [1, 2])

    def test_one_object_of_2016_may_be_white(self, tmp_path):
        for number in range(4):
            frame = f"480p/bear/{number:05}"
            write_pair(tmp_path / f"JPEGImages/{frame}.jpg", tmp_path / f"Annotations/{frame}.png", number, 255)
        _, (bear,) = read_sequences("davis", tmp_path)
        assert (bear.objects[0].name, bear.objects[0].value) == ("bear", 1)
        assert set(np.unique(bear.labels_at(0, (60, 80)))) == {0, 1}
        assert bear.queries[0].sample.truth.read_ignore((60, 80)) is None

    def test_void_is_no_object_and_does_not_count(self, tmp_path):
        labels = [labels_of({1: (4, 4)}) for _ in range(4)]
        for each in labels:
            each[-3:] = 255
        write_sequence(tmp_path, "void", labels)
        _, (void,) = read_sequences("davis", tmp_path, year=2017)
        assert [one.value for one in void.objects] == [1]
        ignored = void.queries[0].sample.truth.read_ignore(SIZE)
        assert np.array_equal(ignored, labels[1] == 255)
        assert 255 not in void.labels_at(0, SIZE)

    def test_a_clip_that_begins_in_the_middle_after_a_photo(self, tmp_path):
        _, (pair, _) = read_sequences("davis", write_davis_2017(tmp_path, frames=10), start="photo")
        assert pair.frames[0].stem == "00005"
        assert pair.counted == [1, 2, 3]  # 6, 7 and 8 of the sequence
        first = pair.objects[0]
        assert (first.photo.photo.stem, first.shown.photo.stem, first.first) == ("00000", "00005", 0)
        assert np.array_equal(pair.labels_at(0, SIZE), labels_of({1: (4, 12), 2: (28, 35)}))

    @pytest.mark.parametrize(("hidden", "begins", "follows"), [([4, 5], 6, [1, 2]), (range(4, 10), 4, [1])])
    def test_it_begins_where_all_objects_are_in_sight(self, tmp_path, hidden, begins, follows):
        """An empty truth shows nothing to start from; what is never back is not asked for, and told of."""
        labels = [labels_of({1: (4, 4), 2: None if n in hidden else (28, 30)}) for n in range(9)]
        write_sequence(tmp_path, "pair", labels)
        loaded, (pair,) = read_sequences("davis", tmp_path, year=2017, start="photo")
        assert pair.frames[0].stem == f"{begins:05}"
        assert [one.value for one in pair.objects] == follows
        assert set(np.unique(pair.labels_at(0, SIZE))) == {0, *follows}
        note = "passed over: objects that are out of sight where the clip begins (pair/2)"
        assert (note in loaded.notes) == (follows == [1])

    def test_a_clip_never_begins_where_nothing_counts_after(self, tmp_path):
        """Object 2 is back in the last frame that counts: too late to begin there."""
        _, (pair, _) = read_sequences("davis", write_davis_2017(tmp_path), start="photo")
        assert (pair.frames[0].stem, pair.hidden, pair.counted) == ("00003", ("pair/2",), [1])


class TestYouTubeVos:
    def test_an_object_counts_after_its_first_frame_and_the_last_one_does(self, tmp_path):
        loaded, (video,) = read_sequences("youtube-vos", write_youtube_vos(tmp_path) / "valid")
        one, two = video.objects
        assert (one.first, two.first) == (0, 4)
        assert sorted(one.queries) == [2, 4, 6, 8]
        assert sorted(two.queries) == [6, 8]
        assert len(video.frames) == 9  # those that nobody annotated are followed, too
        assert [episode.fold for episode in loaded.episodes] == [0, 1]  # the cat is seen, the okapi is not
        assert [episode.category for episode in loaded.episodes] == ["cat", "okapi"]

    def test_first_frames_alone_have_no_truth(self, tmp_path):
        root = write_youtube_vos(tmp_path) / "valid"
        labels = labels_of({2: (28, 30)})  # as in the validation split, where a later object is marked alone
        for number in (2, 6, 8):
            (root / f"Annotations/0a1b/{number:05}.png").unlink()
        write_sequence(tmp_path / "x", "0a1b", [labels], size="", first=4)
        shutil.copy(tmp_path / "x/Annotations/0a1b/00004.png", root / "Annotations/0a1b/00004.png")
        with pytest.raises(UsageError, match="masks of first frames alone"):
            read("youtube-vos", root)
        meta = json.loads((root / "meta.json").read_text())
        meta["videos"]["0a1b"]["objects"]["1"]["frames"].remove("00004")  # object 1 is out of sight there
        (root / "meta.json").write_text(json.dumps(meta))
        with pytest.raises(UsageError, match="masks of first frames alone"):
            read("youtube-vos", root)
        (root / "meta.json").unlink()
        with pytest.raises(UsageError, match="masks of first frames alone"):
            read("youtube-vos", root)

    def test_out_of_sight_is_an_empty_truth(self, tmp_path):
        labels = [labels_of({1: None if n == 2 else (4, 4), 2: (28, 30)}) for n in range(4)]
        write_sequence(tmp_path, "video", labels, size="")
        loaded = read("youtube-vos", tmp_path)
        assert [len(episode.tests) for episode in loaded.episodes] == [3, 3]
        assert not loaded.episodes[0].tests[1].read()[1].any()
        assert loaded.episodes[0].fold is None
        assert any("which categories are seen is not known" in note for note in loaded.notes)

    def test_sentences(self, tmp_path):
        root = write_youtube_vos(tmp_path) / "valid"
        with pytest.raises(UsageError, match="There is no file nowhere"):
            read("youtube-vos", root, seen="nowhere.json")
        for strange in (3, {"0a1b": {"objects": [{"category": "cat"}]}}):
            (root / "meta.json").write_text(json.dumps({"videos": strange}))
            with pytest.raises(UsageError, match=r"meta\.json is no meta\.json of YouTube-VOS"):
                read("youtube-vos", root)


@pytest.mark.parametrize(
    ("data_set", "options", "sentence"),
    [
        ("davis", {"names": ["pear"]}, "has no sequence pear; there are pair, solo"),
        ("davis", {"frames": 2}, "as each is too short"),
        ("perseg", {}, "PerSeg has photos and no videos, so nothing is followed; use davis, youtube-vos."),
    ],
)
def test_what_cannot_be_asked(tmp_path, data_set, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        read_sequences(data_set, write_davis_2017(tmp_path), **options)
