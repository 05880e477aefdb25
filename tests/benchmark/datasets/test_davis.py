"""DAVIS 2016 (one object) and 2017 (several, in palette pictures)."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.datasets.checks import check_sound
from tests.benchmark.datasets.lookalikes import SIZE, box_mask, random_box, write_grey, write_palette, write_photo

from persam.benchmark.datasets.catalog import read
from persam.errors import UsageError

FRAMES = 6


def labels_of(sequence: str, frame: int) -> np.ndarray:
    """Three objects (1, 2, 5) that may hide each other; 2 is gone in frames 3 and 4."""
    labels = np.zeros(SIZE, np.uint8)
    rng = np.random.default_rng([len(sequence), frame])
    for value in (1, 2, 5):
        box = random_box(rng)
        if value != 2 or frame not in (3, 4):
            labels[box_mask(box)] = value
    labels[0, :3] = (1, 2, 5) if frame not in (3, 4) else (1, 0, 5)  # none is hidden all over
    return labels


@pytest.fixture
def several(tmp_path):
    """DAVIS-2017's trainval archive: two sequences of val, one of train, one that val names is not there."""
    root = tmp_path / "DAVIS"
    for name in ("bike-packing", "judo", "tennis"):
        for frame in range(FRAMES):
            write_photo(root / f"JPEGImages/480p/{name}/{frame:05}.jpg", frame)
            write_palette(root / f"Annotations/480p/{name}/{frame:05}.png", labels_of(name, frame))
    for year in (2016, 2017):
        (root / f"ImageSets/{year}").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("judo\nbike-packing\nloading\n")
    (root / "ImageSets/2017/train.txt").write_text("tennis\n")
    (root / "ImageSets/2016/val.txt").write_text("judo\n")
    return tmp_path


class TestSeveralObjects:
    def test_each_object_is_an_episode(self, several):
        loaded = read("davis", several)
        check_sound(loaded)
        names = [episode.object for episode in loaded.episodes]
        assert names == [f"{name}/{value}" for name in ("judo", "bike-packing") for value in (1, 2, 5)]
        assert loaded.notes == ("passed over: sequences of split val that are not here (loading)",)
        assert "DAVIS 2017, 480p, split val: 2 sequences, 6 objects" in loaded.protocol
        assert loaded.settings["year"] == 2017

    def test_truths_are_the_palette_s_indices(self, several):
        for episode in read("davis", several).episodes:
            name, value = episode.object.split("/")
            assert [each.photo.stem for each in episode.tests] == [f"{frame:05}" for frame in range(1, FRAMES)]
            for each in (*episode.references, *episode.tests):
                expected = labels_of(name, int(each.photo.stem)) == int(value)
                assert np.array_equal(each.read()[1], expected)
                assert each.truth.read_ignore(SIZE) is None
        gone = [each for each in read("davis", several).samples if each.name == "judo/2/00003"]
        assert not gone[0].read()[1].any()

    def test_all_of_them_together_in_2016_s_protocol(self, several):
        (episode,) = read("davis", several, year=2016).episodes
        assert episode.object == "judo"
        for each in episode.tests:
            assert np.array_equal(each.read()[1], labels_of("judo", int(each.photo.stem)) > 0)

    def test_void_is_no_object(self, several):
        path = several / "DAVIS/Annotations/480p/judo/00000.png"
        labels = labels_of("judo", 0)
        labels[-1, -3:] = 255
        write_palette(path, labels)
        names = [episode.object for episode in read("davis", several).episodes]
        assert names[:3] == ["judo/1", "judo/2", "judo/5"]

    def test_one_s_masks_read_as_2017(self, several):
        root = several / "DAVIS"
        for frame in range(FRAMES):
            write_grey(root / f"Annotations/480p/judo/{frame:05}.png", (labels_of("judo", frame) > 0) * 255)
        loaded = read("davis", several)
        assert [episode.object for episode in loaded.episodes][:2] == ["judo", "bike-packing/1"]
        assert "judo has masks of one object, as those of 2016" in loaded.notes

    def test_split(self, several):
        assert {e.object[:6] for e in read("davis", several, split="train").episodes} == {"tennis"}
        assert len(read("davis", several, split="all").episodes) == 9
        with pytest.raises(UsageError, match=r"has no split test-dev of 2017: looked for .*2017/test-dev\.txt"):
            read("davis", several, split="test-dev")


class TestOneObject:
    def test_frames_after_the_first(self, data):
        loaded = read("davis", data / "davis")
        check_sound(loaded)
        (episode,) = loaded.episodes
        assert episode.object == "bear"
        assert [each.name for each in episode.references] == ["bear/00000"]
        assert [each.name for each in episode.tests] == [f"bear/{frame:05}" for frame in range(1, 10)]
        assert "DAVIS 2016, 480p, all sequences" in loaded.protocol

    @pytest.mark.parametrize(("step", "frames"), [(8, [8]), (3, [3, 6, 9]), (1, list(range(1, 10)))])
    def test_step(self, data, step, frames):
        (episode,) = read("davis", data / "davis", step=step).episodes
        assert [int(each.photo.stem) for each in episode.tests] == frames

    def test_lists_of_frames_as_first_handed_out(self, data):
        shutil.copytree(data / "davis/JPEGImages/480p/bear", data / "davis/JPEGImages/480p/dog")
        shutil.copytree(data / "davis/Annotations/480p/bear", data / "davis/Annotations/480p/dog")
        (data / "davis/ImageSets/480p").mkdir(parents=True)
        (data / "davis/ImageSets/480p/val.txt").write_text(
            "".join(f"/JPEGImages/480p/dog/{n:05}.jpg /Annotations/480p/dog/{n:05}.png \n" for n in range(10))
        )
        assert [episode.object for episode in read("davis", data / "davis").episodes] == ["dog"]

    def test_categories_are_words(self, data):
        for kind in ("JPEGImages", "Annotations"):
            shutil.copytree(data / f"davis/{kind}/480p/bear", data / f"davis/{kind}/480p/libby")
            shutil.copytree(data / f"davis/{kind}/480p/bear", data / f"davis/{kind}/480p/car-shadow")
        assert [each.category for each in read("davis", data / "davis").episodes] == ["bear", "car", "dog"]


class TestSentences:
    def refused(self, root, **options) -> str:
        with pytest.raises(UsageError) as caught:
            read("davis", root, **options)
        return str(caught.value)

    def test_another_layout(self, tmp_path):
        assert "looked for JPEGImages/480p/SEQUENCE/*.jpg and Annotations/480p/SEQUENCE/*.png." in self.refused(
            tmp_path
        )

    def test_no_mask(self, data):
        mask = data / "davis/Annotations/480p/bear/00008.png"
        mask.unlink()
        assert f"has no mask: looked for {mask}." in self.refused(data / "davis")

    def test_empty_sequence(self, data):
        (data / "davis/JPEGImages/480p/ghost").mkdir()
        assert "ghost has no frames" in self.refused(data / "davis")

    def test_no_sequence_of_the_split(self, data):
        (data / "davis/ImageSets/2016").mkdir(parents=True)
        (data / "davis/ImageSets/2016/val.txt").write_text("goat\n")
        assert "None of the sequences in" in self.refused(data / "davis")

    def test_nothing_in_frame_0(self, data):
        Image.fromarray(np.zeros((60, 80), np.uint8)).save(data / "davis/Annotations/480p/bear/00000.png")
        assert "bear/00000.jpg is empty, so it cannot be a reference" in self.refused(data / "davis")

    def test_too_large_a_step(self, data):
        assert "has no frames to find the objects in" in self.refused(data / "davis", step=10)

    def test_year(self, data):
        assert "DAVIS has no year 2018; choose 2016, 2017." in self.refused(data / "davis", year=2018)


def test_real(real_data):
    loaded = read("davis", real_data / "davis")
    check_sound(loaded)
    assert len(loaded.episodes) == 6
    assert len(loaded.samples) == 339
    for each in loaded.samples[::40]:
        mask = real_data / "davis/Annotations/480p" / each.photo.parent.name / f"{each.photo.stem}.png"
        assert np.array_equal(each.read()[1], np.asarray(Image.open(mask)) > 0)
