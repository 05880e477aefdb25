"""PerSeg in its own layout."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.conftest import write_pair
from tests.benchmark.datasets.checks import check_sound

from persam.benchmark.datasets.catalog import read
from persam.errors import UsageError


def stems(samples):
    return [each.photo.stem for each in samples]


def test_every_object_with_photo_00_as_reference(data):
    loaded = read("perseg", data / "perseg")
    check_sound(loaded)
    assert [episode.object for episode in loaded.episodes] == ["dog toy", "mug"]
    for episode in loaded.episodes:
        assert stems(episode.references) == ["00"]
        assert stems(episode.tests) == ["01", "02"]
    assert loaded.notes == ()
    assert "2 objects, 1 reference each (photo 00, else the first)" in loaded.protocol


def test_masks_are_the_red_pictures_pixel_by_pixel(data):
    for each in read("perseg", data / "perseg").samples:
        pixels, truth = each.read()
        mask = data / "perseg/Annotations" / each.photo.parent.name / f"{each.photo.stem}.png"
        assert np.array_equal(truth, np.asarray(Image.open(mask))[:, :, 0] == 128)
        assert np.array_equal(pixels, np.asarray(Image.open(each.photo)))


def test_another_reference_and_a_root_that_holds_its_number(data, tmp_path):
    """The published evaluation drops every path with the reference's number anywhere in it."""
    root = tmp_path / "2000" / "perseg00"
    shutil.copytree(data / "perseg", root)
    first, _ = read("perseg", root, reference="01").episodes
    assert stems(first.references) == ["01"]
    assert stems(first.tests) == ["00", "02"]


def test_shots_go_on_from_the_reference_and_round(data):
    loaded = read("perseg", data / "perseg", reference="02", shots=2)
    check_sound(loaded, shots=2)
    assert stems(loaded.episodes[0].references) == ["02", "00"]
    assert stems(loaded.episodes[0].tests) == ["01"]


def test_auto_takes_the_first_where_there_is_no_00(data):
    (data / "perseg/Images/mug/00.jpg").unlink()
    loaded = read("perseg", data / "perseg")
    assert [stems(episode.references) for episode in loaded.episodes] == [["00"], ["01"]]
    assert [stems(episode.tests) for episode in loaded.episodes] == [["01", "02"], ["02"]]
    assert loaded.notes == (
        f"passed over: masks without a photo ({data / 'perseg/Annotations/mug/00.png'})",
    )  # fmt: skip


def test_numbers_are_in_order_of_their_value(tmp_path):
    for number in (0, 2, 10, 1):
        write_pair(tmp_path / f"Images/mug/{number}.jpg", tmp_path / f"Annotations/mug/{number}.png", number % 4)
    (episode,) = read("perseg", tmp_path).episodes
    assert stems(episode.references) == ["0"]
    assert stems(episode.tests) == ["1", "2", "10"]


def test_objects_with_references_alone_are_named(data):
    write_pair(data / "perseg/Images/cup/00.jpg", data / "perseg/Annotations/cup/00.png", 0)
    loaded = read("perseg", data / "perseg")
    assert [episode.object for episode in loaded.episodes] == ["dog toy", "mug"]
    assert loaded.notes == ("passed over: objects with references alone (cup)",)


def test_the_folder_in_which_it_was_unpacked(data, tmp_path):
    assert len(read("perseg", data / "perseg").episodes) == 2
    root = tmp_path / "download"
    root.mkdir()
    shutil.copytree(data / "perseg", root / "data")
    assert len(read("perseg", root).episodes) == 2


def test_stray_files_do_not_matter(data):
    (data / "perseg/Images/readme.txt").write_text("x")
    (data / "perseg/Images/mug/Thumbs.db").write_text("x")
    (data / "perseg/Images/mug/._01.jpg").write_text("x")
    (data / "perseg/Images/.DS_Store").mkdir()
    assert len(read("perseg", data / "perseg").samples) == 6


class TestSentences:
    def refused(self, root, **options) -> str:
        with pytest.raises(UsageError) as caught:
            read("perseg", root, **options)
        assert caught.value.exit_code == 2
        assert str(caught.value).endswith(".")
        return str(caught.value)

    def test_another_layout(self, data, tmp_path):
        sentence = "is not laid out as expected: looked for Images/OBJECT/NN.jpg and Annotations/OBJECT/NN.png."
        (tmp_path / "empty").mkdir()
        assert self.refused(tmp_path / "empty").endswith(sentence)
        assert self.refused(data / "fss").endswith(sentence)

    def test_several_copies(self, data):
        shutil.copytree(data / "perseg", data / "copy")
        assert "holds several folders with Images:" in self.refused(data)

    def test_no_reference_of_that_name(self, data):
        sentence = self.refused(data / "perseg", reference="07")
        assert "dog toy has no photo 07, which was to be the reference." in sentence
        (data / "perseg/Images/mug/00.jpg").unlink()
        assert "mug has no photo 00" in self.refused(data / "perseg", reference="00")

    def test_no_mask(self, data):
        mask = data / "perseg/Annotations/mug/02.png"
        mask.unlink()
        assert f"02.jpg has no mask: looked for {mask}." in self.refused(data / "perseg")

    def test_a_reference_that_shows_nothing(self, data):
        path = data / "perseg/Annotations/mug/00.png"
        Image.fromarray(np.zeros((60, 80), np.uint8)).save(path)
        assert "The mask of" in self.refused(data / "perseg")
        assert "mug/00.jpg is empty, so it cannot be a reference" in self.refused(data / "perseg")

    def test_references_alone(self, tmp_path):
        write_pair(tmp_path / "Images/mug/00.jpg", tmp_path / "Annotations/mug/00.png", 0)
        assert "has no photos to find the objects in" in self.refused(tmp_path)

    def test_more_shots_than_photos(self, data):
        assert "each object has its references alone" in self.refused(data / "perseg", shots=3)


def test_real(real_data):
    loaded = read("perseg", real_data / "perseg")
    check_sound(loaded)
    assert [episode.object for episode in loaded.episodes] == ["cat", "duck_toy"]
    assert [episode.category for episode in loaded.episodes] == ["cat", "duck toy"]
    assert len(loaded.samples) == 6
    for each in loaded.samples:
        _, truth = each.read()
        mask = real_data / "perseg/Annotations" / each.photo.parent.name / f"{each.photo.stem}.png"
        assert np.array_equal(truth, np.asarray(Image.open(mask).convert("RGB"))[:, :, 0] == 128)
